"""Sample images: a few pairs of the validation split, restored with the current weights."""

from collections.abc import Callable, Iterator

import numpy as np

from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.distributed.groups import Groups
from hazeheal.training.image_restorer import ImageRestorer
from hazeheal.utils.parallel import Workers


class Sampler:
    """Restores the same few images at every call, so that sample sheets show the progress of a run."""

    def __init__(self, restorer: ImageRestorer, *, count: int, processor: DehazeDataProcessor, groups: Groups):
        """Compiles nothing yet.

        Args:
            restorer: Restores the images, on the first replica.
            count: Number of images; 0: none.
            processor: Reads the split.
            groups: The replica groups; each shows other images, as long as there are enough.
        """
        self._restorer = restorer
        self._count = min(count, processor.num_images)
        self._skipped = groups.number * count
        self._processor = processor

    def run(self, *, tick: Callable[[], None] = lambda: None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields (hazy, restored, clear) of each image, uint8 `[H, W, 3]`, one at a time: they may be large.

        `tick` is called whenever a part is done.
        """
        workers = Workers([self._restorer.replica(0)], on_result=tick)
        for number in range(self._skipped, self._skipped + self._count):
            for row in self._read(number % self._processor.num_images):
                yield row["hazy"], self._restorer.restore(row["hazy"], workers), row["clear"]

    def _read(self, number):
        """Decodes this one record."""
        return self._processor.evaluation_dataset(
            replica=number, replicas=self._processor.num_images
        ).as_numpy_iterator()
