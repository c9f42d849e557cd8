"""Images to evaluate, loaded one pair at a time: of two folders, a table, a split of a data set, or hazy ones alone.

source = from_folders("D/hazy", "D/GT")         # or from_table("pairs.csv"), from_records("records/rice1"), ...
for pair in source.pairs:
    hazy, clear = pair.load()                   # uint8 [H, W, 3] each
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hazeheal.data import records
from hazeheal.data.images import image_io, image_ops
from hazeheal.data.images.pair_pixels import load_pair
from hazeheal.data.images.pixel_options import TO_SRGB, PixelOptions
from hazeheal.data.pairing.folders import find_folder, list_images
from hazeheal.data.pairing.pair_table import read_pair_table
from hazeheal.data.pairing.pairing import PairName, pair_folders, unique_keys
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import first_few, plural


@dataclasses.dataclass(frozen=True)
class EvaluationPair:
    """One pair, or a hazy image without ground truth.

    Attributes:
        key: The pair key, unique among the pairs.
        hazy: Name of the hazy file, relative to its folder.
        clear: Name of the clear file, relative to its folder; None without ground truth.
        load: Returns the hazy and the clear image, uint8 `[H, W, 3]` of one size, the latter None without ground
            truth; raises DataError if one is damaged.
        size: (height, width) of both images as loaded.
    """

    key: str
    hazy: str
    clear: str | None
    load: Callable[[], tuple[np.ndarray, np.ndarray | None]]
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The pairs of an evaluation.

    Attributes:
        pairs: Sorted by key.
        description: Their source, for the summary; JSON types only.
        title: Their source as a phrase.
        has_clear: Whether there is ground truth.
    """

    pairs: list[EvaluationPair]
    description: dict
    title: str
    has_clear: bool = True


