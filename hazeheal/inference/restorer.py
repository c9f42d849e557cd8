"""Restores images of any size with one generator: whole, in tiles or in strips; in batches, on several devices.

    restorer = Restorer(gan, tile_size=1024)     # a DehazeGAN or an ExportedModel
    restored = restorer.restore(hazy)            # uint8 or uint16 [H, W, 3] -> the same
    for restored in restorer.restore_all(images):
        ...                                      # in order and lazily; a whole video never has to fit in memory

After training, `DehazeGAN.restore`, `hazeheal dehaze` and `hazeheal evaluate` all restore images here.
"""

import abc
import collections
import concurrent.futures
import dataclasses
import itertools
import queue
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.errors import HazeHealError
from hazeheal.inference import strips
from hazeheal.inference.network import Network
from hazeheal.inference.tiles import Plan, Tile, plan_tiles
from hazeheal.models.rearrange import mirrored_indices
from hazeheal.models.receptive_field import is_local, multiple, receptive_field

TILE_SIZE = 1024
_UNLIMITED = 1 << 30  # a tile size that no image reaches
_LONGEST_SIDE = 16  # in tile sizes: the longest side of an image whose view is computed on the device


class Model(abc.ABC):
    """A generator with its configuration: a `DehazeGAN` or an `ExportedModel`.

    Attributes:
        config: The configuration of the run that trained it.
    """

    config: ConfigDict
    _restorer: "Restorer | None" = None

    @abc.abstractmethod
    def network(self, *, device: str | None = None, copy: bool = False) -> Network:
        """Returns the generator on one device. With `copy` it has its own copy of the weights."""

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Restores one image of any size with the defaults of `Restorer`.

        Args:
            image: `[H, W, 3]`, uint8 or uint16, RGB.

        Returns:
            The restored image, of the same shape and type.
        """
        if self._restorer is None:
            self._restorer = Restorer(self)
        return self._restorer.restore(image)


class Restorer:
    """Restores images with one generator.

    Attributes:
        tile_size: The network gets at most tile_size^2 pixels at once on each device. This alone bounds the
            memory of the device, whatever the size of the image.
        mirror: Whether the result is the mean with the restored mirror image.
        local: Whether each restored pixel depends only on its neighborhood (`receptive_field.is_local`). Tiles then give
            the result of the whole image, up to rounding. Otherwise each tile uses its own averages.
        view_size: The `view_size` of the generator. If it is not 0, the generator needs no tiles, and large images
            are restored in strips (`strips`).
    """

    def __init__(
        self,
        gan: Model,
        *,
        tile_size: int = TILE_SIZE,
        devices: Sequence[str | None] = (None,),
        mirror: bool = False,
    ) -> None:
        """Prepares the devices. Each of them compiles at its first image.

        Args:
            gan: A `DehazeGAN` or an `ExportedModel`.
            tile_size: As above; at least 448 for a depth of 5. Larger tiles overlap less. With a view, any value is
                valid.
            devices: Names such as `GPU:0`. Each of several devices gets a copy of the current weights. A single
                device uses the variables of `gan`, and sees later changes to them.
            mirror: Whether to restore the mirror image of each image too, and return the mean. This doubles the time.

        Raises:
            UsageError: The tile size is too small for this network.
        """
        model = gan.config.model
        self.tile_size = tile_size
        self.mirror = mirror
        self.view_size = model.view_size
        self.local = is_local(se_ratio=model.se_ratio, view_size=model.view_size)
        self._multiple = multiple(model.depth, model.patch_size)
        self._before, self._after = receptive_field(model.depth, model.patch_size)
        self.plan(1, 1)  # raises an error for a bad tile size now rather than at the first image
        self._pool = concurrent.futures.ThreadPoolExecutor(len(devices), thread_name_prefix="restore")
        self._ahead = 2 * len(devices)
        self._idle = queue.SimpleQueue()
        for device in devices:
            self._idle.put(gan.network(device=device, copy=len(devices) > 1))

    def plan(self, height: int, width: int) -> Plan:
        """Returns the tiles of an image of this size."""
        return plan_tiles(
            height,
            width,
            tile_size=_UNLIMITED if self.view_size else self.tile_size,
            multiple=self._multiple,
            before=self._before,
            after=self._after,
        )

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Restores one image.

        Args:
            image: `[H, W, 3]`, uint8 or uint16, RGB, of any size from 1x1 up.

        Returns:
            The restored image, of the same shape and type.

        Raises:
            HazeHealError: The device has too little memory for a tile.
            ValueError: The image has another shape or type.
        """
        return next(self.restore_all([image]))

    def restore_all(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Restores images one after the other. Consecutive images of the same size share a batch.

        Args:
            images: Images as `restore` takes them. They are read a little ahead of the results.

        Yields:
            The restored images, in order.
        """
        images = map(_checked, images)
        if not self.mirror:
            yield from self._restore_all(images)
            return
        both = itertools.chain.from_iterable((image, image[:, ::-1]) for image in images)
        restored = self._restore_all(both)
        for image in restored:
            mirrored = next(restored)[:, ::-1]
            yield np.rint((image.astype(np.float32) + mirrored) / 2).astype(image.dtype)

    def _restore_all(self, images):
        for in_strips, group in itertools.groupby(images, key=self._needs_strips):
            restore = self._in_strips if in_strips else self._in_tiles
            yield from restore(group)

    def _needs_strips(self, image):
        height, width = image.shape[:2]
        # On the device, the matrix that reduces an image to its view grows with the longest side.
        large = height * width > self.tile_size**2 or max(height, width) > _LONGEST_SIDE * self.tile_size
        return bool(self.view_size) and large

    def _in_strips(self, images):
        def restore(network, image):
            return strips.restore(network, image, view_size=self.view_size)

        for _, restored in self._map(restore, images):
            yield restored

    def _in_tiles(self, images):
        def restore(network, batch):
            return network.restore(np.stack([piece.hazy for piece in batch]))

        batches = _batches(self._pieces(images), self.tile_size**2)
        for batch, values in self._map(restore, batches):
            for piece, restored in zip(batch, values, strict=True):
                if piece.canvas.add(piece.tile, restored):
                    yield piece.canvas.image

    def _pieces(self, images):
        """Yields the tiles of all images."""
        for image in images:
            plan = self.plan(*image.shape[:2])
            canvas = _Canvas(plan, image.dtype)
            for tile in plan.tiles:
                yield _Piece(_cut_out(image, plan, tile), tile, canvas)

    def _map(self, function, items):
        """Yields (item, function(network, item)) in order, while the devices work on the next items."""

        def run(item):
            network = self._idle.get()
            try:
                return function(network, item)
            except tf.errors.ResourceExhaustedError as error:
                raise HazeHealError(
                    f"not enough memory on {network.device or 'the device'} for tile_size={self.tile_size}; use a "
                    "smaller one"
                ) from error
            finally:
                self._idle.put(network)

        pending = collections.deque()
        for item in items:
            pending.append((item, self._pool.submit(run, item)))
            if len(pending) > self._ahead:
                item, future = pending.popleft()
                yield item, future.result()
        for item, future in pending:
            yield item, future.result()


def _checked(image):
    image = np.asarray(image)
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be uint8 or uint16 [H, W, 3], not {image.dtype} {list(image.shape)}")
    if 0 in image.shape:
        raise ValueError(
            f"an image must have at least one pixel, and this one has the shape {list(image.shape)}"
        )
    return image


def _cut_out(image, plan, tile):
    """Returns the pixels of a tile, mirrored beyond the image border. A single tile is the image itself."""
    if len(plan.tiles) == 1:
        return image
    for axis, start, size in ((0, tile.top, plan.rows.size), (1, tile.left, plan.columns.size)):
        length = image.shape[axis]
        if start + size <= length:
            image = image[(slice(None),) * axis + (slice(start, start + size),)]
        else:
            image = image.take(mirrored_indices(np.arange(start, start + size), length), axis=axis)
    return image


def _batches(pieces, most_pixels):
    """Yields lists of consecutive pieces of the same shape and type, of at most `most_pixels` pixels together."""
    for (shape, _), group in itertools.groupby(
        pieces, key=lambda piece: (piece.hazy.shape, piece.hazy.dtype)
    ):
        count = max(1, most_pixels // (shape[0] * shape[1]))
        while batch := list(itertools.islice(group, count)):
            yield batch


class _Canvas:
    """A restored image that is assembled tile by tile. Only one row of tiles is held as floats."""

    def __init__(self, plan, dtype):
        self._plan = plan
        self.image = np.empty((plan.height, plan.width, 3), dtype)
        self._band = None  # float32, the weighted sum of the current row of tiles

    def add(self, tile, values) -> bool:
        """Blends one tile, float32 in [0, white], in the order of the plan. Returns whether it was the last one."""
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
        finished = (plan.height if last else plan.rows.starts[tile.row + 1]) - tile.top  # rows of the band
        self.image[tile.top : tile.top + finished] = np.rint(self._band[:finished, : plan.width])
        if not last:
            self._band[:-finished] = self._band[finished:]
            self._band[-finished:] = 0
        return last


@dataclasses.dataclass(frozen=True)
class _Piece:
    """The pixels of one tile, its place, and the canvas of its image."""

    hazy: np.ndarray
    tile: Tile
    canvas: _Canvas
