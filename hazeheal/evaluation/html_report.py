"""The evaluation's report: one HTML file with a before/after slider for each image, worst first.

    gallery = Gallery(by="mine", size=100)
    for scored in evaluate(pairs, methods):
        gallery.add(scored)
    html = build(gallery, rows=rows, summary=summarize(rows), source="D/hazy and D/GT", about={"protocol": PROTOCOL})

Images are embedded as JPEG of bounded size; figures are those of the whole images. Text that comes from outside
(names of files and of runs) is escaped.
"""

import base64
import heapq
import html
import io

from PIL import Image

from hazeheal.evaluation.html_template import PAGE, SCRIPT, STYLE
from hazeheal.evaluation.results import CLEAR, INPUT, METRICS
from hazeheal.utils.console import one_line

MAX_SIDE = 640
QUALITY = 85
CALLED = {INPUT: "hazy input", "dark_channel": "dark channel prior", CLEAR: "clear (ground truth)"}


class Gallery:
    """Keeps the images of the worst rows, encoded; the others are let go, so that memory and page stay bounded."""

    def __init__(self, *, by, size):
        """Args:
        by: The method whose PSNR tells how bad a row is.
        size: How many rows to keep.
        """
        self.by = by
        self._size = size
        self._heap = []  # the best of the kept ones on top
        self._added = 0

    def add(self, scored) -> None:
        """Takes a `Scored` in, if it belongs to the worst so far."""
        rank = (-scored.row["scores"][self.by]["psnr"], -self._added)
        self._added += 1
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, (rank, scored.row, _encode_all(scored.images)))
        elif self._heap and rank > self._heap[0][0]:
            heapq.heapreplace(self._heap, (rank, scored.row, _encode_all(scored.images)))

    def worst_first(self) -> list:
        """[(row, {METHOD or `clear`: JPEG bytes})]; of equals, the one that was added first."""
        return [entry[1:] for entry in sorted(self._heap, key=lambda entry: entry[0], reverse=True)]


def _encode_all(images):
    return {name: jpeg(image) for name, image in images.items()}


def jpeg(image, *, max_side=MAX_SIDE, quality=QUALITY) -> bytes:
    """uint8 [H, W, 3] as JPEG, shrunk to a longer side of `max_side`; smaller images keep their size."""
    small, buffer = Image.fromarray(image), io.BytesIO()
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def build(gallery, *, rows, summary, source, about) -> str:
    """Makes the page.

    Args:
        gallery: A `Gallery` of some of the rows.
        rows: All rows, as `evaluation.evaluate` makes them.
        summary: As `evaluation.summarize` makes it.
        source: Where the pairs come from, as a phrase.
        about: {name: text, number or dict of such} for the list at its end; `protocol` stands first.

    Returns:
        HTML in one piece.
    """
    kept, methods = gallery.worst_first(), list(summary)
    right = gallery.by if gallery.by != INPUT else CLEAR
    shown = [*methods, CLEAR]
    orders = {"psnr 1": "worst first", "psnr -1": "best first", "order 1": "by name"}
    if gallery.by != INPUT:
        orders |= {"gain 1": "least gained first", "gain -1": "most gained first"}
    names = sorted(row["key"] for row, _ in kept)
    cards = [
        _card(row, jpegs, by=gallery.by, left=methods[0], right=right, order=names.index(row["key"]))
        for row, jpegs in kept
    ]
    counted = (
        f"{len(kept)} pairs" if len(kept) == len(rows) else f"the {len(kept)} worst of {len(rows)} pairs"
    )
    details = about.get("protocol", {}) | {name: value for name, value in about.items() if name != "protocol"}
    return PAGE.substitute(
        title="HazeHeal: evaluation",
        subtitle=_text(f"{len(rows)} pairs of {source}"),
        style=STYLE,
        script=SCRIPT,
        summary=_summary_table(summary, count=len(rows)),
        scatter=_scatter(rows, by=gallery.by) if gallery.by != INPUT else "",
        left=_options({name: _called(name) for name in shown}, selected=methods[0]),
        right=_options({name: _called(name) for name in shown}, selected=right),
        orders=_options(orders, selected="psnr 1"),
        shown=_text(f"{counted}; worst is the lowest PSNR of {_called(gallery.by)}"),
        cards="\n".join(cards),
        protocol="".join(f"<dt>{_text(k)}</dt><dd>{_text(_phrase(v))}</dd>" for k, v in details.items()),
    )


