"""The report of an evaluation: an HTML file with a before/after slider for each image, worst first.

    gallery = Gallery(by="mine", size=100)
    for row, pictures in evaluate(pairs, methods, keep=Pictures([*methods], small=True).keep):
        gallery.add(row, pictures)
    html = build(gallery, summary=summarize(rows), count=len(rows), source="D/hazy and D/GT", about={})

Small images are embedded. Those at full resolution are files beside the page (`pictures`), which it links. Text from
outside (file and run names) is escaped.
"""

import base64
import bisect
import html
import urllib.parse

from hazeheal.evaluation.html_template import PAGE, SCRIPT, STYLE
from hazeheal.evaluation.pictures import MAX_SIDE, Picture
from hazeheal.evaluation.results import CLEAR, INPUT, METRICS, leading
from hazeheal.utils.console import one_line, plural

TITLES = {INPUT: "hazy input", "dark_channel": "dark channel prior", CLEAR: "clear (ground truth)"}
ZOOM_HINT = "Drag over an image to move its slider. Click it to see the images side by side at full resolution."
NO_ZOOM_HINT = (
    f"Drag over an image to move its slider. The images are reduced to {MAX_SIDE} pixels and compressed. To see them at full "
    "resolution, run the command of this page with --save_images and --overwrite."
)


class Gallery:
    """The pictures of the worst rows. The others are dropped to bound memory and page size.

    Attributes:
        by: The method whose leading metric ranks the rows.
        worst: [(row, {METHOD or CLEAR: picture})], the worst first. Of equal rows, the one added first comes first.
    """

    def __init__(self, *, by: str, size: int):
        """Creates an empty gallery for at most `size` rows."""
        self.by = by
        self.worst = []
        self._size = size

    def add(self, row: dict, pictures: dict[str, Picture]) -> None:
        """Keeps a row and its pictures if it is among the worst added so far."""
        if not self._size:
            return
        bisect.insort(self.worst, (row, pictures), key=lambda entry: _quality(entry[0], self.by))
        del self.worst[self._size :]


def build(gallery: Gallery, *, summary: dict, count: int, source: str, about: dict, note: str = "") -> str:
    """Builds the page.

    Args:
        gallery: The rows to show with images.
        summary: Of `results.summarize`.
        count: Number of all rows.
        source: The source of the pairs, as a phrase.
        about: {name: text, number or nested dict} for the list at the end of the page. The entries of `protocol` come
            first, each on its own line.
        note: A remark on the figures.

    Returns:
        The HTML text.
    """
    lead, rows = leading(summary), [row for row, _ in gallery.worst]
    has_clear = not rows or "clear" in rows[0]
    titles = {name: _title(name) for name in [*summary, *([CLEAR] if has_clear else [])]}
    right, orders = [*titles][-1], {"quality 1": "worst first", "quality -1": "best first", "order 1": "by name"}
    if gallery.by != INPUT:
        right = gallery.by
        orders |= {"gain 1": "smallest gain first", "gain -1": "largest gain first"}
    keys = sorted(row["key"] for row in rows)
    cards = [_card(row, kept, by=gallery.by, order=keys.index(row["key"])) for row, kept in gallery.worst]
    noun = "pair" if has_clear else "image"
    shown = plural(count, noun) if len(cards) == count else f"the {len(cards)} worst of {plural(count, noun)}"
    extreme = "highest" if METRICS[lead].lower_is_better else "lowest"
    details = about.get("protocol", {}) | {name: value for name, value in about.items() if name != "protocol"}
    can_zoom = any(picture.file for _, kept in gallery.worst for picture in kept.values())
    return PAGE.substitute(
        title="HazeHeal: evaluation",
        subtitle=_escape(f"{plural(count, noun)} of {source}"),
        note=f'<p class="note">{_escape(note)}</p>' if note else "",
        style=STYLE,
        script=SCRIPT,
        summary=_summary_table(summary, count=count),
        left=_options(titles, selected=next(iter(summary))),
        right=_options(titles, selected=right),
        orders=_options(orders, selected="quality 1"),
        shown=_escape(f"{shown}; worst means {extreme} {METRICS[lead].title} of {_title(gallery.by)}"),
        hint=_escape(ZOOM_HINT if can_zoom else NO_ZOOM_HINT),
        cards="\n".join(cards),
        details="".join(f"<dt>{_escape(k)}</dt><dd>{_escape(_phrase(v))}</dd>" for k, v in details.items()),
    )


def _quality(row, name):
    """The leading metric of a method, negated if lower is better."""
    lead = leading(row["scores"])
    return METRICS[lead].sign * row["scores"][name][lead]


def _card(row, pictures, *, by, order):
    """One image pair: its images under a slider, its file names and its scores. The script fills in the tags."""
    images = "".join(
        f'<img data-method="{_escape(name)}" alt="{_escape(_title(name))}" decoding="async"{_link(picture.file)} '
        f'src="data:image/jpeg;base64,{base64.b64encode(picture.small).decode()}">'
        for name, picture in pictures.items()
    )
    width, height, quality = row["width"], row["height"], _quality(row, by)
    key = _escape(row["key"])
    button = ""
    if any(picture.file for picture in pictures.values()):
        button = f'<button type="button" aria-label="{key} at full resolution">100 %</button>'
    files = _escape(" | ".join([row["hazy"], *([row["clear"]] if "clear" in row else []), f"{width}x{height}"]))
    return (
        f'<figure class="card" data-quality="{quality:.6f}" data-gain="{quality - _quality(row, INPUT):.6f}" '
        f'data-order="{order}" data-width="{width}" data-height="{height}">'
        f'<div class="view" style="aspect-ratio: {width} / {height}">{images}'
        f'<input type="range" min="0" max="100" step="0.1" value="50" aria-label="compare {key}">{button}'
        '<span class="tag left"></span><span class="tag right"></span></div>'
        f'<figcaption><strong>{key}</strong><p class="faint">{files}</p>'
        f'<div class="scroll">{_table(row["scores"])}</div></figcaption>'
        "</figure>"
    )


def _link(file):
    """The attribute with the address of an image at full resolution, relative to the page."""
    return "" if file is None else f' data-full="{_escape(urllib.parse.quote(file))}"'


def _summary_table(summary, *, count):
    lead = leading(summary)
    metric, means = METRICS[lead], {name: {m: v["mean"] for m, v in values.items()} for name, values in summary.items()}
    change = f"{metric.title} {'change' if metric.lower_is_better else 'gain'}{metric.unit and ',' + metric.unit}"
    better = f"{metric.better} than the input"
    gains = {change: {}, better: {}}
    for name, metrics in summary.items():
        found = metrics[lead]
        if "gain" in found:
            digits = metric.decimals
            stderr = "" if found["gain_stderr"] is None else f" ± {found['gain_stderr']:.{digits}f}"
            gains[change][name] = f"{found['gain']:+.{digits}f}{stderr}"
            gains[better][name] = f"{found['better_than_input']} of {count}"
    return _table(means, extra=gains if len(means) > 1 else {})


def _table(scores, *, extra=None):
    """A table of {METHOD: {metric: value}}, one row per method, the best value of each quality in bold.

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
            is_best = METRICS[m].is_quality and len(scores) > 1 and values[m] == best[m]
            bold = ' class="best"' if is_best else ""
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
