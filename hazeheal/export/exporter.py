"""Exports a generator in several formats and checks each file against the checkpoint. Writes all files or none."""

import datetime
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import hazeheal
from hazeheal import config as configs
from hazeheal.errors import HazeHealError
from hazeheal.export import check
from hazeheal.export.formats import sha256_of_files
from hazeheal.inference.locate_model import SUMMARY
from hazeheal.runs import checkpoints
from hazeheal.utils.atomic import atomic_path
from hazeheal.utils.versions import installed_versions

if TYPE_CHECKING:
    from hazeheal.export.formats import Target
    from hazeheal.inference.gan import DehazeGAN


def describe(gan: "DehazeGAN") -> dict[str, Any]:
    """Returns the metadata of every export of a loaded `DehazeGAN`, as JSON values: origin, configuration, versions."""
    return {
        "made_by": f"hazeheal {hazeheal.__version__}",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        **(_of_checkpoint(gan.checkpoint) if gan.metadata is None else _of_weights(gan.metadata)),
        "interface": "uint8 [B, H, W, 3], RGB in [0, 255], any size: `hazy` in, `restored` out",
        "parameters": gan.networks.parameter_counts()["generator"],
        "config": configs.without_host(gan.config),
        "versions": installed_versions("tensorflow", "keras", "numpy", "pillow"),
    }


def _of_checkpoint(path: pathlib.Path) -> dict[str, Any]:
    psnr, progress = checkpoints.validation_psnr(path), checkpoints.read_progress(path)
    return {
        "run": path.absolute().parents[2].name,
        "checkpoint": path.name,
        "step": checkpoints.checkpoint_step(path),
        "psnr": psnr if math.isfinite(psnr) else None,
        # All metrics of the validation split; `psnr_input` is that of the hazy images.
        "metrics": {name: v for name, v in checkpoints.read_metrics(path).items() if math.isfinite(v)},
        "data_fingerprint": progress.get("fingerprint"),
        "started_from": _without_folders(progress.get("started_from")),
    }


def _without_folders(started_from):
    """Where a run started from, by name: a file that is passed on does not name folders of the machine it was made on."""
    if started_from is None:
        return None
    record = dict(started_from)
    for name in {"checkpoint", "weights"} & record.keys():
        path = pathlib.PurePath(record[name])
        record[name] = path.name
        if path.parent.name == "checkpoints" and len(path.parents) > 2:
            record["run"] = path.parents[2].name
    return record


def _of_weights(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the export of a weights file, whose rounding to float16 every further export contains."""
    names = ("run", "checkpoint", "step", "psnr", "metrics", "data_fingerprint", "started_from")
    return {name: metadata[name] for name in names} | {"made_of_weights": metadata["sha256"]}


def export(gan: "DehazeGAN", targets: Sequence["Target"], output: pathlib.Path) -> None:
    """Writes all targets and their summary into a new directory, checks each target and prints a line about it.

    Args:
        gan: A `DehazeGAN` from `from_run` or `from_pretrained`, in float32.
        targets: The files, as `formats.targets` returns them.
        output: The directory. It must not exist, or must be empty.

    Raises:
        HazeHealError: A target cannot be written, or differs from the checkpoint by more than its tolerance. Nothing
            is written.
        OutputError: The directory cannot be written.
    """
    metadata, images = describe(gan), _check_images(gan)
    with atomic_path(output) as temporary:
        temporary.mkdir()
        entries = {target.file: _write(gan, target, temporary / target.file, metadata, images) for target in targets}
        summary = json.dumps(metadata | {"exports": entries}, indent=2)
        (temporary / SUMMARY).write_text(f"{summary}\n", encoding="utf-8")


def export_file(gan: "DehazeGAN", target: "Target", output: pathlib.Path) -> None:
    """As `export`, for one target as a single file, without a summary."""
    with atomic_path(output, overwrite=False) as temporary:
        _write(gan, target, temporary, describe(gan), _check_images(gan))


def _check_images(gan):
    """The images of the check, and their restorations by the checkpoint."""
    batches = check.make_batches(gan.config.model.view_size)
    return batches, check.reference(gan.network(), batches)


def _write(gan, target, path, metadata, images) -> dict[str, Any]:
    """Writes and checks a target. Returns its entry in the summary."""
    target.write(gan, path, metadata)
    difference = check.compare(target.load(path), *images, name=target.file)
    allowed = f"(allowed: {target.tolerance})"
    if not difference.within(target.tolerance):
        raise HazeHealError(
            f"{target.file} differs from {gan.checkpoint.name} by up to {difference} {allowed}; nothing was written"
        )
    size = sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
    print(f"{target.file:26} {size / 2**20:8.2f} MiB   largest difference {difference} {allowed}")
    return {
        "format": target.format,
        **target.facts,
        "bytes": size,
        "sha256": sha256_of_files(path, relative_to=path.parent),
        "largest_difference": difference.largest,
        "mean_difference": difference.mean,
    }
