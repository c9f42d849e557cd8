"""The data sets that the fuzz tests damage, and that their configurations use."""

import dataclasses
import pathlib

import converting
import pytest
from PIL import Image

from tfrecords_tools.convert import finalize

SIDE = (24, 40)  # of the images; the crop of `tiny` is 16
CONVERT = ("--num_shards=2", "--val_fraction=0.25")


@dataclasses.dataclass(frozen=True)
class DataSets:
    """`whole` has 8 pairs, PNG and JPEG. `unfinished` is the same, killed before its last files were written."""

    source: pathlib.Path
    whole: pathlib.Path
    unfinished: pathlib.Path


def make_sets(folder) -> DataSets:
    source = converting.write_pairs(folder / "in", scenes=4, versions=2, kind="png", height=SIDE[0], width=SIDE[1])
    for scene in ("0001", "0002"):  # some as JPEG
        path = source / f"GT/{scene}.png"
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    assert converting.convert(source, folder / "whole", *CONVERT) == 0

    def killed(**_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finalize, "assemble", killed)
        assert converting.convert(source, folder / "unfinished", *CONVERT) == 130
    return DataSets(source, folder / "whole", folder / "unfinished")
