"""Scores restored images against clear ones: PSNR and SSIM in RGB and on Y, and CIEDE2000.

The scores of the hazy input and of the dark channel prior (He et al.) are printed beside them. Without clear images,
--no_reference compares the methods by figures of the images alone (docs/evaluation.md says what they can show).

Examples:
  hazeheal evaluate --hazy_dir=D/hazy --gt_dir=D/GT      the included network best
  hazeheal evaluate --model=runs/mine --data_dir=records/rice1 --output=scores/mine
  hazeheal evaluate --model=runs/a --model=fast --hazy_dir=D/hazy --gt_dir=D/GT --output=scores/a_fast
  hazeheal evaluate --pairs=D/pairs.csv --output=scores/best --save_images
  hazeheal evaluate --model=runs/mine --data_dir=records/rice1 --lpips
  hazeheal evaluate --hazy_dir=photos --no_reference --output=scores/photos --save_images
  hazeheal evaluate --no_model --hazy_dir=D/hazy --gt_dir=D/GT      only the input and the dark channel prior

--output receives scores.csv (one row per image), summary.json (means, protocol, versions) and report.html (images to
compare with a slider, and with --save_images at full resolution side by side).

exit codes: 0 done, 1 error, 2 bad usage, 130 stopped by SIGINT (no scores are written)
"""

import argparse
import json
import os
import pathlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hazeheal.commands.parsing import (
    MODEL_HELP,
    CommandParser,
    add_model_flags,
    add_pixel_flags,
    command_parser,
    count,
    name_runs,
    natural,
    numbers,
)
from hazeheal.data.images.pixel_options import PixelOptions
from hazeheal.errors import EXIT_OK, UsageError
from hazeheal.evaluation import dark_channel, html_report, pairs, pictures, results
from hazeheal.metrics import lpips
from hazeheal.models import pretrained
from hazeheal.utils import quiet_import
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.console import one_line, plural, progress_bar
from hazeheal.utils.versions import installed_versions

if TYPE_CHECKING:
    from hazeheal.distributed.runtime import Runtime

