"""Scores restored images against clear ones: PSNR and SSIM in RGB and on Y, and CIEDE2000.

The scores of the hazy input and of the dark channel prior (He et al.) are printed beside them.

Examples:
  hazeheal evaluate --hazy_dir=D/hazy --gt_dir=D/GT      the included network best
  hazeheal evaluate --model=runs/mine --data_dir=records/rice1 --output=scores/mine
  hazeheal evaluate --model=runs/a --model=fast --hazy_dir=D/hazy --gt_dir=D/GT --output=scores/a_fast
  hazeheal evaluate --model=runs/mine --data_dir=records/rice1 --lpips
  hazeheal evaluate --no_model --hazy_dir=D/hazy --gt_dir=D/GT      only the input and the dark channel prior

--output receives scores.csv (one row per image), summary.json (means, protocol, versions) and report.html (images to
compare with a slider).

exit codes: 0 done, 1 error, 2 bad usage, 130 stopped by SIGINT (nothing is written)
"""

import argparse
import json
import os
import pathlib
import shlex
from collections.abc import Sequence

from hazeheal.commands.parsing import (
    MODEL_HELP,
    CommandParser,
    add_model_flags,
    add_pixel_flags,
    command_parser,
    count,
    name_runs,
    natural,
)
from hazeheal.data.images.pixel_options import PixelOptions
from hazeheal.errors import EXIT_OK, UsageError
from hazeheal.evaluation import dark_channel, html_report, pairs, results
from hazeheal.metrics import lpips
from hazeheal.models import pretrained
from hazeheal.utils import quiet_import
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.console import one_line, plural, progress_bar
from hazeheal.utils.versions import installed_versions

