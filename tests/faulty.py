"""`python tests/faulty.py FAULT ... -- ARGV`: runs `hazeheal ARGV` in a process to which something happens.

The faults are put in from outside, so that no code of the project knows of them:

    nan GROUP FIRST LAST        in that group the gradients of steps FIRST to LAST - 1 hold a NaN
    inf GROUP FIRST LAST        the same with an infinity
    clock SECONDS               the clock reads so much less from the 20th look at it on
    full FOLDER STEP            from the checkpoint of that step on nothing more fits into the files of this process
    damage SHARD OFFSET STEP    at that step a bit of that byte of the shard flips
    device GROUP STEP FILE      at that step a device of that group fails, unless FILE exists, which it then does
    flip GROUP STEP FILE        the same, but a bit of the parameters flips
"""

import pathlib
import resource
import sys
import time

import disks


def not_finite(value, group, first, last):
    import tensorflow as tf

    from hazeheal.distributed import tf_config
    from hazeheal.training.step import step

    if (tf_config.from_environment() or tf_config.Cluster((), 0)).group != int(group):
        return
    build = step.make_update
    make = step.make_forward_backward

    def spoiling(networks, layouts, **options):
        compute = make(networks, layouts, **options)

        def forward_backward(*arguments):
            outputs = compute(*arguments)
            # The step is no argument of the pure function; it counts the calls of the update instead.
            now = steps[0].read_value()
            bad = (now >= int(first)) & (now < int(last))
            summand = outputs["summand"]
            row = tf.range(summand.shape[0])[:, tf.newaxis] == 3
            outputs["summand"] = tf.where(bad & row, float(value), summand)
            return outputs

        return forward_backward

    def noting(state, *, replica, **options):
        steps.append(state.step.values[replica] if hasattr(state.step, "values") else state.step)
        return build(state, replica=replica, **options)

    steps = []
    step.make_forward_backward, step.make_update = spoiling, noting


def clock(seconds):
    real, looks = time.time, [0]

    def stepped():
        looks[0] += 1
        return real() - (float(seconds) if looks[0] > 20 else 0)

    time.time = stepped
    time.time_ns = lambda: int(stepped() * 1e9)


def at_step(number, action):
    """Calls `action(trainer)` when the loop is about to go on at that step or later."""
    from hazeheal.training import trainer

    run, done = trainer.DehazeTrainer._run_steps, []

    def watched(self, *arguments):
        if not done and self.state.step.numpy() >= int(number):
            done.append(True)
            action(self)
        return run(self, *arguments)

    trainer.DehazeTrainer._run_steps = watched


def full(step):
    from hazeheal.runs.checkpoint_manager import CheckpointManager

    save, managers = CheckpointManager.save, []

    def remembering(self, *arguments, **options):
        managers[:] = [self]
        save(self, *arguments, **options)

    def fill(trainer):
        for manager in managers:
            manager.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

    CheckpointManager.save = remembering
    at_step(step, fill)


def damage(shard, offset, step):
    at_step(step, lambda trainer: disks.flip(pathlib.Path(shard), int(offset)))


def once(action, group, step, file):
    from hazeheal.distributed import tf_config

    def act(trainer):
        path = pathlib.Path(file)
        if tf_config.from_environment().group == int(group) and not path.exists():
            path.touch()
            action(trainer)

    at_step(step, act)


def device(trainer):
    import tensorflow as tf

    raise tf.errors.InternalError(None, None, "uncorrectable ECC error encountered")


def flip(trainer):
    import tensorflow as tf

    from hazeheal.training.step.train_state import local

    variable = local(trainer.state.parameters["generator"], 0)
    bits = tf.bitcast(variable, tf.int32)
    changed = tf.range(bits.shape[0])[:, tf.newaxis] == 3
    variable.assign(tf.bitcast(tf.where(changed, bits ^ 1, bits), tf.float32))


if __name__ == "__main__":
    border = sys.argv.index("--")
    name, *values = sys.argv[1:border]
    if name in ("nan", "inf"):
        not_finite(name, *values)
    elif name in ("device", "flip"):
        once({"device": device, "flip": flip}[name], *values)
    else:
        {"clock": clock, "full": full, "damage": damage}[name](*values)
    from hazeheal.__main__ import main

    sys.exit(main(sys.argv[border + 1 :]))
