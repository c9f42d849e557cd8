"""Exports the training step as HLO, for a machine with JAX but without TensorFlow.

    python benchmarks/gpu/export_step.py --output=STEP [--width=64 --crop_size=256 --batch_size=8]
        [--precision=mixed_bfloat16] [--norm=none] [--perceptual_weights=vgg19.npz]

STEP/ contains the two functions that one replica runs (hazeheal/training/step), in the form for GPUs:

    forward.hlo     the forward and backward passes
    update.hlo      the update
    step.json       names, shapes and dtypes of all parameters and outputs, the settings, and the rule for the initial values
    check/          the same step in float32 at width 16 and 64x64, and the losses that TensorFlow computes with it

No weights are written: `start_values.py` makes them, and the images, from a seed. The losses of the check come from the
functions in their form for CPUs, without XLA, so they also check that both forms compute the same.
"""

import argparse
import json
import os
import pathlib
import re
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks import reference_step
from benchmarks.gpu import hlo_text, start_values
from hazeheal.models.networks import build_networks
from hazeheal.training.step.forward_backward import make_forward_backward
from hazeheal.training.step.layout import ROW
from hazeheal.training.step.step import METRICS
from hazeheal.training.step.train_state import NETWORKS, TrainState
from hazeheal.training.step.update import make_update

SEED = 0
CHECK_STEPS = 3  # steps whose losses and metrics are compared
CHECK_SETTINGS = {"width": 16, "crop_size": 64, "batch_size": 2, "precision": "float32"}
MIN_STD = 0.02  # of variables that start as zeros or ones: their gradients and effects must show too
COUNTERS = ("step", "updates", "skipped_in_a_row", "loss_scale", "good_steps", "rate_factor")
DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "u8": "uint8", "s64": "int64", "pred": "bool"}


