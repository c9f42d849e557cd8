"""Removes haze from images of any size, and from videos (pip install 'hazeheal[video]').

Examples:
  hazeheal dehaze hazy.jpg --output=restored
  hazeheal dehaze hazy.jpg --model=fast --strength=0.8 --output=clear.png
  hazeheal dehaze scans 'more/**/*.png' --model=runs/rice1 --output=restored --compare
  hazeheal dehaze scene.tif --bands=4,3,2 --white=10000 --output=restored
  hazeheal dehaze film.mp4 --model=runs/rice1/group_00/checkpoints/ckpt-00001000 --output=restored

The networks best, fast and gan are included; docs/model_card.md lists their training data, scores and limits.

Folders are searched recursively, and the results keep their structure. Format, EXIF, color profile, alpha channel, the
16 bits of a PNG or TIFF and its other bands are preserved (docs/inference.md). A GeoTIFF of any size is restored window by
window (pip install 'hazeheal[geo]'). Existing results of the same model and options are skipped, so the same command
resumes an interrupted one; others are refused.

exit codes: 0 done, 1 a file could not be restored (each one is listed; all others are restored), 2 bad usage, or results of
other settings are in the way
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import hazeheal
from hazeheal.commands.parsing import (
    MODEL_HELP,
    CommandParser,
    add_model_flags,
    add_pixel_flags,
    command_parser,
    count,
    number,
    numbers,
)
from hazeheal.data.images.plugins import describe_raw
from hazeheal.errors import EXIT_OK, DataError, HazeHealError, UsageError
from hazeheal.inference.jobs import Naming, Outcome, find_jobs
from hazeheal.inference.locate_model import locate_model
from hazeheal.inference.results_record import ResultsRecord
from hazeheal.inference.strength import LARGEST
from hazeheal.models import pretrained
from hazeheal.utils import quiet_import
from hazeheal.utils.console import one_line, plural, progress_bar
from hazeheal.utils.signals import exit_on_sigterm

if TYPE_CHECKING:
    from hazeheal.data.images.pixel_options import PixelOptions
    from hazeheal.inference.jobs import Job
    from hazeheal.inference.restorer import Restorer
    from hazeheal.inference.video import VideoOptions


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = command_parser("dehaze", __doc__)
    add = parse.add_argument_group("files").add_argument
    add("inputs", metavar="INPUT", nargs="+", help="files, folders, and globs in quotes")
    add(
        "--output", metavar="DIR", required=True, help="folder of the results, which may be new; FILE.png for one input"
    )
    add("--suffix", default="", metavar="TEXT", help="add to the names of the results: a.jpg becomes aTEXT.jpg")
    add("--ext", default="", metavar="EXT", help="format of the results: png, jpg, tif, ...; mp4, mkv, ... for videos")
    quality_help = "quality of JPEG, WebP and AVIF, from 1 to 100 (default: 95)"
    add("--quality", type=number("a quality", int, 1, 100), metavar="Q", help=quality_help)
    add("--compare", action="store_true", help="also write hazy | restored as NAME.compare.*")
    add("--overwrite", action="store_true", help="replace existing results")
    add = add_model_flags(parse, default=pretrained.DEFAULT, help=MODEL_HELP)
    strength_help = "how much of the change to apply: 0 none, 1 what the network estimates, at most 1.5 (default: 1)"
    add("--strength", type=number("a strength", float, 0, LARGEST), default=1.0, metavar="S", help=strength_help)
    add_pixel_flags(parse)
    add = parse.add_argument_group("devices").add_argument
    add("--gpus", type=numbers, metavar="0,1", help="numbers of the GPUs to use (default: all)")
    precision_help = "auto: bfloat16 or float16 where the device computes faster with it (default: float32)"
    add("--precision", choices=("float32", "auto"), default="float32", help=precision_help)
    tile_help = "split larger images into tiles of NxN pixels; a larger N needs more memory (default: 1024)"
    add("--tile_size", type=count, default=1024, metavar="N", help=tile_help)
    add = parse.add_argument_group("videos").add_argument
    add("--codec", metavar="NAME", help="h264, hevc, vp9, av1, prores or ffv1 (default: h264, and vp9 in WebM)")
    crf_help = "quality; lower is better and larger (default: 17 for h264, 19 for hevc, 20 for vp9 and av1)"
    add("--crf", type=float, metavar="N", help=crf_help)
    add("--preset", metavar="NAME", help="speed against size, as the encoder names it (default: medium; 6 for av1)")
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal dehaze` with these arguments; returns the exit code or raises `HazeHealError`."""
    flags = parser().parse_args(argv)
    record = ResultsRecord(flags.output, _settings(flags))
    naming = Naming.of(suffix=flags.suffix, extension=flags.ext)
    found = find_jobs(flags.inputs, output=flags.output, compare=flags.compare, naming=naming, is_result=record.has)
    if found.is_file:
        record = None  # the folder has other files of the user
    missing = [job for job in found.jobs if flags.overwrite or not job.is_done]
    if not flags.overwrite:
        _check_existing([path for job in found.jobs for path in job.outputs], record)
    if found.raw:
        print(describe_raw(found.raw))
    if found.others:
        print(f"skipped {found.others} files whose names are neither of images nor of videos")
    if len(missing) < len(found.jobs):
        print(f"skipped {plural(len(found.jobs) - len(missing), 'existing result')}; use --overwrite to replace")
    outcome = Outcome()
    if missing:
        _restore(missing, flags, record, outcome)
    sys.stdout.flush()
    failures = [f"{folder} cannot be listed: {reason}" for folder, reason in found.unreadable.items()]
    failures += outcome.failed.values()
    for reason in failures:
        print(f"hazeheal dehaze: error: {one_line(reason)}", file=sys.stderr)
    if failures:
        raise HazeHealError(f"{len(failures)} could not be restored completely")
    return EXIT_OK


