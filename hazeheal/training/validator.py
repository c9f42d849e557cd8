"""Validation on uncropped images with the weights that will be used: the moving average.

Each group reads its share of the images, and its devices take them in turn: batches of images of one size, or one large
image part by part, so that memory does not grow with the size of the images. The groups then exchange the figures of all
images, and each computes the means in the order of the images. They do not depend on the number of groups and devices.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.distributed.groups import Groups
from hazeheal.distributed.runtime import Runtime
from hazeheal.metrics import psnr_ssim
from hazeheal.models.pixels import normalize, to_uint8
from hazeheal.training.image_restorer import ImageRestorer, rounded
from hazeheal.training.step import losses
from hazeheal.training.step.forward_backward import LOSSES, image_losses
from hazeheal.training.step.layout import ROW
from hazeheal.utils.parallel import Workers
from hazeheal.utils.progress_lines import ProgressLines

QUALITY = ("psnr", "ssim", "psnr_input", "ssim_input")
_OF_RESTORED = slice(0, len(LOSSES) + 2)  # columns of the table: the losses, PSNR and SSIM
_OF_INPUT = slice(len(LOSSES) + 2, None)
_WAITING = 8  # batches' worth of pixels that may wait for more images of their sizes


class Batch(NamedTuple):
    """Images of one size: their places in this group's share, and uint8 `[B, H, W, 3]`."""

    places: list[int]
    hazy: np.ndarray
    clear: np.ndarray


