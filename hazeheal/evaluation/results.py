"""Results of an evaluation: metrics, their summary over images, and both as CSV, JSON and a table.

A row is {`key`, `hazy`, `clear`, `width`, `height`, `scores`: {METHOD: {metric: value}}}. Every row contains the method
`INPUT`.
"""

import csv
import dataclasses
import io
import math
import statistics

INPUT = "input"  # the method that returns the hazy image unchanged
CLEAR = "clear"  # the ground truth; not a method


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is displayed: the heading of its column, its decimal places, and whether lower is better."""

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
    """Summarizes at least one row over images.

    Returns:
        {METHOD: {metric: {`mean`, `std`, `min`, `median`, `max`}}}. `std` is the population standard deviation. All
        methods except the input also have `gain`, `gain_stderr` and `better_than_input`: the result of `compare` with
        the input.
    """
    summary = {}
    for name, metrics in rows[0]["scores"].items():
        gains = compare(rows, name, against=INPUT)
        summary[name] = {}
        for metric in metrics:
            values = [row["scores"][name][metric] for row in rows]
            summary[name][metric] = {
                "mean": statistics.fmean(values),
                "std": statistics.pstdev(values),
                "min": min(values),
                "median": statistics.median(values),
                "max": max(values),
            }
            if name != INPUT:
                better = gains[metric].pop("better")
                summary[name][metric] |= gains[metric] | {"better_than_input": better}
    return summary


def compare(rows: list[dict], name: str, *, against: str) -> dict[str, dict]:
    """Compares the method `name` with the method `against` on the same images.

    Returns:
        {metric: {`gain`: mean difference (a negative value is better for CIEDE2000 and LPIPS), `gain_stderr`: None for
        one image, `better`: number of images}}.
    """
    compared = {}
    for metric in rows[0]["scores"][name]:
        gains = [row["scores"][name][metric] - row["scores"][against][metric] for row in rows]
        sign = -1 if METRICS[metric].lower_is_better else 1
        compared[metric] = {
            "gain": statistics.fmean(gains),
            "gain_stderr": statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None,
            "better": sum(sign * gain > 0 for gain in gains),
        }
    return compared


def to_csv(rows: list[dict]) -> str:
    """Returns rows as CSV: one line per image, a column METHOD_METRIC for each score, in full precision."""
    lines = []
    for row in rows:
        line = {name: value for name, value in row.items() if name != "scores"}
        for method, scores in row["scores"].items():
            line |= {f"{method}_{metric}": value for metric, value in scores.items()}
        lines.append(line)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def table(summary: dict, *, count: int) -> str:
    """Returns the summary of `count` images as a table for a terminal, one line per method."""
    width = max(map(len, summary))
    head = "  ".join(f"{METRICS[metric].title:>9}" for metric in summary[INPUT])
    lines = [f"{'':{width}}  {head}  PSNR better than the input's"]
    for name, values in summary.items():
        cells = "  ".join(f"{v['mean']:9.{METRICS[m].decimals}f}" for m, v in values.items())
        better = values["psnr"].get("better_than_input")
        lines.append(f"{name:{width}}  {cells}" + ("" if better is None else f"  {better} of {count}"))
    return "\n".join(lines)


def comparison_line(name: str, against: str, comparison: dict, *, count: int) -> str:
    """Returns the result of `compare` on `count` images as one line for a terminal."""
    psnr = comparison["psnr"]
    spread = "" if psnr["gain_stderr"] is None else f" (standard error {psnr['gain_stderr']:.2f})"
    return f"{name} against {against}: {psnr['gain']:+.2f} dB PSNR{spread}, better on {psnr['better']} of {count}"