class Step:
    """The two functions of one replica and its state.

    Args:
        settings: `width`, `crop_size`, `batch_size`, `precision`, `norm` and `perceptual_weights`.
        fused: Whether the functions take the form for XLA on a GPU.
    """

    def __init__(self, settings, *, fused=True):
        fields = {name: value for name, value in settings.items() if name != "precision" and value is not None}
        fields.setdefault("perceptual_weights", None)
        config = reference_step.settings(**fields)
        precision = settings["precision"]
        scaled = precision == "mixed_float16"
        self.networks = build_networks(config, precision=precision)
        self.state = TrainState(self.networks, use_ema=True, fused=fused)
        self.settings = {name: settings[name] for name in ("width", "crop_size", "batch_size", "precision")}
        self.settings |= {"norm": config.model.norm, "perceptual": settings["perceptual_weights"] is not None}
        self.settings["tensorflow"] = tf.__version__
        self.forward = make_forward_backward(
            self.networks, self.state.layouts, config=config, scaled=scaled, fused=fused
        )
        options = {"scaled": scaled, "total_steps": 10**6, "warmup_steps": 0}
        self.update = make_update(self.state, replica=0, config=config, **options)
        self.variables = {
            **self.state.parameters,
            "spectral": self.state.spectral,
            "perceptual": tf.Variable(tf.zeros([0, ROW])) if self.state.perceptual is None else self.state.perceptual,
            **{f"{slot}/{name}": v for slot in ("m", "v") for name, v in self.state.slots[slot].items()},
            "ema": self.state.ema,
            **{name: getattr(self.state, name) for name in COUNTERS},
        }

    def forward_arguments(self, hazy, clear):
        return self.state.read(0), tf.constant(hazy), tf.constant(clear), 1.0 / len(hazy)

    def update_arguments(self, outputs):
        return *self.state.split_summand(outputs["summand"]), outputs["spectral"]

    def metrics(self, hazy, clear, steps):
        """Trains for some steps on one batch without XLA; returns {metric: [value at each step]}."""
        forward, update = (tf.function(f, autograph=False) for f in (self.forward, self.update))
        rows = []
        for _ in range(steps):
            outputs = forward(*self.forward_arguments(hazy, clear))
            rows.append(update(*self.update_arguments(outputs)).numpy())
        return dict(zip(METRICS, np.stack(rows).T.tolist(), strict=True))

    def describe_state(self):
        """Returns {name: shape, dtype and rule} of every variable, see `start_values`."""
        entries = {}
        for name, variable in self.variables.items():
            layout = self.state.layouts.get(name)
            if layout is not None:
                entry = {"rule": "normal", "variables": describe_layout(layout, getattr(self.networks, name, None))}
            elif name == "ema":
                entry = {"rule": "same", "as": "generator"}
            else:
                value = 0 if "/" in name else variable.numpy().item()
                entry = {"rule": "constant", "value": value}
            entries[name] = {"shape": variable.shape.as_list(), "dtype": variable.dtype.name} | entry
        entries["spectral"] |= {"rule": "singular", "of": "discriminator"}
        for vector in entries["spectral"]["variables"]:
            vector["kernel"] = vector["name"].removesuffix("u") + "kernel"
        return entries

    def export(self, folder):
        """Writes both functions to `folder`; returns the contents of step.json."""
        shape = [self.settings[name] for name in ("batch_size", "crop_size", "crop_size")]
        arguments = self.forward_arguments(*np.zeros([2, *shape, 3], np.uint8))
        forward = Compiled(self.forward, arguments)
        inputs = {group: parts for group, parts in arguments[0]._asdict().items() if group != "loss_scale"}
        names = [f"{group}/{i}" for group, parts in inputs.items() for i in range(len(parts))]
        result = {"forward": forward.describe([*names, "loss_scale", "hazy", "clear"], sorted(forward.outputs))}

        outputs = {key: tf.zeros(spec.shape, spec.dtype) for key, spec in forward.outputs.items()}
        update = Compiled(self.update, self.update_arguments(outputs))
        handles = {id(v.handle): name for name, v in self.variables.items()}
        captured = [handles[id(handle)] for handle in update.captured]
        parameters = [*(f"gradient/{name}" for name in NETWORKS), "sums", "new/spectral", *captured]
        written = [parameters[update.aliases[i]] for i in sorted(update.aliases)]
        result["update"] = update.describe(parameters, ["metrics", *written])
        parts = {group: [part.shape[0] for part in tensors] for group, tensors in inputs.items()}
        rows = {name: self.state.layouts[name].rows for name in NETWORKS}
        for name, function in (("forward", forward), ("update", update)):
            (folder / f"{name}.hlo").write_bytes(function.hlo)
        return {"settings": self.settings, "seed": SEED, "parts": parts, "gradient_rows": rows, **result}


class Compiled:
    """A function as HLO before optimization for a device.

    Attributes:
        hlo: The serialized HloModuleProto.
        captured: The handles of the variables that the function reads, its parameters after the arguments.
        outputs: The TensorSpecs of the function's results.
        aliases: {number of a result: number of the parameter, a variable, whose new value it is}.
    """

    def __init__(self, function, arguments):
        function = tf.function(function, jit_compile=True, autograph=False)
        concrete = function.get_concrete_function(*arguments)
        self.captured, self.outputs = concrete.captured_inputs, concrete.structured_outputs
        compiler = function.experimental_get_compiler_ir(*arguments)
        self.hlo = compiler(stage="hlo_serialized")
        head = compiler(stage="hlo").split("\n", 1)[0]
        aliases = head.partition("input_output_alias={")[2].partition("entry_computation_layout")[0]
        self.aliases = {int(i or 0): int(j) for i, j in re.findall(r"\{(\d*)\}: \((\d+)", aliases)}
        parameters, _, results = head.partition("entry_computation_layout={")[2].partition(")->")
        self._parameters, self._results = (parse_shapes(text) for text in (parameters, results))

    def describe(self, parameters, outputs):
        """Returns the names, shapes and dtypes of the parameters and outputs."""

        def entries(names, shapes):
            if len(names) != len(shapes):
                raise ValueError(f"the HLO has {len(shapes)} tensors where the step has {len(names)}: {names}")
            return [{"name": name} | shape for name, shape in zip(names, shapes, strict=True)]

        return {
            "parameters": entries(parameters, self._parameters),
            "outputs": entries(outputs, self._results),
        }


