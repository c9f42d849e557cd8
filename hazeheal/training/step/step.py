"""The compiled training step, and the loop of steps inside one tf.function.

On every replica:

    forward + backward (XLA)  ->  one plain all_reduce of all gradients  ->  update (XLA)

With `optimizer.reduce_dtype = float16` gradients travel between replicas as half the bytes, under the loss scale
that float16 needs anywhere: where a sum overflows, the step is skipped on all and the scale halved.

Only the collective stays outside of the compiled functions. They are called from a plain Python
replica function: a jitted function handed to `strategy.run` fails on CPU replicas, and jit over the
whole replica function fails on two ("Trying to access resource ... located in device CPU:1").

The forward pass is pure: variables go in as tensors, and what it would write (spectral vectors, batch
statistics) comes out and is assigned in the update, under the same finite check as the weights.
Written in the forward pass, one NaN pixel would spoil a moving mean for good.
"""

import tensorflow as tf

from hazeheal.distributed.runtime import local_replica_index
from hazeheal.models.pixels import normalize
from hazeheal.training.step import losses, optimizer
from hazeheal.training.step.train_state import local

LOSSES = ("disc_loss", "gen_gan_loss", "gen_l1_loss", "gen_perceptual_loss", "gen_total_loss")
SCALARS = ("learning_rate", "gen_grad_norm", "disc_grad_norm", "loss_scale", "skipped")
METRICS = LOSSES + SCALARS


def make_loop(state, *, config, runtime, total_steps, warmup_steps):
    """Builds the function that trains for some steps without returning to Python.

    Args:
        state: The `TrainState`, made in the strategy's scope.
        config: The configuration.
        runtime: Strategy, precision and XLA.
        total_steps, warmup_steps: Of the whole run, for the schedule.

    Returns:
        loop(iterator, num_steps) -> ([num_steps, len(METRICS)] float32 metrics, float64 seconds that
        the steps waited for their input).
    """
    strategy = runtime.strategy
    reduce_dtype = reduction_dtype(config, replicas=runtime.replicas)
    scaled = "float16" in (reduce_dtype, runtime.precision.removeprefix("mixed_"))
    forward_backward = traced_once(
        tf.function(
            make_forward_backward(state.gan, config=config, scaled=scaled),
            jit_compile=runtime.xla,
            autograph=False,
        )
    )
    # One function a replica: each holds its own device's variables.
    updates = [
        tf.function(
            make_update(
                state,
                replica=i,
                config=config,
                scaled=scaled,
                total_steps=total_steps,
                warmup_steps=warmup_steps,
            ),
            jit_compile=runtime.xla,
            autograph=False,
        )
        for i in range(len(runtime.devices))
    ]
    share = 1.0 / config.train.batch_size

    @tf.autograph.experimental.do_not_convert
    def replica_step(batch, arrived):
        # Not before the clock is read: it would be read whenever a thread is free of the step.
        with tf.control_dependencies([arrived]):
            batch = {name: tf.identity(value) for name, value in batch.items()}
        context = tf.distribute.get_replica_context()
        replica = local_replica_index(runtime.devices)
        mine = Local(state, replica)
        outputs = accumulate(
            forward_backward, mine, batch, micro_batches=config.optimizer.accumulate, share=share
        )
        gradients, sums = summed(context, outputs["gradients"], outputs["sums"], dtype=reduce_dtype)
        statistics = outputs["statistics"]
        if config.model.norm == "batch":
            # Each replica has its own; their mean keeps the copies alike.
            statistics = context.all_reduce(tf.distribute.ReduceOp.MEAN, statistics)
        return updates[replica](gradients, sums, statistics, outputs["vectors"])

    @tf.function
    def loop(iterator, num_steps):
        metrics = tf.TensorArray(tf.float32, size=num_steps, element_shape=[len(METRICS)])
        waited = tf.constant(0.0, tf.float64)
        last = tf.zeros([len(METRICS)])
        for i in tf.range(num_steps):
            # The clock is read when the step before is done, and when the batch is there.
            with tf.control_dependencies([last]):
                asked = tf.timestamp()
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(strategy.experimental_local_results(batch))):
                arrived = tf.timestamp()
            waited += arrived - asked
            values = strategy.run(replica_step, args=(batch, arrived))
            values = strategy.experimental_local_results(values)
            with tf.control_dependencies(values):  # the step is done when all replicas are
                last = tf.identity(values[0])
            metrics = metrics.write(i, last)
        return metrics.stack(), waited

    return loop


def reduction_dtype(config, *, replicas) -> str:
    """What gradients are summed in over the replicas; one replica sends nothing, and so loses nothing."""
    return config.optimizer.reduce_dtype if replicas > 1 else "float32"


