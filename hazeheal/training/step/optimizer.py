"""Adam in float32, clipping and the finite check after the reduction; schedules; the moving average.

Keras' optimizers are wrong for this job: `apply` with clipping clips each replica's gradients before
they are summed, `apply` sums over replicas itself and cannot be told that it was done, and
`LossScaleOptimizer` decides by replica 0's local gradients, so that a NaN on replica 1 alone reaches
the weights. Everything here works on gradients that are reduced already, the same on every replica.
"""

import math

import tensorflow as tf

LOSS_SCALE_START = 2.0**15
LOSS_SCALE_MAX = 2.0**24
LOSS_SCALE_PERIOD = 2000  # finite steps before the scale doubles


def learning_rate(step, *, base, warmup_steps, total_steps, decay):
    """Linear warm-up, then constant, or to zero at the end of the run along a cosine or a line.

    Args:
        step: int64 scalar, number of steps done; the first step has 0.
        base: The rate after the warm-up.
        warmup_steps: Step i < warmup_steps has base * (i + 1) / warmup_steps.
        total_steps: Steps of the whole run.
        decay: `constant`, `cosine` or `linear`.

    Returns:
        float32 scalar.
    """
    step = tf.cast(step, tf.float32)
    rate = tf.constant(base, tf.float32)
    if decay != "constant":
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        progress = tf.clip_by_value(progress, 0.0, 1.0)
        rate *= 0.5 * (1 + tf.cos(math.pi * progress)) if decay == "cosine" else 1 - progress
    if warmup_steps:
        rate *= tf.minimum(1.0, (step + 1) / warmup_steps)
    return rate


def global_norm(gradients):
    """Euclidean norm over all `gradients`, a float32 scalar; not finite if any of their entries is not."""
    return tf.sqrt(tf.add_n([2 * tf.nn.l2_loss(g) for g in gradients]))


def clip_factor(norm, *, clip_norm):
    """What to multiply gradients of norm `norm` with so that it is at most `clip_norm` (0: no limit)."""
    return tf.minimum(1.0, clip_norm / tf.maximum(norm, 1e-12)) if clip_norm else tf.constant(1.0)


def adam(variables, slots_m, slots_v, gradients, *, rate, updates, beta1, beta2, epsilon):
    """One update (Kingma and Ba 2015) in place.

        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        w <- w - rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)

    Args:
        variables, slots_m, slots_v: Lists of float32 variables on one device.
        gradients: float32 tensors of the same shapes, reduced and clipped.
        rate: float32 scalar.
        updates: int64 scalar, the updates before this one; t = updates + 1.
    """
    t = tf.cast(updates + 1, tf.float32)
    beta1_power, beta2_power = tf.pow(tf.constant(beta1), t), tf.pow(tf.constant(beta2), t)
    for variable, m, v, gradient in zip(variables, slots_m, slots_v, gradients, strict=True):
        # The fused kernel passes over memory once; XLA has the same op.
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            grad=gradient,
        )


def ema_decay(updates, *, half_life, batch_size, ramp=0.05):
    """Decay of the generator's moving average for one step, from its half-life in images.

    The half-life is at most `ramp` of the images seen (Karras et al. 2020), so that a young average
    does not hold on to the initial weights.
    """
    seen = tf.cast(updates + 1, tf.float32) * batch_size
    half_life = tf.minimum(half_life, ramp * seen)
    return tf.pow(0.5, batch_size / tf.maximum(half_life, 1e-8))


def next_loss_scale(scale, good_steps, *, finite):
    """Halves the loss scale after a non-finite step, doubles it after `LOSS_SCALE_PERIOD` finite ones.

    Returns:
        The new scale and the new count of finite steps in a row.
    """
    grown = good_steps + 1 >= LOSS_SCALE_PERIOD
    up = tf.where(grown, tf.minimum(scale * 2, LOSS_SCALE_MAX), scale)
    count = tf.where(grown, tf.zeros_like(good_steps), good_steps + 1)
    return (
        tf.where(finite, up, tf.maximum(scale / 2, 1.0)),
        tf.where(finite, count, tf.zeros_like(good_steps)),
    )
