"""Sheets of images: rows of hazy | restored | clear with their PSNR, and other rows of images with captions.

    sheet = sample_sheet(hazy, restored, clear, labels=keys)           # uint8 [H, W, 3]
    sheet = draw_sheet([[hazy, restored]], titles=["hazy", "restored"])
    write_sheet("step_00000100.png", hazy, restored, clear)

Everything works on uint8 arrays and uses Pillow, not TensorFlow.
"""

import logging
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hazeheal.data.images import image_io, image_ops
from hazeheal.errors import OutputError

COLUMN_TITLES = ("hazy", "restored", "clear")

_log = logging.getLogger("hazeheal")
_PAPER, _INK, _FAINT = (250, 250, 248), (28, 32, 36), (120, 126, 132)
_BETTER, _WORSE = (20, 122, 62), (184, 44, 36)
_MARGIN, _GAP, _CAPTION_HEIGHT, _TITLE_HEIGHT = 16, 8, 28, 34
_ROOM_FOR_CAPTION = 240


class Caption(NamedTuple):
    """A line of text under an image."""

    text: str
    color: tuple[int, int, int] = _INK


def sample_sheet(
    hazy: Sequence[np.ndarray],
    restored: Sequence[np.ndarray],
    clear: Sequence[np.ndarray],
    *,
    labels: Sequence[str] | None = None,
    ssim: Sequence[tuple[float, float]] | None = None,
    max_side: int = 320,
    max_rows: int = 8,
) -> np.ndarray:
    """Draws rows of hazy | restored | clear, with the PSNR and its gain under them.

    The PSNR is computed before the images are scaled for the sheet.

    Args:
        hazy: uint8 [N, H, W, 3], or a list of [H, W, 3] of differing sizes.
        restored: Likewise; each image has the size of the hazy one.
        clear: Likewise.
        labels: N texts, such as pair keys, drawn under the clear images.
        ssim: N pairs: the SSIM of the hazy image and that of the restored one.
        max_side: Longer side of an image on the sheet, in pixels; see `draw_sheet`.
        max_rows: Only the first `max_rows` rows are drawn.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: The sequences differ in length or are empty, or an image has another type or size.
    """
    lengths = [len(hazy), len(restored), len(clear)]
    lengths += [len(texts) for texts in (labels, ssim) if texts is not None]
    if min(lengths) == 0 or len(set(lengths)) > 1:
        raise ValueError(f"all columns must have the same number of rows, at least one; got {lengths}")
    rows, captions = [], []
    for number in range(min(len(hazy), max_rows)):
        row = [_checked(column[number]) for column in (hazy, restored, clear)]
        if len({image.shape for image in row}) > 1:
            shapes = ", ".join(str(image.shape) for image in row)
            raise ValueError(f"row {number}: hazy, restored and clear must have one size, got {shapes}")
        rows.append(row)
        label = Caption("" if labels is None else str(labels[number]), _FAINT)
        captions.append([*_psnr_captions(row, None if ssim is None else ssim[number]), label])
    return draw_sheet(
        rows, titles=COLUMN_TITLES, captions=captions, max_side=max_side, min_column_width=_ROOM_FOR_CAPTION
    )


def write_sheet(
    path: str | os.PathLike,
    hazy: Sequence[np.ndarray],
    restored: Sequence[np.ndarray],
    clear: Sequence[np.ndarray],
    **options,
) -> bool:
    """Writes a sample sheet to `path` atomically. A full disk costs a warning and the sheet, not the training.

    Args:
        path: The image file.
        hazy: As for `sample_sheet`.
        restored: Likewise.
        clear: Likewise.
        **options: Further arguments of `sample_sheet`.

    Returns:
        Whether the sheet was written.
    """
    path = pathlib.Path(path)
    sheet = sample_sheet(hazy, restored, clear, **options)
    try:
        image_io.save(sheet, path)
    except OutputError as error:
        _log.warning("the sample sheet %s could not be written (%s); training continues", path, error)
        return False
    return True