def _settings(flags):
    """What determines the results, by the names of the flags."""
    names = ("model", "mirror", "strength", "white", "bands", "quality", "precision", "codec", "crf", "preset")
    settings = {name: value for name in names if (value := getattr(flags, name)) is not None}
    weights = locate_model(flags.model, which=flags.which).identity
    return settings | {"weights": weights, "hazeheal": hazeheal.__version__}


def _check_existing(paths, record):
    existing = [path for path in paths if os.path.lexists(path)]
    if record is not None:
        record.check(existing)
    elif existing:
        raise UsageError(f"{existing[0]} exists; replace it with --overwrite, or name another --output")


def _restore(jobs, flags, record, outcome):
    """Restores the files of these jobs and adds the results to `outcome`."""
    encoding = video_options(flags, jobs)
    quiet_import.import_tensorflow()
    from hazeheal.data.images.pixel_options import PixelOptions
    from hazeheal.distributed.runtime import choose_runtime
    from hazeheal.inference.geotiff import is_scene
    from hazeheal.inference.load_model import open_model
    from hazeheal.inference.pipeline import restore_images
    from hazeheal.inference.restorer import Restorer

    runtime = choose_runtime(gpus=flags.gpus, precision=flags.precision, xla="off")
    model = open_model(flags.model, which=flags.which, precision=runtime.precision)
    settings = {"tile_size": flags.tile_size, "mirror": flags.mirror, "strength": flags.strength}
    restorer = Restorer(model, devices=runtime.devices, **settings)
    options = PixelOptions(white=flags.white, bands=flags.bands)
    videos, scenes, images = [], [], []
    for job in jobs:
        (videos if job.is_video else scenes if is_scene(job.source) else images).append(job)
    common = {"overwrite": flags.overwrite, "record": record}
    with exit_on_sigterm(), progress_bar(total=len(jobs), unit="file") as bar:
        restore_images(
            images, restorer, outcome, options=options, quality=flags.quality, on_finished=bar.update, **common
        )
        for job in scenes:
            restore_one_scene(job, restorer, options, outcome, **common)
            bar.update()
        for job in videos:
            restore_video(job, restorer, outcome, encoding, **common)
            bar.update()
    print(f"restored {outcome.restored} to {flags.output}")
    if outcome.tiled and not restorer.local:
        print(
            f"{outcome.tiled} of them in tiles (--tile_size={flags.tile_size}). This network uses averages over the whole "
            "image, which are computed from the tiles (docs/inference.md)"
        )


def restore_one_scene(
    job: "Job",
    restorer: "Restorer",
    options: "PixelOptions",
    outcome: Outcome,
    *,
    overwrite: bool,
    record: ResultsRecord | None,
) -> None:
    """Restores one GeoTIFF and adds the result to `outcome`; a progress bar counts the windows."""
    from hazeheal.inference.geotiff import restore_scene

    try:
        with progress_bar(total=1, unit="window", desc=job.source.name, leave=False) as bar:
            restore_scene(job, restorer, options, overwrite=overwrite, record=record, bar=bar)
        outcome.restored += 1
    except Exception as error:  # of a library, for a file that it does not expect: the others are restored
        outcome.fail(job, error)


def video_options(flags: argparse.Namespace, jobs: "Sequence[Job]") -> "VideoOptions":
    """Returns how videos are encoded.

    Raises:
        UsageError: The result of a job cannot be encoded so.
    """
    from hazeheal.inference import video

    options = video.VideoOptions(codec=flags.codec, crf=flags.crf, preset=flags.preset)
    with contextlib.suppress(DataError):  # PyAV is missing: a failure of each video, not of the images
        for suffix in {job.output.suffix.lower() for job in jobs if job.is_video}:
            video.choose_encoder(suffix, options)
    return options


def restore_video(
    job: "Job",
    restorer: "Restorer",
    outcome: Outcome,
    options: "VideoOptions",
    *,
    overwrite: bool,
    record: ResultsRecord | None,
) -> None:
    """Restores one video and adds the result to `outcome`; a progress bar counts the frames."""
    from hazeheal.inference import video

    try:
        with progress_bar(total=0, unit="frame", desc=job.source.name, leave=False) as bar:

            def count(frames):
                bar.total = frames
                bar.update()

            report = video.restore_video(
                job, restorer, options=options, overwrite=overwrite, record=record, on_frame=count
            )
        for note in report.notes:
            print(one_line(f"{job.source}: {note}"))
        if report.damage:
            outcome.fail(job, DataError(f"damaged; restored {report.frames} frames ({report.damage})"))
        outcome.restored += 1
        outcome.tiled += len(restorer.plan(report.height, report.width).tiles) > 1
    except Exception as error:
        outcome.fail(job, error)
