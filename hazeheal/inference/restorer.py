"""A generator -> images of any size: whole where they fit, in tiles or strips where not, batched, on several devices.

    restorer = Restorer(gan, tile_size=1024)     # a DehazeGAN, or an export (`restore.exported`)
    restored = restorer.restore(hazy)            # uint8 or uint16 [H, W, 3] -> the same
    for restored in restorer.restore_all(images):
        ...                                      # in order, lazily: a folder or a film never lies in memory

This is the one way by which images are restored after training: `DehazeGAN.restore`, `hazeheal dehaze` and
`hazeheal evaluate` all take it.
"""

import collections
import concurrent.futures
import itertools
import math
import queue

import numpy as np
import tensorflow as tf

from hazeheal.errors import HazeHealError
from hazeheal.inference import strips
from hazeheal.inference.tiles import plan_tiles, round_up
from hazeheal.models.generator import is_local, multiple, receptive_field, takes_means
from hazeheal.models.layers import mirrored_indices

TILE_SIZE = 1024
WITHOUT_TILES = 1 << 30
LONGEST = 16  # tile_size that a side may have


class Restorer:
    """Restores images with one generator.

    Attributes:
        tile_size: No more than its square of pixels are in the network at once on a device; this alone bounds
            the memory, whatever the image.
        mirror: Whether the mean with the restored mirror image is taken.
        local: Whether a restored pixel depends on its neighborhood alone. Tiles then give what the whole image
            would, to rounding.
        shares_means: Whether the tiles of an image go by common means, as only squeeze-excite asks for any.
        view_size: Of a network that looks at a view of the whole image, which has no tiles: larger images pass by in
            strips (`by_view`). Else 0.
    """

    def __init__(self, gan, *, tile_size=TILE_SIZE, devices=(None,), mirror=False):
        """Compiles nothing yet; each device compiles at its first image.

        Args:
            gan: A `DehazeGAN`, or anything with its `config` and `network`.
            tile_size: As above; for depth 5 at least 448, and the more the less is computed twice. With a view any does.
            devices: Names as `GPU:0`. With more than one each gets a copy of the weights as they are now; the
                one device of the default uses those of `gan`, also when they change.
            mirror: Restore the mirror image of each image too, and take the mean: twice the work.

        Raises:
            UsageError: The tile size is too small for this network.
        """
        model = gan.config.model
        self.tile_size = tile_size
        self.mirror = mirror
        self.view_size = model.view_size
        gathers = {name: model[name] for name in ("norm", "se_ratio", "view_size")}
        self.local, self.shares_means = is_local(**gathers), takes_means(**gathers)
        self._multiple = multiple(model.depth, model.patch_size)
        self._before, self._after = receptive_field(model.depth, model.patch_size)
        self.plan(1, 1)  # refuses a tile size now and not at the first image
        self._pool = concurrent.futures.ThreadPoolExecutor(len(devices), thread_name_prefix="restore")
        self._ahead = 2 * len(devices)
        self._free = queue.SimpleQueue()
        for device in devices:
            self._free.put(gan.network(device=device, copy=len(devices) > 1))

    def plan(self, height, width):
        """The `tiles.Plan` of an image of this size."""
        return plan_tiles(
            height,
            width,
            tile_size=WITHOUT_TILES if self.view_size else self.tile_size,
            multiple=self._multiple,
            before=self._before,
            after=self._after,
        )

    def restore(self, image) -> np.ndarray:
        """Restores one image.

        Args:
            image: uint8 or uint16 [H, W, 3] in RGB, of any size from 1x1 up.

        Returns:
            The restored one, of the same shape and type.

        Raises:
            HazeHealError: The device has not enough memory for a tile.
            ValueError: It is no such image.
        """
        return next(self.restore_all([image]))

    def restore_all(self, images):
        """Restores images one after the other; those of one size that follow each other share a batch.

        Args:
            images: Any iterable of images as `restore` takes them; read a little ahead of what is yielded.

        Yields:
            The restored images, in order.
        """
        images = map(_checked, images)
        if not self.mirror:
            yield from self._restore_all(images)
            return
        both = itertools.chain.from_iterable((image, image[:, ::-1]) for image in images)
        restored = self._restore_all(both)
        for one in restored:
            other = next(restored)[:, ::-1]
            yield np.rint((one.astype(np.float32) + other) / 2).astype(one.dtype)

    def _restore_all(self, images):
        for in_strips, some in itertools.groupby(images, key=self._goes_in_strips):
            if in_strips:
                yield from (restored for _, restored in self._map(self._by_view, some))
            else:
                yield from self._by_tiles(some)

    def _goes_in_strips(self, image):
        height, width = image.shape[:2]
        # The device would make a matrix of its view and the longest side.
        large = height * width > self.tile_size**2 or max(height, width) > LONGEST * self.tile_size
        return bool(self.view_size) and large

    def _by_view(self, network, image):
        return strips.restore(network, image, view_size=self.view_size)

    def _by_tiles(self, images):
        batches = _batches(self._pieces(images), self.tile_size**2)
        for batch, values in self._map(_restore, batches):
            for piece, restored in zip(batch, values, strict=True):
                if piece.canvas.add(piece.tile, restored):
                    yield piece.canvas.image

    def _pieces(self, images):
        """Cuts every image into its tiles."""
        for number, image in enumerate(images):
            plan = self.plan(*image.shape[:2])
            means = alone = None
            if self.shares_means and len(plan.tiles) > 1:
                means, alone = self._means(image, plan), number
            canvas = _Canvas(plan, image.dtype)
            for tile in plan.tiles:
                yield _Piece(_cut_out(image, plan, tile), tile, canvas, means, alone)

    def _means(self, image, plan):
        """Finds what a network that is not local takes for the means over the whole image.

        First those of the image made small enough to fit; with them, those over the parts of all tiles. What stands
        first in the network is then exact, and what follows is close; docs/inference.md has the figures.
        """
        small = _reduced(image, self.tile_size, self._multiple)
        height, width = small.shape[:2]
        ((_, means),) = self._map(
            lambda network, _: network.collect(small, ((0, height), (0, width))), [small]
        )

        def collect(network, tile):
            return network.collect(_cut_out(image, plan, tile), plan.core(tile), means)

        total = sum(plan.share(tile) * found for tile, found in self._map(collect, plan.tiles))
        return total.astype(np.float32)

    def _map(self, function, items):
        """Yields (item, function(network, item)) in order, while the devices work on the items that follow."""

        def run(item):
            network = self._free.get()
            try:
                return function(network, item)
            except tf.errors.ResourceExhaustedError as error:
                raise HazeHealError(
                    f"not enough memory on {network.device or 'the device'} for tile_size={self.tile_size}; use a "
                    "smaller one"
                ) from error
            finally:
                self._free.put(network)

        pending = collections.deque()
        for item in items:
            pending.append((item, self._pool.submit(run, item)))
            if len(pending) > self._ahead:
                item, future = pending.popleft()
                yield item, future.result()
        for item, future in pending:
            yield item, future.result()


