"""Writes everything that `first_minutes.py` needs on a GPU machine to one directory of a few MiB.

    python benchmarks/gpu/prepare.py --output=KIT --perceptual_weights=vgg19.npz [--norm=layer]

Needs TensorFlow and no GPU. KIT/ contains the steps for each batch size, a small step with the losses that TensorFlow computes,
two depthwise convolutions, and the scripts. The GPU machine needs only jax, torch and numpy:

    cd KIT && python benchmarks/gpu/first_minutes.py
"""

import argparse
import json
import os
import pathlib
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu import export_step  # noqa: E402
from hazeheal.models import ops  # noqa: E402

MAX_MIB = 40  # of the whole kit
GPU_SCRIPTS = (
    "first_minutes",
    "report",
    "workers",
    "timed_step",
    "start_values",
    "hlo",
    "hlo_text",
    "kernels",
    "jax_step",
    "run_jax",
    "run_peer",
    "run_device",
)
SCRIPTS = (
    *(f"gpu/{name}.py" for name in GPU_SCRIPTS),
    *(f"peers/pytorch_{name}.py" for name in ("networks", "step", "equality")),
    "gpu/requirements.txt",
    "rounds.py",
)


def export_depthwise(folder, *, width, crop_size):
    """Exports the first and the last depthwise convolution of the generator, forward and backward, in two forms."""
    folder.mkdir()
    first, last = [8, crop_size, crop_size, 2 * width], [8, crop_size // 32, crop_size // 32, 32 * width]
    cases = []
    for strides, shape in ((2, first), (1, last)):
        outputs = [shape[0], shape[1] // strides, shape[2] // strides, shape[3]]
        arguments = [tf.zeros(s, tf.bfloat16) for s in (shape, [3, 3, shape[3], 1], outputs)]
        case = {"strides": strides, "files": {}}
        for form in ("library", "shifted"):
            compiled = export_step.Compiled(depthwise(form, strides), arguments)
            name = f"depthwise_{len(cases)}_{form}.hlo"
            (folder / name).write_bytes(compiled.hlo)
            case |= compiled.describe(["x", "kernel", "upstream"], ["output", "to_x", "to_kernel"])
            case["files"][form] = name
        cases.append(case)
    (folder / "depthwise.json").write_text(json.dumps(cases) + "\n", encoding="utf-8")


def depthwise(form, strides):
    """Returns a function (x, kernel, upstream) -> (output, gradient of x, gradient of the kernel)."""

    def run(x, kernel, upstream):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            if form == "library":
                output = tf.nn.depthwise_conv2d(x, kernel, [1, strides, strides, 1], "SAME")
            else:
                output = ops.depthwise(x, kernel, strides=strides)
        return output, *tape.gradient(output, [x, kernel], upstream)

    return run


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--output", required=True, type=pathlib.Path, metavar="KIT", help="new directory")
    parse.add_argument("--width", type=int, default=64)
    parse.add_argument("--crop_size", type=int, default=256)
    parse.add_argument("--batch_sizes", type=int, nargs="+", default=[8, 16, 32, 64])
    parse.add_argument("--precision", choices=("float32", "mixed_bfloat16", "mixed_float16"), default="mixed_bfloat16")
    parse.add_argument("--norm", choices=("none", "layer"), help="(default: that of the default configuration)")
    parse.add_argument("--perceptual_weights", help=".npz or .h5 of VGG19; the term is off by default")
    flags = parse.parse_args(argv)
    if flags.output.exists():
        parse.error(f"--output={flags.output} exists already: give a new directory")
    steps = flags.output / "steps"
    names = ("width", "crop_size", "precision", "norm", "perceptual_weights")
    settings = {name: getattr(flags, name) for name in names}
    for batch_size in flags.batch_sizes:
        export_step.export(steps / f"batch_{batch_size}", settings | {"batch_size": batch_size})
    export_step.export(steps / "check", settings | export_step.CHECK_SETTINGS, check_steps=export_step.CHECK_STEPS)
    with ops.fused_forms():
        export_depthwise(steps / "depthwise", width=flags.width, crop_size=flags.crop_size)
    for name in SCRIPTS:
        target = flags.output / "benchmarks" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / "benchmarks" / name, target)
    size = sum(path.stat().st_size for path in flags.output.rglob("*") if path.is_file()) / 2**20
    if size > MAX_MIB:
        raise SystemExit(f"{flags.output} has {size:.0f} MiB, more than {MAX_MIB}: give fewer --batch_sizes")
    print(f"wrote {flags.output}: {size:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