def draw_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    titles: Sequence[str] = (),
    captions: Sequence[Sequence[Caption]] | None = None,
    max_side: int = 320,
    min_column_width: int = 0,
) -> np.ndarray:
    """Draws rows of images in columns.

    Args:
        rows: Rows of uint8 images [H, W, 3]. Their sizes may differ.
        titles: Texts above the columns.
        captions: One `Caption` per image, cut where it is wider than its column.
        max_side: Longer side of an image on the sheet, in pixels. Larger images are shrunk; images that fit
            several times are enlarged by an integer factor.
        min_column_width: In pixels.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: An image is not uint8 [H, W, 3].
    """
    panels = [[_fit(_checked(image), max_side) for image in row] for row in rows]
    columns = max(len(row) for row in panels)
    column_width = max(min_column_width, *(panel.width for row in panels for panel in row))
    heights = [max(panel.height for panel in row) for row in panels]
    top = _TITLE_HEIGHT if titles else _MARGIN
    below = _GAP if captions is None else _CAPTION_HEIGHT
    size = (
        2 * _MARGIN + columns * column_width + (columns - 1) * _GAP,
        top + sum(heights) + len(rows) * below + _MARGIN,
    )
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    title_font, font = ImageFont.load_default(size=17), ImageFont.load_default(size=13)
    lefts = [_MARGIN + column * (column_width + _GAP) for column in range(columns)]
    for left, title in zip(lefts, titles, strict=False):
        draw.text((left, _TITLE_HEIGHT // 2), title, fill=_INK, font=title_font, anchor="lm")
    for number, row in enumerate(panels):
        for left, panel in zip(lefts, row, strict=False):
            sheet.paste(panel, (left, top))
        top += heights[number] + below
        for left, caption in zip(lefts, captions[number] if captions else (), strict=False):
            text = _shortened(caption.text, font=font, width=column_width)
            draw.text((left, top - below // 2 - 2), text, fill=caption.color, font=font, anchor="lm")
    return np.asarray(sheet)


def side_by_side(row: Sequence[np.ndarray], *, max_side: int, gap: int = 4) -> np.ndarray:
    """Joins images horizontally on a white background.

    Args:
        row: uint8 images [H, W, 3]. Their heights may differ.
        max_side: Images whose longer side has more pixels are shrunk to it.
        gap: Number of white pixels between two images.

    Returns:
        uint8 [max of H, sum of W + gaps, 3].

    Raises:
        ValueError: An image is not uint8 [H, W, 3].
    """
    row = [shrink(_checked(image), max_side) for image in row]
    height = max(image.shape[0] for image in row)
    width = sum(image.shape[1] for image in row) + gap * (len(row) - 1)
    sheet = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for image in row:
        sheet[: image.shape[0], left : left + image.shape[1]] = image
        left += image.shape[1] + gap
    return sheet


def shrink(image: np.ndarray, max_side: int) -> np.ndarray:
    """Returns uint8 [H, W, 3] with a longer side of at most `max_side` pixels. Smaller images are not changed."""
    height, width = image.shape[:2]
    if max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def _psnr_captions(row, ssim):
    """Returns the captions under a hazy and a restored image."""
    before, after = image_ops.psnr(row[0], row[2]), image_ops.psnr(row[1], row[2])
    texts = [f"PSNR {before:.2f} dB", f"PSNR {after:.2f} dB"]
    color = _INK
    if np.isfinite(before) and np.isfinite(after):
        gain = round(after - before, 2) + 0.0  # + 0.0 turns -0.0, which would look like a loss, into 0.0
        texts[1] += f" ({gain:+.2f})"
        color = _BETTER if gain > 0 else _WORSE if gain < 0 else _INK
    if ssim is not None:
        texts = [f"{text}, SSIM {value:.3f}" for text, value in zip(texts, ssim, strict=True)]
    return Caption(texts[0]), Caption(texts[1], color)


def _checked(image):
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image must be uint8 [H, W, 3], got {image.dtype} {image.shape}")
    return image


def _fit(image, max_side):
    panel = Image.fromarray(shrink(image, max_side))
    factor = max(1, max_side // max(panel.size))
    return panel.resize((panel.width * factor, panel.height * factor), Image.Resampling.BICUBIC)


def _shortened(text, *, font, width):
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
