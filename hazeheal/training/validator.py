"""Validation on whole images with the generator that will be used: the moving average.

The images are dealt out to all replicas of all groups in turn; sums in float64 are reduced, so that
every group has the same figures.
"""

import math

import tensorflow as tf

from hazeheal.distributed.runtime import local_replica_index
from hazeheal.metrics import psnr_ssim
from hazeheal.models.pixels import normalize, to_uint8
from hazeheal.training.step import losses
from hazeheal.training.step.step import LOSSES, Local, fixed_factors, traced_once
from hazeheal.training.step.train_state import local

QUALITY = ("psnr", "ssim", "psnr_input", "ssim_input")
ROUNDS_AT_ONCE = 16  # images on each replica between two returns to Python


class Validator:
    """Computes the losses, PSNR and SSIM over a split."""

    def __init__(self, state, *, config, runtime, processor, tick=lambda: None):
        """Args: as of the training step; `processor` reads the validation split; `tick` is called now and then."""
        self._state = state
        self._config = config
        self._runtime = runtime
        self._processor = processor
        self._tick = tick
        images = config.data.max_val_pictures or processor.num_images
        self.num_images = min(images, processor.num_images)
        self._rounds = math.ceil(self.num_images / runtime.replicas)
        self._evaluate = self._make_loop()

    def run(self) -> dict:
        """Returns {'val_disc_loss': ..., 'psnr': ..., 'ssim': ..., 'psnr_input': ..., 'ssim_input': ...}."""
        strategy = self._runtime.strategy
        dataset = strategy.distribute_datasets_from_function(lambda context: self._dataset())
        iterator, sums = iter(dataset), tf.zeros([len(LOSSES) + len(QUALITY)], tf.float64)
        for done in range(0, self._rounds, ROUNDS_AT_ONCE):
            sums = self._evaluate(iterator, tf.constant(min(ROUNDS_AT_ONCE, self._rounds - done)), sums)
            self._tick()
        sums = sums.numpy() / self.num_images
        names = [*(f"val_{name}" for name in LOSSES), *QUALITY]
        return {name: float(value) for name, value in zip(names, sums, strict=True)}

    def _dataset(self):
        replicas, local_count = self._runtime.replicas, len(self._runtime.devices)
        first = self._runtime.group * local_count
        count = self.num_images

        def mine(number, example):
            # The last round is filled up with images that count nothing.
            weight = tf.cast(number < count, tf.float64)
            return {"hazy": example["hazy"][None], "clear": example["clear"][None], "weight": weight}

        filled = self._processor.evaluation_dataset().take(count).repeat().take(self._rounds * replicas)
        return (
            filled.enumerate()
            .filter(lambda number, _: (number % replicas) // local_count == first // local_count)
            .map(mine)
            .prefetch(2)
        )

    def _make_loop(self):
        strategy, state = self._runtime.strategy, self._state
        evaluate = traced_once(tf.function(self._evaluate_one, autograph=False))

        @tf.autograph.experimental.do_not_convert
        def replica_step(batch):
            context = tf.distribute.get_replica_context()
            replica = local_replica_index(self._runtime.devices)
            mine = Local(state, replica)
            weights = [local(v, replica).read_value() for v in state.generator_for_use]
            values = evaluate(
                weights,
                mine.statistics,
                mine.discriminator,
                mine.vectors,
                mine.frozen,
                batch["hazy"],
                batch["clear"],
            )
            return context.all_reduce(tf.distribute.ReduceOp.SUM, batch["weight"] * values)

        @tf.function
        def loop(iterator, rounds, total):
            for _ in tf.range(rounds):
                values = strategy.run(replica_step, args=(next(iterator),))
                total += strategy.experimental_local_results(values)[0]
            return total

        return loop

    def _evaluate_one(self, generator, statistics, discriminator, vectors, frozen, hazy, clear):
        """All figures of one pair, [1, H, W, 3] uint8 each: float64, in the order of LOSSES and QUALITY."""
        gan, loss = self._state.gan, self._config.loss
        x, y = normalize(hazy), normalize(clear)
        restored, _ = gan.generator.stateless_call(generator, statistics, x, training=False)
        l1 = losses.charbonnier(
            restored,
            y,
            mask=losses.haze_mask(x, y, kind=loss.haze_mask),
            eps=loss.charbonnier_eps,
            haze_share=loss.haze_share,
        )
        disc_loss = gan_loss = perceptual = tf.zeros_like(l1)
        if loss.gan_weight:
            logits, _ = gan.discriminator.stateless_call(
                discriminator,
                vectors,
                [tf.concat([x, x], 0), tf.concat([y, restored], 0)],
                training=False,
            )
            real, fake = tf.split(logits, 2)
            disc_loss, gan_loss = losses.discriminator(real, fake), losses.generator_adversarial(fake)
        if gan.perceptual is not None:
            features = [
                gan.perceptual.stateless_call([], frozen, p, training=False)[0] for p in (restored, y)
            ]
            perceptual = losses.perceptual(*features)
        factors = fixed_factors(loss)
        total = tf.add_n([f * t for f, t in zip(factors, (l1, gan_loss, perceptual), strict=True)])
        image = to_uint8(restored)
        quality = [tf.minimum(psnr_ssim.psnr(p, clear), psnr_ssim.PSNR_LIMIT) for p in (image, hazy)]
        quality = [quality[0], psnr_ssim.ssim(image, clear), quality[1], psnr_ssim.ssim(hazy, clear)]
        values = [disc_loss, gan_loss, l1, perceptual, total, *quality]
        return tf.stack([tf.cast(tf.reduce_sum(v), tf.float64) for v in values])


def make_restore(state):
    """Returns restore(uint8 [H, W, 3]) -> uint8 [H, W, 3] with the weights of the moment, on one device."""
    generator = state.gan.generator
    weights = [local(v, 0) for v in state.generator_for_use]
    statistics = [local(v, 0) for v in state.non_trainable["generator"]]

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)], autograph=False)
    def restore(image):
        restored, _ = generator.stateless_call(
            [v.read_value() for v in weights],
            [v.read_value() for v in statistics],
            normalize(image[None]),
            training=False,
        )
        return to_uint8(restored)[0]

    return lambda image: restore(image).numpy()
