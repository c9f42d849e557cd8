"""What the generator will be fed, as one image, for `hazeheal train --preview`."""

import contextlib
import itertools
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.data.images import image_io
from hazeheal.errors import UsageError

PAIRS, COLUMNS = 24, 3
_GAP, _CAPTION = 6, 18


def write_preview(config, path, *, data_dir, on_bad_record="fail") -> str:
    """Writes the first pairs of a run, hazy beside clear, cropped, turned and under fresh haze as it will see them.

    Args:
        config: The configuration.
        path: A .png or .jpg that is not there yet.
        data_dir: The data set.
        on_bad_record: As in training.

    Returns:
        What was written, in one line.

    Raises:
        HazeHealError: What is wrong, which value, what to do.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--preview={path} is no image's name; end it in .png or .jpg")
    if path.exists():
        raise UsageError(f"--preview={path} is there already; name another file, or remove it")
    if not path.parent.is_dir():
        raise UsageError(f"--preview={path}: the folder {path.parent} does not exist; make it first")
    configs.check_crop(config, records.open_split(data_dir, config.data.train_split))

    import tensorflow as tf

    from hazeheal.data.pipeline.processor import DehazeDataProcessor
    from hazeheal.distributed.failures import translate_errors

    with contextlib.suppress(RuntimeError):  # TensorFlow runs already
        tf.config.set_visible_devices([], "GPU")  # a training may want its memory
    data = DehazeDataProcessor.from_config(
        config, data_dir, split=config.data.train_split, on_bad_record=on_bad_record
    )
    batches = data.dataset().as_numpy_iterator()
    with translate_errors(processor=data, devices=("CPU:0",)):
        pairs = (zip(batch["hazy"], batch["clear"], strict=True) for batch in batches)
        first = list(itertools.islice(itertools.chain.from_iterable(pairs), PAIRS))
    image_io.save(preview_sheet(first), path)
    found = [image_io.psnr(*pair) for pair in first]
    same = sum(np.isinf(found))
    hazy = [value for value in found if np.isfinite(value)]
    words = f"{path}: the first {len(first)} pairs of the run"
    if hazy:
        words += f", input PSNR {min(hazy):.1f} to {max(hazy):.1f} dB"
    return words + f", {same} of them clear images" * bool(same)


def preview_sheet(pairs):
    """uint8 [H, W, 3]: pairs of uint8 [S, S, 3] (hazy, clear) in columns, each with the input's PSNR under it."""
    size = pairs[0][0].shape[0]
    width, height = 2 * size + 2, size + _CAPTION
    rows = -(-len(pairs) // COLUMNS)
    sheet = Image.new(
        "RGB", (COLUMNS * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), (250, 250, 248)
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for number, (hazy, clear) in enumerate(pairs):
        left = _GAP + number % COLUMNS * (width + _GAP)
        top = _GAP + number // COLUMNS * (height + _GAP)
        sheet.paste(Image.fromarray(hazy), (left, top))
        sheet.paste(Image.fromarray(clear), (left + size + 2, top))
        value = image_io.psnr(hazy, clear)
        text = f"{value:.1f} dB" if np.isfinite(value) else "equal"
        draw.text((left, top + size + _CAPTION // 2), text, fill=(28, 32, 36), font=font, anchor="lm")
    return np.asarray(sheet)