FILES = ("scores.csv", "summary.json", "report.html")
RESERVED = (results.INPUT, "dark_channel", results.CLEAR)


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = command_parser("evaluate", __doc__)
    data = parse.add_argument_group("data: either --data_dir, or --hazy_dir and --gt_dir")
    add = data.add_argument
    source = data.add_mutually_exclusive_group(required=True)
    source.add_argument("--data_dir", metavar="DIR", help="data set of `hazeheal-tfrecords convert`")
    source.add_argument("--hazy_dir", metavar="DIR", help="folder of hazy images")
    add("--gt_dir", metavar="DIR", help="folder of clear images; may be the same folder")
    add("--split", help="split of --data_dir: val or train (default: val)")
    add("--pairing", metavar="RULE", help="rule of `hazeheal-tfrecords convert --pairing` (default: auto)")
    size_help = "error: stop if sizes differ; center_crop: crop both to the common size (default: error)"
    add("--size_mismatch", choices=("error", "center_crop"), help=size_help)
    add("--allow_orphans", action="store_true", help="skip images without a partner")
    add("--limit", type=count, metavar="N", help="use only the first N pairs by key")
    add_pixel_flags(parse, color=True)
    add_model_flags(parse, action="append", default=[], help=f"{MODEL_HELP}; may be repeated")
    add = parse.add_argument_group("scores").add_argument
    add("--no_model", action="store_true", help="score only the hazy input and the dark channel prior")
    add("--no_baseline", action="store_true", help="omit the dark channel prior")
    lpips_help = "also compute LPIPS with this backbone, or with alex; needs pip install 'hazeheal[lpips]'"
    add("--lpips", nargs="?", const="alex", choices=tuple(lpips.MIN_SIDE), help=lpips_help)
    add("--lpips_weights", nargs="?", const="", help=argparse.SUPPRESS)  # removed; `_check` refuses it
    add = parse.add_argument_group("output").add_argument
    add("--output", metavar="DIR", help="folder for the results; without it they are only printed")
    add("--overwrite", action="store_true", help="replace the results of an earlier evaluation in --output")
    report_help = "number of images in the report, those with the lowest scores (default: 100)"
    add("--report_pictures", type=natural, default=100, metavar="N", help=report_help)
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal evaluate` with these arguments; returns the exit code or raises `HazeHealError`."""
    flags = parser().parse_args(argv)
    _check(flags)
    names = name_runs([] if flags.no_model else flags.model or [pretrained.DEFAULT], taken=RESERVED)
    source = _find_pairs(flags)

    quiet_import.import_tensorflow()
    from hazeheal.evaluation import evaluate  # imports TensorFlow

    protocol, extra_metrics = dict(evaluate.PROTOCOL), {}
    if flags.lpips:
        protocol["lpips"] = lpips.PROTOCOL.format(backbone=flags.lpips)
        extra_metrics["lpips"] = lpips.Lpips(flags.lpips)
    if flags.output:  # before an evaluation of hours
        pathlib.Path(flags.output).mkdir(parents=True, exist_ok=True)
    methods = {results.INPUT: evaluate.unchanged}
    methods |= {} if flags.no_baseline else {"dark_channel": dark_channel.restore}
    models = {}
    for name, run in names.items():
        methods[name], models[name] = _load(run, flags.which, mirror=flags.mirror)
    judged = next(iter(names), [*methods][-1])  # the first model, or else the strongest baseline

    gallery = html_report.Gallery(by=judged, size=flags.report_pictures if flags.output else 0)
    rows = []
    with progress_bar(total=len(source.pairs), desc="scoring", unit=" pairs", leave=False) as bar:
        for row, images in evaluate.evaluate(source.pairs, methods, extra_metrics=extra_metrics):
            rows.append(row)
            gallery.add(row, images)
            bar.update()
    summary = results.summarize(rows)
    table = results.table(summary, count=len(rows))
    compared = {name: results.compare(rows, name, against=judged) for name in [*names][1:]}
    lines = [results.comparison_line(name, judged, gain, count=len(rows)) for name, gain in compared.items()]
    print("\n".join([f"{plural(len(rows), 'pair')} of {one_line(source.title)}", table, *lines]))
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
        text = json.dumps(content, indent=1) + "\n"
        about |= {"comparison": "; ".join(lines)} if lines else {}
        page = html_report.build(gallery, summary=summary, count=len(rows), source=source.title, about=about)
        for name, file in zip(FILES, (results.to_csv(rows), text, page), strict=True):
            atomic_write(pathlib.Path(flags.output, name), file)
        print(f"wrote {', '.join(FILES)} to {flags.output}")
    return EXIT_OK


def _check(flags) -> None:
    if flags.lpips_weights is not None:
        raise UsageError("--lpips_weights was removed; use --lpips=alex or --lpips=vgg")
    if flags.lpips is not None:
        lpips.check_installed()
    if flags.hazy_dir is not None and flags.gt_dir is None:
        raise UsageError("--hazy_dir and --gt_dir belong together; --gt_dir is missing")
    if flags.no_model and flags.model:
        raise UsageError(f"--no_model and --model={flags.model[0]} exclude each other; give one of them")
    given = "--hazy_dir" if flags.data_dir is None else "--data_dir"
    of_folders = ("gt_dir", "pairing", "size_mismatch", "allow_orphans", "white", "bands", "color")
    for name in of_folders if given == "--data_dir" else ("split",):
        if getattr(flags, name):
            raise UsageError(f"--{name} cannot be combined with {given}")
    if flags.output is None:
        if flags.overwrite:
            raise UsageError("--overwrite needs --output")
        return
    folder = pathlib.Path(flags.output)
    if not flags.output or (os.path.lexists(folder) and not folder.is_dir()):
        raise UsageError(f"--output={flags.output!r} is not a folder; name a folder, which may be new")
    existing = ", ".join(name for name in FILES if os.path.lexists(folder / name))
    if existing and not flags.overwrite:
        raise UsageError(f"--output={folder} contains {existing}; name another, or give --overwrite")


def _find_pairs(flags):
    if flags.data_dir is not None:
        quiet_import.import_tensorflow()  # which reads the records
        return pairs.from_records(flags.data_dir, split=flags.split or "val", limit=flags.limit)
    with progress_bar(desc="reading sizes", unit=" pairs", leave=False) as bar:
        return pairs.from_folders(
            flags.hazy_dir,
            flags.gt_dir,
            pairing=flags.pairing or "auto",
            size_mismatch=flags.size_mismatch or "error",
            allow_orphans=flags.allow_orphans,
            limit=flags.limit,
            pixels=PixelOptions(white=flags.white, bands=flags.bands, color=flags.color or "convert"),
            advance=bar.update,
        )


def _load(run, which, *, mirror):
    """Returns (function that restores an image, description for summary.json) of one --model."""
    from hazeheal.inference.load_model import open_model
    from hazeheal.inference.restorer import Restorer

    model = open_model(run, which=which)
    description = {"run": run, "which": which, "checkpoint": model.checkpoint.name, "precision": "float32"}
    if "sha256" in (model.metadata or {}):  # of a weights file
        description["sha256"] = model.metadata["sha256"]
    return Restorer(model, mirror=mirror).restore, description | {"mirror": mirror}
