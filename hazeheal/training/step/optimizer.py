"""Adam in float32, gradient clipping, the learning rate schedule, the moving average and the loss scale.

All functions are pure. They work on flat gradients that are already reduced and identical on every replica. Keras's optimizers do not fit:
`apply` clips each replica's gradients before they are summed, it always sums over replicas itself, and
`LossScaleOptimizer` decides from replica 0's local gradients, so that a NaN on replica 1 alone reaches the weights.
"""

import math

import tensorflow as tf

LOSS_SCALE_START = 2.0**15
LOSS_SCALE_MIN = 1.0  # that of a training without a loss scale
LOSS_SCALE_MAX = 2.0**24
LOSS_SCALE_PERIOD = 2000  # finite steps before the scale doubles
EMA_RAMP = 0.05  # largest half-life of the moving average, as a share of the images seen


def learning_rate(step: tf.Tensor, *, base: float, warmup_steps: int, total_steps: int, decay: str) -> tf.Tensor:
    """Returns the learning rate: a linear warm-up, then constant or decaying to zero at the end of the run.

    Args:
        step: int64 scalar, number of steps done; 0 for the first step.
        base: The rate after the warm-up.
        warmup_steps: Step i < warmup_steps has the rate base * (i + 1) / warmup_steps.
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


def global_norm(gradient: tf.Tensor) -> tf.Tensor:
    """Returns the Euclidean norm of a flat gradient, a float32 scalar; non-finite if any entry is."""
    return tf.sqrt(tf.reduce_sum(tf.square(gradient)))


def clip_factor(norm: tf.Tensor, *, clip_norm: float) -> tf.Tensor:
    """Returns the factor that limits gradients of norm `norm` to `clip_norm`; 0: no limit."""
    return tf.minimum(1.0, clip_norm / tf.maximum(norm, 1e-12)) if clip_norm else tf.constant(1.0)


def adam(
    w: tf.Tensor,
    m: tf.Tensor,
    v: tf.Tensor,
    g: tf.Tensor,
    *,
    rate: tf.Tensor,
    updates: tf.Tensor,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes one Adam update (Kingma and Ba 2015).

        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        w <- w - rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)

    Args:
        w, m, v: The parameters and both moments, float32 of one shape.
        g: The gradient, of the same shape, reduced and clipped.
        rate: float32 scalar.
        updates: int64 scalar, number of updates before this one; t = updates + 1.
        beta1, beta2, epsilon: As in the equations.

    Returns:
        The new w, m and v.
    """
    t = tf.cast(updates + 1, tf.float32)
    beta1_power, beta2_power = tf.pow(tf.constant(beta1), t), tf.pow(tf.constant(beta2), t)
    m += (1 - beta1) * (g - m)
    v += (1 - beta2) * (tf.square(g) - v)
    w -= rate * tf.sqrt(1 - beta2_power) / (1 - beta1_power) * m / (tf.sqrt(v) + epsilon)
    return w, m, v


def ema_decay(updates: tf.Tensor, *, half_life: float, batch_size: int) -> tf.Tensor:
    """Returns the decay of the generator's moving average for one step, a float32 scalar in [0, 1).

    The half-life, in images, is limited to a share of the images seen so far (Karras et al. 2020), so that a young
    average forgets the initial weights. `updates` is the number of updates before this one, an int64 scalar.
    """
    seen = tf.cast(updates + 1, tf.float32) * batch_size
    half_life = tf.minimum(half_life, EMA_RAMP * seen)
    return tf.pow(0.5, batch_size / tf.maximum(half_life, 1e-8))


def next_loss_scale(scale: tf.Tensor, good_steps: tf.Tensor, *, finite: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Halves the loss scale after a non-finite step and doubles it after `LOSS_SCALE_PERIOD` finite ones.

    Args:
        scale: float32 scalar.
        good_steps: int64 scalar, finite steps in a row before this one.
        finite: bool scalar, whether this step was finite.

    Returns:
        The new `scale` and `good_steps`.
    """
    grown = good_steps + 1 >= LOSS_SCALE_PERIOD
    up = tf.where(grown, tf.minimum(scale * 2, LOSS_SCALE_MAX), scale)
    count = tf.where(grown, tf.zeros_like(good_steps), good_steps + 1)
    return (
        tf.where(finite, up, tf.maximum(scale / 2, LOSS_SCALE_MIN)),
        tf.where(finite, count, tf.zeros_like(good_steps)),
    )
