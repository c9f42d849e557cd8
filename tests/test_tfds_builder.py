"""`hazy_pairs` for TFDS: TFDS's own builder tests on miniature trees, and the results of `tfds.load`."""

import tempfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from miniature_sets import plant
from places import SHARED

from hazeheal.data.images import image_io, image_ops
from hazeheal.data.pairing.public_sets import PUBLIC_SETS
from hazeheal.data.tfds import HazyPairs
from hazeheal.errors import DataError

BY_NAME = {one.name: one for one in PUBLIC_SETS}
PAIRS = 2  # a split


class _Case(tfds.testing.DatasetBuilderTestCase):
    """TFDS's checks of a builder; the subclasses name the configurations."""

    __test__ = False
    DATASET_CLASS = HazyPairs

    @classmethod
    def setUpClass(cls):
        cls._made = tempfile.TemporaryDirectory()
        cls.EXAMPLE_DIR = cls._made.name
        for name in cls.BUILDER_CONFIG_NAMES_TO_TEST:
            plant(BY_NAME[name], cls.EXAMPLE_DIR, pairs=PAIRS)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls._made.cleanup()


class TrainTest(_Case):
    __test__ = True
    BUILDER_CONFIG_NAMES_TO_TEST = ("rice1", "nh_haze", "its")
    SPLITS = {"train": PAIRS}  # noqa: RUF012


class SplitsOfItsOwnTest(_Case):
    __test__ = True
    BUILDER_CONFIG_NAMES_TO_TEST = ("satehaze1k_thin",)
    SPLITS = {"train": PAIRS, "valid": PAIRS, "test": PAIRS}  # noqa: RUF012


class TestSplitTest(_Case):
    __test__ = True
    BUILDER_CONFIG_NAMES_TO_TEST = ("sots_indoor",)
    SPLITS = {"test": PAIRS}  # noqa: RUF012


def load(name, tmp_path, split=None):
    data = tfds.load(f"hazy_pairs/{name}", data_dir=tmp_path, split=split)
    return {row["key"].decode(): row for row in tfds.as_numpy(data)}


def plant_manual(one, tmp_path, **options):
    return plant(one, tmp_path / "downloads/manual", **options)


def test_every_data_set_has_a_configuration():
    assert list(HazyPairs.builder_configs) == [one.name for one in PUBLIC_SETS]
    for one in PUBLIC_SETS:
        assert f"hazy_pairs/{one.name}\n{one.title}: from {one.page}" in HazyPairs.MANUAL_DOWNLOAD_INSTRUCTIONS
        for folder in (folder for pair in one.splits.values() for folder in pair):
            assert f"    {folder}/\n" in one.instructions + "\n"


@pytest.mark.parametrize("name", ["o_haze", "sots_outdoor"])
def test_tfds_load_returns_the_images(name, tmp_path):
    one = BY_NAME[name]
    made = plant_manual(one, tmp_path)
    (split,) = one.splits
    rows = load(name, tmp_path, split)
    assert rows.keys() == {hazy.stem for hazy, _ in made}
    for hazy, clear in made:
        row = rows[hazy.stem]
        for side, path in (("hazy", hazy), ("clear", clear)):
            expected = image_io.load_rgb(path)[0]
            difference = np.abs(row[side].astype(int) - expected)
            assert row[side].dtype == np.uint8 and row[side].shape == expected.shape
            # TFDS decodes JPEG with the faster transform (see hazeheal/data/images/passthrough.py).
            assert difference.max() <= (0 if path.suffix == ".png" else 8)


def test_a_known_border_is_cropped(tmp_path):
    made = plant_manual(BY_NAME["sots_indoor"], tmp_path, border=10)
    rows = load("sots_indoor", tmp_path, "test")
    for hazy, clear in made:
        row = rows[hazy.stem]
        assert row["hazy"].shape == row["clear"].shape
        np.testing.assert_array_equal(row["clear"], image_io.load_rgb(clear)[0][10:-10, 10:-10])


def test_other_pairs_of_different_sizes_are_refused(tmp_path):
    plant_manual(BY_NAME["rice1"], tmp_path, border=10)
    with pytest.raises(DataError, match=r"cloud/.*\.png and its clear image have different sizes \(32x24 and 52x44\)"):
        load("rice1", tmp_path)


def test_missing_folders_and_images_are_named(tmp_path):
    made = plant_manual(BY_NAME["rice2"], tmp_path)
    with pytest.raises(
        DataError,
        match=r"RICE1/cloud' is not an existing folder; .*; hazy_pairs/rice1 needs\nRICE1: from https",
    ):
        load("rice1", tmp_path)
    made[0][1].unlink()
    with pytest.raises(DataError, match=rf"1 files of .* do not pair: {made[0][0].name}"):
        load("rice2", tmp_path)


@pytest.mark.parametrize(
    ("folder", "name", "count"), [("rice1", "rice1", 60), ("sots_outdoor_full", "sots_outdoor", 24)]
)
def test_real_images(folder, name, count, tmp_path):
    if not (SHARED / "data" / folder).is_dir():
        pytest.skip(f"no real data set {folder} beside the repository")
    ((split, (hazy, clear)),) = BY_NAME[name].splits.items()
    for path, source in ((hazy, "hazy"), (clear, "GT")):
        place = tmp_path / "downloads/manual" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to((SHARED / "data" / folder / source).resolve())
    rows = load(name, tmp_path, split)
    assert len(rows) == count
    gains = [image_ops.psnr(row["hazy"], row["clear"]) for row in rows.values()]
    assert 10 < np.mean(gains) < 25