class Validator:
    """Computes the losses, PSNR and SSIM over a split.

    Attributes:
        num_images: Number of images that are used.
    """

    def __init__(
        self,
        restorer: ImageRestorer,
        *,
        config: ConfigDict,
        runtime: Runtime,
        groups: Groups,
        processor: DehazeDataProcessor,
    ):
        """Compiles nothing yet.

        Args:
            restorer: Restores large images, and has the training state.
            config: The configuration.
            runtime: This group's devices.
            groups: The replica groups, which share the images.
            processor: Reads the validation split.
        """
        self._restorer = restorer
        self._state = restorer.state
        self._weights = config.loss
        self._devices = len(runtime.devices)
        self._groups = groups
        self._processor = processor
        self.num_images = min(config.data.max_val_pictures or math.inf, processor.num_images)
        self._share = len(range(groups.number, self.num_images, groups.count))  # number of this group's images
        # CPUs gain nothing from larger batches.
        self._batch_pixels = restorer.tile_size**2 // (1 if runtime.on_gpu else 8)
        self._make_functions()
        self._of_input = None  # the input's PSNR and SSIM, `[images of this group, 2]`, of the first validation

    def run(
        self, *, tick: Callable[[], None] = lambda: None, is_stopped: Callable[[], bool] = lambda: False
    ) -> dict[str, float] | None:
        """Returns the means of `val_disc_loss`, ..., and of `QUALITY` (PSNR in dB).

        The losses of a large image are means over its parts, weighted by their pixels. Group 0 prints how far it is if this
        takes long.

        Args:
            tick: Called now and then.
            is_stopped: Whether to give up, asked after each batch. If one group does, all return None.
        """
        progress = ProgressLines(desc="validating", unit="image", total=self._share)
        workers = Workers([self._restorer.replica(i) for i in range(self._devices)], on_result=tick)
        table = np.zeros([-(-self.num_images // self._groups.count), len(LOSSES) + len(QUALITY)])
        batches = batches_by_size(self._images(), pixels=self._batch_pixels)
        done = 0
        for places, figures in self._all(batches, workers):
            table[places, : figures.shape[1]] = figures
            done += len(places)
            if self._groups.number == 0:
                progress.update(len(places))
            if done < self._share and is_stopped():
                break
        is_complete = done == self._share
        if is_complete:
            if self._of_input is None:
                self._of_input = table[:, _OF_INPUT].copy()
            table[:, _OF_INPUT] = self._of_input

        gathered = self._groups.gather(np.append(table.ravel(), is_complete))
        if not gathered[:, -1].all():
            return None
        # Image i is row i // count of the table of group i % count.
        tables = gathered[:, :-1].reshape([-1, *table.shape])
        means = tables.transpose([1, 0, 2]).reshape([-1, table.shape[1]])[: self.num_images].mean(axis=0)
        names = [*(f"val_{name}" for name in LOSSES), *QUALITY]
        return {name: float(value) for name, value in zip(names, means, strict=True)}

    def _images(self):
        """The images of this group."""
        number, count = self._groups.number, self._groups.count
        return self._processor.evaluation_dataset(replica=number, replicas=count).take(self._share).as_numpy_iterator()

    def _all(self, batches, workers):
        """Yields the places and the figures of each batch or large image."""
        for is_large, run in itertools.groupby(batches, lambda batch: self._restorer.is_large(*batch.hazy.shape[1:3])):
            figures = self._large if is_large else self._whole
            yield from figures(run, workers)

    def _whole(self, batches, workers):
        """Yields the places and the figures of each batch."""
        is_first = self._of_input is None

        def evaluate(replica, batch):
            with tf.device(replica.device):
                hazy, clear = tf.convert_to_tensor(batch.hazy), tf.convert_to_tensor(batch.clear)
                figures = [self._figures(replica.generator, replica.inputs, hazy, clear)]
                return figures + ([self._quality(hazy, clear)] if is_first else [])

        for batch, figures in workers.map(evaluate, batches):
            yield batch.places, np.concatenate([part.numpy() for part in figures], axis=1)

    def _large(self, batches, workers):
        """Yields the places and the figures of each image."""
        for places, (hazy,), (clear,) in batches:
            yield places, self._figures_of_parts(hazy, clear, workers)

    def _figures_of_parts(self, hazy, clear, workers):
        """Returns the figures of one large image, `[1, n]`."""
        restored, per_image = np.empty_like(hazy), np.zeros([1, len(LOSSES)])

        def parts():
            for rows, columns, values in self._restorer.parts(hazy, workers):
                restored[rows, columns] = rounded(values)
                yield hazy[rows, columns], clear[rows, columns], values

        def part_losses(replica, part):
            with tf.device(replica.device):
                return self._losses(replica.inputs, *(x[np.newaxis] for x in part))

        def quality(replica, pair):
            with tf.device(replica.device):
                return self._quality(*(x[np.newaxis] for x in pair))

        for (part, _, _), values in workers.map(part_losses, parts()):
            per_image += values.numpy() * (part.size / hazy.size)
        pairs = [(restored, clear), (hazy, clear)][: 2 if self._of_input is None else 1]
        scores = [values.numpy() for _, values in workers.map(quality, pairs)]
        return np.concatenate([per_image, *scores], axis=1)

    def _make_functions(self):
        """Makes the functions of one replica, which are traced at their first call, once for all sizes and devices."""
        image, restored = (tf.TensorSpec([None, None, None, 3], dtype) for dtype in (tf.uint8, tf.float32))
        generator = tf.TensorSpec([self._state.layouts["generator"].rows, ROW], tf.float32)
        inputs = tf.nest.map_structure(tf.TensorSpec.from_tensor, self._state.read(0))

        def function(call, *signature):
            return tf.function(call, input_signature=signature, autograph=False)

        self._figures = function(self._figures_of, generator, inputs, image, image)
        self._losses = function(self._losses_of, inputs, image, image, restored)
        self._quality = function(_quality_of, image, image)

    def _figures_of(self, generator, inputs, hazy, clear):
        """Returns the losses, PSNR and SSIM of each restored image, float64 `[B, len(LOSSES) + 2]`."""
        restored = self._state.restored_by(generator, normalize(hazy))
        parts = [self._losses_of(inputs, hazy, clear, restored), _quality_of(to_uint8(restored), clear)]
        return tf.concat(parts, axis=1)

    def _losses_of(self, inputs, hazy, clear, restored):
        """Returns the losses of each image in the order of `LOSSES`, float64 `[B, len(LOSSES)]`."""
        variables = {name: layout.unpack(getattr(inputs, name)) for name, layout in self._state.layouts.items()}
        images = normalize(hazy), normalize(clear), restored
        per_image, _, _ = image_losses(self._state.networks, self._weights, variables, images, training=False)
        _, gan, l1, perceptual = per_image
        total = losses.generator_total(self._weights, l1=l1, gan=gan, perceptual=perceptual)
        return tf.cast(tf.stack([*per_image, total], axis=1), tf.float64)


def _quality_of(image, clear):
    """Returns PSNR, at most PSNR_LIMIT, and SSIM of each image, float64 `[B, 2]`."""
    psnr = tf.minimum(psnr_ssim.psnr(image, clear), psnr_ssim.PSNR_LIMIT)
    return tf.stack([psnr, psnr_ssim.ssim(image, clear)], axis=1)


def batches_by_size(images: Iterable[dict[str, np.ndarray]], *, pixels: int) -> Iterator[Batch]:
    """Yields the images, {`hazy`, `clear`}, in batches of one size, of at most `pixels` pixels or one image each.

    Only a few batches' worth of images wait for others of their size.
    """
    waiting, num_waiting = {}, 0  # {(height, width): [(place, hazy, clear)]}, and their number of pixels
    for place, image in enumerate(images):
        size = image["hazy"].shape[:2]
        waiting.setdefault(size, []).append((place, image["hazy"], image["clear"]))
        num_waiting += math.prod(size)
        is_full = (len(waiting[size]) + 1) * math.prod(size) > pixels
        if not is_full and num_waiting > _WAITING * pixels:
            size, is_full = max(waiting, key=lambda size: len(waiting[size]) * math.prod(size)), True
        if is_full:
            num_waiting -= len(waiting[size]) * math.prod(size)
            yield _batch(waiting.pop(size))
    yield from map(_batch, waiting.values())


def _batch(images):
    places, hazy, clear = zip(*images, strict=True)
    # A single image may be large: it is not copied.
    hazy, clear = (np.stack(side) if len(side) > 1 else side[0][np.newaxis] for side in (hazy, clear))
    return Batch(list(places), hazy, clear)
