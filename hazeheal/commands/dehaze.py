"""`hazeheal dehaze`: restores images and videos with a trained generator."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hazeheal.commands.parsing import MIRROR_HELP, MODEL_HELP, WHICH_HELP, CommandParser, count, numbers
from hazeheal.errors import EXIT_ERROR, EXIT_OK, DataError, OutputError
from hazeheal.models import pretrained
from hazeheal.utils import quiet_import
from hazeheal.utils.console import one_line, progress_bar
from hazeheal.utils.signals import exit_on_sigterm

if TYPE_CHECKING:
    from hazeheal.inference.jobs import Job
    from hazeheal.inference.pipeline import Outcome
    from hazeheal.inference.restorer import Restorer

EPILOG = """\
examples:
  hazeheal dehaze hazy.jpg --output=restored
  hazeheal dehaze hazy.jpg --model=fast --output=restored
  hazeheal dehaze scans 'more/**/*.png' --model=runs/rice1 --output=restored --compare
  hazeheal dehaze film.mp4 --model=runs/rice1/group_00/checkpoints/ckpt-00001000 --output=restored

The networks best and fast are included; docs/model_card.md lists their training data, scores and limits.

Folders are searched recursively, and the results keep their structure. Format, EXIF, color profile, alpha channel and
the 16 bits of a PNG are preserved (docs/inference.md). Existing results are skipped, so the same command resumes an
interrupted one.

exit codes: 0 done, 1 a file could not be restored (each one is listed; all others are restored), 2 bad usage
"""


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = CommandParser(
        prog="hazeheal dehaze",
        description="Removes haze from images of any size, and from videos if ffmpeg is installed.",
        epilog=EPILOG,
    )
    add = parse.add_argument_group("files").add_argument
    add("inputs", metavar="INPUT", nargs="+", help="files, folders, and globs in quotes")
    add("--output", metavar="DIR", required=True, help="folder of the results; created if it does not exist")
    add("--compare", action="store_true", help="also write hazy | restored as NAME.compare.*")
    add("--overwrite", action="store_true", help="replace existing results")
    add = parse.add_argument_group("model").add_argument
    add("--model", default=pretrained.DEFAULT, metavar="MODEL", help=MODEL_HELP)
    add("--which", default="best", metavar="WHICH", help=WHICH_HELP)
    add("--mirror", action="store_true", help=MIRROR_HELP)
    add = parse.add_argument_group("devices").add_argument
    add("--gpus", type=numbers, metavar="0,1", help="numbers of the GPUs to use (default: all)")
    add(
        "--precision",
        choices=("float32", "auto"),
        default="float32",
        help="auto: bfloat16 or float16 where the device computes faster with it (default: float32)",
    )
    add(
        "--tile_size",
        type=count,
        default=1024,
        metavar="N",
        help="split larger images into overlapping tiles of at most NxN pixels, or into strips; a larger N is faster and "
        "needs more memory (default: 1024)",
    )
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal dehaze` with these arguments; returns the exit code or raises `HazeHealError`."""
    flags = parser().parse_args(argv)
    from hazeheal.inference.jobs import find_jobs

    found, others = find_jobs(flags.inputs, output=flags.output, compare=flags.compare)
    jobs = [job for job in found if flags.overwrite or not job.is_done]
    existing = len(found) - len(jobs)
    if others:
        print(f"skipped {others} files whose names are neither of images nor of videos")
    if existing:
        print(f"skipped {existing} results that exist already; --overwrite replaces them")
    if not jobs:
        return EXIT_OK
    quiet_import.import_tensorflow()
    from hazeheal.distributed.runtime import choose_runtime
    from hazeheal.inference.load_model import open_model
    from hazeheal.inference.pipeline import restore_images
    from hazeheal.inference.restorer import Restorer

    runtime = choose_runtime(gpus=flags.gpus, precision=flags.precision, xla="off")
    model = open_model(flags.model, which=flags.which, precision=runtime.precision)
    restorer = Restorer(model, tile_size=flags.tile_size, devices=runtime.devices, mirror=flags.mirror)
    images, videos = ([job for job in jobs if job.is_video == kind] for kind in (False, True))
    with exit_on_sigterm(), progress_bar(total=len(jobs), unit="file") as bar:
        outcome = restore_images(images, restorer, overwrite=flags.overwrite, on_finished=bar.update)
        for job in videos:
            restore_video(job, restorer, outcome, overwrite=flags.overwrite)
            bar.update()
    return report(outcome, restorer, flags)


def restore_video(job: "Job", restorer: "Restorer", outcome: "Outcome", *, overwrite: bool) -> None:
    """Restores one video and adds the result to `outcome`; a progress bar counts the frames."""
    from hazeheal.inference import video

    ffmpeg = video.find_ffmpeg()
    try:
        if ffmpeg is None:
            raise DataError(
                f"{job.source}: a video needs ffmpeg; install it, or pip install 'hazeheal[video]'"
            )
        stream = video.probe(job.source, ffmpeg=ffmpeg)
        with progress_bar(total=stream.frames, unit="frame", desc=job.source.name, leave=False) as bar:
            frames, damage = video.restore_video(
                job, restorer, ffmpeg=ffmpeg, overwrite=overwrite, on_frame=bar.update
            )
        if damage:
            outcome.failed[job.source] = f"{job.source}: damaged; restored {frames} frames ({damage})"
        outcome.restored += 1
        outcome.tiled += len(restorer.plan(stream.height, stream.width).tiles) > 1
    except (DataError, OutputError) as error:
        outcome.failed[job.source] = str(error)


def report(outcome: "Outcome", restorer: "Restorer", flags: argparse.Namespace) -> int:
    """Prints what was restored and what failed; returns the exit code."""
    print(f"restored {outcome.restored} to {flags.output}")
    if outcome.tiled and not restorer.local:
        print(
            f"{outcome.tiled} {'was' if outcome.tiled == 1 else 'were'} restored in tiles (--tile_size={flags.tile_size}). "
            "This network uses averages over the whole image, and each tile used its own; a larger --tile_size comes "
            "closer to the result of the whole image (docs/inference.md)"
        )
    sys.stdout.flush()
    for reason in outcome.failed.values():
        print(f"hazeheal dehaze: error: {one_line(reason)}", file=sys.stderr)
    if outcome.failed:
        print(
            f"hazeheal dehaze: error: {len(outcome.failed)} could not be restored completely", file=sys.stderr
        )
        return EXIT_ERROR
    return EXIT_OK