def parse_shapes(text):
    """Returns the shapes and dtypes in a text such as `(f32[24,64]{1,0}, s64[]`."""
    return [{"shape": sides, "dtype": DTYPES[dtype]} for dtype, sides in hlo_text.parse_shapes(text)]


def describe_layout(layout, network):
    """Returns the position, mean and standard deviation of each variable in a vector.

    Args:
        layout: A `Layout`.
        network: The network whose variables they are; None if another rule gives their values.
    """
    initial = {} if network is None else {v.path: v.numpy() for v in network.variables}
    sizes = {name: int(np.prod(shape)) for name, shape in zip(layout.names, layout.shapes, strict=True)}
    shapes = dict(zip(layout.names, layout.shapes, strict=True))
    # Vectors in which each value says which variable, or which of a variable's values, it is.
    number = layout.to_vector({n: np.full(shapes[n], i, np.float32) for i, n in enumerate(shapes, start=1)}).ravel()
    order = layout.to_vector({n: np.arange(sizes[n], dtype=np.float32).reshape(shapes[n]) for n in shapes}).ravel()
    starts = np.flatnonzero(np.diff(number, prepend=0))
    starts = {layout.names[int(number[i]) - 1]: int(i) for i in starts if number[i]}
    entries = []
    for name in sorted(shapes, key=starts.__getitem__):
        size, start = sizes[name], starts[name]
        entry = {"name": name, "shape": list(shapes[name]), "start": start}
        entry["outputs_first"] = bool(size > 1 and order[start + 1] != 1)
        value = initial.get(name, np.zeros(1))
        bias = len(shapes[name]) == 1
        entries.append(entry | {"mean": float(value.mean()) if bias else 0.0, "std": max(float(value.std()), MIN_STD)})
    return entries


def load_values(step, values, entries):
    """Assigns values, made for a step with the vectors of `entries`, to the state of a step with any layout."""
    for name, variable in step.variables.items():
        value = values[name]
        layout = step.state.layouts.get("generator" if name == "ema" else name)
        if layout is not None:
            entry = entries["generator" if name == "ema" else name]
            value = layout.to_vector(start_values.named(entry, value))
        if "/" not in name:  # Adam's slots are zero in any layout
            variable.assign(tf.cast(value, variable.dtype))


def export(folder, settings, *, check_steps=0):
    """Exports one step to a new folder; with `check_steps`, also the losses and metrics that TensorFlow computes."""
    folder.mkdir(parents=True)
    step = Step(settings)
    description = step.export(folder) | {"state": step.describe_state()}
    if check_steps:
        values = start_values.make(description)
        reference = Step(settings, fused=False)
        load_values(reference, values, description["state"])
        description["metrics"] = reference.metrics(*start_values.images(description), check_steps)
        description["check_sums"] = start_values.check_sums(values)
    (folder / "step.json").write_text(json.dumps(description) + "\n", encoding="utf-8")
    return description


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--output", required=True, type=pathlib.Path, help="new directory")
    parse.add_argument("--width", type=int, default=64)
    parse.add_argument("--crop_size", type=int, default=256)
    parse.add_argument("--batch_size", type=int, default=8)
    parse.add_argument("--precision", choices=("float32", "mixed_bfloat16", "mixed_float16"), default="mixed_bfloat16")
    parse.add_argument("--norm", choices=("none", "layer"), help="(default: that of the default configuration)")
    parse.add_argument("--perceptual_weights", help=".npz or .h5 of VGG19; the term is off by default")
    parse.add_argument("--no_check", action="store_true", help="leave out STEP/check")
    flags = parse.parse_args(argv)
    if flags.output.exists():
        parse.error(f"--output={flags.output} exists already: give a new directory")
    settings = {name: value for name, value in vars(flags).items() if name not in ("output", "no_check")}
    export(flags.output, settings)
    if not flags.no_check:
        export(flags.output / "check", settings | CHECK_SETTINGS, check_steps=CHECK_STEPS)
    size = sum(p.stat().st_size for p in flags.output.rglob("*") if p.is_file())
    print(f"wrote {flags.output}: {size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
