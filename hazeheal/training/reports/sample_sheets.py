"""Sheets of images: rows of hazy | restored | clear with their PSNR, and other rows of images with captions.

    sheet = sample_sheet([(hazy, restored, clear), ...], labels=keys)          # uint8 [H, W, 3]
    sheet = draw_sheet([[hazy, restored]], titles=["hazy", "restored"])

Everything works on uint8 arrays and uses Pillow, not TensorFlow.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hazeheal.data.images import image_ops

_PAPER, _INK = (250, 250, 248), (28, 32, 36)
_MARGIN, _GAP, _CAPTION_HEIGHT, _TITLE_HEIGHT = 16, 8, 28, 34
_ROOM_FOR_CAPTION = 240


def sample_sheet(
    rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    labels: Sequence[str] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    max_side: int = 320,
) -> np.ndarray:
    """Draws rows of hazy | restored | clear, with the PSNR and its gain under them.

    The PSNR is computed before the images are scaled for the sheet.

    Args:
        rows: (hazy, restored, clear), uint8 `[H, W, 3]`; the three images of a row have the same size.
        labels: One text per row, such as a pair key, drawn under the clear image.
        captions: `psnr_captions` of each row, if `rows` are scaled already.
        max_side: Longer side of an image on the sheet, in pixels; see `draw_sheet`.

    Returns:
        uint8 `[H, W, 3]`.
    """
    captions = captions or [psnr_captions(*row) for row in rows]
    if labels is not None:
        captions = [[*pair, label] for pair, label in zip(captions, labels, strict=True)]
    titles = ("hazy", "restored", "clear")
    return draw_sheet(rows, titles=titles, captions=captions, max_side=max_side, min_column_width=_ROOM_FOR_CAPTION)


def draw_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    titles: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    max_side: int = 320,
    min_column_width: int = 0,
) -> np.ndarray:
    """Draws rows of images in columns.

    Args:
        rows: Rows of uint8 images `[H, W, 3]`. Their sizes may differ.
        titles: Texts above the columns.
        captions: For each row, texts under its images, cut where they are wider than the column.
        max_side: Longer side of an image on the sheet, in pixels. Larger images are shrunk; images that fit
            several times are enlarged by an integer factor.
        min_column_width: In pixels.

    Returns:
        uint8 `[H, W, 3]`.
    """
    panels = [[_fit(image, max_side) for image in row] for row in rows]
    columns = max(len(row) for row in panels)
    column_width = max(min_column_width, *(panel.width for row in panels for panel in row))
    heights = [max(panel.height for panel in row) for row in panels]
    top = _TITLE_HEIGHT if titles else _MARGIN
    below = _CAPTION_HEIGHT if captions else _GAP
    size = (
        2 * _MARGIN + columns * column_width + (columns - 1) * _GAP,
        top + sum(heights) + len(rows) * below + _MARGIN,
    )
    sheet = Image.new("RGB", size, _PAPER)
    lefts = [_MARGIN + column * (column_width + _GAP) for column in range(columns)]
    for left, title in zip(lefts, titles, strict=False):
        sheet.paste(_text(title, width=column_width, height=_TITLE_HEIGHT, font_size=17), (left, 0))
    for number, row in enumerate(panels):
        for left, panel in zip(lefts, row, strict=False):
            sheet.paste(panel, (left, top))
        top += heights[number]
        for left, caption in zip(lefts, captions[number] if captions else (), strict=False):
            sheet.paste(_text(caption, width=column_width, height=below, font_size=13), (left, top))
        top += below
    return np.asarray(sheet)


def shrink(image: np.ndarray, max_side: int) -> np.ndarray:
    """Returns uint8 `[H, W, 3]` with a longer side of at most `max_side` pixels. Smaller images are not changed."""
    shrunk = Image.fromarray(image)
    shrunk.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=None)
    return np.asarray(shrunk)


def _fit(image, max_side):
    panel = Image.fromarray(shrink(image, max_side))
    factor = max(1, max_side // max(panel.size))
    return panel.resize((panel.width * factor, panel.height * factor), Image.Resampling.BICUBIC)


def _text(text, *, width, height, font_size):
    """Draws a line of text on an image of its own, which cuts it to the width."""
    image = Image.new("RGB", (width, height), _PAPER)
    font = ImageFont.load_default(size=font_size)
    ImageDraw.Draw(image).text((0, height // 2), text, fill=_INK, font=font, anchor="lm")
    return image


def psnr_captions(hazy: np.ndarray, restored: np.ndarray, clear: np.ndarray) -> list[str]:
    """Returns the captions under the hazy and the restored image, uint8 `[H, W, 3]` each."""
    before, after = image_ops.psnr(hazy, clear), image_ops.psnr(restored, clear)
    gain = f" ({after - before:+.2f})" if np.isfinite([before, after]).all() else ""
    return [f"PSNR {before:.2f} dB", f"PSNR {after:.2f} dB{gain}"]
