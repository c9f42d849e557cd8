"""The report of an evaluation: one HTML file with a before/after slider for each image, worst first.

    gallery = Gallery(by="mine", size=100)
    for row, images in evaluate(pairs, methods):
        gallery.add(row, images)
    html = build(gallery, summary=summarize(rows), count=len(rows), source="D/hazy and D/GT", about={})

Images are embedded as JPEG of limited size; the scores are those of the full images. Text from outside (file and run
names) is escaped.
"""

import base64
import bisect
import html
import io

import numpy as np
from PIL import Image

from hazeheal.evaluation.html_template import PAGE, SCRIPT, STYLE
from hazeheal.evaluation.results import CLEAR, INPUT, METRICS
from hazeheal.utils.console import one_line, plural

MAX_SIDE = 640
QUALITY = 85
TITLES = {INPUT: "hazy input", "dark_channel": "dark channel prior", CLEAR: "clear (ground truth)"}


class Gallery:
    """The images of the worst rows, encoded as JPEG. The others are dropped to bound memory and page size.

    Attributes:
        by: The method whose PSNR ranks the rows.
        worst: [(row, {METHOD or CLEAR: JPEG bytes})], lowest PSNR first. Of equal rows, the one added first comes first.
    """

    def __init__(self, *, by: str, size: int):
        """Creates an empty gallery for at most `size` rows."""
        self.by = by
        self.worst = []
        self._size = size

    def add(self, row: dict, images: dict[str, np.ndarray]) -> None:
        """Keeps a row and its images, as `evaluate` yields them, if it is among the worst added so far."""
        if not self._size:
            return
        entry = row, {name: encode_jpeg(image) for name, image in images.items()}
        bisect.insort(self.worst, entry, key=lambda entry: entry[0]["scores"][self.by]["psnr"])
        del self.worst[self._size :]


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encodes a uint8 `[H, W, 3]` RGB image as JPEG; its longer side is reduced to at most 640 pixels."""
    small, buffer = Image.fromarray(image), io.BytesIO()
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    small.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def build(gallery: Gallery, *, summary: dict, count: int, source: str, about: dict) -> str:
    """Builds the page.

    Args:
        gallery: The rows to show with images.
        summary: Of `results.summarize`.
        count: Number of all rows.
        source: The source of the pairs, as a phrase.
        about: {name: text, number or nested dict} for the list at the end of the page. The entries of `protocol` come
            first, each on its own line.

    Returns:
        The HTML text.
    """
    titles = {name: _title(name) for name in [*summary, CLEAR]}
    right, orders = CLEAR, {"psnr 1": "worst first", "psnr -1": "best first", "order 1": "by name"}
    if gallery.by != INPUT:
        right = gallery.by
        orders |= {"gain 1": "smallest gain first", "gain -1": "largest gain first"}
    keys = sorted(row["key"] for row, _ in gallery.worst)
    cards = [_card(row, jpegs, by=gallery.by, order=keys.index(row["key"])) for row, jpegs in gallery.worst]
    shown = plural(count, "pair") if len(cards) == count else f"the {len(cards)} worst of {plural(count, 'pair')}"
    details = about.get("protocol", {}) | {name: value for name, value in about.items() if name != "protocol"}
    return PAGE.substitute(
        title="HazeHeal: evaluation",
        subtitle=_escape(f"{plural(count, 'pair')} of {source}"),
        style=STYLE,
        script=SCRIPT,
        summary=_summary_table(summary, count=count),
        left=_options(titles, selected=next(iter(summary))),
        right=_options(titles, selected=right),
        orders=_options(orders, selected="psnr 1"),
        shown=_escape(f"{shown}; worst means lowest PSNR of {_title(gallery.by)}"),
        cards="\n".join(cards),
        details="".join(f"<dt>{_escape(k)}</dt><dd>{_escape(_phrase(v))}</dd>" for k, v in details.items()),
    )


def _card(row, jpegs, *, by, order):
    """One image pair: its images under a slider, its file names and its scores. The script fills in the tags."""
    images = "".join(
        f'<img data-method="{_escape(name)}" alt="{_escape(_title(name))}" decoding="async" '
        f'src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        for name, data in jpegs.items()
    )
    psnr, psnr_input = (row["scores"][name]["psnr"] for name in (by, INPUT))
    key = _escape(row["key"])
    files = _escape(f"{row['hazy']} | {row['clear']} | {row['width']}x{row['height']}")
    return (
        f'<figure class="card" data-psnr="{psnr:.6f}" data-gain="{psnr - psnr_input:.6f}" data-order="{order}">'
        f'<div class="view" style="aspect-ratio: {row["width"]} / {row["height"]}">{images}'
        f'<input type="range" min="0" max="100" step="0.1" value="50" aria-label="compare {key}">'
        '<span class="tag left"></span><span class="tag right"></span></div>'
        f'<figcaption><strong>{key}</strong><p class="faint">{files}</p>'
        f'<div class="scroll">{_table(row["scores"])}</div></figcaption>'
        "</figure>"
    )


def _summary_table(summary, *, count):
    means = {name: {m: v["mean"] for m, v in metrics.items()} for name, metrics in summary.items()}
    gains = {"PSNR gain, dB": {}, "better than the input": {}}
    for name, metrics in summary.items():
        psnr = metrics["psnr"]
        if "gain" in psnr:
            stderr = "" if psnr["gain_stderr"] is None else f" ± {psnr['gain_stderr']:.2f}"
            gains["PSNR gain, dB"][name] = f"{psnr['gain']:+.2f}{stderr}"
            gains["better than the input"][name] = f"{psnr['better_than_input']} of {count}"
    return _table(means, extra=gains if len(means) > 1 else {})


def _table(scores, *, extra=None):
    """A table of {METHOD: {metric: value}}, one row per method, the best value of each metric in bold.

    `extra` adds columns: {heading: {METHOD: text}}.
    """
    extra, best, head = extra or {}, {}, ""
    for m in next(iter(scores.values())):
        lower = METRICS[m].lower_is_better
        best[m] = (min if lower else max)(values[m] for values in scores.values())
        head += f"<th>{METRICS[m].title} {'↓' if lower else '↑'}</th>"
    head += "".join(f"<th>{heading}</th>" for heading in extra)
    lines = []
    for name, values in scores.items():
        cells = f"<td>{_escape(_title(name))}</td>"
        for m in best:
            bold = ' class="best"' if len(scores) > 1 and values[m] == best[m] else ""
            cells += f"<td{bold}>{values[m]:.{METRICS[m].decimals}f}</td>"
        cells += "".join(f"<td>{texts.get(name, '')}</td>" for texts in extra.values())
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><tr><th></th>{head}</tr>{''.join(lines)}</table>"


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