def from_folders(
    hazy_dir: str | os.PathLike,
    gt_dir: str | os.PathLike,
    *,
    pairing: str = "auto",
    allow_orphans: bool = False,
    limit: int | None = None,
    **options: Any,
) -> Pairs:
    """Pairs the images of two folders and compares their sizes, which are read from the file headers.

    Args:
        hazy_dir: Folder of the hazy images.
        gt_dir: Folder of the clear images; may be the same folder.
        pairing: Rule or regular expression, as for `pair_folders`.
        allow_orphans: Whether to ignore files without a partner.
        limit: Number of pairs to keep, the first by key; None for all.
        options: `size_mismatch`, `pixels` and `advance`, as for `_list_files`.

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
    pairs, more = _list_files(result.pairs[:limit], hazy_dir, gt_dir, **options)
    description = {"hazy_dir": str(hazy_dir), "gt_dir": str(gt_dir), "pairing": result.rule}
    description |= {"left_out": result.leftovers, **more}
    return _limited(pairs, description, f"{hazy_dir} and {gt_dir}", total=len(result.pairs))


def from_table(
    path: str | os.PathLike,
    *,
    hazy_dir: str | os.PathLike | None = None,
    gt_dir: str | os.PathLike | None = None,
    split: str | None = None,
    limit: int | None = None,
    **options: Any,
) -> Pairs:
    """Lists the pairs of a table, the CSV file of `hazeheal-tfrecords convert --pairs`.

    Args:
        path: The table, as for `read_pair_table`.
        hazy_dir, gt_dir: Folders that its names are relative to; by default, the folder of the table.
        split: The split to use of a table with the column `split`; by default `val`.
        limit, options: As for `from_folders`.

    Raises:
        UsageError: The table or a folder is invalid, or `split` is given for a table without the column.
        DataError: Files do not exist, no row has this split, or images of a pair differ in size.
    """
    table = read_pair_table(path, hazy_dir=hazy_dir, gt_dir=gt_dir)
    selected, title = table.pairing.pairs, f"{path}"
    description = {"pairs": str(path), "hazy_dir": str(table.hazy_dir), "gt_dir": str(table.gt_dir)}
    if table.splits:
        split = split or "val"
        selected = [pair for pair in selected if table.splits[pair.key] == split]
        if not selected:
            known = ", ".join(sorted(set(table.splits.values())))
            raise DataError(f"--pairs={path} has no pairs of split {split!r}, only of {known}; name one with --split")
        title, description = f"split {split} of {path}", description | {"split": split}
    elif split:
        raise UsageError(f"--split={split} needs a column split, which --pairs={path} does not have")
    pairs, more = _list_files(selected[:limit], table.hazy_dir, table.gt_dir, **options)
    return _limited(pairs, description | more, title, total=len(selected))


def from_hazy_folder(hazy_dir: str | os.PathLike, *, limit: int | None = None, **options: Any) -> Pairs:
    """Lists the images of a folder, without ground truth.

    Args:
        hazy_dir: The folder.
        limit: Number of images to keep, the first by key; None for all.
        options: `pixels` and `advance`, as for `_list_files`.

    Raises:
        UsageError: The folder does not exist.
        DataError: The folder has no images, or a header cannot be read.
    """
    names, _ = list_images(find_folder(hazy_dir, "hazy_dir"), "hazy_dir")
    images = [PairName(key, name, None, key) for name, key in unique_keys(names).items()]
    images.sort(key=lambda image: image.key)
    pairs, more = _list_files(images[:limit], hazy_dir, None, **options)
    more.pop("center_cropped")
    source = _limited(pairs, {"hazy_dir": str(hazy_dir), **more}, f"{hazy_dir}", total=len(names))
    return dataclasses.replace(source, has_clear=False)


def _list_files(
    names: Iterable[PairName],
    hazy_dir: str | os.PathLike,
    gt_dir: str | os.PathLike | None,
    *,
    size_mismatch: str = "error",
    pixels: PixelOptions = TO_SRGB,
    advance: Callable[[], object] = lambda: None,
) -> tuple[list[EvaluationPair], dict]:
    """Reads the sizes of image files.

    Args:
        names: The files. `clear` is None without ground truth.
        hazy_dir, gt_dir: The folders.
        size_mismatch: For pairs whose images differ in size: `error`, or `center_crop` to crop both to the common
            size (RESIDE's indoor set needs it: its clear images have a margin that the hazy ones lack).
        pixels: How samples become RGB. A percentile is taken from each hazy image and holds for its clear image too.
        advance: Called after each pair whose sizes were read.

    Returns:
        The pairs, and what to add to the description of their source.
    """
    pairs, mismatched = [], []
    for name in names:
        files = [pathlib.Path(hazy_dir, name.hazy)]
        if name.clear is not None:
            files.append(pathlib.Path(gt_dir, name.clear))
        sizes = [image_io.read_size(file, options=pixels) for file in files]
        if len(set(sizes)) > 1:
            (h, w), (height, width) = sizes
            mismatched.append(f"{name.hazy} {w}x{h}, {name.clear} {width}x{height}")
            if problem := image_ops.size_problem(*sizes, mode=size_mismatch):
                raise DataError(f"{mismatched[-1]}: {problem}")
        load = functools.partial(_load_files, *files, crop=size_mismatch == "center_crop", pixels=pixels)
        size = tuple(map(min, zip(*sizes, strict=True)))
        pairs.append(EvaluationPair(name.key, name.hazy, name.clear, load, size))
        advance()
    if mismatched and size_mismatch == "error":
        raise DataError(
            f"images of different sizes in {plural(len(mismatched), 'pair')} ({first_few(mismatched)}); crop both images "
            "to the common size with --size_mismatch=center_crop, or resize them"
        )
    return pairs, {"center_cropped": len(mismatched), **pixels.described()}


def _load_files(hazy, clear=None, *, crop, pixels):
    if clear is None:
        return image_io.load_rgb(hazy, options=pixels)[0], None
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

    sizes = zip(opened.index["height"].tolist(), opened.index["width"].tolist(), strict=True)
    pairs = [
        EvaluationPair(key, hazy, clear, functools.partial(load, number), size)
        for number, ((key, hazy, clear), size) in enumerate(zip(opened.read_sources()[:limit], sizes, strict=False))
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
