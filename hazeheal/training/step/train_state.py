"""Everything that a checkpoint must hold so that a resumed run equals one that never stopped.

The networks' parameters, the moving average, Adam's slots, the spectral vectors, the loss scale and the counters. Data
order and augmentation are functions of (seed, step), so the step is all they need.

The parameters of each network are one vector (`layout`), and so are their slots and average. Checkpoints hold one array
for each variable of the networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from hazeheal.errors import HazeHealError
from hazeheal.training.step import optimizer
from hazeheal.training.step.layout import ROW, Layout

if TYPE_CHECKING:
    from hazeheal.models.networks import Networks

NETWORKS = ("generator", "discriminator")


class Inputs(NamedTuple):
    """One replica's variables, read as tensors for the pure forward pass.

    The first four are the parts of vectors (`Layout.split`); `loss_scale` is a float32 scalar.
    """

    generator: list[tf.Tensor]
    discriminator: list[tf.Tensor]
    spectral: list[tf.Tensor]
    perceptual: list[tf.Tensor]
    loss_scale: tf.Tensor


def make_layouts(networks: Networks, *, outputs_first: bool = False) -> dict[str, Layout]:
    """Returns the layouts of the vectors of `Inputs`; `perceptual` is empty without such a network.

    `outputs_first` is that of `Layout`.
    """
    groups = {name: getattr(networks, name).trainable_variables for name in NETWORKS}
    groups["spectral"] = networks.discriminator.non_trainable_variables
    groups["perceptual"] = networks.perceptual.variables if networks.perceptual is not None else []
    return {
        name: Layout({v.path: tuple(v.shape) for v in variables}, outputs_first=outputs_first)
        for name, variables in groups.items()
    }


class TrainState:
    """The variables of a training, created inside `strategy.scope()`.

    Attributes:
        networks: Generator, discriminator and perceptual network. Their own variables have the initial values, or those of
            the last `update_networks`.
        fused: Whether XLA compiles the step for a GPU.
        layouts: The layouts of `make_layouts`.
        parameters: {`generator`, `discriminator`: vector}.
        slots: {`m`, `v`: {network: float32 vector}} of Adam.
        ema: Moving average of the generator's parameters, a vector; None where the configuration disables it.
        spectral: All spectral vectors of the discriminator, as one.
        perceptual: The perceptual network's weights, a vector in that network's precision. It is not saved. None without
            such a network.
        step: int64, number of steps done, skipped ones included; the position in the data.
        updates: int64, number of updates applied.
        skipped_in_a_row: int64, non-finite steps since the last finite one, without those that search for the loss
            scale.
        loss_scale: float32, used with float16 only.
        good_steps: int64, finite steps since the loss scale last changed.
        rate_factor: float32 factor of the learning rates: 1, and less after a rollback.
    """

    def __init__(self, networks: Networks, *, use_ema: bool, fused: bool = False):
        """Creates all variables with the networks' values.

        Args:
            networks: The networks.
            use_ema: Whether to keep a moving average.
            fused: Whether XLA compiles the step for a GPU (`Runtime.fuses`).
        """
        self.networks = networks
        self.fused = fused
        self.layouts = make_layouts(networks, outputs_first=fused)
        self._vectors = {}  # {prefix of the names in a checkpoint: (layout, variable)}
        self._scalars = {}

        initial = {name: {v.path: v.numpy() for v in getattr(networks, name).variables} for name in NETWORKS}
        self.parameters = {
            name: self._create_vector(f"{name}/", self.layouts[name], initial[name]) for name in NETWORKS
        }
        self.spectral = self._create_vector("discriminator/", self.layouts["spectral"], initial["discriminator"])
        self.ema = None
        if use_ema:
            self.ema = self._create_vector("ema/generator/", self.layouts["generator"], initial["generator"])
        self.slots = {
            slot: {name: self._create_vector(f"adam_{slot}/{name}/", self.layouts[name]) for name in NETWORKS}
            for slot in ("m", "v")
        }
        self.perceptual = None
        if networks.perceptual is not None:
            self.perceptual = self._create_frozen(networks.perceptual)

        self.step = self._create_scalar("step", tf.constant(0, tf.int64))
        self.updates = self._create_scalar("updates", tf.constant(0, tf.int64))
        self.skipped_in_a_row = self._create_scalar("skipped_in_a_row", tf.constant(0, tf.int64))
        self.loss_scale = self._create_scalar("loss_scale", tf.constant(optimizer.LOSS_SCALE_START))
        self.good_steps = self._create_scalar("good_steps", tf.constant(0, tf.int64))
        self.rate_factor = self._create_scalar("rate_factor", tf.constant(1.0))

    def _create_vector(self, prefix, layout, initial=None):
        value = np.zeros((layout.rows, ROW), np.float32) if initial is None else layout.to_vector(initial)
        variable = self._variable(value, prefix)
        self._vectors.setdefault(prefix, []).append((layout, variable))
        return variable

    def _create_frozen(self, network):
        vector = self.layouts["perceptual"].to_vector({v.path: v.numpy() for v in network.variables})
        # Converted once instead of in every step.
        return self._variable(tf.cast(vector, network.layers[-1].compute_dtype), "perceptual")

    def _create_scalar(self, name, value):
        self._scalars[name] = self._variable(value, name)
        return self._scalars[name]

    def _variable(self, value, name):
        # aggregation=NONE: every replica assigns the same value to its own copy. Any other aggregation needs a
        # merge_call, which a compiled function does not allow.
        name = name.strip("/").replace("/", "_")
        return tf.Variable(value, trainable=False, aggregation=tf.VariableAggregation.NONE, name=name)

    @property
    def variables(self) -> list[tf.Variable]:
        """All variables that are saved."""
        return [variable for pairs in self._vectors.values() for _, variable in pairs] + [*self._scalars.values()]

    @property
    def inference_weights(self) -> tf.Variable:
        """The generator's parameters for validation and samples: the moving average where there is one."""
        return self.parameters["generator"] if self.ema is None else self.ema

    def read(self, replica: int) -> Inputs:
        """Returns the tensors that the forward pass of one replica needs."""
        vectors = self.parameters | {"spectral": self.spectral, "perceptual": self.perceptual}
        parts = {
            name: [] if vector is None else self.layouts[name].split(local(vector, replica).read_value())
            for name, vector in vectors.items()
        }
        return Inputs(**parts, loss_scale=local(self.loss_scale, replica).read_value())

    def split_summand(self, summand: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Splits the `summand` of `forward_backward`, sharing its memory.

        Returns:
            (the gradient of each of `NETWORKS`, the row of losses).
        """
        *gradients, losses = tf.split(summand, [*(self.layouts[name].rows for name in NETWORKS), 1])
        return gradients, losses[0]

    def restored_by(self, parameters: tf.Tensor, hazy: tf.Tensor) -> tf.Tensor:
        """Restores `[B, H, W, 3]` float32 images with the generator's parameters in a vector."""
        layout = self.layouts["generator"]
        weights = layout.unpack(layout.split(parameters))
        return self.networks.generator.stateless_call(weights, [], hazy, training=False)[0]

    def snapshot(self, replica: int = 0) -> dict[str, np.ndarray]:
        """Copies every variable of one replica to the host: {name: array}."""
        # Copies, not views of the buffers: training continues while the snapshot is written.
        values = {name: np.array(local(variable, replica).numpy()) for name, variable in self._scalars.items()}
        for prefix in self._vectors:
            values |= self._arrays(prefix, replica)
        return values

    def _arrays(self, prefix, replica=0):
        return {
            name: array
            for layout, variable in self._vectors[prefix]
            for name, array in layout.to_arrays(np.array(local(variable, replica).numpy()), prefix=prefix).items()
        }

    def load(self, values: dict[str, np.ndarray], *, source: str) -> None:
        """Sets every variable from the values of a `snapshot`; names that this state does not have are ignored.

        `source` is where they come from, for the error.

        Raises:
            HazeHealError: A variable is missing or has another shape. Nothing was changed.
        """
        mismatches = self._mismatches(("", *self._vectors), values)
        if mismatches:
            raise HazeHealError(f"{source}: {mismatches[0]}; use the configuration of that run, or another --workdir")
        for name, variable in self._scalars.items():
            variable.assign(tf.convert_to_tensor(values[name], variable.dtype))
        for prefix in self._vectors:
            self._assign(prefix, values)

    def load_networks(self, values: dict[str, np.ndarray], *, source: str) -> list[str]:
        """Loads the networks alone, for fine-tuning; all else keeps its initial values.

        The discriminator is loaded completely or not at all. The moving average starts from the generator's weights.
        Returns the names of the variables that `values` does not contain.

        Raises:
            HazeHealError: The generator's variables are missing or have other shapes. Nothing was changed.
        """
        mismatches = self._mismatches(["generator/"], values)
        if mismatches:
            raise HazeHealError(f"--restore_from={source}: {mismatches[0]}; use the `model` configuration of that run")
        self._assign("generator/", values)
        missing = []
        if not self._mismatches(["discriminator/"], values):
            self._assign("discriminator/", values)
        else:
            missing += self._shapes("discriminator/")
        if self.ema is not None:
            self.ema.assign(self.layouts["generator"].to_vector(values, prefix="generator/"))
        return missing

    def update_networks(self) -> None:
        """Copies the parameters and the spectral vectors into the variables of the Keras networks."""
        for name in NETWORKS:
            values = self._arrays(f"{name}/")
            for variable in getattr(self.networks, name).variables:
                variable.assign(values[f"{name}/{variable.path}"])

    def _assign(self, prefix, values):
        for layout, variable in self._vectors[prefix]:
            variable.assign(layout.to_vector(values, prefix=prefix))

    def _shapes(self, prefix):
        """Returns {name: shape} of the variables under a prefix in a checkpoint; "": the scalars."""
        if not prefix:
            return dict.fromkeys(self._scalars, ())
        return {
            prefix + name: shape
            for layout, _ in self._vectors[prefix]
            for name, shape in zip(layout.names, layout.shapes, strict=True)
        }

    def _mismatches(self, prefixes, values):
        """Returns a text for each variable under `prefixes` that `values` lacks or has in another shape."""
        texts = []
        for name, shape in {n: s for prefix in prefixes for n, s in self._shapes(prefix).items()}.items():
            if name not in values or values[name].shape != shape:
                found = f"has shape {values[name].shape}" if name in values else "is missing"
                texts.append(f"{name} {found}, but the configuration needs shape {shape}")
        return texts


def local(variable: tf.Variable, replica: int) -> tf.Variable:
    """Returns one replica's copy of a mirrored variable, or the variable itself where there is one replica."""
    return variable.values[replica] if hasattr(variable, "values") else variable
