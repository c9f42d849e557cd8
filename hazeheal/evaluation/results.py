"""Results of an evaluation: metrics, their summary over images, and both as CSV, JSON and a table.

A row is {`key`, `hazy`, `clear`, `width`, `height`, `scores`: {METHOD: {metric: value}}}. Every row contains the method
`INPUT`.
"""

import csv
import dataclasses
import io
import json
import math
import statistics

INPUT = "input"  # the method that returns the hazy image unchanged
CLEAR = "clear"  # the ground truth; not a method


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is displayed.

    Attributes:
        title: Heading of its column.
        decimals: Number of decimal places.
        lower_is_better: Whether a lower value is better.
    """

    title: str
    decimals: int
    lower_is_better: bool = False


METRICS = {
    "psnr": Metric("PSNR", 2),
    "ssim": Metric("SSIM", 4),
    "psnr_y": Metric("PSNR Y", 2),
    "ssim_y": Metric("SSIM Y", 4),
    "ciede2000": Metric("CIEDE2000", 2, lower_is_better=True),
    "lpips": Metric("LPIPS", 4, lower_is_better=True),  # only with --lpips
}


def summarize(rows: list[dict]) -> dict[str, dict[str, dict]]:
    """Summarizes rows over images.

    Args:
        rows: At least one row.

    Returns:
        {METHOD: {metric: {`mean`, `std`, `min`, `median`, `max`}}}. `std` is the population standard deviation. All
        methods except the input also have `gain` (mean difference to the input; a negative value is better for
        CIEDE2000 and LPIPS), `gain_stderr` (None for one image) and `better_than_input` (number of images).
    """
    return {
        name: {metric: _summary(rows, name, metric) for metric in scores}
        for name, scores in rows[0]["scores"].items()
    }


def _summary(rows, name, metric):
    values = [row["scores"][name][metric] for row in rows]
    summary = {
        "mean": statistics.fmean(values),
        "std": statistics.pstdev(values),
        "min": min(values),
        "median": statistics.median(values),
        "max": max(values),
    }
    if name != INPUT:
        gain, stderr, better = _paired(rows, name, metric, against=INPUT)
        summary |= {"gain": gain, "gain_stderr": stderr, "better_than_input": better}
    return summary


def compare(rows: list[dict], name: str, *, against: str) -> dict[str, dict]:
    """Compares two methods on the same images.

    Args:
        rows: At least one row.
        name: The method.
        against: The method that it is compared with.

    Returns:
        {metric: {`gain`: mean difference (a negative value is better for CIEDE2000 and LPIPS), `gain_stderr`: None for
        one image, `better`: number of images}}.
    """
    keys = ("gain", "gain_stderr", "better")
    return {
        metric: dict(zip(keys, _paired(rows, name, metric, against=against), strict=True))
        for metric in rows[0]["scores"][name]
    }


def _paired(rows, name, metric, *, against):
    """(mean difference, its standard error, number of images where the method is better)."""
    gains = [row["scores"][name][metric] - row["scores"][against][metric] for row in rows]
    stderr = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None
    sign = -1 if METRICS[metric].lower_is_better else 1
    return statistics.fmean(gains), stderr, sum(sign * gain > 0 for gain in gains)


def to_csv(rows: list[dict]) -> str:
    """Returns rows as CSV: one line per image, a column METHOD_METRIC for each score, in full precision."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    fields = [name for name in rows[0] if name != "scores"]
    columns = [(method, metric) for method, scores in rows[0]["scores"].items() for metric in scores]
    writer.writerow([*fields, *(f"{method}_{metric}" for method, metric in columns)])
    for row in rows:
        writer.writerow([*(row[name] for name in fields), *(row["scores"][m][k] for m, k in columns)])
    return file.getvalue()


def to_json(rows: list[dict], summary: dict, about: dict) -> str:
    """Returns the summary as JSON.

    Args:
        rows: All rows.
        summary: Of `summarize`.
        about: Further top-level entries, such as the protocol; JSON types only.
    """
    content = {"images": len(rows), "methods": summary, **about}
    return json.dumps(content, indent=1) + "\n"


def table(summary: dict, *, count: int) -> str:
    """Returns the summary as a table for a terminal, one line per method.

    Args:
        summary: Of `summarize`.
        count: Number of images.
    """
    width = max(map(len, summary))
    head = "  ".join(f"{METRICS[metric].title:>9}" for metric in summary[INPUT])
    lines = [f"{'':{width}}  {head}  PSNR better than the input's"]
    for name, values in summary.items():
        cells = "  ".join(f"{v['mean']:9.{METRICS[m].decimals}f}" for m, v in values.items())
        better = values["psnr"].get("better_than_input")
        lines.append(f"{name:{width}}  {cells}" + ("" if better is None else f"  {better} of {count}"))
    return "\n".join(lines)


def comparison_line(name: str, against: str, comparison: dict, *, count: int) -> str:
    """Returns a comparison as one line for a terminal.

    Args:
        name: The method.
        against: The method that it was compared with.
        comparison: Of `compare`.
        count: Number of images.
    """
    psnr = comparison["psnr"]
    spread = "" if psnr["gain_stderr"] is None else f" (standard error {psnr['gain_stderr']:.2f})"
    return f"{name} against {against}: {psnr['gain']:+.2f} dB PSNR{spread}, better on {psnr['better']} of {count}"