# One tile's pixels, its place, the image it becomes part of, means for the network, and the number of the image
# where these are its own.
_Piece = collections.namedtuple("_Piece", "hazy tile canvas means alone")


def _restore(network, batch):
    return network.restore(np.stack([piece.hazy for piece in batch]), batch[0].means)


def _checked(image):
    image = np.asarray(image)
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be uint8 or uint16 [H, W, 3], not {image.dtype} {list(image.shape)}")
    if 0 in image.shape:
        raise ValueError(f"an image must have a pixel, and is {list(image.shape)}")
    return image


def _cut_out(image, plan, tile):
    """One tile of the image, mirrored where it goes beyond. An image that is one tile stays as it is."""
    if len(plan.tiles) == 1:
        return image
    for axis, start, side in ((0, tile.top, plan.rows.size), (1, tile.left, plan.columns.size)):
        length = image.shape[axis]
        if start + side <= length:
            image = image[(slice(None),) * axis + (slice(start, start + side),)]
        else:
            image = image.take(mirrored_indices(np.arange(start, start + side), length), axis=axis)
    return image


def _reduced(image, tile_size, multiple):
    """The image made smaller by a whole number, to a tile's pixels, then mirrored to sides that the network takes."""
    factor = math.ceil(math.sqrt(image.shape[0] * image.shape[1]) / tile_size)
    down, across = (min(factor, side) for side in image.shape[:2])
    height, width = image.shape[0] // down, image.shape[1] // across
    blocks = image[: height * down, : width * across].reshape(height, down, width, across, 3)
    small = np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(image.dtype)
    for axis, side in enumerate((height, width)):
        small = small.take(mirrored_indices(np.arange(round_up(side, multiple)), side), axis=axis)
    return small


def _batches(pieces, most_pixels):
    """Groups pieces that follow each other, are of one size, type and means, and have no more pixels together."""
    kinds = itertools.groupby(pieces, key=lambda piece: (piece.hazy.shape, piece.hazy.dtype, piece.alone))
    for (shape, _, _), alike in kinds:
        count = max(1, most_pixels // (shape[0] * shape[1]))
        while batch := list(itertools.islice(alike, count)):
            yield batch


class _Canvas:
    """An image in the making. Of floats it holds one row of tiles alone, however high the image is."""

    def __init__(self, plan, dtype):
        self._plan = plan
        self.image = np.empty((plan.height, plan.width, 3), dtype)
        self._band = None

    def add(self, tile, values) -> bool:
        """Lays one tile, float32 in [0, white], onto the image, in the plan's order; says whether it was the last."""
        plan = self._plan
        if len(plan.tiles) == 1:
            self.image[:] = np.rint(values)
            return True
        if self._band is None:
            self._band = np.zeros((plan.rows.size, plan.columns.padded, 3), np.float32)
        down, across = plan.rows.weights[tile.row], plan.columns.weights[tile.column]
        weighted = values * (down[:, None] * across)[..., None]
        self._band[:, tile.left : tile.left + plan.columns.size] += weighted
        if tile.column + 1 < len(plan.columns.starts):
            return False
        last = tile.row + 1 == len(plan.rows.starts)
        whole = (
            plan.height if last else plan.rows.starts[tile.row + 1]
        ) - tile.top  # nothing comes on top of them
        self.image[tile.top : tile.top + whole] = np.rint(self._band[:whole, : plan.width])
        if not last:
            self._band[:-whole] = self._band[whole:]
            self._band[-whole:] = 0
        return last
