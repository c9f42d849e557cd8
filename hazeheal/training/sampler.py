"""Sample images: a few pairs of the validation split, restored with the current weights."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.distributed.groups import Groups
from hazeheal.models.pixels import restore_uint8
from hazeheal.training.step.train_state import TrainState, local


class Sampler:
    """Restores the same few images at every call, so that sample sheets show the progress of a run."""

    def __init__(self, state: TrainState, *, count: int, processor: DehazeDataProcessor, groups: Groups):
        """Compiles nothing yet.

        Args:
            state: The training state.
            count: Number of images; 0: none.
            processor: Reads the split.
            groups: The replica groups; each shows other images, as long as there are enough.
        """
        self._count = min(count, processor.num_images)
        self._skipped = groups.number * count % processor.num_images
        self._processor = processor
        self._restore = make_restore(state)

    def run(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Returns (hazy, restored, clear) of each image, uint8 `[H, W, 3]`."""
        dataset = self._processor.evaluation_dataset().repeat().skip(self._skipped).take(self._count)
        return [(row["hazy"], self._restore(row["hazy"]), row["clear"]) for row in dataset.as_numpy_iterator()]


def make_restore(state: TrainState) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function that restores a uint8 `[H, W, 3]` image with the current weights, on the first replica."""
    weights = local(state.inference_weights, 0)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)], autograph=False)
    def restore(image):
        values = weights.read_value()
        return restore_uint8(lambda x: state.restored_by(values, x), image[None])[0]

    return lambda image: restore(image).numpy()
