"""Validation on uncropped images with the weights that will be used: the moving average."""

import math
from collections.abc import Callable

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.distributed.runtime import Runtime, local_replica_index
from hazeheal.metrics import psnr_ssim
from hazeheal.models.pixels import normalize, to_uint8
from hazeheal.training.step import losses
from hazeheal.training.step.forward_backward import LOSSES, image_losses
from hazeheal.training.step.step import compiled, traced_once
from hazeheal.training.step.train_state import TrainState, local

QUALITY = ("psnr", "ssim", "psnr_input", "ssim_input")
ROUNDS_PER_CALL = 16  # images on each replica between two returns to Python


class Validator:
    """Computes the losses, PSNR and SSIM over a split.

    The images are dealt to all replicas of all groups in turn. Sums in float64 are reduced, so that every group has the
    same figures.

    Attributes:
        num_images: Number of images that are used.
    """

    def __init__(self, state: TrainState, *, config: ConfigDict, runtime: Runtime, processor: DehazeDataProcessor):
        """Compiles nothing yet; `processor` reads the validation split."""
        self._state = state
        self._config = config
        self._runtime = runtime
        self._processor = processor
        self.num_images = min(config.data.max_val_pictures or math.inf, processor.num_images)
        self._rounds = math.ceil(self.num_images / runtime.replicas)
        self._evaluate = self._make_loop()

    def run(self, *, tick: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Returns the means of `val_disc_loss`, ..., and of `QUALITY` (PSNR in dB); `tick` is called now and then."""
        strategy = self._runtime.strategy
        dataset = strategy.distribute_datasets_from_function(lambda context: self._dataset())
        iterator, sums = iter(dataset), tf.zeros([len(LOSSES) + len(QUALITY)], tf.float64)
        for done in range(0, self._rounds, ROUNDS_PER_CALL):
            rounds = tf.constant(min(ROUNDS_PER_CALL, self._rounds - done))
            sums = self._evaluate(iterator, rounds, sums)
            tick()
        sums = sums.numpy() / self.num_images
        names = [*(f"val_{name}" for name in LOSSES), *QUALITY]
        return {name: float(value) for name, value in zip(names, sums, strict=True)}

    def _dataset(self):
        replicas, local_count = self._runtime.replicas, len(self._runtime.devices)
        group, count = self._runtime.group, self.num_images

        def with_weight(number, example):
            # Images that fill the last round have the weight 0.
            weight = tf.cast(number < count, tf.float64)
            return {"hazy": example["hazy"][None], "clear": example["clear"][None], "weight": weight}

        filled = self._processor.evaluation_dataset().take(count).repeat().take(self._rounds * replicas)
        return (
            filled.enumerate()
            .filter(lambda number, _: (number % replicas) // local_count == group)
            .map(with_weight)
            .prefetch(2)
        )

    def _make_loop(self):
        strategy, state = self._runtime.strategy, self._state
        evaluate = traced_once(compiled(self._evaluate_pair, xla=False))

        @tf.autograph.experimental.do_not_convert
        def replica_step(batch):
            replica = local_replica_index(self._runtime.devices)
            weights = local(state.inference_weights, replica).read_value()
            values = evaluate(state.read(replica), weights, batch["hazy"], batch["clear"])
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, batch["weight"] * values)

        @tf.function
        def loop(iterator, rounds, total):
            for _ in tf.range(rounds):
                values = strategy.run(replica_step, args=(next(iterator),))
                total += strategy.experimental_local_results(values)[0]
            return total

        return loop

    def _evaluate_pair(self, inputs, generator, hazy, clear):
        """Returns all figures of one pair, uint8 `[1, H, W, 3]` each: float64, in the order of LOSSES and QUALITY."""
        state, weights = self._state, self._config.loss
        x, y = normalize(hazy), normalize(clear)
        restored = state.restored_by(generator, x)
        variables = {name: layout.unpack(getattr(inputs, name)) for name, layout in state.layouts.items()}
        per_image, _, _ = image_losses(state.networks, weights, variables, (x, y, restored), training=False)
        _, gan, l1, perceptual = per_image
        total = losses.generator_total(weights, l1=l1, gan=gan, perceptual=perceptual)
        image = to_uint8(restored)
        psnr, psnr_input = (tf.minimum(psnr_ssim.psnr(z, clear), psnr_ssim.PSNR_LIMIT) for z in (image, hazy))
        quality = [psnr, psnr_ssim.ssim(image, clear), psnr_input, psnr_ssim.ssim(hazy, clear)]
        values = [*per_image, total, *quality]
        return tf.stack([tf.cast(tf.reduce_sum(v), tf.float64) for v in values])
