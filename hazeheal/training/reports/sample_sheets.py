"""Sample sheets: rows of hazy | restored | clear with what was gained under each, as one image.

Drawn from whole uint8 images by PIL alone; no TensorFlow.
"""

import logging
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hazeheal.data.images import image_io
from hazeheal.errors import OutputError

COLUMN_TITLES = ("hazy", "restored", "clear")

_log = logging.getLogger("hazeheal")
_PAPER, _INK, _FAINT = (250, 250, 248), (28, 32, 36), (120, 126, 132)
_BETTER, _WORSE = (20, 122, 62), (184, 44, 36)
_MARGIN, _GAP, _CAPTION, _TITLES, _MIN_CELL = 16, 8, 28, 34, 240


def shrink(image, max_side):
    """Returns uint8 [H, W, 3] with its longer side at most `max_side`; smaller images as they are."""
    height, width = image.shape[:2]
    if max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def side_by_side(row, *, max_side, gap=4):
    """Sets images beside each other on white.

    Args:
        row: uint8 images [H, W, 3]; their heights may differ.
        max_side: Images whose longer side has more pixels are shrunk to it.
        gap: White pixels between two.

    Returns:
        uint8 [max of H, sum of W + gaps, 3].
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


def sample_sheet(hazy, restored, clear, *, labels=None, ssim=None, max_side=320, max_rows=8):
    """Draws a sheet: a header, then rows of hazy | restored | clear with captions under them.

    PSNR is that of the whole images, before they are scaled for the sheet.

    Args:
        hazy, restored, clear: uint8 [N, H, W, 3], or lists of [H, W, 3]; the three of a row in one size.
        labels: N texts (pair keys), set under the clear images; None for none.
        ssim: N pairs (of the hazy image, of the restored one), or None.
        max_side: Longer side of an image on the sheet. Larger ones are shrunk; ones that fit several
            times are enlarged by a whole number.
        max_rows: Rows beyond are left out.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: Lists of different length, no row at all, or images of another type or size.
    """
    lengths = [len(hazy), len(restored), len(clear)]
    lengths += [len(texts) for texts in (labels, ssim) if texts is not None]
    if min(lengths) == 0 or len(set(lengths)) > 1:
        raise ValueError(f"a sheet needs equally many of everything and one row at least, got {lengths}")
    rows = [
        [_checked(column[i]) for column in (hazy, restored, clear)] for i in range(min(len(hazy), max_rows))
    ]
    for number, row in enumerate(rows):
        if len({image.shape for image in row}) > 1:
            shapes = ", ".join(str(image.shape) for image in row)
            raise ValueError(f"row {number}: hazy, restored and clear differ in size: {shapes}")
    panels = [[_fit(image, max_side) for image in row] for row in rows]
    # Captions need room under narrow images too.
    cell = max(_MIN_CELL, *(row[0].width for row in panels))
    heights = [row[0].height for row in panels]
    width = 2 * _MARGIN + 3 * cell + 2 * _GAP
    height = _TITLES + sum(heights) + len(rows) * _CAPTION + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title_font, font = ImageFont.load_default(size=17), ImageFont.load_default(size=13)
    lefts = [_MARGIN + column * (cell + _GAP) for column in range(3)]
    for left, title in zip(lefts, COLUMN_TITLES, strict=True):
        draw.text((left, _TITLES // 2), title, fill=_INK, font=title_font, anchor="lm")

    top = _TITLES
    for number, (row, row_panels) in enumerate(zip(rows, panels, strict=True)):
        middle = top + heights[number] + _CAPTION // 2 - 2
        captions = _captions(row, None if ssim is None else ssim[number])
        if labels is not None:
            captions[2] = (str(labels[number]), _FAINT)
        for left, panel, (text, color) in zip(lefts, row_panels, captions, strict=True):
            sheet.paste(panel, (left, top))
            text = _shortened(text, font=font, width=cell)
            draw.text((left, middle), text, fill=color, font=font, anchor="lm")
        top += heights[number] + _CAPTION
    return np.asarray(sheet)


def write_sheet(path, hazy, restored, clear, **options):
    """Writes `sample_sheet(hazy, restored, clear, **options)` to `path`, aside and then renamed.

    Returns:
        Whether it was written. A full disk costs one warning and the sheet, not the training.
    """
    path = pathlib.Path(path)
    sheet = sample_sheet(hazy, restored, clear, **options)
    try:
        image_io.save(sheet, path)
    except OutputError as error:
        _log.warning("the sample sheet %s could not be written (%s); training goes on", path, error)
        return False
    return True


def _captions(row, ssim):
    before, after = image_io.psnr(row[0], row[2]), image_io.psnr(row[1], row[2])
    texts = [f"PSNR {before:.2f} dB", f"PSNR {after:.2f} dB"]
    color = _INK
    if np.isfinite(before) and np.isfinite(after):
        gain = round(after - before, 2) + 0.0  # + 0.0: "-0.00" would be shown as a loss
        texts[1] += f" ({gain:+.2f})"
        color = _BETTER if gain > 0 else _WORSE if gain < 0 else _INK
    if ssim is not None:
        texts = [f"{text}, SSIM {value:.3f}" for text, value in zip(texts, ssim, strict=True)]
    return [(texts[0], _INK), (texts[1], color), ("", _FAINT)]


def _checked(image):
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image must be uint8 [H, W, 3], and is {image.dtype} {image.shape}")
    return image


def _fit(image, max_side):
    panel = Image.fromarray(shrink(image, max_side))
    times = max(1, max_side // max(panel.size))
    return panel.resize((panel.width * times, panel.height * times), Image.Resampling.BICUBIC)


def _shortened(text, *, font, width):
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
