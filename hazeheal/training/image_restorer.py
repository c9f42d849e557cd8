"""Restores images of any size with the current weights of a training: small ones whole, large ones part by part.

    restorer = ImageRestorer(state, config=config)
    workers = Workers([restorer.replica(0)])           # the weights of this moment
    restored = restorer.restore(hazy, workers)         # uint8 [H, W, 3] -> the same

The network gets at most `tile_size`^2 pixels at once, so its memory does not grow with the image. As in
`hazeheal dehaze`, the parts of a large image are the cores of overlapping tiles, or windows if the network has a view of
the whole image.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.models import averages
from hazeheal.models.large_images import cut_out, image_averages
from hazeheal.models.pixels import normalize, restore_uint8
from hazeheal.models.receptive_field import tiling, uses_averages
from hazeheal.models.tiles import plan_tiles, smallest_tile
from hazeheal.models.windows import signed_blocks, view_of
from hazeheal.training.step.layout import ROW
from hazeheal.training.step.train_state import Inputs, TrainState, local
from hazeheal.utils.import_keras import keras
from hazeheal.utils.parallel import Workers

# If the configuration sets none. The public sets of 1600x1200 are restored whole, and tiles of a depth of 5 compute 1.5 to
# 1.7 times the pixels of larger images; with 1024 it would be 2.5 times.
TILE_SIZE = 1536
_LONGEST_SIDE = 16  # in tile sizes: the longest side of an image whose view is computed on the device


class Replica(NamedTuple):
    """One replica's weights, read as tensors: they do not change while images are restored."""

    device: str
    generator: tf.Tensor  # the vector of `TrainState.inference_weights`
    inputs: Inputs


class ImageRestorer:
    """Restores images with the weights of a training state.

    Attributes:
        state: The training state.
        tile_size: The network gets at most tile_size^2 pixels at once.
    """

    def __init__(self, state: TrainState, *, config: ConfigDict):
        """Compiles nothing yet."""
        model = config.model
        self.state = state
        self._view_size = model.view_size
        self._uses_averages = uses_averages(se_ratio=model.se_ratio, view_size=model.view_size)
        self._field = tiling(model.depth, model.patch_size)
        # A tile of twice the smallest size costs four times as many pixels as it yields.
        automatic = TILE_SIZE if model.view_size else max(TILE_SIZE, 2 * smallest_tile(**self._field))
        self.tile_size = config.data.val_tile_size or automatic
        self._functions = self._make_functions()

    @property
    def memory_advice(self) -> str:
        """What to do if a device has too little memory."""
        return (
            f"validation and samples take at most {self.tile_size}x{self.tile_size} pixels at once; set "
            f"--config.data.val_tile_size below {self.tile_size}, or lower --config.model.width"
        )

    def replica(self, number: int) -> Replica:
        """Reads the current weights of a replica of this process; `number` counts from 0."""
        weights = local(self.state.inference_weights, number)
        with tf.device(weights.device):
            return Replica(weights.device, weights.read_value(), self.state.read(number))

    def is_large(self, height: int, width: int) -> bool:
        """Whether an image of this size is restored part by part."""
        if self._view_size:
            # The matrix that reduces an image to its view grows with the longest side.
            return height * width > self.tile_size**2 or max(height, width) > _LONGEST_SIDE * self.tile_size
        return len(self._plan(height, width).tiles) > 1

    def restore(self, image: np.ndarray, workers: Workers[Replica]) -> np.ndarray:
        """Restores one image, uint8 `[H, W, 3]`."""
        if not self.is_large(*image.shape[:2]):
            return self._one(workers, "whole", image[None])[0]
        restored = np.empty_like(image)
        for rows, columns, values in self.parts(image, workers):
            restored[rows, columns] = rounded(values)
        return restored

    def parts(self, image: np.ndarray, workers: Workers[Replica]) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Restores a large image, uint8 `[H, W, 3]`.

        Yields:
            (rows, columns, restored) of each part, which together cover the image once; restored is float32
            `[len(rows), len(columns), 3]` in about [-1, 1], not clipped.
        """
        if self._view_size:
            maps = self._one(workers, "maps", view_of(image, size=self._view_size)[np.newaxis])[0]
            for rows, values in signed_blocks(maps, image, pixels=self.tile_size**2):
                yield rows, slice(0, image.shape[1]), values
            return
        plan = self._plan(*image.shape[:2])
        given = [self._averages(image, plan, workers)] if self._uses_averages else []

        def restore(replica, tile):
            core = np.asarray(plan.core(*tile), np.int32)
            return self._call(
                "tile_given" if given else "tile", replica, cut_out(image, plan, *tile)[None], core, *given
            )

        for tile, values in workers.map(restore, plan.tiles):
            rows, columns = plan.core_in_image(*tile)
            yield rows, columns, values.numpy()[: rows.stop - rows.start, : columns.stop - columns.start]

    def _plan(self, height, width):
        return plan_tiles(height, width, tile_size=self.tile_size, **self._field)

    def _averages(self, image, plan, workers):
        def collect(replica, part):
            tile, core, given = part
            name, more = ("collect", []) if given is None else ("collect_given", [given])
            return self._call(name, replica, tile[None], np.asarray(core, np.int32), *more)

        return image_averages(
            image,
            plan,
            lambda parts: (found.numpy() for _, found in workers.map(collect, parts)),
            tile_size=self.tile_size,
            multiple=self._field["multiple"],
        )

    def _one(self, workers, name, batch):
        ((_, result),) = workers.map(lambda replica, batch: self._call(name, replica, batch), [batch])
        return result.numpy()

    def _call(self, name, replica, *arguments):
        with tf.device(replica.device):
            return self._functions[name](replica.generator, *map(tf.convert_to_tensor, arguments))

    def _make_functions(self):
        """Returns {name: function of the weights and of more tensors}; each is traced at its first call."""
        state, layout = self.state, self.state.layouts["generator"]
        weights = tf.TensorSpec([layout.rows, ROW], tf.float32)
        image, core = tf.TensorSpec([1, None, None, 3], tf.uint8), tf.TensorSpec([4], tf.int32)
        given = tf.TensorSpec([None], tf.float32)

        def function(call, *signature):
            return tf.function(call, input_signature=[weights, *signature], autograph=False)

        def restored(weights):
            return lambda tile: state.restored_by(weights, normalize(tile))

        def cropped(values, core):
            top, bottom, left, right = tf.unstack(core)
            return values[0, top:bottom, left:right]

        def maps(weights, view):
            generator = state.networks.generator
            network = keras.Model(generator.input, generator.get_layer("maps").output)
            return network.stateless_call(layout.unpack(layout.split(weights)), [], view, training=False)[0]

        view = tf.TensorSpec([1, self._view_size, self._view_size, 3], tf.float32)
        return {
            "whole": function(lambda w, x: restore_uint8(lambda y: state.restored_by(w, y), x), image),
            "tile": function(lambda w, x, core: cropped(restored(w)(x), core), image, core),
            "tile_given": function(
                lambda w, x, core, given: cropped(averages.with_averages(restored(w), x, given), core),
                image,
                core,
                given,
            ),
            "collect": function(lambda w, x, core: averages.collect(restored(w), x, core), image, core),
            "collect_given": function(
                lambda w, x, core, given: averages.collect(restored(w), x, core, given), image, core, given
            ),
            "maps": function(maps, view),
        }


def rounded(values: np.ndarray) -> np.ndarray:
    """Converts float32 in [-1, 1] to uint8 as `pixels.to_uint8` does."""
    return np.rint(np.clip((values + np.float32(1)) * np.float32(127.5), 0, 255)).astype(np.uint8)
