"""Results of an evaluation: metrics, their summary over images, and both as CSV, JSON and a table.

A row is {`key`, `hazy`, `clear`, `width`, `height`, `scores`: {METHOD: {metric: value}}}, without `clear` if there is no
ground truth. Every row contains the method `INPUT`. The first metric of the scores is the leading one: it ranks images.
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
    """How a metric is displayed.

    Attributes:
        title: The heading of its column.
        decimals: Its decimal places.
        lower_is_better: Whether a lower value is better, or shows less haze.
        unit: Its unit, after a space.
        is_quality: Whether it shows which of two results is better.
    """

    title: str
    decimals: int
    lower_is_better: bool = False
    unit: str = ""
    is_quality: bool = True

    @property
    def better(self) -> str:
        """The word for a better value; for a figure that is no quality, the direction of less haze."""
        return "better" if self.is_quality else "lower" if self.lower_is_better else "higher"

    @property
    def sign(self) -> int:
        """-1 if lower is better, or else 1."""
        return -1 if self.lower_is_better else 1


METRICS = {
    "psnr": Metric("PSNR", 2, unit=" dB"),
    "ssim": Metric("SSIM", 4),
    "psnr_y": Metric("PSNR Y", 2),
    "ssim_y": Metric("SSIM Y", 4),
    "ciede2000": Metric("CIEDE2000", 2, lower_is_better=True),
    "lpips": Metric("LPIPS", 4, lower_is_better=True),  # only with --lpips
    # Without ground truth (`no_reference`)
    "dark": Metric("dark channel", 3, lower_is_better=True, is_quality=False),
    "edges": Metric("visible edges %", 1, is_quality=False),
    "gradient": Metric("gradient x", 2, is_quality=False),
    "saturated": Metric("saturated %", 2, lower_is_better=True, is_quality=False),
}


def leading(scores: dict[str, dict]) -> str:
    """Returns the leading metric of {METHOD: {metric: ...}}: PSNR, or the dark channel without ground truth."""
    return next(iter(next(iter(scores.values()))))


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
        compared[metric] = {
            "gain": statistics.fmean(gains),
            "gain_stderr": statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None,
            "better": sum(METRICS[metric].sign * gain > 0 for gain in gains),
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
    width, metrics, lead = max(map(len, summary)), list(summary[INPUT]), leading(summary)
    columns = [max(9, len(METRICS[metric].title)) for metric in metrics]
    head = "  ".join(f"{METRICS[metric].title:>{size}}" for metric, size in zip(metrics, columns, strict=True))
    lines = [f"{'':{width}}  {head}  {METRICS[lead].title} {METRICS[lead].better} than the input's"]
    for name, values in summary.items():
        means = [f"{values[metric]['mean']:.{METRICS[metric].decimals}f}" for metric in metrics]
        cells = "  ".join(f"{mean:>{size}}" for mean, size in zip(means, columns, strict=True))
        better = values[lead].get("better_than_input")
        lines.append(f"{name:{width}}  {cells}" + ("" if better is None else f"  {better} of {count}"))
    return "\n".join(lines)


def comparison_line(name: str, against: str, comparison: dict, *, count: int) -> str:
    """Returns the result of `compare` on `count` images as one line for a terminal."""
    lead = next(iter(comparison))
    metric, found = METRICS[lead], comparison[lead]
    stderr = found["gain_stderr"]
    spread = "" if stderr is None else f" (standard error {stderr:.{metric.decimals}f})"
    gain = f"{found['gain']:+.{metric.decimals}f}{metric.unit} {metric.title}"
    return f"{name} against {against}: {gain}{spread}, {metric.better} on {found['better']} of {count}"
