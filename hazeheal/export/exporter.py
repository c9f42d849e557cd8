"""A checkpoint's generator -> a directory of exports, each checked against it; all of them are written, or nothing."""

import json
import math

import hazeheal
from hazeheal import config as configs
from hazeheal import records
from hazeheal.aside import written_aside
from hazeheal.errors import HazeHealError
from hazeheal.export import check
from hazeheal.restore import results
from hazeheal.restore.exported import SUMMARY
from hazeheal.training import checkpoint


def describe(gan) -> dict:
    """What every export says of where it comes from, of plain JSON values; `gan` as `DehazeGAN.from_run` loads it."""
    path = gan.checkpoint
    psnr = checkpoint.score(path)
    return {
        "made_by": f"hazeheal {hazeheal.__version__}",
        "run": path.absolute().parents[2].name,
        "checkpoint": path.name,
        "step": checkpoint.step_of(path),
        "psnr": psnr if math.isfinite(psnr) else None,
        "data_fingerprint": checkpoint.progress(path).get("fingerprint"),
        "interface": "uint8 [B, H, W, 3], RGB in [0, 255], any size: `hazy` in, `restored` out",
        "parameters": gan.parameter_counts()["generator"],
        "config": json.loads(configs.to_json(gan.config)),
        "versions": results.versions(),
    }


def export(gan, targets, output, *, said=print) -> None:
    """Writes all targets into a new directory, and checks each on the spot.

    Args:
        gan: A `DehazeGAN` of `from_run`, in float32.
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
    with written_aside(output) as aside:
        aside.mkdir()
        for target in targets:
            path = aside / target.file
            target.write(gan, path, metadata)
            found = check.compare(target.load(path), wanted, name=target.file)
            if not found.within(target.tolerance):
                raise HazeHealError(
                    f"{target.file} differs from {gan.checkpoint.name} by up to {found.largest} of 255, {found.mean:.4f} on "
                    f"average; allowed are {target.tolerance}; nothing was written"
                )
            files = sorted(p for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
            size = sum(p.stat().st_size for p in files)
            said(
                f"{target.file:26} {size / 2**20:8.2f} MiB   largest difference {found.largest} of 255, "
                f"mean {found.mean:.4f} (allowed: {target.tolerance})"
            )
            summary["exports"][target.file] = {
                "format": target.format,
                **target.facts,
                "bytes": size,
                "sha256": {p.relative_to(aside).as_posix(): records.sha256(p.read_bytes()) for p in files},
                "largest_difference": found.largest,
                "mean_difference": found.mean,
            }
        (aside / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
