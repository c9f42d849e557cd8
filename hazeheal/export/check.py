"""Whether an export does what its checkpoint does: the same images through both, of sizes that go wrong first."""

import dataclasses

import numpy as np

from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.errors import HazeHealError

# [B, H, W]: single pixels, lines, odd sides, batches, and sides that are multiples of 2^depth.
SIZES = ((1, 1, 1), (2, 1, 1), (1, 1, 50), (1, 37, 2), (1, 64, 64), (3, 33, 47), (2, 96, 131), (1, 200, 160))


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far an export may be from its checkpoint, in levels of 255.

    Attributes:
        largest: At any value.
        mean: On average. Values that round the other way are few; cutting off in place of rounding gives 0.5.
    """

    largest: int
    mean: float

    def __str__(self):
        return f"{self.largest}, and {self.mean} on average"


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far it is: the largest and the mean difference of all values, in levels of 255."""

    largest: int
    mean: float

    def within(self, tolerance) -> bool:
        return self.largest <= tolerance.largest and self.mean <= tolerance.mean


def batches() -> list:
    """The images of the check, always the same: scenes under haze, noise, and black beside white.

    Returns:
        uint8 [B, H, W, 3] for each of SIZES.
    """
    random, found = np.random.default_rng(0), []
    for number, (count, height, width) in enumerate(SIZES):
        images = random.integers(0, 256, (count, height, width, 3)).astype(np.uint8)
        scene, _ = synthetic_pairs.make_pair(number, size=max(16, height, width))
        images[0] = scene[:height, :width]
        images[2:, :, : width // 2], images[2:, :, width // 2 :] = 0, 255
        found.append(images)
    return found


def reference(network) -> list:
    """What the checkpoint makes of the images: the uint8 of a `restore.network.Network`, as `dehaze` writes it.

    Raises:
        HazeHealError: It makes something that is no number, with which any export would agree.
    """
    found = []
    for batch in batches():
        restored = network.restore(batch)
        if not np.isfinite(restored).all():
            raise HazeHealError(
                f"the checkpoint makes NaN of images of {list(batch.shape)}; take another one with --which"
            )
        found.append(np.rint(restored).astype(np.uint8))
    return found


def compare(function, wanted, *, name) -> Difference:
    """Takes all images through an export.

    Args:
        function: uint8 [B, H, W, 3] to the same.
        wanted: Of `reference`.
        name: What to call the export where it does something else altogether.

    Raises:
        HazeHealError: It fails on an image, or gives another size or type.
    """
    largest, total, count = 0, 0.0, 0
    for batch, expected in zip(batches(), wanted, strict=True):
        try:
            found = np.asarray(function(batch))
        except Exception as error:  # of whichever runtime
            raise HazeHealError(
                f"{name} fails on images of {list(batch.shape)}: {error}; nothing was written"
            ) from error
        if found.shape != batch.shape or found.dtype != np.uint8:
            raise HazeHealError(
                f"{name} makes {found.dtype} {list(found.shape)} of uint8 {list(batch.shape)}; nothing was written"
            )
        apart = np.abs(found.astype(np.int16) - expected)
        largest, total, count = max(largest, int(apart.max())), total + float(apart.sum()), count + apart.size
    return Difference(largest, total / count)
