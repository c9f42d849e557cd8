"""Everything that a checkpoint must hold so that a resumed run equals one that never stopped.

The networks' variables, the moving average, Adam's slots, the spectral vectors, the loss scale and the counters. Data
order and augmentation are functions of (seed, step), so the step is all they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from hazeheal.errors import HazeHealError
from hazeheal.training.step import optimizer

if TYPE_CHECKING:
    from hazeheal.models.networks import Networks

NETWORKS = ("generator", "discriminator")


class TrainState:
    """The variables of a training, created inside `strategy.scope()`, each under a stable name.

    Attributes:
        networks: Generator, discriminator and perceptual network.
        variables: {name: variable} of all that is saved.
        trainable: {`generator`, `discriminator`: list of variables}.
        vectors: The discriminator's spectral vectors.
        frozen: The perceptual network's weights; empty without one. They are not saved.
        ema: Moving averages of the generator's trainable variables; empty where the configuration disables them.
        slots: {`generator`, `discriminator`: (m, v)} of Adam: lists in the order of the trainable variables.
        step: int64, number of steps done, skipped ones included; the position in the data.
        updates: int64, number of updates applied.
        skipped_in_a_row: int64, non-finite steps since the last finite one.
        loss_scale: float32, used with float16 only.
        good_steps: int64, finite steps since the loss scale last changed.
        rate_factor: float32 factor of the learning rates: 1, and less after a rollback.
    """

    def __init__(self, networks: Networks, *, use_ema: bool):
        self.networks = networks
        models = {"generator": networks.generator, "discriminator": networks.discriminator}
        self.variables = {
            f"{name}/{variable.path}": variable.value for name, model in models.items() for variable in model.variables
        }
        self.trainable = {n: [v.value for v in m.trainable_variables] for n, m in models.items()}
        self.vectors = [v.value for v in networks.discriminator.non_trainable_variables]
        perceptual = networks.perceptual
        self.frozen = [v.value for v in perceptual.variables] if perceptual is not None else []

        self.ema = []
        if use_ema:
            for variable in networks.generator.trainable_variables:
                self.ema.append(self._create(f"ema/generator/{variable.path}", variable.value))
        self.slots = {
            name: tuple(
                [self._create(f"adam_{slot}/{name}/{v.path}", tf.zeros(v.shape)) for v in model.trainable_variables]
                for slot in ("m", "v")
            )
            for name, model in models.items()
        }
        self.step = self._create("step", tf.constant(0, tf.int64))
        self.updates = self._create("updates", tf.constant(0, tf.int64))
        self.skipped_in_a_row = self._create("skipped_in_a_row", tf.constant(0, tf.int64))
        self.loss_scale = self._create("loss_scale", tf.constant(optimizer.LOSS_SCALE_START))
        self.good_steps = self._create("good_steps", tf.constant(0, tf.int64))
        self.rate_factor = self._create("rate_factor", tf.constant(1.0))

    def _create(self, name, value):
        # aggregation=NONE: every replica assigns the same value to its own copy. Any other aggregation needs a
        # merge_call, which a compiled function does not allow.
        self.variables[name] = tf.Variable(
            value,
            trainable=False,
            aggregation=tf.VariableAggregation.NONE,
            name=name.replace("/", "_"),
        )
        return self.variables[name]

    @property
    def inference_weights(self) -> list:
        """The generator's variables for validation and samples: the moving average where there is one."""
        return self.ema or self.trainable["generator"]

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies every variable to the host: {name: array}."""
        # A copy, not a view of the buffer: training continues while the snapshot is written.
        return {name: np.array(local(variable, 0).numpy()) for name, variable in self.variables.items()}

    def load(self, values: dict[str, np.ndarray], *, source: str) -> None:
        """Sets every variable from the values of a `snapshot`; names that this state does not have are ignored.

        `source` is where they come from, for the error.

        Raises:
            HazeHealError: A variable is missing or has another shape. Nothing was changed.
        """
        mismatches = self._mismatches(self.variables, values)
        if mismatches:
            raise HazeHealError(f"{source}: {mismatches[0]}; use the configuration of that run, or another --workdir")
        for name, variable in self.variables.items():
            variable.assign(tf.convert_to_tensor(values[name], variable.dtype))

    def load_networks(self, values: dict[str, np.ndarray], *, source: str) -> list[str]:
        """Loads the networks and the moving average alone, for fine-tuning; all else keeps its initial values.

        The discriminator is loaded completely or not at all. A missing average starts from the generator's weights.
        Returns the names of the variables that `values` does not contain.

        Raises:
            HazeHealError: The generator's variables are missing or have other shapes. Nothing was changed.
        """
        loaded, missing = {}, []
        for network in (*NETWORKS, "ema"):
            names = [name for name in self.variables if name.startswith(f"{network}/")]
            mismatches = self._mismatches(names, values)
            if not mismatches:
                loaded.update({name: values[name] for name in names})
            elif network == "generator":
                raise HazeHealError(
                    f"--restore_from={source}: {mismatches[0]}; use the `model` configuration of that run"
                )
            else:
                missing += names
                if network == "ema":
                    loaded.update({name: values[name.removeprefix("ema/")] for name in names})
        for name, value in loaded.items():
            self.variables[name].assign(tf.convert_to_tensor(value))
        return missing

    def _mismatches(self, names, values):
        """Returns a text for each of `names` that is missing in `values` or has another shape there."""
        texts = []
        for name in names:
            shape = tuple(self.variables[name].shape)
            if name not in values or values[name].shape != shape:
                found = f"has shape {values[name].shape}" if name in values else "is missing"
                texts.append(f"{name} {found}, but the configuration needs shape {shape}")
        return texts


def local(variable: tf.Variable, replica: int) -> tf.Variable:
    """Returns one replica's copy of a mirrored variable, or the variable itself where there is one replica."""
    return variable.values[replica] if hasattr(variable, "values") else variable


class LocalVariables:
    """One replica's variables, read as tensors for the pure forward pass."""

    def __init__(self, state: TrainState, replica: int):
        def read(variables):
            return [local(v, replica).read_value() for v in variables]

        self.generator = read(state.trainable["generator"])
        self.discriminator = read(state.trainable["discriminator"])
        self.vectors = read(state.vectors)
        self.frozen = read(state.frozen)
        self.loss_scale = local(state.loss_scale, replica).read_value()
