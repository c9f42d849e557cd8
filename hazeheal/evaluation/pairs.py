"""Pairs to evaluate on: two folders of images, or a split of a data set. Images are read one pair at a time.

found = from_folders("D/hazy", "D/GT")          # or from_records("records/rice1", split="val")
for pair in found.pairs:
    hazy, clear = pair.load()                   # uint8 [H, W, 3] each
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable

from hazeheal.data import records
from hazeheal.data.images import image_io
from hazeheal.data.pairing.pairing import pair_folders
from hazeheal.errors import DataError
from hazeheal.utils.console import first_few


@dataclasses.dataclass(frozen=True)
class EvaluationPair:
    """One pair.

    Attributes:
        key: The pair key, unique among the pairs.
        hazy, clear: Names of the files, relative to their folders.
        load: Returns the hazy and the clear image, uint8 [H, W, 3] of one size; DataError where one is damaged.
    """

    key: str
    hazy: str
    clear: str
    load: Callable


@dataclasses.dataclass(frozen=True)
class Pairs:
    """What is evaluated.

    Attributes:
        pairs: In the order of their keys.
        description: Where they come from, for the summary: JSON types alone.
        title: The same as a phrase.
    """

    pairs: list[EvaluationPair]
    description: dict
    title: str


def from_folders(
    hazy_dir,
    gt_dir,
    *,
    pairing="auto",
    size_mismatch="error",
    allow_orphans=False,
    limit=None,
    advance=lambda: None,
) -> Pairs:
    """Pairs the images of two folders and compares their sizes, as the headers of the files tell them.

    Args:
        hazy_dir, gt_dir, pairing: As `data.pairing.pair_folders` takes them.
        size_mismatch: What to do about pairs of two sizes: `error`, or `center_crop` of both to the common size
            (RESIDE's indoor set needs it: its clear images have a margin that the hazy ones lack).
        allow_orphans: Evaluate though files have no partner.
        limit: Only the first so many by key; None for all.
        advance: Called after each pair that was looked at.

    Raises:
        UsageError, DataError: Of `pair_folders`; files have no partner; pairs are of two sizes.
    """
    found = pair_folders(hazy_dir, gt_dir, rule=pairing)
    if not found.complete and not allow_orphans:
        raise DataError(
            f"{found.leftovers} files or keys of {hazy_dir} and {gt_dir} have no partner ({_leftovers(found)}); "
            "choose another --pairing, or leave them out with --allow_orphans"
        )
    hazy_dir, gt_dir = pathlib.Path(hazy_dir), pathlib.Path(gt_dir)
    odd = []
    for pair in found.pairs[:limit]:
        sizes = [image_io.read_size(path) for path in (hazy_dir / pair.hazy, gt_dir / pair.clear)]
        if sizes[0] != sizes[1]:
            (h, w), (height, width) = sizes
            odd.append(f"{pair.hazy} {w}x{h}, {pair.clear} {width}x{height}")
        advance()
    if odd and size_mismatch == "error":
        raise DataError(
            f"{len(odd)} pairs are of two sizes ({first_few(odd)}); evaluate what both show with "
            "--size_mismatch=center_crop, or bring them to one size"
        )

    def loader(pair):
        def load():
            hazy, clear = (image_io.load_rgb(p)[0] for p in (hazy_dir / pair.hazy, gt_dir / pair.clear))
            return image_io.center_crop(hazy, clear) if size_mismatch == "center_crop" else (hazy, clear)

        return load

    listed = [EvaluationPair(pair.key, pair.hazy, pair.clear, loader(pair)) for pair in found.pairs[:limit]]
    described = {"hazy_dir": str(hazy_dir), "gt_dir": str(gt_dir), "pairing": found.rule}
    described |= {"left_out": found.leftovers, "center_cropped": len(odd)}
    return _pairs(listed, described, f"{hazy_dir} and {gt_dir}", of=len(found.pairs))


def from_records(data_dir, *, split="val", limit=None) -> Pairs:
    """The pairs of one split of a data set made by `hazeheal-tfrecords convert`.

    Raises:
        DataError: The data set or the split is missing, empty or damaged.
    """
    from hazeheal.data.pipeline.record_reader import open_reader  # waits for TensorFlow

    opened = records.open_split(data_dir, split)
    if not len(opened):
        raise DataError(f"split {split!r} of {data_dir} holds no pairs; name another --split")
    reader = open_reader(opened)

    def loader(number):
        def load():
            pair = records.parse(reader.read(number))
            name = opened.describe(number)
            return tuple(image_io.load_rgb(p, name=name)[0] for p in (pair.hazy, pair.clear))

        return load

    listed = [
        EvaluationPair(row["key"], row["hazy"], row["clear"], loader(number))
        for number, row in enumerate(_sources(opened)[:limit])
    ]
    described = {"data_dir": str(data_dir), "split": split}
    described["fingerprint"] = records.load_manifest(data_dir)["fingerprint"]
    return _pairs(listed, described, f"split {split} of {data_dir}", of=len(opened))


def _pairs(listed, described, title, *, of):
    if len(listed) < of:
        described, title = described | {"limited_to": len(listed), "of": of}, f"{title}, the first of {of}"
    return Pairs(pairs=listed, description=described, title=title)


def _sources(split):
    try:
        rows = [json.loads(line) for line in records.read_file(split.sources).decode().split("\n") if line]
        rows = [{name: str(row[name]) for name in ("key", "hazy", "clear")} for row in rows]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{split.sources} cannot be read ({error}); convert the data set again") from error
    if len(rows) != len(split) or len({row["key"] for row in rows}) != len(rows):
        raise DataError(f"{split.sources} does not name the {len(split)} records; convert the data set again")
    return rows


def _leftovers(found):
    return first_few([*found.orphans_hazy, *found.orphans_clear, *found.ambiguous])
