"""The images that an evaluation keeps: names of folders and files, and what is written."""

import types

import numpy as np
import pytest
from PIL import Image
from test_metrics import scene

from hazeheal.errors import DataError, OutputError
from hazeheal.evaluation.pictures import Pictures, check_key, folder_names


def pair(key):
    return types.SimpleNamespace(key=key)


def test_images_are_written_with_the_structure_of_their_keys(tmp_path):
    pictures = Pictures(["input", "runs/mine"], small=False, folder=tmp_path)
    image = scene(40, 700)
    for name, folder in (("input", "input"), ("runs/mine", "runs_mine"), ("clear", "clear")):
        picture = pictures.keep(pair("part 1/a#?"), name, image)
        assert picture.file == f"images/{folder}/part 1/a#?.png" and picture.small == b""
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / picture.file)), image)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_nothing_is_overwritten_unless_asked(tmp_path):
    picture = Pictures(["input"], small=False, folder=tmp_path).keep(pair("a"), "input", scene(9, 9))
    before = (tmp_path / picture.file).read_bytes()
    with pytest.raises(OutputError, match="exists and was not overwritten; use --overwrite"):
        Pictures(["input"], small=False, folder=tmp_path).keep(pair("a"), "input", scene(9, 9, 1))
    assert (tmp_path / picture.file).read_bytes() == before
    Pictures(["input"], small=False, folder=tmp_path, overwrite=True).keep(pair("a"), "input", scene(9, 9, 1))
    assert (tmp_path / picture.file).read_bytes() != before
    assert len([*(tmp_path / "images/input").iterdir()]) == 1


def test_a_cropped_image_without_its_own_memory_is_written(tmp_path):
    image = scene(30, 40)[5:20, 3:33]
    picture = Pictures(["input"], small=True, folder=tmp_path).keep(pair("a"), "input", image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / picture.file)), image)
    assert picture.small.startswith(b"\xff\xd8")


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = Pictures(["input"], small=True).keep(pair("../a"), "input", scene(9, 9))
    assert picture.file is None and not any(tmp_path.iterdir())


def test_folders_of_methods():
    names = folder_names(["input", "dark_channel", "./runs/a", "/runs/a", "../RUNS_a", "ckpt-00000004", "..", "clear"])
    assert names["input"] == "input" and names["./runs/a"] == "runs_a" and names["/runs/a"] == "runs_a_2"
    assert names["../RUNS_a"] == "RUNS_a_3" and names["ckpt-00000004"] == "ckpt-00000004" and names[".."] == "model"
    assert len({name.lower() for name in names.values()}) == len(names)


@pytest.mark.parametrize("key", ["", "..", "../a", "a/../../b", "/etc/a", "a//b", "a/./b", "a\0b"])
def test_keys_that_lead_elsewhere_are_refused(key, tmp_path):
    with pytest.raises(DataError, match="cannot become a file name; leave out --save_images"):
        check_key(key)
    with pytest.raises(DataError, match="cannot become a file name"):
        Pictures(["input"], small=False, folder=tmp_path / "out").keep(pair(key), "input", scene(9, 9))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["a", "a.b", "part/..a", "a b", "ä", "a:b"])
def test_other_keys_are_accepted(key):
    check_key(key)