def summed(context, gradients, sums, *, dtype):
    """Sums over all replicas, in a replica function.

    Args:
        context: The `tf.distribute.ReplicaContext`.
        gradients: float32 tensors, which are summed in `dtype`.
        sums: The vector of the losses' sums, which stay float32.
        dtype: float32 or float16.

    Returns:
        (gradients, sums) of the global batch, float32, the same on every replica.
    """
    add = tf.distribute.ReduceOp.SUM
    if dtype == "float32":
        *gradients, sums = context.all_reduce(add, [*gradients, sums])
        return gradients, sums
    halves = context.all_reduce(add, [tf.cast(g, dtype) for g in gradients])
    return [tf.cast(g, tf.float32) for g in halves], context.all_reduce(add, sums)


def traced_once(function):
    """Wraps a tf.function of tensors alone, so that all replicas share one trace.

    Left alone it is traced anew for every device of a MirroredStrategy, to the same graph each time: the
    call, and not what is in it, says on which device it runs.
    """
    traces = {}

    def call(*args):
        signature = tuple((tuple(a.shape), a.dtype) if tf.is_tensor(a) else a for a in tf.nest.flatten(args))
        if signature not in traces:
            traces[signature] = function.get_concrete_function(*args)
        return traces[signature](*args)

    return call


class Local:
    """One replica's variables, read as tensors for the pure forward pass."""

    def __init__(self, state, replica):
        def read(variables):
            return [local(v, replica).read_value() for v in variables]

        self.generator = read(state.trainable["generator"])
        self.discriminator = read(state.trainable["discriminator"])
        self.statistics = read(state.non_trainable["generator"])
        self.vectors = read(state.non_trainable["discriminator"])
        self.frozen = read(state.frozen)
        self.scalars = (
            local(state.loss_scale, replica).read_value(),
            local(state.gradient_norms, replica).read_value(),
        )


def accumulate(forward_backward, mine, batch, *, micro_batches, share):
    """Runs the forward and backward passes over one replica's batch, in `micro_batches` equal parts.

    Returns:
        The outputs of `forward_backward`, gradients and sums added up over the parts.
    """
    total = None
    for part in range(micro_batches):
        images = [batch[name] for name in ("hazy", "clear")]
        if micro_batches > 1:
            size = images[0].shape[0] // micro_batches
            images = [p[part * size : (part + 1) * size] for p in images]
            if total is not None:
                # One part's activations at a time is the point of it.
                with tf.control_dependencies([total["sums"]]):
                    images = [tf.identity(p) for p in images]
        outputs = forward_backward(
            mine.generator,
            mine.discriminator,
            # Batch statistics move on with every part; spectral vectors move once a step.
            mine.statistics if total is None else total["statistics"],
            mine.vectors,
            mine.frozen,
            *mine.scalars,
            *images,
            share,
        )
        if total is not None:
            outputs["gradients"] = [
                a + b for a, b in zip(total["gradients"], outputs["gradients"], strict=True)
            ]
            outputs["sums"] += total["sums"]
        total = outputs
    return total


def make_forward_backward(gan, *, config, scaled):
    """Returns the pure function of one replica's losses and gradients.

    One generator forward serves both losses; the discriminator sees real and fake in one call, or
    nothing where its term has the weight 0: it then stays as it is. All
    losses are sums over this replica's images times `share` = 1 / global batch, so that their sum
    over replicas is the mean over the global batch.
    """
    weights = config.loss
    balanced = weights.weighting == "balanced"

    def forward_backward(
        generator, discriminator, statistics, vectors, frozen, loss_scale, norms, hazy, clear, share
    ):
        hazy, clear = normalize(hazy), normalize(clear)
        with tf.GradientTape() as generator_tape:
            generator_tape.watch(generator)
            restored, statistics = gan.generator.stateless_call(generator, statistics, hazy, training=True)

        if gan.perceptual is not None:
            features_clear, _ = gan.perceptual.stateless_call([], frozen, clear, training=False)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([restored, *discriminator])
            if weights.gan_weight:
                logits, vectors = gan.discriminator.stateless_call(
                    discriminator,
                    vectors,
                    [tf.concat([hazy, hazy], 0), tf.concat([clear, restored], 0)],
                    training=True,
                )
                real_logits, fake_logits = tf.split(logits, 2)
                disc_loss = share * tf.reduce_sum(losses.discriminator(real_logits, fake_logits))
                gan_loss = share * tf.reduce_sum(losses.generator_adversarial(fake_logits))
            else:
                disc_loss = gan_loss = tf.constant(0.0)
            mask = losses.haze_mask(hazy, clear, kind=weights.haze_mask)
            l1 = losses.charbonnier(
                restored, clear, mask=mask, eps=weights.charbonnier_eps, haze_share=weights.haze_share
            )
            l1_loss = share * tf.reduce_sum(l1)
            if gan.perceptual is not None:
                features, _ = gan.perceptual.stateless_call([], frozen, restored, training=False)
                perceptual_loss = share * tf.reduce_sum(losses.perceptual(features, features_clear))
            else:
                perceptual_loss = tf.constant(0.0)
            terms = (l1_loss, gan_loss, perceptual_loss)
            factors = loss_factors(weights, norms) if balanced else fixed_factors(weights)
            total = tf.add_n([f * t for f, t in zip(factors, terms, strict=True)])
            scale = loss_scale if scaled else 1.0
            scaled_disc, scaled_total = scale * disc_loss, scale * total
            scaled_terms = [scale * t for t in terms]

        squares = tf.zeros([3])
        if balanced:
            parts = [tape.gradient(t, restored, unconnected_gradients="zero") for t in scaled_terms]
            squares = tf.stack([2 * tf.nn.l2_loss(p / scale) for p in parts])
            upstream = tf.add_n([f * p for f, p in zip(factors, parts, strict=True)])
        else:
            upstream = tape.gradient(scaled_total, restored)
        disc_gradients = tape.gradient(scaled_disc, discriminator, unconnected_gradients="zero")
        gen_gradients = generator_tape.gradient(restored, generator, output_gradients=upstream)
        return {
            "gradients": [*gen_gradients, *disc_gradients],
            "sums": tf.concat([tf.stack([disc_loss, gan_loss, l1_loss, perceptual_loss, total]), squares], 0),
            "statistics": statistics,
            "vectors": vectors,
        }

    return forward_backward


