"""Everything that a run must save to go on as if it had never stopped, in one place.

The networks' variables, the moving average, Adam's slots, the spectral vectors, the loss scale, the
counters. Data order and augmentation are functions of (seed, step), so the step is all they need.
"""

import numpy as np
import tensorflow as tf

from hazeheal.errors import HazeHealError
from hazeheal.training.step import optimizer

NETWORKS = ("generator", "discriminator")
# What the first checkpoints did not hold yet.
LATER = {"rate_factor": np.float32(1.0)}


class TrainState:
    """The variables of a training, made inside `strategy.scope()`, with a stable name for each.

    Attributes:
        gan: The networks.
        ema: Averages of the generator's trainable variables, or [] where the config keeps none.
        slots: {'generator': (m, v), 'discriminator': (m, v)}: lists in the order of the trainable variables.
        step: int64, positions in the data; a skipped step counts.
        updates: int64, updates applied.
        skipped_in_a_row: int64, non-finite steps since the last finite one.
        loss_scale, good_steps: float32 and int64, for float16.
        rate_factor: float32, what the learning rates are multiplied with: 1, less once the run has gone back.
        gradient_norms: [3] float32: norms of the loss terms' gradients at the generator's output.
    """

    def __init__(self, gan, *, use_ema):
        self.gan = gan
        networks = {"generator": gan.generator, "discriminator": gan.discriminator}
        self.variables = {}
        for network, model in networks.items():
            for variable in model.variables:
                self._add(f"{network}/{variable.path}", variable.value)
        self.trainable = {n: [v.value for v in m.trainable_variables] for n, m in networks.items()}
        self.non_trainable = {n: [v.value for v in m.non_trainable_variables] for n, m in networks.items()}
        self.frozen = [v.value for v in gan.perceptual.variables] if gan.perceptual is not None else []

        self.ema = []
        if use_ema:
            for variable in gan.generator.trainable_variables:
                self.ema.append(self._new(f"ema/generator/{variable.path}", variable.value))
        self.slots = {}
        for network, model in networks.items():
            slots = []
            for slot in ("m", "v"):
                slots.append(
                    [
                        self._new(f"adam_{slot}/{network}/{v.path}", tf.zeros(v.shape))
                        for v in model.trainable_variables
                    ]
                )
            self.slots[network] = tuple(slots)
        self.step = self._new("step", tf.constant(0, tf.int64))
        self.updates = self._new("updates", tf.constant(0, tf.int64))
        self.skipped_in_a_row = self._new("skipped_in_a_row", tf.constant(0, tf.int64))
        self.loss_scale = self._new("loss_scale", tf.constant(optimizer.LOSS_SCALE_START))
        self.good_steps = self._new("good_steps", tf.constant(0, tf.int64))
        self.rate_factor = self._new("rate_factor", tf.constant(1.0))
        self.gradient_norms = self._new("gradient_norms", tf.zeros([3]))

    def _add(self, name, variable):
        if name in self.variables:
            raise ValueError(f"two variables are called {name}")
        self.variables[name] = variable
        return variable

    def _new(self, name, value):
        # aggregation=NONE: every replica assigns the same value to its own copy; anything else would
        # ask for a merge_call, which cannot be had inside a compiled function.
        variable = tf.Variable(
            value,
            trainable=False,
            aggregation=tf.VariableAggregation.NONE,
            name=name.replace("/", "_"),
        )
        return self._add(name, variable)

    @property
    def generator_for_use(self):
        """Variables to validate and to show with: the moving average where there is one."""
        return self.ema or self.trainable["generator"]

    def snapshot(self) -> dict:
        """Copies every variable to the host: {name: np.ndarray}."""
        # A copy, not a view of the buffer: training goes on while the snapshot is written.
        return {name: np.array(primary(variable).numpy()) for name, variable in self.variables.items()}

    def load(self, values: dict, *, source) -> None:
        """Sets every variable from `values`, as `snapshot` made them.

        Raises:
            HazeHealError: A variable is missing or of another shape; `source` is named. Nothing was set.
        """
        values = LATER | values
        for name, variable in self.variables.items():
            if name not in values or tuple(values[name].shape) != tuple(variable.shape):
                found = tuple(values[name].shape) if name in values else "nothing"
                raise HazeHealError(
                    f"{source} holds {found} for {name}, the configuration needs {tuple(variable.shape)}: "
                    "it is of another model; use the configuration it was trained with, or another --workdir"
                )
        for name, variable in self.variables.items():
            variable.assign(tf.convert_to_tensor(values[name], variable.dtype))

    def load_networks(self, values: dict, *, source) -> list:
        """Takes over the networks (and the average) alone, for fine-tuning; returns what was not found.

        The discriminator is taken as a whole or not at all; an average that is not there starts from the
        weights. The rest keeps its initial values: slots, counters and step start anew.

        Raises:
            HazeHealError: `values` are not of this generator; `source` is named. Nothing was set.
        """
        taken, missing = {}, []
        for network in (*NETWORKS, "ema"):
            names = [name for name in self.variables if name.startswith(f"{network}/")]
            other = [n for n in names if n not in values or values[n].shape != tuple(self.variables[n].shape)]
            if not other:
                taken.update({name: values[name] for name in names})
            elif network == "generator":
                found = values[other[0]].shape if other[0] in values else "nothing"
                raise HazeHealError(
                    f"--restore_from: {source} holds {found} for {other[0]}, the configuration needs "
                    f"{tuple(self.variables[other[0]].shape)}: it is of another generator"
                )
            else:
                missing += names
                if network == "ema":
                    taken.update({name: values[name.removeprefix("ema/")] for name in names})
        for name, value in taken.items():
            self.variables[name].assign(tf.convert_to_tensor(value))
        return missing


def primary(variable):
    """The first replica's copy of a mirrored variable, or the variable itself."""
    return variable.values[0] if hasattr(variable, "values") else variable


def local(variable, replica: int):
    """Replica `replica`'s copy of a mirrored variable, or the variable itself."""
    return variable.values[replica] if hasattr(variable, "values") else variable
