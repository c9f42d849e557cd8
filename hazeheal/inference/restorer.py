"""Restores images of any size with one generator: whole, in tiles or in windows; in batches, on several devices.

    restorer = Restorer(gan, tile_size=1024)     # a DehazeGAN or an ExportedModel
    restored = restorer.restore(hazy)            # uint8 or uint16 [H, W, 3] -> the same
    for restored in restorer.restore_all(images):
        ...                                      # in order and lazily; a whole video never has to fit in memory

After training, `DehazeGAN.restore`, `hazeheal dehaze` and `hazeheal evaluate` all restore images here.
"""

import abc
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.errors import HazeHealError
from hazeheal.inference.borders import find_border
from hazeheal.inference.network import Network
from hazeheal.inference.strength import blend
from hazeheal.models.large_images import cut_out, image_averages
from hazeheal.models.receptive_field import is_local, tiling, uses_averages
from hazeheal.models.tiles import Plan, plan_tiles
from hazeheal.models.windows import apply_maps, view_of
from hazeheal.utils.parallel import Workers

_UNLIMITED = 1 << 30  # a tile size that no image reaches
_LONGEST_SIDE = 16  # in tile sizes: the longest side of an image whose view is computed on the device


class Model(abc.ABC):
    """A generator with the configuration of its run: a `DehazeGAN` or an `ExportedModel`."""

    config: ConfigDict
    takes_parts = True  # whether its network restores tiles and applies maps; otherwise it only takes whole images
    _restorer: "Restorer | None" = None

    @abc.abstractmethod
    def network(self, *, device: str | None = None, copy: bool = False) -> Network:
        """Returns the generator on one device. With `copy` it has its own copy of the weights."""

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Restores one image of any size, `[H, W, 3]` uint8 or uint16, with the defaults of `Restorer`."""
        if self._restorer is None:
            self._restorer = Restorer(self)
        return self._restorer.restore(image)


class Restorer:
    """Restores images with one generator.

    Attributes:
        tile_size: The network gets at most tile_size^2 pixels at once on each device. This alone bounds the
            memory of the device, whatever the size of the image.
        mirror: Whether the result is the mean with the restored mirror image.
        strength: Factor of the change of each pixel (`strength.blend`); 1 is what the network was trained for.
        local: Whether each restored pixel depends only on its neighborhood (`receptive_field.is_local`). Tiles then give
            the result of the whole image, up to rounding.
        uses_averages: Whether the generator takes averages over the image. All tiles then use averages of the whole image.
        view_size: The `view_size` of the generator. If it is not 0, the generator needs no tiles: it estimates maps from
            the reduced image, which are applied to large images window by window (`models.windows`).
    """

    def __init__(
        self,
        gan: Model,
        *,
        tile_size: int = 1024,
        devices: Sequence[str | None] = (None,),
        mirror: bool = False,
        strength: float = 1.0,
    ) -> None:
        """Prepares the devices. Each of them compiles at its first image.

        Args:
            gan: The generator.
            tile_size: As above; at least 448 for a depth of 5 without a view. Larger tiles overlap less.
            devices: Names such as `GPU:0`. Each of several devices gets a copy of the current weights. A single
                device uses the variables of `gan`, and sees later changes to them.
            mirror: As above. This doubles the time.
            strength: As above, from 0 to 1.5.

        Raises:
            UsageError: The tile size is too small for this network.
        """
        model = gan.config.model
        self.tile_size = tile_size
        self.mirror = mirror
        self.strength = strength
        self._takes_parts = gan.takes_parts
        self.view_size = model.view_size if gan.takes_parts else 0
        self.local = is_local(se_ratio=model.se_ratio, view_size=model.view_size)
        self.uses_averages = uses_averages(se_ratio=model.se_ratio, view_size=model.view_size)
        self._field = tiling(model.depth, model.patch_size)
        self.plan(1, 1)  # raises an error for a bad tile size now rather than at the first image
        self._networks = Workers([gan.network(device=device, copy=len(devices) > 1) for device in devices])

    def plan(self, height: int, width: int) -> Plan:
        """Returns the tiles of an image of this size."""
        tile_size = _UNLIMITED if self.view_size or not self._takes_parts else self.tile_size
        return plan_tiles(height, width, tile_size=tile_size, **self._field)

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Restores one RGB image, `[H, W, 3]` uint8 or uint16 of any size, to one of the same shape and type.

        Raises:
            HazeHealError: The device has too little memory for a tile.
            ValueError: The image has another shape or type.
        """
        return next(self.restore_all([image]))

    def restore_all(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Restores images as `restore` does, and yields the results in order.

        Consecutive images of the same size share a batch. The images are read a little ahead of the results. The network
        does not see uniform borders (`borders`), which stay as they are.
        """
        images, originals = itertools.tee((image, find_border(image)) for image in map(_checked, images))
        contents = (image if border is None else border.content(image) for image, border in images)
        for (image, border), restored in zip(originals, self._restore_blended(contents), strict=True):
            yield restored if border is None else border.around(restored, image)

    def maps(self, view: np.ndarray) -> list[np.ndarray]:
        """Returns the maps of an image from its view, and with `mirror` also those from the mirrored view, mirrored back.

        Only for a generator with a view. The restored image is the mean of those that the maps give (`models.windows`).

        Args:
            view: `[view_size, view_size, 3]` float32 in [-1, 1].
        """
        return next(maps for _, maps in self._map(self._maps, [view]))

    def estimate(self, image: np.ndarray) -> list[np.ndarray]:
        """Returns the `maps` of an image, `[H, W, 3]` uint8 or uint16. `apply` restores this or a similar image with them."""
        return next(maps for _, maps in self._map(self._estimate, [image]))

    def apply(self, maps: Sequence[np.ndarray], image: np.ndarray) -> np.ndarray:
        """Restores an image, `[H, W, 3]` uint8 or uint16, with maps of `estimate`."""
        return next(restored for _, restored in self._map(functools.partial(self._apply, maps), [image]))

    def _maps(self, network, view):
        views = [view, view[:, ::-1]] if self.mirror else [view]
        maps = [network.maps(view[np.newaxis]) for view in views]
        # What the maps add to a pixel is linear in them.
        return [np.float32(self.strength) * part for part in (maps[0], *(part[:, ::-1] for part in maps[1:]))]

    def _estimate(self, network, image):
        return self._maps(network, view_of(image, size=self.view_size, device=network.device))

    def _apply(self, maps, network, image):
        return apply_maps(maps, image, 0, 0, *image.shape[:2], device=network.device)

    def _restore_blended(self, images):
        if self.view_size:  # with mirror and strength in its maps
            yield from self._restore_all(images)
            return
        images, originals = itertools.tee(images)
        for hazy, restored in zip(originals, self._restore_mirrored(images), strict=True):
            yield blend(hazy, restored, self.strength)

    def _restore_mirrored(self, images):
        if not self.mirror:
            yield from self._restore_all(images)
            return
        both = itertools.chain.from_iterable((image, image[:, ::-1]) for image in images)
        restored = self._restore_all(both)
        for image in restored:
            yield _mean(image, next(restored)[:, ::-1])

    def _restore_all(self, images):
        for in_windows, group in itertools.groupby(images, key=self._needs_windows):
            restore = self._in_windows if in_windows else self._in_tiles
            yield from restore(group)

    def _needs_windows(self, image):
        height, width = image.shape[:2]
        # On the device, the matrix that reduces an image to its view grows with the longest side.
        large = height * width > self.tile_size**2 or max(height, width) > _LONGEST_SIDE * self.tile_size
        return bool(self.view_size) and (large or self.mirror or self.strength != 1)

    def _in_windows(self, images):
        def restore(network, image):
            return self._apply(self._estimate(network, image), network, image)

        for _, restored in self._map(restore, images):
            yield restored

    def _in_tiles(self, images):
        def restore(network, batch):
            return network.restore(np.stack([hazy for hazy, _, _ in batch]), batch[0][1].averages)

        batches = _batches(self._tiles(images), self.tile_size**2)
        for batch, values in self._map(restore, batches):
            for (_, canvas, tile), restored in zip(batch, values, strict=True):
                canvas.add(*tile, restored)
                if tile == canvas.plan.tiles[-1]:
                    yield canvas.image

    def _tiles(self, images):
        """Yields (hazy pixels, canvas of the image, (row, column)) of the tiles of all images."""
        for image in images:
            canvas = _Canvas(self.plan(*image.shape[:2]), image.dtype)
            if self.uses_averages and len(canvas.plan.tiles) > 1:
                canvas.averages = self._averages(image, canvas.plan)
            for tile in canvas.plan.tiles:
                yield cut_out(image, canvas.plan, *tile), canvas, tile

    def _averages(self, image, plan):
        def collect(parts):
            return (averages for _, averages in self._map(lambda network, part: network.collect(*part), parts))

        return image_averages(image, plan, collect, tile_size=self.tile_size, multiple=self._field["multiple"])

    def _map(self, function, items):
        """Yields (item, function(network, item)) in order, while the devices work on the next items."""

        def run(network, item):
            try:
                return function(network, item)
            except tf.errors.ResourceExhaustedError as error:
                raise HazeHealError(
                    f"not enough memory on {network.device or 'the device'} for tile_size={self.tile_size}; use a "
                    "smaller one"
                ) from error

        return self._networks.map(run, items)


def _checked(image):
    image = np.asarray(image)
    if image.dtype not in (np.uint8, np.uint16) or image.shape[2:] != (3,) or 0 in image.shape:
        raise ValueError(
            f"an image must be uint8 or uint16 [H, W, 3], H and W at least 1, not {image.dtype} {list(image.shape)}"
        )
    return image


def _mean(image, other):
    """The rounded mean of two images, computed row by row, as float32 needs four times the memory."""
    mean = np.empty_like(image)
    for row, a, b in zip(mean, image, other, strict=True):
        row[:] = np.rint((a.astype(np.float32) + b) / 2)
    return mean


def _batches(tiles, most_pixels):
    """Yields lists of consecutive tiles with the same shape, type and averages, of at most `most_pixels` pixels."""

    def key(tile):
        hazy, canvas, _ = tile
        return hazy.shape, hazy.dtype, None if canvas.averages is None else id(canvas)

    for (shape, *_), group in itertools.groupby(tiles, key=key):
        count = max(1, most_pixels // (shape[0] * shape[1]))
        while batch := list(itertools.islice(group, count)):
            yield batch


class _Canvas:
    """A restored image that is assembled tile by tile. Only one row of tiles is held as floats."""

    def __init__(self, plan, dtype):
        self.plan = plan
        self.image = np.empty((plan.height, plan.width, 3), dtype)
        self.averages = None  # of the whole image, for the network
        self._band = np.zeros((plan.rows.size, plan.columns.padded, 3), np.float32)

    def add(self, row, column, values):
        """Blends one tile, float32 in [0, white]. Tiles are added in the order of the plan."""
        rows, columns = self.plan.rows, self.plan.columns
        if len(self.plan.tiles) == 1:
            self.image[:] = np.rint(values)
            return
        top, left = rows.starts[row], columns.starts[column]
        weights = rows.weights[row][:, None] * columns.weights[column]
        self._band[:, left : left + columns.size] += values * weights[..., None]
        if column + 1 == len(columns.starts):  # the row of tiles is complete
            next_top = [*rows.starts, self.plan.height][row + 1]
            finished = next_top - top
            self.image[top:next_top] = np.rint(self._band[:finished, : self.plan.width])
            self._band = np.concatenate([self._band[finished:], np.zeros_like(self._band[:finished])])
