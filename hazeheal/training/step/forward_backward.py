"""Losses and gradient of one replica, as one pure function that XLA can compile.

The function writes no variable. Variables enter as tensors, and the spectral vectors that the forward pass moves
leave as outputs. The update assigns them under the same finite check as the weights; written in the forward pass, one
NaN pixel would spoil them for good.
"""

from collections.abc import Callable, Mapping

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.data.pipeline import augment
from hazeheal.models import ops
from hazeheal.models.input_gradient import InputGradient
from hazeheal.models.networks import Networks
from hazeheal.models.pixels import normalize
from hazeheal.training.step import losses
from hazeheal.training.step.layout import ROW, Layout
from hazeheal.training.step.train_state import NETWORKS, Inputs

LOSSES = ("disc_loss", "gen_gan_loss", "gen_l1_loss", "gen_perceptual_loss", "gen_total_loss")


def image_losses(
    networks: Networks,
    weights: ConfigDict,
    variables: Mapping[str, list[tf.Tensor]],
    images: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    *,
    training: bool,
) -> tuple[list[tf.Tensor], list[tf.Tensor], Callable[[tf.Tensor], tf.Tensor]]:
    """Computes all losses but the total, image by image.

    The discriminator sees real and fake images in one call; where its term has the weight 0 it is not computed.

    Args:
        networks: The discriminator and the perceptual network.
        weights: The part `loss` of the configuration.
        variables: The variables of `discriminator`, `spectral` and `perceptual`, each of its own shape.
        images: (hazy, clear, restored), `[B, H, W, 3]` in [-1, 1].
        training: Whether the spectral vectors move.

    Returns:
        (`[B]` float32 of each of `LOSSES` but the last; the spectral vectors; the function from the gradient with respect
        to the adversarial loss, `[B]`, to its part of the gradient with respect to `restored`). A `GradientTape` does
        not pass this part, because it would compute it for the real images too.
    """
    hazy, clear, restored = images
    disc = gan = perceptual = tf.zeros(tf.shape(hazy)[:1])
    spectral, adversarial_gradient = variables["spectral"], lambda upstream: tf.zeros_like(restored)
    if weights.gan_weight:
        pairs = [tf.concat([hazy, hazy], 0), tf.concat([clear, tf.stop_gradient(restored)], 0)]
        fakes = slice(tf.shape(hazy)[0] if hazy.shape[0] is None else hazy.shape[0], None)
        with InputGradient(images=fakes) as pair_gradient:
            logits, spectral = networks.discriminator.stateless_call(
                variables["discriminator"], spectral, pairs, training=training
            )
        real, fake = tf.split(logits, 2)
        disc = losses.discriminator(real, fake)
        with tf.GradientTape() as tape:
            tape.watch(fake)
            gan = losses.generator_adversarial(fake)

        def adversarial_gradient(upstream):
            to_pair = pair_gradient(tape.gradient(gan, fake, upstream))
            return tf.cast(to_pair[..., 3:], tf.float32)  # the channels of a pair are those of hazy, then of restored

    mask = losses.haze_mask(hazy, clear, kind=weights.haze_mask)
    if weights.difference == "squared":
        l1 = losses.squared_error(restored, clear, mask=mask, haze_share=weights.haze_share)
    else:
        l1 = losses.charbonnier(restored, clear, mask=mask, eps=weights.charbonnier_eps, haze_share=weights.haze_share)
    if weights.l1_log_scale:
        l1 = losses.logarithmic(l1, scale=weights.l1_log_scale)
    if networks.perceptual is not None:
        features = (networks.perceptual.stateless_call([], variables["perceptual"], x)[0] for x in (restored, clear))
        perceptual = losses.perceptual(*features)
    return [disc, gan, l1, perceptual], spectral, adversarial_gradient


