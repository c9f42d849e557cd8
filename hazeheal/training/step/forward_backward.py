"""Losses and gradients of one replica, as one pure function that XLA can compile.

The function writes no variable. Variables enter as tensors, and the spectral vectors that the forward pass moves
leave as outputs. The update assigns them under the same finite check as the weights; written in the forward pass, one
NaN pixel would spoil them for good.
"""

from collections.abc import Callable

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.models.networks import Networks
from hazeheal.models.pixels import normalize
from hazeheal.training.step import losses
from hazeheal.training.step.train_state import LocalVariables

LOSSES = ("disc_loss", "gen_gan_loss", "gen_l1_loss", "gen_perceptual_loss", "gen_total_loss")


def image_losses(
    networks: Networks,
    weights: ConfigDict,
    discriminator: list[tf.Tensor],
    vectors: list[tf.Tensor],
    frozen: list[tf.Tensor],
    images: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    *,
    training: bool,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Computes all losses but the total, image by image.

    The discriminator sees real and fake images in one call; where its term has the weight 0 it is not computed.

    Args:
        networks: The discriminator and the perceptual network.
        weights: The part `loss` of the configuration.
        discriminator, vectors, frozen: As for the function of `make_forward_backward`.
        images: (hazy, clear, restored), `[B, H, W, 3]` in [-1, 1].
        training: Whether the spectral vectors move.

    Returns:
        (`[B]` float32 of each of `LOSSES` but the last, the spectral vectors).
    """
    hazy, clear, restored = images
    disc = gan = perceptual = tf.zeros(tf.shape(hazy)[:1])
    if weights.gan_weight:
        pairs = [tf.concat([hazy, hazy], 0), tf.concat([clear, restored], 0)]
        logits, vectors = networks.discriminator.stateless_call(discriminator, vectors, pairs, training=training)
        real, fake = tf.split(logits, 2)
        disc, gan = losses.discriminator(real, fake), losses.generator_adversarial(fake)
    mask = losses.haze_mask(hazy, clear, kind=weights.haze_mask)
    l1 = losses.charbonnier(restored, clear, mask=mask, eps=weights.charbonnier_eps, haze_share=weights.haze_share)
    if networks.perceptual is not None:
        features = [networks.perceptual.stateless_call([], frozen, x, training=False)[0] for x in (restored, clear)]
        perceptual = losses.perceptual(*features)
    return [disc, gan, l1, perceptual], vectors


def make_forward_backward(networks: Networks, *, config: ConfigDict, scaled: bool) -> Callable[..., dict]:
    """Returns the function that computes one replica's losses and gradients.

    One generator forward pass serves both losses. Losses are sums over the replica's images times `share` = 1 / global
    batch, so that their sum over all replicas is the mean over the global batch.

    Args:
        networks: The three networks.
        config: The configuration.
        scaled: Whether gradients are multiplied by the loss scale (float16).

    Returns:
        A function (generator, discriminator, vectors, frozen, loss_scale, hazy, clear, share) -> dict. The first four
        arguments are lists of tensors: the trainable variables of both networks, the spectral vectors and the
        perceptual network's weights. `loss_scale` is a float32 scalar, `hazy` and `clear` are uint8 `[B, H, W, 3]`,
        and `share` is a float. The result holds `gradients` (generator's, then discriminator's), `sums`
        (`[5]` float32, in the order of `LOSSES`) and `vectors`.
    """
    weights = config.loss

    def forward_backward(generator, discriminator, vectors, frozen, loss_scale, hazy, clear, share):
        hazy, clear = normalize(hazy), normalize(clear)
        with tf.GradientTape() as generator_tape:
            generator_tape.watch(generator)
            restored, _ = networks.generator.stateless_call(generator, [], hazy, training=True)

        with tf.GradientTape(persistent=True) as tape:
            tape.watch([restored, *discriminator])
            per_image, vectors = image_losses(
                networks, weights, discriminator, vectors, frozen, (hazy, clear, restored), training=True
            )
            disc_loss, gan_loss, l1_loss, perceptual_loss = (share * tf.reduce_sum(v) for v in per_image)
            total = losses.generator_total(weights, l1=l1_loss, gan=gan_loss, perceptual=perceptual_loss)
            scale = loss_scale if scaled else 1.0
            scaled_disc, scaled_total = scale * disc_loss, scale * total

        upstream = tape.gradient(scaled_total, restored)
        disc_gradients = tape.gradient(scaled_disc, discriminator, unconnected_gradients="zero")
        gen_gradients = generator_tape.gradient(restored, generator, output_gradients=upstream)
        return {
            "gradients": [*gen_gradients, *disc_gradients],
            "sums": tf.stack([disc_loss, gan_loss, l1_loss, perceptual_loss, total]),
            "vectors": vectors,
        }

    return forward_backward


def accumulate(
    forward_backward: Callable[..., dict],
    local: LocalVariables,
    batch: dict,
    *,
    micro_batches: int,
    share: float,
) -> dict:
    """Runs the forward and backward passes over one replica's batch, in equal parts one after another.

    Args:
        forward_backward: The function of `make_forward_backward`.
        local: The replica's variables.
        batch: {`hazy`, `clear`}, uint8 `[B, H, W, 3]`.
        micro_batches: Number of parts; divides B.
        share: 1 / global batch.

    Returns:
        The outputs of `forward_backward`, with gradients and sums added up over the parts.
    """
    total = None
    for part in range(micro_batches):
        images = [batch[name] for name in ("hazy", "clear")]
        if micro_batches > 1:
            size = images[0].shape[0] // micro_batches
            images = [x[part * size : (part + 1) * size] for x in images]
            if total is not None:
                # Otherwise TensorFlow may run the parts at once and hold the activations of all of them.
                with tf.control_dependencies([total["sums"]]):
                    images = [tf.identity(x) for x in images]
        # Every part starts from the same spectral vectors: they move once per step.
        outputs = forward_backward(
            local.generator,
            local.discriminator,
            local.vectors,
            local.frozen,
            local.loss_scale,
            *images,
            share,
        )
        if total is not None:
            outputs["gradients"] = [a + b for a, b in zip(total["gradients"], outputs["gradients"], strict=True)]
            outputs["sums"] += total["sums"]
        total = outputs
    return total