def _card(row, jpegs, *, by, left, right, order):
    sides = {name: [s for s, n in (("left", left), ("right", right)) if n == name] for name in jpegs}
    images = [
        f'<img data-method="{_text(name)}" class="{" ".join(sides[name])}" alt="{_text(_called(name))}" '
        f'decoding="async" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        for name, data in jpegs.items()
    ]
    psnr, psnr_input = (row["scores"][name]["psnr"] for name in (by, INPUT))
    key, files = _text(row["key"]), _text(f"{row['hazy']} | {row['clear']} | {row['width']}x{row['height']}")
    return (
        f'<figure class="card" data-psnr="{psnr:.6f}" data-gain="{psnr - psnr_input:.6f}" data-order="{order}">'
        f'<div class="view" style="aspect-ratio: {row["width"]} / {row["height"]}">{"".join(images)}'
        f'<input type="range" min="0" max="100" step="0.1" value="50" aria-label="compare {key}">'
        f'<span class="tag left">{_text(_called(left))}</span><span class="tag right">{_text(_called(right))}</span></div>'
        f'<figcaption><strong>{key}</strong><p class="faint">{files}</p><div class="scroll">{_table(row["scores"])}</div></figcaption>'
        "</figure>"
    )


def _summary_table(summary, *, count):
    means = {name: {m: found["mean"] for m, found in values.items()} for name, values in summary.items()}
    more = dict.fromkeys(summary, "<td></td><td></td>")
    for name, values in summary.items():
        psnr = values["psnr"]
        if "gain" in psnr:
            spread = "" if psnr["gain_stderr"] is None else f" ± {psnr['gain_stderr']:.2f}"
            kind = "gain" if psnr["gain"] > 0 else "loss"
            more[name] = f'<td class="{kind}">{psnr["gain"]:+.2f}{spread}</td>'
            more[name] += f"<td>{psnr['better_than_input']} of {count}</td>"
    titles = "<th>PSNR gained, dB</th><th>better than the input</th>"
    return _table(means, titles=titles, more=more) if len(means) > 1 else _table(means)


def _table(values, *, titles="", more=None):
    """One row a method, the best of each metric in bold; `titles` and `more` ({method: cells}) are HTML."""
    best, head = {}, ""
    for m in next(iter(values.values())):
        lower = METRICS[m].lower_is_better
        best[m] = (min if lower else max)(figures[m] for figures in values.values())
        head += f"<th>{METRICS[m].title} {'↓' if lower else '↑'}</th>"
    lines = []
    for name, figures in values.items():
        cells = ""
        for m in best:
            bold = ' class="best"' if len(values) > 1 and figures[m] == best[m] else ""
            cells += f"<td{bold}>{figures[m]:.{METRICS[m].decimals}f}</td>"
        lines.append(f"<tr><td>{_text(_called(name))}</td>{cells}{(more or {}).get(name, '')}</tr>")
    return f"<table><tr><th></th>{head}{titles}</tr>{''.join(lines)}</table>"


def _scatter(rows, *, by, side=250, margin=36):
    """PSNR before (across) and after (up) of every pair, as SVG; above the diagonal it got better."""
    before, after = ([row["scores"][name]["psnr"] for row in rows] for name in (INPUT, by))
    low, high = min(*before, *after), max(*before, *after)
    scale = (side - margin - 8) / max(high - low, 1e-9)

    def place(x, y):
        return round(margin + (x - low) * scale, 1), round(side - margin - (y - low) * scale, 1)

    dots = ""
    for row, x, y in zip(rows, before, after, strict=True):
        cx, cy = place(x, y)
        label = _text(f"{row['key']}: {x:.2f} to {y:.2f} dB")
        dots += f'<circle class="{"up" if y > x else "down"}" cx="{cx}" cy="{cy}" r="3"><title>{label}</title></circle>'
    (x0, y0), (x1, y1) = place(low, low), place(high, high)
    return (
        f'<svg width="{side}" height="{side}" role="img" aria-label="PSNR before and after">'
        f'<path class="axis" d="M{x0} {y1}V{y0}H{x1}M{x0} {y0}L{x1} {y1}"/>{dots}'
        f'<text x="{x0}" y="{y0 + 14}">{low:.1f}</text><text x="{x1}" y="{y0 + 14}" text-anchor="end">{high:.1f}</text>'
        f'<text x="{(x0 + x1) / 2}" y="{side - 6}" text-anchor="middle">PSNR of the input, dB</text>'
        f'<text transform="translate(12 {(y0 + y1) / 2}) rotate(-90)" text-anchor="middle">PSNR of {_text(_called(by))}</text>'
        "</svg>"
    )


def _options(texts, *, selected):
    return "".join(
        f'<option value="{_text(value)}"{" selected" if value == selected else ""}>{_text(text)}</option>'
        for value, text in texts.items()
    )


def _called(name):
    return CALLED.get(name, name)


def _phrase(value):
    if not isinstance(value, dict):
        return str(value)
    return "; ".join(f"{key} {_phrase(v)}" for key, v in value.items()) or "none"


def _text(value):
    return html.escape(one_line(value))
