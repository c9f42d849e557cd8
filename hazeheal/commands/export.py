"""Writes a trained generator in formats that other programs load, or as weights, and checks each file.

Examples:
  hazeheal export --model=runs/mine --output=exports/mine
  hazeheal export --model=runs/mine --format=saved_model,keras,tflite,onnx --output=exports/mine
  hazeheal export --model=best --format=tflite --tflite_precision=float32,float16 --output=exports/phone
  hazeheal export --model=runs/mine --format=weights --output=mine.npz      a small file, for --model=mine.npz

All formats map uint8 RGB images [B, H, W, 3] of any size to restored ones; they include the scaling. The restored
images of each export are compared with those of the checkpoint before it is written; docs/export.md lists the
tolerances. onnx needs `pip install 'hazeheal[onnx]'`. weights are float16, for HazeHeal itself. --output also receives
export.json: configuration, step, PSNR, fingerprint of the data set, versions.

exit codes: 0 done, 1 error, or an export differs too much from its checkpoint (nothing is written), 2 bad usage
"""

import os
import pathlib
from collections.abc import Sequence

from hazeheal.commands.parsing import PRETRAINED, WHICH_HELP, CommandParser, choices, command_parser
from hazeheal.errors import EXIT_OK, HazeHealError, UsageError
from hazeheal.export.formats import FORMATS, PRECISIONS
from hazeheal.models.pretrained import SUFFIX
from hazeheal.utils import quiet_import

HOW_TO_LOAD = {
    "saved_model": "hazeheal dehaze --model={path}, tf.saved_model.load, or TensorFlow Serving",
    "keras": "import hazeheal.export.keras_layers, keras; keras.saving.load_model('{path}')",
    "tflite": "ai_edge_litert.interpreter.Interpreter('{path}'), resize_tensor_input for each size",
    "onnx": "onnxruntime.InferenceSession('{path}')",
    "weights": "hazeheal dehaze --model={path}, or DehazeGAN.from_pretrained('{path}')",
}


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = command_parser("export", __doc__)
    add = parse.add_argument_group("model").add_argument
    model_help = f"the directory of a run or of a checkpoint, an .npz weights file, {PRETRAINED}"
    add("--model", metavar="MODEL", required=True, help=model_help)
    add("--which", metavar="WHICH", help=WHICH_HELP)
    add = parse.add_argument_group("output").add_argument
    add("--output", metavar="DIR", required=True, help="a new directory; or FILE.npz, for --format=weights")
    format_help = f"one or more of {','.join(FORMATS)} (default: {FORMATS[0]})"
    add("--format", type=choices(FORMATS), default=FORMATS[:1], metavar="A,B", help=format_help)
    precision_help = f"type of the weights: one or more of {','.join(PRECISIONS)} (default: {PRECISIONS[0]})"
    add("--tflite_precision", type=choices(PRECISIONS), metavar="A,B", help=precision_help)
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal export` with these arguments; returns the exit code or raises `HazeHealError`."""
    flags = parser().parse_args(argv)
    output = pathlib.Path(flags.output).resolve()
    if flags.tflite_precision and "tflite" not in flags.format:
        raise UsageError("--tflite_precision needs --format=tflite")
    if not flags.output:
        raise UsageError("--output is empty; name a new directory")
    if os.path.lexists(output) and not (output.is_dir() and not any(output.iterdir())):
        raise UsageError(f"--output={flags.output!r} already exists; name a new directory")
    as_file = output.suffix == SUFFIX
    if as_file and flags.format != ("weights",):
        raise UsageError(f"--output={flags.output!r} is for --format=weights only; name a new directory")

    # On the CPU, which all runtimes that check the exports support.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault(quiet_import.LOG_LEVEL, "3")
    quiet_import.import_tensorflow()
    from hazeheal.export import exporter, formats
    from hazeheal.inference.gan import DehazeGAN
    from hazeheal.inference.load_model import open_model

    targets = formats.targets(flags.format, tflite_precision=flags.tflite_precision or PRECISIONS[:1])
    gan = open_model(flags.model, which=flags.which)
    if not isinstance(gan, DehazeGAN):
        raise HazeHealError(f"{flags.model} is an export, which cannot be exported; name the run it is from")
    count = len(exporter.check.sizes(gan.config.model.view_size))
    print(f"{gan.checkpoint}: largest differences from it over {count} image sizes")
    if as_file:
        exporter.export_file(gan, *targets, output)
    else:
        exporter.export(gan, targets, output)
    print(f"wrote {flags.output}; to load:")
    for target in targets:
        path = pathlib.Path(flags.output, "" if as_file else target.file)
        print(f"  {HOW_TO_LOAD[target.format].format(path=path)}")
    return EXIT_OK