def make_forward_backward(
    networks: Networks, layouts: Mapping[str, Layout], *, config: ConfigDict, scaled: bool, fused: bool = False
) -> Callable[..., dict]:
    """Returns the function that computes one replica's losses and gradient.

    One generator forward pass serves both losses. Losses are sums over the replica's images times `share` = 1 / global
    batch, so that their sum over all replicas is the mean over the global batch.

    Args:
        networks: The three networks.
        layouts: The layouts of `train_state.make_layouts`.
        config: The configuration.
        scaled: Whether gradients are multiplied by the loss scale (float16).
        fused: Whether XLA compiles the function for a GPU (`ops.fused_forms`).

    Returns:
        A function (inputs, hazy, clear, share, orientation=None) -> dict. `inputs` are those of `TrainState.read`, `hazy`
        and `clear` are uint8 `[B, H, W, 3]`, `share` is a float, and `orientation` is that of `augment.orient`. The
        result holds `summand`, which is to be summed over all replicas: the rows of the generator's gradient, those of
        the discriminator's and one row with the losses in the order of `LOSSES`; and `spectral`, the vector of the new
        spectral vectors.
    """
    weights = config.loss

    def forward_backward(*arguments):
        with ops.fused_forms(fused):
            return compute(*arguments)

    def compute(inputs, hazy, clear, share, orientation=None):
        if orientation is not None:
            hazy, clear = (augment.orient(x, orientation, fused=ops.is_fused()) for x in (hazy, clear))
        variables = {name: layout.unpack(getattr(inputs, name)) for name, layout in layouts.items()}
        generator, discriminator = (variables[name] for name in NETWORKS)
        hazy, clear = normalize(hazy), normalize(clear)
        with tf.GradientTape() as generator_tape:
            generator_tape.watch(generator)
            restored, _ = networks.generator.stateless_call(generator, [], hazy, training=True)

        with tf.GradientTape(persistent=True) as tape:
            tape.watch([restored, *discriminator])
            per_image, spectral, adversarial_gradient = image_losses(
                networks, weights, variables, (hazy, clear, restored), training=True
            )
            adversarial = per_image[LOSSES.index("gen_gan_loss")]
            tape.watch(adversarial)
            disc_loss, gan_loss, l1_loss, perceptual_loss = tf.unstack(share * tf.reduce_sum(per_image, axis=1))
            total = losses.generator_total(weights, l1=l1_loss, gan=gan_loss, perceptual=perceptual_loss)
            scale = inputs.loss_scale if scaled else 1.0
            scaled_disc, scaled_total = scale * disc_loss, scale * total

        upstream = tape.gradient(scaled_total, restored)
        upstream += adversarial_gradient(tape.gradient(scaled_total, adversarial))
        disc_gradients = tape.gradient(scaled_disc, discriminator, unconnected_gradients="zero")
        gen_gradients = generator_tape.gradient(restored, generator, output_gradients=upstream)
        gradients = [*layouts["generator"].pack(gen_gradients), *layouts["discriminator"].pack(disc_gradients)]
        sums = tf.stack([disc_loss, gan_loss, l1_loss, perceptual_loss, total])
        return {
            "summand": tf.concat([*gradients, tf.pad(sums, [[0, ROW - len(LOSSES)]])[tf.newaxis]], 0),
            "spectral": tf.concat(layouts["spectral"].pack(spectral), 0),
        }

    return forward_backward


def accumulate(
    forward_backward: Callable[..., dict],
    inputs: Inputs,
    batch: dict,
    *,
    micro_batches: int,
    share: float,
) -> dict:
    """Runs the forward and backward passes over one replica's batch, in equal parts one after another.

    Args:
        forward_backward: The function of `make_forward_backward`.
        inputs: The replica's variables.
        batch: {`hazy`, `clear`: uint8 `[B, H, W, 3]`; `orientation`: int32 `[B]`, optional}.
        micro_batches: Number of parts; divides B.
        share: 1 / global batch.

    Returns:
        The outputs of `forward_backward`, with `summand` added up over the parts.
    """
    total = None
    for part in range(micro_batches):
        images = [batch[name] for name in ("hazy", "clear", "orientation") if name in batch]
        if micro_batches > 1:
            size = images[0].shape[0] // micro_batches
            images = [x[part * size : (part + 1) * size] for x in images]
            if total is not None:
                # Otherwise TensorFlow may run the parts at once and hold the activations of all of them.
                with tf.control_dependencies([total["summand"]]):
                    images = [tf.identity(x) for x in images]
        # Every part starts from the same spectral vectors: they move once per step.
        outputs = forward_backward(inputs, *images[:2], share, *images[2:])
        if total is not None:
            outputs["summand"] += total["summand"]
        total = outputs
    return total
