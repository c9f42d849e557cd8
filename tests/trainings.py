"""Small trainings in this process, on up to four CPU replicas, for the tests of the step and its state."""

import contextlib

import numpy as np
import tensorflow as tf

from hazeheal import config as configs
from hazeheal.distributed import runtime
from hazeheal.models.networks import build_networks
from hazeheal.training.step import step
from hazeheal.training.step.train_state import NETWORKS, TrainState

SIZE = 32  # of the training crops


def make_config(**fields):
    """The default configuration at a size for tests; `fields` as model__norm="none"."""
    small = {
        "data__crop_size": SIZE,
        "model__width": 4,
        "model__depth": 1,
        "model__disc_width": 4,
        "loss__perceptual_weight": 0.0,
    }
    overrides = [f"--config.{k.replace('__', '.')}={v}" for k, v in (small | fields).items()]
    return configs.load(["--config=default", *overrides])


@contextlib.contextmanager
def graphs_as_they_are(enabled=True):
    """Switches TensorFlow's optimization of graphs off: on these small ones it takes longer than all the rest."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": enabled})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


class Training:
    """Networks, state and compiled loop of one small training, on 1 to 4 CPU replicas.

    Attributes:
        config, runtime, networks, state: As a trainer makes them. The variables of `networks` keep the initial values.
        loop: The compiled loop.
    """

    def __init__(
        self, *, replicas=1, precision="float32", xla=False, fused=False, optimize=False, total_steps=1000, **fields
    ):
        self._optimize = optimize
        self.config = make_config(**fields)
        # `choose` refuses float16 on CPUs, rightly.
        strategy = runtime.choose_runtime(cpu_replicas=replicas, precision="float32").strategy
        devices = tuple(f"CPU:{i}" for i in range(replicas))
        self.runtime = runtime.Runtime(strategy=strategy, devices=devices, precision=precision, xla=xla)
        with tf.device("CPU:0"):
            self.networks = build_networks(self.config, precision=precision)
        with strategy.scope():
            self.state = TrainState(self.networks, use_ema=True, fused=fused)
        self.loop = step.make_loop(
            self.state, config=self.config, runtime=self.runtime, total_steps=total_steps, warmup_steps=0
        )
        self._initial = self.state.snapshot()

    def reset(self):
        self.state.load(self._initial, source="the start")
        return self

    def run(self, hazy, clear):
        """Trains one step for each global batch.

        Args:
            hazy, clear: [steps, batch, H, W, 3] in [0, 255], uint8, or float32, which can hold a NaN.

        Returns:
            {metric: [steps] float32}.
        """
        with graphs_as_they_are(not self._optimize):
            rows, _ = self.loop(self._feed(hazy, clear), tf.constant(len(hazy)))
        return dict(zip(step.METRICS, rows.numpy().T, strict=True))

    def _feed(self, hazy, clear):
        shares = [x.reshape(len(x) * self.runtime.replicas, -1, *x.shape[2:]) for x in (hazy, clear)]
        dataset = tf.data.Dataset.from_tensor_slices(dict(zip(("hazy", "clear"), shares, strict=True)))
        return iter(self.runtime.strategy.distribute_datasets_from_function(lambda _: dataset))

    def graph(self, hazy, clear):
        """The graph of the loop."""
        iterator = self._feed(hazy, clear)
        return self.loop.train.get_concrete_function(iterator, next(iterator), tf.constant(2)).graph

    def graph_functions(self, hazy, clear):
        """The functions that the loop is made of, as FunctionDefs."""
        return self.graph(hazy, clear).as_graph_def().library.function

    def copies(self, replica):
        """Every variable of one replica: {name: np.ndarray}."""
        return self.state.snapshot(replica)

    def trained_networks(self):
        """Networks of their own whose Keras variables have the values of the state."""
        networks, values = build_networks(self.config, precision=self.runtime.precision), self.copies(0)
        for name in NETWORKS:
            for variable in getattr(networks, name).variables:
                variable.assign(values[f"{name}/{variable.path}"])
        return networks


def moved(trial):
    """Moves the weights and the averages of a training, each in its own way, and returns the training."""
    generator = np.random.default_rng(0)
    values = trial.state.snapshot()
    for name in values:
        if name.startswith(("generator/", "discriminator/", "ema/")) and not name.endswith("/u"):
            values[name] = (values[name] + generator.normal(0, 0.05, values[name].shape)).astype("float32")
    trial.state.load(values, source="noise")
    return trial


def separate(state, outputs):
    """Takes the outputs of `forward_backward` apart.

    Args:
        state: The `TrainState` whose layouts they have.
        outputs: Those of the function or of `accumulate`.

    Returns:
        ({NETWORK/PATH: gradient}, the losses, {PATH: spectral vector}), arrays.
    """
    parts, losses = state.split_summand(outputs["summand"])
    gradients = {}
    for name, part in zip(NETWORKS, parts, strict=True):
        gradients |= state.layouts[name].to_arrays(part.numpy(), prefix=f"{name}/")
    count = len(step.LOSSES)
    assert not losses[count:].numpy().any()
    return gradients, losses[:count].numpy(), state.layouts["spectral"].to_arrays(outputs["spectral"].numpy())
