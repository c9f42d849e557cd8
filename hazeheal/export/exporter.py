"""A checkpoint's generator -> a directory of exports, each checked against it; all of them are written, or nothing."""

import datetime
import json
import math

import hazeheal
from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.errors import HazeHealError
from hazeheal.export import check
from hazeheal.inference.load_model import SUMMARY
from hazeheal.runs import checkpoints
from hazeheal.utils.atomic import atomic_path
from hazeheal.utils.versions import installed_versions


def describe(gan) -> dict:
    """What every export says of where it comes from, of plain JSON values; `gan` as `DehazeGAN` has loaded it."""
    return {
        "made_by": f"hazeheal {hazeheal.__version__}",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        **(_of_checkpoint(gan.checkpoint) if gan.metadata is None else _of_weights(gan.metadata)),
        "interface": "uint8 [B, H, W, 3], RGB in [0, 255], any size: `hazy` in, `restored` out",
        "parameters": gan.parameter_counts()["generator"],
        "config": json.loads(configs.to_json(gan.config)),
        "versions": installed_versions("tensorflow", "keras", "numpy", "pillow"),
    }


def _of_checkpoint(path) -> dict:
    psnr = checkpoints.validation_psnr(path)
    return {
        "run": path.absolute().parents[2].name,
        "checkpoint": path.name,
        "step": checkpoints.checkpoint_step(path),
        "psnr": psnr if math.isfinite(psnr) else None,
        # What else was measured when it was saved, on the validation split: `psnr_input` is that of the hazy images.
        "metrics": {name: v for name, v in checkpoints.read_metrics(path).items() if math.isfinite(v)},
        "data_fingerprint": checkpoints.read_progress(path).get("fingerprint"),
        "started_from": checkpoints.read_progress(path).get("started_from"),
    }


def _of_weights(metadata) -> dict:
    """The same, of an export of an export; the rounding of the first one is in all that is made of it."""
    names = ("run", "checkpoint", "step", "psnr", "metrics", "data_fingerprint", "started_from")
    return {name: metadata[name] for name in names} | {"made_of_weights": metadata["sha256"]}


def export(gan, targets, output, *, said=print) -> None:
    """Writes all targets into a new directory, and checks each on the spot.

    Args:
        gan: A `DehazeGAN` of `from_run` or `from_pretrained`, in float32.
        targets: `formats.Target`s.
        output: The directory, a `pathlib.Path`; it must not exist, or be empty.
        said: Called with a line for each.

    Raises:
        HazeHealError: One cannot be made, or is further from the checkpoint than its format allows. Nothing was written.
        OutputError: The directory cannot be written.
    """
    metadata = describe(gan)
    wanted = check.reference(gan.network())
    summary = metadata | {"exports": {}}
    with atomic_path(output) as aside:
        aside.mkdir()
        for target in targets:
            path = aside / target.file
            found, size = _make(gan, target, path, metadata=metadata, wanted=wanted, said=said)
            summary["exports"][target.file] = {
                "format": target.format,
                **target.facts,
                "bytes": size,
                "sha256": {
                    p.relative_to(aside).as_posix(): records.sha256(p.read_bytes()) for p in _files(path)
                },
                "largest_difference": found.largest,
                "mean_difference": found.mean,
            }
        (aside / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def export_file(gan, target, output, *, said=print) -> None:
    """Writes one target as a file, which itself tells all that it is; as `export` else."""
    with atomic_path(output, overwrite=False) as aside:
        _make(gan, target, aside, metadata=describe(gan), wanted=check.reference(gan.network()), said=said)


def _make(gan, target, path, *, metadata, wanted, said):
    """Writes a target and compares it; returns the `check.Difference` and the size in bytes."""
    target.write(gan, path, metadata)
    found = check.compare(target.load(path), wanted, name=target.file)
    if not found.within(target.tolerance):
        raise HazeHealError(
            f"{target.file} differs from {gan.checkpoint.name} by up to {found.largest} of 255, {found.mean:.4f} on "
            f"average; allowed are {target.tolerance}; nothing was written"
        )
    size = sum(file.stat().st_size for file in _files(path))
    said(
        f"{target.file:26} {size / 2**20:8.2f} MiB   largest difference {found.largest} of 255, "
        f"mean {found.mean:.4f} (allowed: {target.tolerance})"
    )
    return found, size


def _files(path):
    return sorted(p for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
