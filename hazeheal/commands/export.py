"""`hazeheal export`: a trained generator as a SavedModel, a .keras file, TensorFlow Lite, ONNX, or a file of weights."""

import argparse
import os
import pathlib

from hazeheal.commands.parsing import CommandParser
from hazeheal.errors import EXIT_OK, HazeHealError, UsageError
from hazeheal.export.formats import FORMATS, PRECISIONS
from hazeheal.models.pretrained import SUFFIX
from hazeheal.utils import quiet_import

EPILOG = """\
examples:
  hazeheal export --model=runs/mine --output=exports/mine
  hazeheal export --model=runs/mine --format=saved_model,keras,tflite,onnx --output=exports/mine
  hazeheal export --model=best --format=tflite --tflite_precision=float32,float16 --output=exports/phone
  hazeheal export --model=runs/mine --format=weights --output=mine.npz      a small file, for --model=mine.npz

All take and give uint8 RGB images, [B, H, W, 3] of any size; the scaling is inside. Each is compared with the
checkpoint before it is kept; docs/export.md has the tolerances and how to load each. onnx needs
`pip install 'hazeheal[onnx]'`. weights are float16, for HazeHeal itself. --output gets export.json too: config, step, PSNR, data fingerprint, versions.

exit codes: 0 done, 1 error (an export too far from its checkpoint is one; nothing was written), 2 bad usage
"""
HOW_TO_LOAD = {
    "saved_model": "hazeheal dehaze --model={path}, tf.saved_model.load, or TensorFlow Serving",
    "keras": "import keras, hazeheal.export.keras_layers; keras.saving.load_model('{path}')",
    "tflite": "ai_edge_litert.interpreter.Interpreter('{path}'), resize_tensor_input for each size",
    "onnx": "onnxruntime.InferenceSession('{path}')",
    "weights": "hazeheal dehaze --model={path}, or DehazeGAN.from_pretrained('{path}')",
}


def parser() -> CommandParser:
    parse = CommandParser(
        prog="hazeheal export",
        description="Writes a trained generator in formats that other programs load, or as weights, and checks each.",
        epilog=EPILOG,
    )
    add = parse.add_argument
    add(
        "--model",
        metavar="RUN",
        required=True,
        help="a run's directory, one checkpoint's, fast, best, or an .npz",
    )
    add("--which", default="best", help="of a run: best, newest, or a step (default: best)")
    text = f"one or more of {','.join(FORMATS)} (default: {FORMATS[0]})"
    add("--format", dest="formats", metavar="LIST", type=_list_of(FORMATS), default=FORMATS[:1], help=text)
    text = "of the weights in a file each: float32,float16 or one of them (default: float32)"
    add("--tflite_precision", metavar="LIST", type=_list_of(PRECISIONS), help=text)
    add(
        "--output",
        metavar="DIR",
        required=True,
        help="a new directory for all of them, or FILE.npz for weights alone",
    )
    return parse


def main(argv) -> int:
    """Runs the command; `argv` is what stands behind `hazeheal export`.

    Raises:
        HazeHealError: What is wrong, which value, what to do; `hazeheal.__main__` prints it.
    """
    flags = parser().parse_args(argv)
    output = pathlib.Path(flags.output).resolve()
    if flags.tflite_precision and "tflite" not in flags.formats:
        raise UsageError("--tflite_precision has no meaning without --format=tflite")
    if not flags.output or (os.path.lexists(output) and not (output.is_dir() and not any(output.iterdir()))):
        raise UsageError(f"--output={flags.output!r} is there already; name a new directory")
    as_file = output.suffix == SUFFIX
    if as_file and flags.formats != ("weights",):
        raise UsageError(
            f"--output={flags.output!r} is a name for --format=weights alone; name a new directory"
        )

    # The processor does it well, and all runtimes that the exports are checked in have it.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault(quiet_import.LOG_LEVEL, "3")
    quiet_import.import_tensorflow()
    from hazeheal.export import exporter, formats
    from hazeheal.inference.load_model import ExportedModel, open_model

    targets = formats.targets(flags.formats, tflite_precision=flags.tflite_precision or PRECISIONS[:1])
    gan = open_model(flags.model, which=flags.which)
    if isinstance(gan, ExportedModel):
        raise HazeHealError(
            f"{flags.model} is a SavedModel, which is not exported again; name the run it was made of"
        )
    print(f"{gan.checkpoint}: largest differences from it over {len(exporter.check.SIZES)} sizes of images")
    if as_file:
        exporter.export_file(gan, *targets, output)
    else:
        exporter.export(gan, targets, output)
    print(f"wrote {flags.output}; to load:")
    for target in targets:
        path = pathlib.Path(flags.output, "" if as_file else target.file)
        print(f"  {HOW_TO_LOAD[target.format].format(path=path)}")
    return EXIT_OK


def _list_of(known):
    def parse(text):
        given = tuple(text.split(","))
        for name in given:
            if name not in known or given.count(name) > 1:
                raise argparse.ArgumentTypeError(f"{text!r} is not one or more of {','.join(known)}")
        return given

    return parse
