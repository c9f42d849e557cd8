"""Statistics of the pairs of a finished data set, with warnings where they suggest a mistake in the input."""

import pathlib
from collections.abc import Container

import numpy as np

from hazeheal.data import records
from hazeheal.utils.console import first_few, plural
from tfrecords_tools.convert.shard import read_sources

# PSNR in dB of a hazy image. Real pairs of all public sets are between 6 and 30.
NEARLY_EQUAL, UNRELATED = 45, 5


def describe_psnr(psnr: np.ndarray) -> dict:
    """Returns `psnr`, `psnr_min` and `psnr_max` of the pairs of different images (None if there are none), and `identical`."""
    psnr = psnr.astype(np.float64)
    finite = psnr[np.isfinite(psnr)]
    return {
        "psnr": float(finite.mean()) if len(finite) else None,
        "psnr_min": float(finite.min()) if len(finite) else None,
        "psnr_max": float(finite.max()) if len(finite) else None,
        "identical": len(psnr) - len(finite),
    }


def format_psnr(described: dict) -> str:
    """Returns the PSNR of `describe_psnr` as text."""
    extremes = f"({described['psnr_min']:.2f} to {described['psnr_max']:.2f})"
    return f"PSNR of the hazy images: mean {described['psnr']:.2f} dB {extremes}"


def summary(directory: pathlib.Path, manifest: dict, *, splits: Container[str]) -> list[str]:
    """Returns the lines about the PSNR of all pairs of these splits of a data set, and the warnings."""
    splits = [split for split in manifest["splits"] if split in splits]
    indexes = [records.open_split(directory, split).index["psnr"] for split in splits]
    psnr = np.concatenate(indexes).astype(np.float64)
    described = describe_psnr(psnr)
    lines = [format_psnr(described)] if described["psnr"] is not None else []
    finite = np.isfinite(psnr)
    for suspicious, meaning in (
        (~finite, "of two equal images; check that --hazy_dir and --gt_dir hold different images"),
        (finite & (psnr > NEARLY_EQUAL), f"above {NEARLY_EQUAL} dB: their images are nearly equal"),
        (finite & (psnr < UNRELATED), f"below {UNRELATED} dB: their images may not belong together; check the pairing"),
    ):
        if suspicious.any():
            count = plural(int(suspicious.sum()), "pair")
            lines.append(f"warning: {count} {meaning} ({first_few(_keys(directory, manifest, splits, suspicious))})")
    darker = sum(manifest["provenance"]["hazy_darker"][split] for split in splits)
    if darker > len(psnr) / 2:
        lines.append(
            f"warning: {darker} of {len(psnr)} hazy images are darker than their clear images, but haze brightens an "
            "image; check that --hazy_dir and --gt_dir are not exchanged"
        )
    return lines


def _keys(directory, manifest, splits, selected):
    """The keys of the records of the splits, in order, whose entry in `selected` is true."""
    keys = [row["key"] for split in splits for row in read_sources(directory, manifest["splits"][split])]
    return [key for key, is_selected in zip(keys, selected, strict=True) if is_selected]
