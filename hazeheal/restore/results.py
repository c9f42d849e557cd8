"""The results of an evaluation as text: CSV with a row a picture, JSON with everything that a figure depends on, a table."""

import csv
import importlib.metadata
import io
import json
import platform

import hazeheal
from hazeheal.restore.evaluation import INPUT, METRICS

PACKAGES = ("tensorflow", "keras", "numpy", "pillow")


def to_csv(rows) -> str:
    """One line a picture; a column METHOD_METRIC for every figure, in full precision."""
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
        summary: As `evaluation.summarise` makes it.
        about: What else belongs to the figures: JSON types alone.
    """
    content = {"pictures": len(rows), "methods": summary, **about}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


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
