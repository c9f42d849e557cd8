"""The results of an evaluation: what is scored, rows summed up, and both as text: CSV, JSON, a table.

A row: {`key`, `hazy`, `clear`, `width`, `height`, `scores`: {METHOD: {metric: value}}}. The method INPUT is in every row.
"""

import csv
import dataclasses
import importlib.metadata
import io
import json
import math
import platform
import statistics

import hazeheal

INPUT = "input"  # the method that changes nothing
CLEAR = "clear"  # not a method: what the others are compared with


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is shown."""

    title: str
    decimals: int
    lower_is_better: bool = False


METRICS = {
    "psnr": Metric("PSNR", 2),
    "ssim": Metric("SSIM", 4),
    "psnr_y": Metric("PSNR Y", 2),
    "ssim_y": Metric("SSIM Y", 4),
    "ciede2000": Metric("CIEDE2000", 2, lower_is_better=True),
    "lpips": Metric("LPIPS", 4, lower_is_better=True),  # where its weights are given
}
PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "scikit-image")


def summarize(rows) -> dict:
    """Sums rows up.

    Args:
        rows: At least one, as `evaluate` makes them.

    Returns:
        {METHOD: {metric: {`mean`, `std`, `min`, `median`, `max`, and for all but the input `gain` (mean difference to
        the input; below 0 is better for CIEDE2000 and LPIPS), `gain_stderr` (None for one image) and `better_than_input`
        (number of images)}}}. `std` is over the images and divided by N.
    """
    return {
        name: {metric: _summary(rows, name, metric) for metric in scores}
        for name, scores in rows[0]["scores"].items()
    }


def _summary(rows, name, metric):
    values = [row["scores"][name][metric] for row in rows]
    found = {
        "mean": statistics.fmean(values),
        "std": statistics.pstdev(values),
        "min": min(values),
        "median": statistics.median(values),
        "max": max(values),
    }
    if name != INPUT:
        gain, stderr, better = _paired(rows, name, metric, against=INPUT)
        found |= {"gain": gain, "gain_stderr": stderr, "better_than_input": better}
    return found


def compare(rows, name, *, against) -> dict:
    """One method against another on the same images.

    Returns:
        {metric: {`gain`: mean difference (below 0 is better for CIEDE2000 and LPIPS), `gain_stderr`: None for one image,
        `better`: number of images}}.
    """
    keys = ("gain", "gain_stderr", "better")
    return {
        metric: dict(zip(keys, _paired(rows, name, metric, against=against), strict=True))
        for metric in rows[0]["scores"][name]
    }


def _paired(rows, name, metric, *, against):
    gains = [row["scores"][name][metric] - row["scores"][against][metric] for row in rows]
    stderr = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None
    sign = -1 if METRICS[metric].lower_is_better else 1
    return statistics.fmean(gains), stderr, sum(sign * gain > 0 for gain in gains)


def to_csv(rows) -> str:
    """One line an image; a column METHOD_METRIC for every figure, in full precision."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    known = [name for name in rows[0] if name != "scores"]
    columns = [(method, metric) for method, scores in rows[0]["scores"].items() for metric in scores]
    writer.writerow([*known, *(f"{method}_{metric}" for method, metric in columns)])
    for row in rows:
        writer.writerow([*(row[name] for name in known), *(row["scores"][m][k] for m, k in columns)])
    return file.getvalue()


def to_json(rows, summary, about) -> str:
    """The summary.

    Args:
        rows: As `evaluation.evaluate` makes them.
        summary: As `evaluation.summarize` makes it.
        about: What else belongs to the figures: JSON types alone.
    """
    content = {"images": len(rows), "methods": summary, **about}
    return json.dumps(content, indent=1) + "\n"


def versions() -> dict:
    """Of this package, of Python, and of the libraries that decode, compute and score."""
    found = {"hazeheal": hazeheal.__version__, "python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in PACKAGES}


def table(summary, *, count) -> str:
    """The summary for a terminal: one line a method."""
    width = max(map(len, summary))
    head = "  ".join(f"{METRICS[metric].title:>9}" for metric in summary[INPUT])
    lines = [f"{'':{width}}  {head}  PSNR better than the input's"]
    for name, values in summary.items():
        cells = "  ".join(f"{v['mean']:9.{METRICS[m].decimals}f}" for m, v in values.items())
        better = values["psnr"].get("better_than_input")
        lines.append(f"{name:{width}}  {cells}" + ("" if better is None else f"  {better} of {count}"))
    return "\n".join(lines)


def versus(name, against, compared, *, count) -> str:
    """What `compare` gave, as a line for a terminal."""
    psnr = compared["psnr"]
    spread = "" if psnr["gain_stderr"] is None else f" (standard error {psnr['gain_stderr']:.2f})"
    return f"{name} against {against}: {psnr['gain']:+.2f} dB PSNR{spread}, better on {psnr['better']} of {count}"
