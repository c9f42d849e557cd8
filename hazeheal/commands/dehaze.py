"""`hazeheal dehaze`: restores images and videos with a trained generator."""

import sys

from hazeheal.commands.parsing import MIRROR_HELP, MODEL_HELP, CommandParser, count, numbers
from hazeheal.errors import EXIT_ERROR, EXIT_OK, DataError, OutputError
from hazeheal.models import pretrained
from hazeheal.utils import quiet_import
from hazeheal.utils.console import one_line, progress_bar
from hazeheal.utils.signals import exit_on_sigterm

EPILOG = """\
examples:
  hazeheal dehaze hazy.jpg --output=restored
  hazeheal dehaze hazy.jpg --model=fast --output=restored
  hazeheal dehaze scans 'more/**/*.png' --model=runs/rice1 --output=restored --compare
  hazeheal dehaze film.mp4 --model=runs/rice1/group_00/checkpoints/ckpt-00001000 --output=restored

best and fast ship with HazeHeal; docs/model_card.md has their data, figures and limits.

Folders are taken with all below them, and keep their structure. Format, EXIF, color profile, alpha and 16 bits of a
PNG are kept (docs/inference.md). Results that exist already are left as they are, so that the same command goes on
where it was stopped.

exit codes: 0 done, 1 a file could not be restored (it is named; all others are), 2 bad usage
"""


def parser() -> CommandParser:
    parse = CommandParser(
        prog="hazeheal dehaze",
        description="Removes haze from images of any size, and from videos where ffmpeg is installed.",
        epilog=EPILOG,
    )
    parse.add_argument("inputs", metavar="INPUT", nargs="+", help="files, folders, globs in quotes")
    parse.add_argument("--model", default=pretrained.DEFAULT, metavar="MODEL", help=MODEL_HELP)
    parse.add_argument("--output", required=True, help="the folder of the results, made if it is missing")
    parse.add_argument("--which", default="best", help="of a run: best, newest, or a step (default: best)")
    parse.add_argument(
        "--tile_size",
        type=count,
        default=1024,
        help="larger images pass in overlapping tiles of at most this squared in pixels, or in strips; bounds the "
        "memory, and the larger the faster (default: 1024)",
    )
    parse.add_argument("--mirror", action="store_true", help=MIRROR_HELP)
    parse.add_argument(
        "--precision",
        choices=("float32", "auto"),
        default="float32",
        help="auto: bfloat16 or float16 where the device multiplies them fast (default: float32)",
    )
    parse.add_argument("--gpus", type=numbers, help="numbers of the GPUs to use, as in 0,1 (default: all)")
    parse.add_argument("--compare", action="store_true", help="write hazy | restored too, as NAME.compare.*")
    parse.add_argument("--overwrite", action="store_true", help="make results anew that exist already")
    return parse


def main(argv) -> int:
    """Runs the command; `argv` is what stands behind `hazeheal dehaze`.

    Raises:
        HazeHealError: What is wrong, which value, what to do; `hazeheal.__main__` prints it.
    """
    flags = parser().parse_args(argv)
    from hazeheal.inference import jobs as job_files

    found = job_files.find(flags.inputs, output=flags.output, compare=flags.compare)
    jobs = [job for job in found.jobs if flags.overwrite or not job.is_done]
    kept = len(found.jobs) - len(jobs)
    if found.others:
        print(f"{found.others} files are neither images nor videos by their names, and were left out")
    if kept:
        print(f"{kept} results are there already, and stay as they are; --overwrite makes them anew")
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
        outcome = restore_images(images, restorer, overwrite=flags.overwrite, done=lambda job: bar.update())
        for job in videos:
            restore_video(job, restorer, outcome, overwrite=flags.overwrite)
            bar.update()
    return report(outcome, restorer, flags)


def restore_video(job, restorer, outcome, *, overwrite):
    """Restores one video, with a bar of its own for the frames; notes in `outcome` what became of it."""
    from hazeheal.inference import video

    ffmpeg = video.find_ffmpeg()
    try:
        if ffmpeg is None:
            raise DataError(
                f"{job.source}: a video needs ffmpeg; install it, or pip install 'hazeheal[video]'"
            )
        stream = video.probe(job.source, ffmpeg=ffmpeg)
        with progress_bar(total=stream.frames, unit="frame", desc=job.source.name, leave=False) as bar:
            count, wrong = video.restore_video(
                job, restorer, ffmpeg=ffmpeg, overwrite=overwrite, advance=bar.update
            )
        if wrong:
            outcome.failed[job.source] = f"{job.source}: damaged; {count} frames could be restored ({wrong})"
        outcome.restored += 1
        outcome.tiled += len(restorer.plan(stream.height, stream.width).tiles) > 1
    except (DataError, OutputError) as error:
        outcome.failed[job.source] = str(error)


def report(outcome, restorer, flags) -> int:
    """Says what was done and what was not; returns the exit code."""
    print(f"{outcome.restored} restored, in {flags.output}")
    if outcome.tiled and not restorer.local:
        print(
            f"{outcome.tiled} {'was' if outcome.tiled == 1 else 'were'} larger than --tile_size={flags.tile_size} "
            "allows at once. This network uses averages over the whole image; each tile used its own, and a larger "
            "--tile_size comes closer to the result of the whole image: see docs/inference.md"
        )
    sys.stdout.flush()
    for reason in outcome.failed.values():
        print(f"hazeheal dehaze: error: {one_line(reason)}", file=sys.stderr)
    if outcome.failed:
        print(f"hazeheal dehaze: error: {len(outcome.failed)} could not be restored in full", file=sys.stderr)
        return EXIT_ERROR
    return EXIT_OK
