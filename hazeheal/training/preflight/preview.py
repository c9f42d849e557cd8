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
from hazeheal.training.reports.sample_sheets import draw_sheet

PAIRS, PAIRS_PER_ROW = 24, 3


def write_preview(
    config: ml_collections.ConfigDict,
    path: str | os.PathLike,
    *,
    data_dir: str | os.PathLike,
    on_bad_record: str = "fail",
) -> str:
    """Writes the first pairs of a run, hazy beside clear, as the training sees them: cropped, augmented, rehazed.

    The arguments are those of a training. Returns one line that says what was written.

    Raises:
        UsageError: `path` exists or does not end in .png or .jpg.
        HazeHealError: The data set cannot be read, or an image is smaller than the crop.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--preview={path} must be the name of an image file that ends in .png or .jpg")
    if path.exists():
        raise UsageError(f"--preview={path} exists; choose another file name or remove the file")
    train = records.open_split(data_dir, config.data.train_split)
    configs.check_crop(config, train)
    configs.check_mix(config, train)

    import tensorflow as tf

    from hazeheal.data.pipeline.processor import DehazeDataProcessor
    from hazeheal.distributed.failures import translate_errors

    with contextlib.suppress(RuntimeError):  # TensorFlow is initialized already
        tf.config.set_visible_devices([], "GPU")  # a training may need all of its memory
    data = DehazeDataProcessor.from_config(config, data_dir, split=config.data.train_split, on_bad_record=on_bad_record)
    batches = data.dataset().as_numpy_iterator()
    with translate_errors(processor=data, devices=("CPU:0",)):
        pairs = (zip(batch["hazy"], batch["clear"], strict=True) for batch in batches)
        first = list(itertools.islice(itertools.chain.from_iterable(pairs), PAIRS))
    image_io.save(preview_sheet(first), path)
    return f"{path}: the first {len(first)} pairs of the run"


def preview_sheet(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Draws (hazy, clear) pairs, uint8 `[S, S, 3]`, three in a row, with the PSNR of each hazy image."""
    rows, captions = [], []
    for start in range(0, len(pairs), PAIRS_PER_ROW):
        group = pairs[start : start + PAIRS_PER_ROW]
        rows.append([image for pair in group for image in pair])
        captions.append([text for pair in group for text in (f"{image_ops.psnr(*pair):.1f} dB", "")])
    titles = ("hazy", "clear") * len(rows[0][::2])
    return draw_sheet(rows, titles=titles, captions=captions, max_side=pairs[0][0].shape[0])
