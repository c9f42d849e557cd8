"""The report of an evaluation: one HTML file with a before/after slider for each image, worst first.

    gallery = Gallery(by="mine", size=100)
    for scored in evaluate(pairs, methods):
        gallery.add(scored)
    html = build(gallery, rows=rows, summary=summarize(rows), source="D/hazy and D/GT", about={"protocol": PROTOCOL})

Images are embedded as JPEG of limited size; the scores are those of the full images. Text from outside (file and run
names) is escaped.
"""

import base64
import heapq
import html
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hazeheal.evaluation.html_template import PAGE, SCRIPT, STYLE
from hazeheal.evaluation.results import CLEAR, INPUT, METRICS
from hazeheal.utils.console import one_line

if TYPE_CHECKING:
    from hazeheal.evaluation.evaluate import Scored

MAX_SIDE = 640
QUALITY = 85
TITLES = {INPUT: "hazy input", "dark_channel": "dark channel prior", CLEAR: "clear (ground truth)"}


class Gallery:
    """The images of the worst rows, encoded as JPEG. The others are dropped to bound memory and page size."""

    def __init__(self, *, by: str, size: int):
        """Creates an empty gallery.

        Args:
            by: The method whose PSNR ranks the rows.
            size: Number of rows to keep.
        """
        self.by = by
        self._size = size
        self._heap = []  # (rank, row, {name: JPEG bytes}); the best of the kept rows is on top
        self._added = 0

    def add(self, scored: "Scored") -> None:
        """Keeps an image pair if it is among the worst added so far."""
        rank = (-scored.row["scores"][self.by]["psnr"], -self._added)
        self._added += 1
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, (rank, scored.row, _encode_all(scored.images)))
        elif self._heap and rank > self._heap[0][0]:
            heapq.heapreplace(self._heap, (rank, scored.row, _encode_all(scored.images)))

    def worst_first(self) -> list[tuple[dict, dict[str, bytes]]]:
        """Returns [(row, {METHOD or CLEAR: JPEG bytes})]. Of equal rows, the one added first comes first."""
        return [entry[1:] for entry in sorted(self._heap, key=lambda entry: entry[0], reverse=True)]


def _encode_all(images):
    return {name: encode_jpeg(image) for name, image in images.items()}


def encode_jpeg(image: np.ndarray, *, max_side: int = MAX_SIDE, quality: int = QUALITY) -> bytes:
    """Encodes an image as JPEG.

    Args:
        image: uint8 `[H, W, 3]` RGB.
        max_side: The longer side is reduced to this many pixels; smaller images keep their size.
        quality: JPEG quality, from 1 to 95.
    """
    small, buffer = Image.fromarray(image), io.BytesIO()
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def build(gallery: Gallery, *, rows: list[dict], summary: dict, source: str, about: dict) -> str:
    """Builds the page.

    Args:
        gallery: The rows to show with images.
        rows: All rows, for the scatter plot.
        summary: Of `results.summarize`.
        source: The source of the pairs, as a phrase.
        about: {name: text, number or nested dict} for the list at the end of the page. The entries of `protocol` come
            first, each on its own line.

    Returns:
        The HTML text.
    """
    shown, methods = gallery.worst_first(), list(summary)
    left, right = methods[0], gallery.by if gallery.by != INPUT else CLEAR
    orders = {"psnr 1": "worst first", "psnr -1": "best first", "order 1": "by name"}
    if gallery.by != INPUT:
        orders |= {"gain 1": "smallest gain first", "gain -1": "largest gain first"}
    keys = sorted(row["key"] for row, _ in shown)
    cards = [
        _card(row, jpegs, by=gallery.by, left=left, right=right, order=keys.index(row["key"]))
        for row, jpegs in shown
    ]
    count = (
        f"{len(shown)} pairs" if len(shown) == len(rows) else f"the {len(shown)} worst of {len(rows)} pairs"
    )
    details = about.get("protocol", {}) | {name: value for name, value in about.items() if name != "protocol"}
    titles = {name: _title(name) for name in [*methods, CLEAR]}
    return PAGE.substitute(
        title="HazeHeal: evaluation",
        subtitle=_escape(f"{len(rows)} pairs of {source}"),
        style=STYLE,
        script=SCRIPT,
        summary=_summary_table(summary, count=len(rows)),
        scatter=_scatter(rows, by=gallery.by) if gallery.by != INPUT else "",
        left=_options(titles, selected=left),
        right=_options(titles, selected=right),
        orders=_options(orders, selected="psnr 1"),
        shown=_escape(f"{count}; worst means lowest PSNR of {_title(gallery.by)}"),
        cards="\n".join(cards),
        details="".join(f"<dt>{_escape(k)}</dt><dd>{_escape(_phrase(v))}</dd>" for k, v in details.items()),
    )