def fixed_factors(weights):
    """The weights of (l1, adversarial, perceptual) in gen_total_loss."""
    return weights.l1_weight, weights.gan_weight, weights.perceptual_weight


def loss_factors(weights, norms):
    """The balanced weights: adversarial and perceptual gradients keep their shares of the reconstruction's.

        w_k = share_k |w_l1 grad l1| / |grad L_k|     (after Esser et al. 2021, equation 7)

    with the norms, at the generator's output, of the step before; the first step has the fixed weights.
    """
    reference = weights.l1_weight * norms[0]
    shares = (weights.balanced_gan_share, weights.balanced_perceptual_share)
    fixed = (weights.gan_weight, weights.perceptual_weight)
    balanced = [
        tf.where(norms[k + 1] > 0, tf.minimum(shares[k] * reference / (norms[k + 1] + 1e-12), 1e4), fixed[k])
        for k in range(2)
    ]
    # A term that is switched off stays off.
    return weights.l1_weight, *(b if f else 0.0 for b, f in zip(balanced, fixed, strict=True))


def make_update(state, *, replica, config, scaled, total_steps, warmup_steps):
    """Returns the function that applies reduced gradients to one replica's copies of all variables.

    Every replica has the same sums, so all decide alike: a step with anything non-finite is counted
    and changes nothing else.

    Args:
        state: The `TrainState`.
        replica: Number of the replica within this group.
        config: The configuration.
        scaled: Whether the gradients carry the loss scale (float16 somewhere).
        total_steps, warmup_steps: Of the whole run.
    """
    opt = config.optimizer

    def copies(variables):
        return [local(v, replica) for v in variables]

    generator, discriminator = (copies(state.trainable[n]) for n in ("generator", "discriminator"))
    statistics, vectors = (copies(state.non_trainable[n]) for n in ("generator", "discriminator"))
    slots = {name: [copies(slot) for slot in pair] for name, pair in state.slots.items()}
    ema = copies(state.ema)
    step, updates, skipped = copies([state.step, state.updates, state.skipped_in_a_row])
    loss_scale, good_steps, gradient_norms = copies(
        [state.loss_scale, state.good_steps, state.gradient_norms]
    )
    rate_factor = local(state.rate_factor, replica)

    def update(gradients, sums, new_statistics, new_vectors):
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
            for variable, value in zip(statistics + vectors, new_statistics + new_vectors, strict=True):
                variable.assign(value)
            gradient_norms.assign(tf.sqrt(sums[len(LOSSES) :]))
            updates.assign_add(1)
            skipped.assign(0)
            return tf.constant(0.0)

        def skip():
            skipped.assign_add(1)
            return tf.constant(1.0)

        was_skipped = tf.cond(finite, apply, skip)
        if scaled:
            new_scale, new_good_steps = optimizer.next_loss_scale(
                scale, good_steps.read_value(), finite=finite
            )
            loss_scale.assign(new_scale)
            good_steps.assign(new_good_steps)
        step.assign_add(1)
        scalars = tf.stack([gen_rate, gen_norm, disc_norm, scale, was_skipped])
        return tf.concat([sums[: len(LOSSES)], scalars], 0)

    return update
