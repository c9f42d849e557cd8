"""The first images that the generator is trained on, as one image, for `hazeheal train --preview`."""

import contextlib
import itertools
import os
import pathlib
from collections.abc import Sequence

import ml_collections
import numpy as np

from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.data.images import image_io, image_ops
from hazeheal.errors import UsageError
from hazeheal.training.reports.sample_sheets import Caption, draw_sheet

PAIRS, PAIRS_PER_ROW = 24, 3


def write_preview(
    config: ml_collections.ConfigDict,
    path: str | os.PathLike,
    *,
    data_dir: str | os.PathLike,
    on_bad_record: str = "fail",
) -> str:
    """Writes the first pairs of a run, hazy beside clear, as the training sees them: cropped, augmented, rehazed.

    Args:
        config: The configuration of the run.
        path: A .png or .jpg file that does not exist.
        data_dir: The data set.
        on_bad_record: `fail` or `skip`, as in training.

    Returns:
        One line that says what was written.

    Raises:
        UsageError: `path` is not a valid file name, exists, or is in a directory that does not exist.
        HazeHealError: The data set cannot be read, or an image is smaller than the crop.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--preview={path} must be the name of an image file that ends in .png or .jpg")
    if path.exists():
        raise UsageError(f"--preview={path} exists; choose another file name or remove the file")
    if not path.parent.is_dir():
        raise UsageError(f"--preview={path}: the directory {path.parent} does not exist; create it first")
    configs.check_crop(config, records.open_split(data_dir, config.data.train_split))

    import tensorflow as tf

    from hazeheal.data.pipeline.processor import DehazeDataProcessor
    from hazeheal.distributed.failures import translate_errors

    with contextlib.suppress(RuntimeError):  # TensorFlow is initialized already
        tf.config.set_visible_devices([], "GPU")  # a training may need all of its memory
    data = DehazeDataProcessor.from_config(
        config, data_dir, split=config.data.train_split, on_bad_record=on_bad_record
    )
    batches = data.dataset().as_numpy_iterator()
    with translate_errors(processor=data, devices=("CPU:0",)):
        pairs = (zip(batch["hazy"], batch["clear"], strict=True) for batch in batches)
        first = list(itertools.islice(itertools.chain.from_iterable(pairs), PAIRS))
    image_io.save(preview_sheet(first), path)
    values = [image_ops.psnr(*pair) for pair in first]
    finite = [value for value in values if np.isfinite(value)]
    message = f"{path}: the first {len(first)} pairs of the run"
    if finite:
        message += f", input PSNR {min(finite):.1f} to {max(finite):.1f} dB"
    if len(finite) < len(values):
        message += f", {len(values) - len(finite)} of them clear images"
    return message


def preview_sheet(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Draws pairs side by side, three in a row, with the PSNR of each hazy image.

    Args:
        pairs: (hazy, clear), uint8 [S, S, 3] each.

    Returns:
        uint8 [H, W, 3].
    """
    rows, captions = [], []
    for start in range(0, len(pairs), PAIRS_PER_ROW):
        group = pairs[start : start + PAIRS_PER_ROW]
        rows.append([image for pair in group for image in pair])
        captions.append([caption for pair in group for caption in (_psnr_caption(*pair), Caption(""))])
    titles = ("hazy", "clear") * len(rows[0][::2])
    return draw_sheet(rows, titles=titles, captions=captions, max_side=pairs[0][0].shape[0])


def _psnr_caption(hazy, clear):
    value = image_ops.psnr(hazy, clear)
    return Caption(f"{value:.1f} dB" if np.isfinite(value) else "equal")
