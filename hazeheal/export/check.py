"""Compares an export with its checkpoint on a fixed set of images, of sizes that are likely to fail."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.errors import HazeHealError

if TYPE_CHECKING:
    from hazeheal.inference.network import Network

# [B, H, W]: single pixels, lines, odd sides, batches, and sides that are multiples of 2^depth.
_SIZES = ((1, 1, 1), (2, 1, 1), (1, 1, 50), (1, 37, 2), (1, 64, 64), (3, 33, 47), (2, 96, 131), (1, 200, 160))


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference between an export and its checkpoint, or the largest allowed one, in levels of 255.

    Attributes:
        largest: The largest difference of a value.
        mean: The mean difference. Few values round differently; truncation instead of rounding gives 0.5.
    """

    largest: int
    mean: float

    def __str__(self) -> str:
        return f"{self.largest} of 255, mean {self.mean:.4f}"

    def within(self, tolerance: "Difference") -> bool:
        """Whether this difference is allowed."""
        return self.largest <= tolerance.largest and self.mean <= tolerance.mean


def sizes(view_size: int) -> tuple[tuple[int, int, int], ...]:
    """Returns [B, H, W] of the images of the check.

    A generator with a view enlarges smaller images to it and reduces larger ones, by other weights. So one image is larger
    than the view on both sides, and one on one side.

    Args:
        view_size: That of the generator; 0 for one without a view.
    """
    larger = ((1, view_size + 75, view_size + 131), (1, 37, view_size * 3)) if view_size else ()
    return _SIZES + larger


def make_batches(view_size: int) -> list[np.ndarray]:
    """Returns uint8 `[B, H, W, 3]` for each of `sizes(view_size)`: hazy scenes, noise, and black next to white."""
    random, result = np.random.default_rng(0), []
    for number, (count, height, width) in enumerate(sizes(view_size)):
        images = random.integers(0, 256, (count, height, width, 3)).astype(np.uint8)
        scene, _ = synthetic_pairs.make_pair(number, size=max(16, height, width))
        images[0] = scene[:height, :width]
        images[2:, :, : width // 2], images[2:, :, width // 2 :] = 0, 255
        result.append(images)
    return result


def reference(network: "Network", batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Restores `make_batches` with the checkpoint's network, to uint8 as `hazeheal dehaze` writes them.

    Raises:
        HazeHealError: A restored value is not finite, so a comparison would mean nothing.
    """
    result = []
    for batch in batches:
        restored = network.restore(batch)
        if not np.isfinite(restored).all():
            raise HazeHealError(
                f"the checkpoint restores images of {list(batch.shape)} to NaN; use another one with --which"
            )
        result.append(np.rint(restored).astype(np.uint8))
    return result


def compare(
    restore: Callable[[np.ndarray], np.ndarray],
    batches: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    *,
    name: str,
) -> Difference:
    """Restores the images of the check with an export and compares them with those of the checkpoint.

    Args:
        restore: The export, a function from uint8 `[B, H, W, 3]` to the same. Errors call it `name`.
        batches, expected: The images, and the result of `reference` for them.

    Raises:
        HazeHealError: The export fails on an image, or returns another shape or type.
    """
    largest, total, count = 0, 0.0, 0
    for batch, expected_batch in zip(batches, expected, strict=True):
        try:
            restored = np.asarray(restore(batch))
        except Exception as error:  # the type depends on the runtime
            raise HazeHealError(
                f"{name} fails on images of {list(batch.shape)}: {error}; nothing was written"
            ) from error
        if restored.shape != batch.shape or restored.dtype != np.uint8:
            raise HazeHealError(
                f"{name} returns {restored.dtype} {list(restored.shape)} for uint8 {list(batch.shape)}; "
                "nothing was written"
            )
        difference = np.abs(restored.astype(np.int16) - expected_batch)
        largest, total = max(largest, int(difference.max())), total + float(difference.sum())
        count += difference.size
    return Difference(largest, total / count)
