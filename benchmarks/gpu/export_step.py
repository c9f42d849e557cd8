"""Exports the training step as HLO, for a machine with JAX but without TensorFlow.

    python benchmarks/gpu/export_step.py --output=STEP [--width=64 --crop_size=256 --batch_size=8]
        [--precision=mixed_bfloat16] [--perceptual_weights=vgg19.npz]

STEP/ contains the two functions that one replica runs (hazeheal/training/step):

    forward.hlo      the forward and backward passes
    update.hlo       the update
    state.npz        every variable at the start, and a batch of images
    step.json        the variable of each parameter and output, and the losses of the first steps
    reference.npz    a small step for `benchmarks/peers/pytorch_equality.py`

The reference losses are computed in float32 with a batch of the few distinct pairs that the exported batch repeats. Losses and
gradients are means over the batch, so repeating its pairs does not change them.
"""

import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks import reference_step
from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.models import ops
from hazeheal.models.networks import build_networks
from hazeheal.training.step.forward_backward import LOSSES, make_forward_backward
from hazeheal.training.step.train_state import TrainState
from hazeheal.training.step.update import make_update

PAIRS = 2  # distinct pairs in a batch
STEPS = 3  # steps whose losses are compared


class Step:
    """The two functions of one replica, and the names of their inputs and outputs.

    Args:
        config: The configuration, with the batch size to export.
        precision: Keras dtype policy.
    """

    def __init__(self, config, *, precision):
        ops.target_is_cpu = False  # traced on a CPU for a GPU
        networks = build_networks(config, precision=precision)
        self.state = TrainState(networks, use_ema=True)
        scaled = precision == "mixed_float16"
        self.forward = tf.function(
            make_forward_backward(networks, config=config, scaled=scaled), jit_compile=True, autograph=False
        )
        self.update = tf.function(
            make_update(self.state, replica=0, config=config, scaled=scaled, total_steps=10**6, warmup_steps=0),
            jit_compile=True,
            autograph=False,
        )
        self.share = 1.0 / config.train.batch_size
        # Frozen weights are not saved and have no name in the state.
        self.variables = self.state.variables | {f"frozen/{i}": v for i, v in enumerate(self.state.frozen)}
        self.names = {id(v): name for name, v in self.variables.items()}

    def forward_groups(self):
        """The variables that are inputs of the forward pass: (groups, scalars)."""
        state = self.state
        trainable = state.trainable
        groups = [trainable["generator"], trainable["discriminator"], state.vectors, state.frozen]
        return groups, [state.loss_scale]

    def arguments(self, hazy, clear):
        groups, scalars = self.forward_groups()
        tensors = [[v.read_value() for v in group] for group in groups]
        return [*tensors, *(v.read_value() for v in scalars), hazy, clear, self.share]

    def update_arguments(self, outputs):
        return outputs["gradients"], outputs["sums"], outputs["vectors"]

    def run(self, hazy, clear, steps):
        """Trains `steps` steps on one batch without XLA; returns the losses, [steps, 5] float32."""
        forward, update = (tf.function(f.python_function, autograph=False) for f in (self.forward, self.update))
        rows = []
        for _ in range(steps):
            outputs = forward(*self.arguments(tf.constant(hazy), tf.constant(clear)))
            rows.append(update(*self.update_arguments(outputs)).numpy()[: len(LOSSES)])
        return np.stack(rows)

    def export(self, folder, hazy, clear):
        """Writes both functions to `folder`; returns the names of their parameters and outputs."""
        arguments = self.arguments(tf.constant(hazy), tf.constant(clear))
        (folder / "forward.hlo").write_bytes(hlo(self.forward, arguments))
        concrete = self.forward.get_concrete_function(*arguments)
        if concrete.captured_inputs:
            raise ValueError(f"the forward pass is not pure: it captures {concrete.captured_inputs}")
        groups, scalars = self.forward_groups()
        parameters = [self.names[id(v)] for group in [*groups, scalars] for v in group]
        outputs = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), concrete.structured_outputs)
        output_names = [f"output/{i}" for i in range(len(tf.nest.flatten(outputs)))]
        by_key = tf.nest.pack_sequence_as(outputs, output_names)

        arguments = self.update_arguments(outputs)
        (folder / "update.hlo").write_bytes(hlo(self.update, arguments))
        concrete = self.update.get_concrete_function(*arguments)
        handles = {id(v.handle): name for name, v in self.variables.items()}
        captured = [handles[id(handle)] for handle in concrete.captured_inputs]
        written = written_names(concrete, captured)
        return {
            "forward": {"parameters": [*parameters, "hazy", "clear"], "outputs": output_names},
            "update": {
                "parameters": [*tf.nest.flatten(self.update_arguments(by_key)), *captured],
                "outputs": ["metrics", *written],
            },
        }


