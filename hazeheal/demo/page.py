"""The page of `hazeheal demo`, made with Gradio: drop images, compare before and after, download the results."""

import html
import logging
import pathlib
import urllib.parse
from collections.abc import Sequence

import gradio as gr
from PIL import Image

from hazeheal.demo.images import DemoImages
from hazeheal.errors import HazeHealError
from hazeheal.inference.strength import LARGEST
from hazeheal.utils.console import error_text

LOG = logging.getLogger("hazeheal")
PREVIEW_QUALITY = 92  # of the JPEGs that the page shows
# Seconds: files of Gradio's cache are shown at once, and removed soon after.
DELETE_CACHE = (30, 120)

HEADER = """<header><h1>HazeHeal</h1><p>Removes haze from photographs. Your images stay on this machine, and are deleted
when you close the page.</p></header>"""
EMPTY = "<p class='hint'>Drop an image to see it before and after.</p>"
# System fonts: the page loads nothing from elsewhere.
THEME = gr.themes.Base(
    primary_hue="sky",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
    radius_size="lg",
)
CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
.html-container { padding: 0 !important; }
header h1 { margin: 0; font-size: 1.7rem; font-weight: 650; letter-spacing: -0.02em; }
header p { margin: 0.2rem 0 0; color: var(--body-text-color-subdued); }
.problems { border-left: 4px solid #dc2626; background: #dc262614; border-radius: 6px; padding: 0.6rem 0.9rem; }
.problems p { margin: 0.15rem 0; overflow-wrap: anywhere; }
.hint { margin: 0; padding: 7rem 1rem; text-align: center; color: var(--body-text-color-subdued);
    border: 1px dashed var(--border-color-primary); border-radius: 10px; }
.facts { margin: 0; color: var(--body-text-color-subdued); font-size: 0.9rem; overflow-wrap: anywhere; }
a.download { display: block; padding: 0.7rem 1rem; border-radius: 10px; background: var(--primary-600); color: #fff;
    text-align: center; font-weight: 600; text-decoration: none; overflow-wrap: anywhere; }
a.download:hover { background: var(--primary-700); }
"""


def build(images: DemoImages, *, models: Sequence[str]) -> gr.Blocks:
    """Builds the page.

    Args:
        images: Reads and restores what is uploaded.
        models: The names to choose from; the first one is chosen.
    """
    events = _Events(images)
    with gr.Blocks(title="HazeHeal", analytics_enabled=False, fill_width=True, delete_cache=DELETE_CACHE) as page:
        refused = gr.State([])  # sentences about the last upload
        gr.HTML(HEADER)
        problems = gr.HTML(visible=False, elem_id="problems")
        with gr.Row():
            with gr.Column(scale=5, min_width=480):
                hint = gr.HTML(EMPTY)
                slider = gr.ImageSlider(
                    label="hazy | restored",
                    interactive=False,
                    visible=False,
                    max_height=720,
                    buttons=["fullscreen"],
                    elem_id="compare",
                )
                facts = gr.HTML(visible=False, elem_id="facts")
            with gr.Column(scale=2, min_width=260):
                files = gr.File(label="Images", file_count="multiple", height=150, elem_id="drop")
                files.preprocess = _paths_and_names
                picker = gr.Dropdown(label="Shown image", choices=[], visible=False, elem_id="picker")
                strength = gr.Slider(0, LARGEST, 1, step=0.05, label="Strength", elem_id="strength")
                model = gr.Radio(list(models), value=models[0], label="Network", elem_id="model")
                link = gr.HTML(visible=False, elem_id="download")
        shown = [slider, hint, facts, link, problems]
        choice = [picker, model, strength]
        settings = {"show_progress_on": [slider, hint], "api_visibility": "private"}
        # One run of the network at a time.
        network = {"concurrency_limit": 1, "concurrency_id": "network"}
        files.upload(events.upload, [files, picker], [files, picker, refused], api_visibility="private").then(
            events.show, [*choice, refused], shown, **settings, **network
        )
        picker.input(events.show, choice, shown, **settings, **network)
        model.input(events.show, choice, shown, **settings, **network)
        strength.change(
            events.show,
            choice,
            shown,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
            **network,
        )
        page.unload(events.close)
    return page.queue(api_open=False)


class _Events:
    """What the page calls. Every error becomes a sentence on the page."""

    def __init__(self, images):
        self._images = images

    def upload(self, files: list[tuple[str, str]], shown: str | None, request: gr.Request):
        """Takes over the uploaded files. Returns the values of the drop zone, the picker and `refused`."""
        added, refused = [], []
        for path, name in dict.fromkeys(files):
            try:
                added.append(self._images.add(path, session=request.session_hash, name=name))
            except Exception as error:
                refused.append(_sentence(error, name))
        kept = self._images.of_session(request.session_hash)
        first = added[0].key if added else shown
        picker = gr.Dropdown(
            choices=[(image.path.name, image.key) for image in kept], value=first, visible=len(kept) > 1
        )
        return None, picker, refused

    def show(self, key: str | None, model: str, strength: float, refused: Sequence[str] = ()):
        """Returns the values of slider, hint, facts, link and problems for one image; `refused` are more problems."""
        if not key:
            return _nothing(refused)
        try:
            image = self._images.get(key)
            preview = self._images.preview(key, model=model, strength=strength)
            sides = {"hazy": preview.hazy, "restored": preview.restored}
            files = [_write(pixels, image.path.parent / f"{name}.preview.jpg") for name, pixels in sides.items()]
        except Exception as error:
            return _nothing([*refused, _sentence(error, "the image")])
        return (
            gr.ImageSlider(value=tuple(files), visible=True),
            gr.HTML(visible=False),
            gr.HTML(f"<p class='facts'>{html.escape(_facts(image, preview.bits))}</p>", visible=True),
            gr.HTML(_link(image, model, strength), visible=True),
            _problems(refused),
        )

    def close(self, request: gr.Request):
        self._images.close(request.session_hash)


def _paths_and_names(payload):
    """The value of the drop zone as [(path, name that the user knows), ...]: Gradio removes characters from the name."""
    return [(file.path, file.orig_name or pathlib.PurePath(file.path).name) for file in payload or []]


def _nothing(sentences):
    """The values of `show` where there is no image to show."""
    hidden = gr.HTML(visible=False)
    return gr.ImageSlider(value=None, visible=False), gr.HTML(visible=True), hidden, hidden, _problems(sentences)


def _problems(sentences):
    text = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
    return gr.HTML(f"<div class='problems' role='alert'>{text}</div>" if text else "", visible=bool(text))


def _sentence(error, name):
    if isinstance(error, HazeHealError):
        return f"{error}."
    LOG.error("%s: %s: %s", name, type(error).__name__, error_text(error))
    return f"{name} cannot be restored ({type(error).__name__}: {error_text(error)})."


def _facts(image, bits):
    depth = f", {bits} bits per sample (shown with 8)" if bits > 8 else ""
    return f"{image.path.name}: {image.width} x {image.height} pixels{depth}"


def _link(image, model, strength):
    query = urllib.parse.urlencode({"model": model, "strength": f"{strength:g}"})
    address = html.escape(f"result/{image.key}?{query}")
    return f"<a class='download' href='{address}' download>Download {html.escape(image.result)}</a>"


def _write(pixels, path):
    Image.fromarray(pixels).save(path, quality=PREVIEW_QUALITY, subsampling=0)
    return str(path)
