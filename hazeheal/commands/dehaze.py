"""Removes haze from images of any size, and from videos if ffmpeg is installed.

Examples:
  hazeheal dehaze hazy.jpg --output=restored
  hazeheal dehaze hazy.jpg --model=fast --output=restored
  hazeheal dehaze scans 'more/**/*.png' --model=runs/rice1 --output=restored --compare
  hazeheal dehaze scene.tif --bands=4,3,2 --white=10000 --output=restored
  hazeheal dehaze film.mp4 --model=runs/rice1/group_00/checkpoints/ckpt-00001000 --output=restored

The networks best and fast are included; docs/model_card.md lists their training data, scores and limits.

Folders are searched recursively, and the results keep their structure. Format, EXIF, color profile, alpha channel, the
16 bits of a PNG or TIFF and its other bands are preserved (docs/inference.md). A GeoTIFF of any size is restored window by
window (pip install 'hazeheal[geo]'). Existing results are skipped, so the same command resumes an interrupted one.

exit codes: 0 done, 1 a file could not be restored (each one is listed; all others are restored), 2 bad usage
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hazeheal.commands.parsing import (
    MODEL_HELP,
    CommandParser,
    add_model_flags,
    add_pixel_flags,
    command_parser,
    count,
    numbers,
)
from hazeheal.errors import EXIT_OK, DataError, HazeHealError, OutputError
from hazeheal.models import pretrained
from hazeheal.utils import quiet_import
from hazeheal.utils.console import one_line, progress_bar
from hazeheal.utils.signals import exit_on_sigterm

if TYPE_CHECKING:
    from hazeheal.data.images.pixel_options import PixelOptions
    from hazeheal.inference.jobs import Job
    from hazeheal.inference.pipeline import Outcome
    from hazeheal.inference.restorer import Restorer


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = command_parser("dehaze", __doc__)
    add = parse.add_argument_group("files").add_argument
    add("inputs", metavar="INPUT", nargs="+", help="files, folders, and globs in quotes")
    add("--output", metavar="DIR", required=True, help="folder of the results; created if it does not exist")
    add("--compare", action="store_true", help="also write hazy | restored as NAME.compare.*")
    add("--overwrite", action="store_true", help="replace existing results")
    add_model_flags(parse, default=pretrained.DEFAULT, help=MODEL_HELP)
    add_pixel_flags(parse)
    add = parse.add_argument_group("devices").add_argument
    add("--gpus", type=numbers, metavar="0,1", help="numbers of the GPUs to use (default: all)")
    precision_help = "auto: bfloat16 or float16 where the device computes faster with it (default: float32)"
    add("--precision", choices=("float32", "auto"), default="float32", help=precision_help)
    tile_help = "split larger images into tiles of NxN pixels; a larger N needs more memory (default: 1024)"
    add("--tile_size", type=count, default=1024, metavar="N", help=tile_help)
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal dehaze` with these arguments; returns the exit code or raises `HazeHealError`."""
    flags = parser().parse_args(argv)
    from hazeheal.data.images.plugins import describe_raw
    from hazeheal.inference.jobs import find_jobs, raw_files

    jobs, others = find_jobs(flags.inputs, output=flags.output, compare=flags.compare)
    missing = [job for job in jobs if flags.overwrite or not job.is_done]
    if raw := raw_files(flags.inputs):
        print(describe_raw(raw))
    if others:
        print(f"skipped {others} files whose names are neither of images nor of videos")
    if len(missing) < len(jobs):
        print(f"skipped {len(jobs) - len(missing)} results that exist already; --overwrite replaces them")
    if not missing:
        return EXIT_OK
    quiet_import.import_tensorflow()
    from hazeheal.data.images.pixel_options import PixelOptions
    from hazeheal.distributed.runtime import choose_runtime
    from hazeheal.inference.geotiff import is_scene
    from hazeheal.inference.load_model import open_model
    from hazeheal.inference.pipeline import restore_images
    from hazeheal.inference.restorer import Restorer

    runtime = choose_runtime(gpus=flags.gpus, precision=flags.precision, xla="off")
    model = open_model(flags.model, which=flags.which, precision=runtime.precision)
    restorer = Restorer(model, tile_size=flags.tile_size, devices=runtime.devices, mirror=flags.mirror)
    options = PixelOptions(white=flags.white, bands=flags.bands)
    videos = [job for job in missing if job.is_video]
    scenes = [job for job in missing if not job.is_video and is_scene(job.source)]
    images = [job for job in missing if job not in videos and job not in scenes]
    with exit_on_sigterm(), progress_bar(total=len(missing), unit="file") as bar:
        outcome = restore_images(images, restorer, options=options, overwrite=flags.overwrite, on_finished=bar.update)
        for job in scenes:
            restore_one_scene(job, restorer, options, outcome, overwrite=flags.overwrite)
            bar.update()
        for job in videos:
            restore_video(job, restorer, outcome, overwrite=flags.overwrite)
            bar.update()
    print(f"restored {outcome.restored} to {flags.output}")
    if outcome.tiled and not restorer.local:
        print(
            f"{outcome.tiled} of them in tiles (--tile_size={flags.tile_size}). This network uses averages over the whole "
            "image, which are computed from the tiles (docs/inference.md)"
        )
    sys.stdout.flush()
    for reason in outcome.failed.values():
        print(f"hazeheal dehaze: error: {one_line(reason)}", file=sys.stderr)
    if outcome.failed:
        raise HazeHealError(f"{len(outcome.failed)} could not be restored completely")
    return EXIT_OK


def restore_one_scene(
    job: "Job", restorer: "Restorer", options: "PixelOptions", outcome: "Outcome", *, overwrite: bool
) -> None:
    """Restores one GeoTIFF and adds the result to `outcome`; a progress bar counts the windows."""
    from hazeheal.inference.geotiff import restore_scene

    try:
        with progress_bar(total=1, unit="window", desc=job.source.name, leave=False) as bar:
            restore_scene(job, restorer, options, overwrite=overwrite, bar=bar)
        outcome.restored += 1
    except (DataError, OutputError) as error:
        outcome.failed[job.source] = str(error)


def restore_video(job: "Job", restorer: "Restorer", outcome: "Outcome", *, overwrite: bool) -> None:
    """Restores one video and adds the result to `outcome`; a progress bar counts the frames."""
    from hazeheal.inference import video

    ffmpeg = video.find_ffmpeg()
    try:
        if ffmpeg is None:
            raise DataError(f"{job.source} needs ffmpeg; install it, or pip install 'hazeheal[video]'")
        stream = video.probe(job.source, ffmpeg=ffmpeg)
        with progress_bar(total=stream.frames, unit="frame", desc=job.source.name, leave=False) as bar:
            frames, damage = video.restore_video(job, restorer, ffmpeg=ffmpeg, overwrite=overwrite, on_frame=bar.update)
        if damage:
            outcome.failed[job.source] = f"{job.source}: damaged; restored {frames} frames ({damage})"
        outcome.restored += 1
        outcome.tiled += len(restorer.plan(stream.height, stream.width).tiles) > 1
    except (DataError, OutputError) as error:
        outcome.failed[job.source] = str(error)
