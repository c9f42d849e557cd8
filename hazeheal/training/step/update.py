"""The update of one replica's variables from reduced gradients."""

from collections.abc import Callable

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.training.step import optimizer
from hazeheal.training.step.train_state import TrainState, local

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
    """Returns the function that applies reduced gradients to one replica's copies of all variables.

    Every replica has the same sums, so all replicas take the same decision. A step with a non-finite loss or gradient
    is counted and changes nothing else.

    Args:
        state: The training state.
        replica: Index of the replica within this group.
        config: The configuration.
        scaled: Whether the gradients are multiplied by the loss scale (float16).
        total_steps, warmup_steps: As for `optimizer.learning_rate`.

    Returns:
        A function (gradients, sums, vectors) -> `[10]` float32: the losses, then `SCALARS`.
    """
    opt = config.optimizer

    def copies(variables):
        return [local(v, replica) for v in variables]

    generator, discriminator = (copies(state.trainable[n]) for n in ("generator", "discriminator"))
    vectors = copies(state.vectors)
    slots = {name: [copies(slot) for slot in pair] for name, pair in state.slots.items()}
    ema = copies(state.ema)
    step, updates, skipped = copies([state.step, state.updates, state.skipped_in_a_row])
    loss_scale, good_steps = copies([state.loss_scale, state.good_steps])
    rate_factor = local(state.rate_factor, replica)

    def update(gradients, sums, new_vectors):
        gen_gradients, disc_gradients = gradients[: len(generator)], gradients[len(generator) :]
        scale = loss_scale.read_value() if scaled else tf.constant(1.0)
        gen_norm = optimizer.global_norm(gen_gradients) / scale
        disc_norm = optimizer.global_norm(disc_gradients) / scale
        finite = tf.math.is_finite(gen_norm + disc_norm + tf.reduce_sum(sums))
        gen_rate, disc_rate = (
            rate_factor.read_value()
            * optimizer.learning_rate(
                step.read_value(),
                base=base,
                warmup_steps=warmup_steps,
                total_steps=total_steps,
                decay=opt.decay,
            )
            for base in (opt.learning_rate, opt.disc_learning_rate)
        )

        def adam(name, variables, gradients, norm, rate):
            if scaled or opt.clip_norm:
                factor = optimizer.clip_factor(norm, clip_norm=opt.clip_norm) / scale
                gradients = [factor * g for g in gradients]
            optimizer.adam(
                variables,
                *slots[name],
                gradients,
                rate=rate,
                updates=updates.read_value(),
                beta1=opt.beta1,
                beta2=opt.beta2,
                epsilon=opt.epsilon,
            )

        def apply():
            adam("generator", generator, gen_gradients, gen_norm, gen_rate)
            adam("discriminator", discriminator, disc_gradients, disc_norm, disc_rate)
            if ema:
                decay = optimizer.ema_decay(
                    updates.read_value(), half_life=opt.ema_half_life, batch_size=config.train.batch_size
                )
                for average, variable in zip(ema, generator, strict=True):
                    average.assign_add((1.0 - decay) * (variable.read_value() - average.read_value()))
            for variable, value in zip(vectors, new_vectors, strict=True):
                variable.assign(value)
            updates.assign_add(1)
            skipped.assign(0)
            return tf.constant(0.0)

        def skip():
            skipped.assign_add(1)
            return tf.constant(1.0)

        was_skipped = tf.cond(finite, apply, skip)
        if scaled:
            new_scale, new_good_steps = optimizer.next_loss_scale(scale, good_steps.read_value(), finite=finite)
            loss_scale.assign(new_scale)
            good_steps.assign(new_good_steps)
        step.assign_add(1)
        scalars = tf.stack([gen_rate, gen_norm, disc_norm, scale, was_skipped])
        return tf.concat([sums, scalars], 0)

    return update