def hlo(function, arguments):
    """Returns the function as a serialized HloModuleProto, before optimization for a device."""
    return function.experimental_get_compiler_ir(*arguments)(stage="hlo_serialized")


WRITING_OPS = {"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "ResourceApplyAdam"}


def written_names(concrete, captured):
    """Returns the names in `captured` of the variables that a graph writes, in order.

    XLA returns their new values in this order after the results of the function. A variable that is written in a branch
    is an input of the `If` operation and of the branch's function.
    """
    library = {f.signature.name: f for f in concrete.graph.as_graph_def().library.function}

    def written(nodes, inputs):
        """The subset of the names `inputs` that `nodes` write."""
        result = set()
        for node in nodes:
            names = [name.split(":")[0] for name in node.input if not name.startswith("^")]
            if node.op in WRITING_OPS:
                # The first three inputs of Adam are the variable and its slots.
                result.update(names[: 3 if node.op == "ResourceApplyAdam" else 1])
            called = [node.attr[key].func.name for key in ("then_branch", "else_branch", "f")]
            for name in filter(None, called):
                function = library[name]
                parameters = [arg.name for arg in function.signature.input_arg]
                passed = names[1:] if node.op in ("If", "StatelessIf") else names
                inside = written(function.node_def, set(parameters))
                result.update(p for p, q in zip(passed, parameters, strict=True) if q in inside)
        return result & inputs

    placeholders = [tensor.op.name for tensor in concrete.graph.internal_captures]
    names_written = written(concrete.graph.as_graph_def().node, set(placeholders))
    return [name for name, node in zip(captured, placeholders, strict=True) if node in names_written]


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--output", required=True, type=pathlib.Path, help="new directory")
    parse.add_argument("--width", type=int, default=64)
    parse.add_argument("--crop_size", type=int, default=256)
    parse.add_argument("--batch_size", type=int, default=8)
    parse.add_argument("--precision", choices=("float32", "mixed_bfloat16", "mixed_float16"), default="mixed_bfloat16")
    parse.add_argument("--perceptual_weights", help=".npz or .h5 of VGG19; the term is off by default")
    flags = parse.parse_args(argv)
    if flags.batch_size % PAIRS:
        parse.error(f"--batch_size={flags.batch_size} must be a multiple of {PAIRS}")
    flags.output.mkdir(parents=True)
    pairs = [synthetic_pairs.make_pair(i, size=flags.crop_size) for i in range(PAIRS)]
    hazy, clear = (np.stack(side) for side in zip(*pairs, strict=True))

    def settings(batch_size):
        return reference_step.settings(
            width=flags.width,
            crop_size=flags.crop_size,
            perceptual_weights=flags.perceptual_weights,
            batch_size=batch_size,
        )

    reference = Step(settings(PAIRS), precision="float32").run(hazy, clear, STEPS)
    step = Step(settings(flags.batch_size), precision=flags.precision)
    values = {name: v.numpy() for name, v in step.variables.items()}
    hazy, clear = (np.tile(side, [flags.batch_size // PAIRS, 1, 1, 1]) for side in (hazy, clear))
    names = step.export(flags.output, hazy, clear)
    np.savez(flags.output / "state.npz", hazy=hazy, clear=clear, **values)
    small = reference_step.settings(width=16, crop_size=64, perceptual_weights=flags.perceptual_weights)
    np.savez(flags.output / "reference.npz", **reference_step.record(small))
    step_settings = {k: v for k, v in vars(flags).items() if k not in ("output", "perceptual_weights")}
    step_settings |= {"perceptual": bool(flags.perceptual_weights), "tensorflow": tf.__version__}
    names |= {"settings": step_settings, "losses": dict(zip(LOSSES, reference.T.tolist(), strict=True))}
    (flags.output / "step.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {flags.output}: {', '.join(sorted(p.name for p in flags.output.iterdir()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
