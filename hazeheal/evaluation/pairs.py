"""Pairs to evaluate: from two folders of images, or from a split of a data set. Images are loaded one pair at a time.

source = from_folders("D/hazy", "D/GT")         # or from_records("records/rice1", split="val")
for pair in source.pairs:
    hazy, clear = pair.load()                   # uint8 [H, W, 3] each
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable

import numpy as np

from hazeheal.data import records
from hazeheal.data.images import image_io, image_ops
from hazeheal.data.images.pair_pixels import load_pair
from hazeheal.data.images.pixel_options import TO_SRGB, PixelOptions
from hazeheal.data.pairing.pairing import pair_folders
from hazeheal.errors import DataError
from hazeheal.utils.console import first_few, plural


@dataclasses.dataclass(frozen=True)
class EvaluationPair:
    """One pair.

    Attributes:
        key: The pair key, unique among the pairs.
        hazy: Name of the hazy file, relative to its folder.
        clear: Name of the clear file, relative to its folder.
        load: Returns the hazy and the clear image, uint8 `[H, W, 3]` of one size; raises DataError if one is damaged.
    """

    key: str
    hazy: str
    clear: str
    load: Callable[[], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The pairs of an evaluation.

    Attributes:
        pairs: Sorted by key.
        description: Their source, for the summary; JSON types only.
        title: Their source as a phrase.
    """

    pairs: list[EvaluationPair]
    description: dict
    title: str


def from_folders(
    hazy_dir: str | os.PathLike,
    gt_dir: str | os.PathLike,
    *,
    pairing: str = "auto",
    size_mismatch: str = "error",
    allow_orphans: bool = False,
    limit: int | None = None,
    pixels: PixelOptions = TO_SRGB,
    advance: Callable[[], object] = lambda: None,
) -> Pairs:
    """Pairs the images of two folders and compares their sizes, which are read from the file headers.

    Args:
        hazy_dir: Folder of the hazy images.
        gt_dir: Folder of the clear images; may be the same folder.
        pairing: Rule or regular expression, as for `pair_folders`.
        size_mismatch: For pairs whose images differ in size: `error`, or `center_crop` to crop both to the common
            size (RESIDE's indoor set needs it: its clear images have a margin that the hazy ones lack).
        allow_orphans: Whether to ignore files without a partner.
        limit: Number of pairs to keep, the first by key; None for all.
        pixels: How samples become RGB. A percentile is taken from each hazy image and holds for its clear image too.
        advance: Called after each pair whose sizes were read.

    Raises:
        UsageError: A folder or the pairing rule is invalid.
        DataError: No pair or no image was found, files have no partner, or images of a pair differ in size.
    """
    result = pair_folders(hazy_dir, gt_dir, rule=pairing)
    if result.leftovers and not allow_orphans:
        files = [*result.describe_orphans(), *result.orphans_clear, *result.ambiguous]
        raise DataError(
            f"{result.leftovers} files or keys of {hazy_dir} and {gt_dir} have no partner ({first_few(files)}); "
            "choose another --pairing, or ignore them with --allow_orphans"
        )
    pairs, mismatched = [], []
    for pair in result.pairs[:limit]:
        files = pathlib.Path(hazy_dir, pair.hazy), pathlib.Path(gt_dir, pair.clear)
        (h, w), (height, width) = (image_io.read_size(file, options=pixels) for file in files)
        if (h, w) != (height, width):
            mismatched.append(f"{pair.hazy} {w}x{h}, {pair.clear} {width}x{height}")
            if problem := image_ops.size_problem((h, w), (height, width), mode=size_mismatch):
                raise DataError(f"{mismatched[-1]}: {problem}")
        load = functools.partial(_load_files, *files, crop=size_mismatch == "center_crop", pixels=pixels)
        pairs.append(EvaluationPair(pair.key, pair.hazy, pair.clear, load))
        advance()
    if mismatched and size_mismatch == "error":
        raise DataError(
            f"images of different sizes in {plural(len(mismatched), 'pair')} ({first_few(mismatched)}); crop both images "
            "to the common size with --size_mismatch=center_crop, or resize them"
        )
    description = {"hazy_dir": str(hazy_dir), "gt_dir": str(gt_dir), "pairing": result.rule}
    description |= {"left_out": result.leftovers, "center_cropped": len(mismatched), **pixels.described()}
    return _limited(pairs, description, f"{hazy_dir} and {gt_dir}", total=len(result.pairs))


def _load_files(hazy, clear, *, crop, pixels):
    images = [np.asarray(decoded.image) for decoded in load_pair(hazy, clear, pixels)]
    return image_ops.center_crop(*images) if crop else tuple(images)


def from_records(data_dir: str | os.PathLike, *, split: str = "val", limit: int | None = None) -> Pairs:
    """Lists the pairs of one split of a data set made by `hazeheal-tfrecords convert`.

    Args:
        data_dir: The data set.
        split: Name of the split.
        limit: Number of pairs to keep, the first by key; None for all.

    Raises:
        DataError: The data set or the split is missing, empty or damaged.
    """
    from hazeheal.data.pipeline.record_reader import RecordReader  # imports TensorFlow

    opened = records.open_split(data_dir, split)
    if not len(opened):
        raise DataError(f"split {split!r} of {data_dir} contains no pairs; name another --split")
    reader = RecordReader(opened)

    def load(number):
        pair, name = records.parse(reader.read(number)), opened.describe(number)
        return image_io.load_rgb(pair.hazy, name=name)[0], image_io.load_rgb(pair.clear, name=name)[0]

    pairs = [
        EvaluationPair(key, hazy, clear, functools.partial(load, number))
        for number, (key, hazy, clear) in enumerate(_read_sources(opened)[:limit])
    ]
    description = {"data_dir": str(data_dir), "split": split}
    description["fingerprint"] = records.load_manifest(data_dir)["fingerprint"]
    return _limited(pairs, description, f"split {split} of {data_dir}", total=len(opened))


def _limited(pairs, description, title, *, total):
    """Returns `Pairs`, whose description and title say how many of `total` there are."""
    if len(pairs) < total:
        description = description | {"limited_to": len(pairs), "of": total}
        title = f"{title}, the first of {total}"
    return Pairs(pairs=pairs, description=description, title=title)


def _read_sources(split):
    """[(key, hazy file, clear file)] of the records of a split, from the list of sources beside its shards."""
    try:
        rows = [json.loads(line) for line in records.read_file(split.sources).splitlines()]
        rows = [(str(row["key"]), str(row["hazy"]), str(row["clear"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{split.sources} cannot be read ({error}); convert the data set again") from error
    if len(rows) != len(split):
        raise DataError(f"{split.sources} lists {len(rows)} records, not {len(split)}; convert the data set again")
    return rows