def _card(row, jpegs, *, by, left, right, order):
    """One image pair: its images under a slider, its file names and its scores."""
    sides = {name: [s for s, n in (("left", left), ("right", right)) if n == name] for name in jpegs}
    images = [
        f'<img data-method="{_escape(name)}" class="{" ".join(sides[name])}" alt="{_escape(_title(name))}" '
        f'decoding="async" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        for name, data in jpegs.items()
    ]
    psnr, psnr_input = (row["scores"][name]["psnr"] for name in (by, INPUT))
    key = _escape(row["key"])
    files = _escape(f"{row['hazy']} | {row['clear']} | {row['width']}x{row['height']}")
    return (
        f'<figure class="card" data-psnr="{psnr:.6f}" data-gain="{psnr - psnr_input:.6f}" data-order="{order}">'
        f'<div class="view" style="aspect-ratio: {row["width"]} / {row["height"]}">{"".join(images)}'
        f'<input type="range" min="0" max="100" step="0.1" value="50" aria-label="compare {key}">'
        f'<span class="tag left">{_escape(_title(left))}</span>'
        f'<span class="tag right">{_escape(_title(right))}</span></div>'
        f'<figcaption><strong>{key}</strong><p class="faint">{files}</p>'
        f'<div class="scroll">{_table(row["scores"])}</div></figcaption>'
        "</figure>"
    )


def _summary_table(summary, *, count):
    means = {name: {m: v["mean"] for m, v in metrics.items()} for name, metrics in summary.items()}
    if len(means) == 1:
        return _table(means)
    extra_cells = {}
    for name, metrics in summary.items():
        psnr = metrics["psnr"]
        if name == INPUT:
            extra_cells[name] = "<td></td><td></td>"
            continue
        spread = "" if psnr["gain_stderr"] is None else f" ± {psnr['gain_stderr']:.2f}"
        extra_cells[name] = (
            f'<td class="{"gain" if psnr["gain"] > 0 else "loss"}">{psnr["gain"]:+.2f}{spread}</td>'
            f"<td>{psnr['better_than_input']} of {count}</td>"
        )
    return _table(
        means, extra_titles="<th>PSNR gain, dB</th><th>better than the input</th>", extra_cells=extra_cells
    )


def _table(scores, *, extra_titles="", extra_cells=None):
    """A table of {METHOD: {metric: value}}, one row per method, the best value of each metric in bold.

    `extra_titles` and `extra_cells` ({METHOD: cells}) are HTML for further columns.
    """
    best, head = {}, ""
    for m in next(iter(scores.values())):
        lower = METRICS[m].lower_is_better
        best[m] = (min if lower else max)(values[m] for values in scores.values())
        head += f"<th>{METRICS[m].title} {'↓' if lower else '↑'}</th>"
    lines = []
    for name, values in scores.items():
        cells = ""
        for m in best:
            bold = ' class="best"' if len(scores) > 1 and values[m] == best[m] else ""
            cells += f"<td{bold}>{values[m]:.{METRICS[m].decimals}f}</td>"
        lines.append(f"<tr><td>{_escape(_title(name))}</td>{cells}{(extra_cells or {}).get(name, '')}</tr>")
    return f"<table><tr><th></th>{head}{extra_titles}</tr>{''.join(lines)}</table>"


def _scatter(rows, *, by, side=250, margin=36):
    """PSNR of the input (x) and of a method (y) for every pair, as SVG; points above the diagonal improved."""
    before, after = ([row["scores"][name]["psnr"] for row in rows] for name in (INPUT, by))
    low, high = min(*before, *after), max(*before, *after)
    scale = (side - margin - 8) / max(high - low, 1e-9)

    def to_pixels(x, y):
        return round(margin + (x - low) * scale, 1), round(side - margin - (y - low) * scale, 1)

    dots = ""
    for row, x, y in zip(rows, before, after, strict=True):
        cx, cy = to_pixels(x, y)
        label = _escape(f"{row['key']}: {x:.2f} to {y:.2f} dB")
        dots += f'<circle class="{"up" if y > x else "down"}" cx="{cx}" cy="{cy}" r="3"><title>{label}</title></circle>'
    (x0, y0), (x1, y1) = to_pixels(low, low), to_pixels(high, high)
    return (
        f'<svg width="{side}" height="{side}" role="img" aria-label="PSNR of the input and of {_escape(_title(by))}">'
        f'<path class="axis" d="M{x0} {y1}V{y0}H{x1}M{x0} {y0}L{x1} {y1}"/>{dots}'
        f'<text x="{x0}" y="{y0 + 14}">{low:.1f}</text>'
        f'<text x="{x1}" y="{y0 + 14}" text-anchor="end">{high:.1f}</text>'
        f'<text x="{(x0 + x1) / 2}" y="{side - 6}" text-anchor="middle">PSNR of the input, dB</text>'
        f'<text transform="translate(12 {(y0 + y1) / 2}) rotate(-90)" text-anchor="middle">'
        f"PSNR of {_escape(_title(by))}</text>"
        "</svg>"
    )


def _options(titles, *, selected):
    return "".join(
        f'<option value="{_escape(value)}"{" selected" if value == selected else ""}>{_escape(title)}</option>'
        for value, title in titles.items()
    )


def _title(name):
    return TITLES.get(name, name)


def _phrase(value):
    if not isinstance(value, dict):
        return str(value)
    return "; ".join(f"{key} {_phrase(v)}" for key, v in value.items()) or "none"


def _escape(text):
    return html.escape(one_line(text))