FILES = ("scores.csv", "summary.json", "report.html")
RESERVED = (results.INPUT, "dark_channel", results.CLEAR)
# The flags that belong to each source of images.
FLAGS_OF_SOURCES = {
    "data_dir": {"split"},
    "pairs": {"hazy_dir", "gt_dir", "split", "size_mismatch", "white", "bands", "color"},
    "hazy_dir": {"gt_dir", "pairing", "allow_orphans", "size_mismatch", "white", "bands", "color"},
    "no_reference": {"hazy_dir", "white", "bands", "color"},
}


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = command_parser("evaluate", __doc__)
    sources = "Give --data_dir, or --pairs, or --hazy_dir and --gt_dir, or --hazy_dir and --no_reference."
    add = parse.add_argument_group("data", sources).add_argument
    add("--data_dir", metavar="DIR", help="data set of `hazeheal-tfrecords convert`")
    add("--hazy_dir", metavar="DIR", help="folder of hazy images")
    add("--gt_dir", metavar="DIR", help="folder of clear images; may be the same folder")
    pairs_help = (
        "CSV file that lists the pairs, as for `hazeheal-tfrecords convert --pairs`; its names are relative to its "
        "folder, or to --hazy_dir and --gt_dir"
    )
    add("--pairs", metavar="FILE", help=pairs_help)
    add("--no_reference", action="store_true", help="the images of --hazy_dir have no clear images")
    split_help = "split of --data_dir, or of a --pairs file with the column split: val, train or test (default: val)"
    add("--split", help=split_help)
    add("--pairing", metavar="RULE", help="rule of `hazeheal-tfrecords convert --pairing` (default: auto)")
    size_help = "error: stop if sizes differ; center_crop: crop both to the common size (default: error)"
    add("--size_mismatch", choices=("error", "center_crop"), help=size_help)
    add("--allow_orphans", action="store_true", help="skip images without a partner")
    add("--limit", type=count, metavar="N", help="use only the first N pairs by key")
    add_pixel_flags(parse, color=True)
    add_model_flags(parse, action="append", default=[], help=f"{MODEL_HELP}; may be repeated")
    add = parse.add_argument_group("devices").add_argument
    add("--gpus", type=numbers, metavar="0,1", help="numbers of the GPUs to use (default: all)")
    tile_help = "split larger images into tiles of NxN pixels; a larger N needs more memory (default: 1024)"
    add("--tile_size", type=count, default=1024, metavar="N", help=tile_help)
    add = parse.add_argument_group("scores").add_argument
    add("--no_model", action="store_true", help="score only the hazy input and the dark channel prior")
    add("--no_baseline", action="store_true", help="omit the dark channel prior")
    lpips_help = "also compute LPIPS with this backbone, or with alex; needs pip install 'hazeheal[lpips]'"
    add("--lpips", nargs="?", const="alex", choices=tuple(lpips.MIN_SIDE), help=lpips_help)
    add("--lpips_weights", nargs="?", const="", help=argparse.SUPPRESS)  # removed; `_check` refuses it
    add = parse.add_argument_group("output").add_argument
    add("--output", metavar="DIR", help="folder for the results; without it they are only printed")
    add("--overwrite", action="store_true", help="replace the results of an earlier evaluation in --output")
    save_help = (
        "also write the images of every method as --output/images/METHOD/KEY.png; the report shows them at 100 %%"
    )
    add("--save_images", action="store_true", help=save_help)
    report_help = "number of images in the report, the worst (default: 100)"
    add("--report_pictures", type=natural, default=100, metavar="N", help=report_help)
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal evaluate` with these arguments; returns the exit code or raises `HazeHealError`."""
    flags = parser().parse_args(argv)
    _check(flags)
    names = name_runs([] if flags.no_model else flags.model or [pretrained.DEFAULT], taken=RESERVED)
    source = _find_pairs(flags)
    for pair in source.pairs:
        if flags.save_images:
            pictures.check_key(pair.key)
            _check_is_input(pair, source.description, flags.output)
        if flags.lpips:
            lpips.check_size(pair.size, flags.lpips, name=pair.key)

    quiet_import.import_tensorflow()
    from hazeheal.distributed.runtime import choose_runtime
    from hazeheal.evaluation import evaluate, no_reference, scores  # import TensorFlow

    runtime = choose_runtime(gpus=flags.gpus, precision="float32", xla="off")
    protocol, extra_metrics = dict(scores.PROTOCOL if source.has_clear else no_reference.PROTOCOL), {}
    if flags.lpips:
        protocol["lpips"] = lpips.PROTOCOL.format(backbone=flags.lpips)
        extra_metrics["lpips"] = lpips.Lpips(flags.lpips)
    if flags.output:  # before an evaluation of hours
        pathlib.Path(flags.output).mkdir(parents=True, exist_ok=True)
    methods = {results.INPUT: evaluate.unchanged}
    methods |= {} if flags.no_baseline else {"dark_channel": dark_channel.restore}
    models = {}
    for name, run in names.items():
        methods[name], models[name] = _load(run, flags, runtime)
    judged = next(iter(names), [*methods][-1])  # the first model, or else the strongest baseline

    in_report = flags.report_pictures if flags.output else 0
    gallery, rows = html_report.Gallery(by=judged, size=in_report), []
    folder = flags.output if flags.save_images else None
    kept = pictures.Pictures(methods, small=in_report > 0, folder=folder, overwrite=flags.overwrite)
    noun = "pair" if source.has_clear else "image"
    with progress_bar(total=len(source.pairs), desc="scoring", unit=f" {noun}s", leave=False) as bar:
        for row, found in evaluate.evaluate(source.pairs, methods, extra_metrics=extra_metrics, keep=kept.keep):
            rows.append(row)
            gallery.add(row, found)
            bar.update()
    summary = results.summarize(rows)
    compared = {name: results.compare(rows, name, against=judged) for name in [*names][1:]}
    lines = [results.comparison_line(name, judged, gain, count=len(rows)) for name, gain in compared.items()]
    note = "" if source.has_clear else no_reference.NOTE
    table = results.table(summary, count=len(rows))
    print(
        "\n".join([f"{plural(len(rows), noun)} of {one_line(source.title)}", table, *lines, *([note] if note else [])])
    )
    if flags.output:
        about = {
            "models": models,
            "data": source.description,
            "protocol": protocol,
            "versions": installed_versions("tensorflow", "keras", "numpy", "pillow", "scikit-image"),
            "command": shlex.join(["hazeheal", "evaluate", *argv]),
        }
        content = {"images": len(rows), "methods": summary, **about}
        content |= {f"against {judged}": compared} if compared else {}
        content |= (
            {"image_folders": {name: f"{pictures.FOLDER}/{kept.folders[name]}" for name in found}} if folder else {}
        )
        text = json.dumps(content, indent=1) + "\n"
        about |= {"comparison": "; ".join(lines)} if lines else {}
        page = html_report.build(gallery, summary=summary, count=len(rows), source=source.title, about=about, note=note)
        for name, file in zip(FILES, (results.to_csv(rows), text, page), strict=True):
            atomic_write(pathlib.Path(flags.output, name), file)
        print(f"wrote {', '.join([*FILES, *([pictures.FOLDER] if folder else [])])} to {flags.output}")
    return EXIT_OK


def _check(flags) -> None:
    if flags.lpips_weights is not None:
        raise UsageError("--lpips_weights was removed; use --lpips=alex or --lpips=vgg")
    _check_source(flags)
    if flags.lpips is not None:
        if flags.no_reference:
            raise UsageError("--lpips cannot be combined with --no_reference: it compares with clear images")
        lpips.check_installed()
    if flags.no_model and flags.model:
        raise UsageError(f"--no_model and --model={flags.model[0]} exclude each other; give one of them")
    if flags.output is None:
        for name in ("overwrite", "save_images"):
            if getattr(flags, name):
                raise UsageError(f"--{name} needs --output")
        return
    folder = pathlib.Path(flags.output)
    if not flags.output or (os.path.lexists(folder) and not folder.is_dir()):
        raise UsageError(f"--output={flags.output!r} is not a folder; name a folder, which may be new")
    files = [*FILES, *([pictures.FOLDER] if flags.save_images else [])]
    existing = ", ".join(name for name in files if os.path.lexists(folder / name))
    if existing and not flags.overwrite:
        raise UsageError(f"--output={folder} contains {existing}; name another, or give --overwrite")


def _check_source(flags) -> None:
    """Raises UsageError unless the flags name one source of images, and no flag of another one."""
    source = "no_reference" if flags.no_reference else None
    source = source or next((name for name in ("data_dir", "pairs", "hazy_dir") if getattr(flags, name)), None)
    if source is None:
        raise UsageError("no images are given; give --data_dir, or --hazy_dir and --gt_dir, or --pairs")
    allowed = FLAGS_OF_SOURCES[source] | {source}
    for name in sorted({"data_dir", "pairs"}.union(*FLAGS_OF_SOURCES.values()) - allowed):
        if getattr(flags, name):
            raise UsageError(f"--{name} cannot be combined with --{source}")
    if source == "no_reference" and flags.hazy_dir is None:
        raise UsageError("--no_reference needs --hazy_dir, the folder of the images")
    if source == "hazy_dir" and flags.gt_dir is None:
        raise UsageError(
            "--hazy_dir needs --gt_dir, the folder of the clear images; for images without clear ones, give --no_reference"
        )


def _check_is_input(pair, description, output) -> None:
    """Raises UsageError if a file of a pair is among the images of an earlier evaluation, which would be replaced."""
    saved = os.path.realpath(os.path.join(output, pictures.FOLDER))
    for folder, name in (("hazy_dir", pair.hazy), ("gt_dir", pair.clear)):
        if folder in description and name is not None:
            path = os.path.join(description[folder], name)
            if os.path.realpath(path).startswith(saved + os.sep):
                raise UsageError(f"{path} is in {saved}, where --save_images writes; name another --output")


def _find_pairs(flags):
    if flags.data_dir is not None:
        quiet_import.import_tensorflow()  # which reads the records
        return pairs.from_records(flags.data_dir, split=flags.split or "val", limit=flags.limit)
    pixels = PixelOptions(white=flags.white, bands=flags.bands, color=flags.color or "convert")
    with progress_bar(desc="reading sizes", unit=" pairs", leave=False) as bar:
        options = {"pixels": pixels, "limit": flags.limit, "advance": bar.update}
        if flags.no_reference:
            return pairs.from_hazy_folder(flags.hazy_dir, **options)
        options["size_mismatch"] = flags.size_mismatch or "error"
        if flags.pairs is not None:
            folders = {"hazy_dir": flags.hazy_dir, "gt_dir": flags.gt_dir}
            return pairs.from_table(flags.pairs, split=flags.split, **folders, **options)
        rule, allow_orphans = flags.pairing or "auto", flags.allow_orphans
        return pairs.from_folders(flags.hazy_dir, flags.gt_dir, pairing=rule, allow_orphans=allow_orphans, **options)


def _load(run, flags, runtime: "Runtime"):
    """Returns (function that restores an image, description for summary.json) of one --model."""
    from hazeheal.inference.load_model import open_model
    from hazeheal.inference.locate_model import locate_model
    from hazeheal.inference.restorer import Restorer

    # --which is for the runs among several models.
    is_run = locate_model(run).kind == "run" or len(flags.model or ()) < 2
    model = open_model(run, which=flags.which if is_run else None)
    description = {
        "run": run,
        "which": flags.which or "best",
        "checkpoint": model.checkpoint.name,
        "precision": "float32",
    }
    if "sha256" in (model.metadata or {}):  # of a weights file
        description["sha256"] = model.metadata["sha256"]
    restorer = Restorer(model, tile_size=flags.tile_size, devices=runtime.devices, mirror=flags.mirror)
    return restorer.restore, description | {"mirror": flags.mirror, "tile_size": flags.tile_size}
