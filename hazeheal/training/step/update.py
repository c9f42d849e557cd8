"""The update of one replica's variables from the reduced gradient."""

from collections.abc import Callable

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.training.step import optimizer
from hazeheal.training.step.forward_backward import LOSSES
from hazeheal.training.step.train_state import NETWORKS, TrainState, local

SCALARS = ("learning_rate", "gen_grad_norm", "disc_grad_norm", "loss_scale", "skipped")


def make_update(
    state: TrainState,
    *,
    replica: int,
    config: ConfigDict,
    scaled: bool,
    total_steps: int,
    warmup_steps: int,
) -> Callable[..., tf.Tensor]:
    """Returns the function that applies the reduced gradient to one replica's copies of all variables.

    Every replica has the same sums, so all replicas take the same decision. A step with a non-finite loss or gradient
    is counted and changes nothing else. All values are computed and then selected: with a branch XLA would copy every
    variable, and the host would wait for the decision.

    Args:
        state: The training state.
        replica: Index of the replica within this group.
        config: The configuration.
        scaled: Whether the gradients are multiplied by the loss scale (float16).
        total_steps, warmup_steps: As for `optimizer.learning_rate`.

    Returns:
        A function (gradients, sums, spectral) -> `[10]` float32: the losses, then `SCALARS`. `gradients` are the vectors
        of `NETWORKS` and `sums` the row of losses, both summed over the replicas; `spectral` is that of
        `forward_backward`.
    """
    opt = config.optimizer
    schedule = {"warmup_steps": warmup_steps, "total_steps": total_steps, "decay": opt.decay}
    base_rates = {"generator": opt.learning_rate, "discriminator": opt.disc_learning_rate}

    def update(gradients, sums, spectral):
        def read(variable):
            return local(variable, replica).read_value()

        gradients = {name: tf.cast(g, tf.float32) for name, g in zip(NETWORKS, gradients, strict=True)}
        sums = sums[: len(LOSSES)]
        step, updates = read(state.step), read(state.updates)
        scale = read(state.loss_scale) if scaled else tf.constant(1.0)
        norms = {name: optimizer.global_norm(gradients[name]) / scale for name in NETWORKS}
        finite = tf.math.is_finite(sum(norms.values()) + tf.reduce_sum(sums))

        def assign(variable, value):
            local(variable, replica).assign(tf.where(finite, value, read(variable)))

        rates = {}
        for name in NETWORKS:
            rates[name] = read(state.rate_factor) * optimizer.learning_rate(step, base=base_rates[name], **schedule)
            factor = optimizer.clip_factor(norms[name], clip_norm=opt.clip_norm) / scale
            parameters, *slots = optimizer.adam(
                read(state.parameters[name]),
                read(state.slots["m"][name]),
                read(state.slots["v"][name]),
                gradients[name] * factor if scaled or opt.clip_norm else gradients[name],
                rate=rates[name],
                updates=updates,
                beta1=opt.beta1,
                beta2=opt.beta2,
                epsilon=opt.epsilon,
            )
            if name == "generator" and state.ema is not None:
                decay = optimizer.ema_decay(updates, half_life=opt.ema_half_life, batch_size=config.train.batch_size)
                average = read(state.ema)
                assign(state.ema, average + (1.0 - decay) * (parameters - average))
            assign(state.parameters[name], parameters)
            for slot, value in zip(("m", "v"), slots, strict=True):
                assign(state.slots[slot][name], value)
        assign(state.spectral, spectral)
        assign(state.updates, updates + 1)
        # Above its minimum, a lower scale may be all that the step needs: the search for the scale is no divergence.
        diverges = tf.cast(scale <= optimizer.LOSS_SCALE_MIN, tf.int64)
        in_a_row = read(state.skipped_in_a_row) + diverges
        local(state.skipped_in_a_row, replica).assign(tf.where(finite, tf.zeros_like(in_a_row), in_a_row))
        if scaled:
            new_scale, good_steps = optimizer.next_loss_scale(scale, read(state.good_steps), finite=finite)
            local(state.loss_scale, replica).assign(new_scale)
            local(state.good_steps, replica).assign(good_steps)
        local(state.step, replica).assign(step + 1)
        skipped = 1.0 - tf.cast(finite, tf.float32)
        scalars = [rates["generator"], norms["generator"], norms["discriminator"], scale, skipped]
        return tf.concat([sums, tf.stack(scalars)], 0)

    return update
