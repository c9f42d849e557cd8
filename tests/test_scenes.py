"""Scenes stay in one split: equal clear images, `--scene`, and data sets that version 0.1 divided otherwise."""

import json
import re

import pytest
from converting import contents, convert, hazed, image, write_pairs
from PIL import Image

from hazeheal.data import records
from tfrecords_tools.__main__ import main
from tfrecords_tools.convert import plan, scenes


def write_copies(folder, *, scenes=6, versions=3, kind="png"):
    """RESIDE-IN as most repositories lay it out: the clear image is copied under the name of each hazy image."""
    for scene in range(1, scenes + 1):
        clear = image(scene)
        for version in range(1, versions + 1):
            for side, pixels in (("hazy", hazed(clear, 0.2 * version)), ("GT", clear)):
                path = folder / side / f"{scene}_{version}_0.9{version}.{kind}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return folder


def write_video(folder, *, clips=5, frames=4):
    """Numbered frames in a folder for each clip, as in REVIDE."""
    for clip in range(1, clips + 1):
        for frame in range(frames):
            clear = image(100 * clip + frame)
            for side, pixels in (("hazy", hazed(clear, 0.5)), ("GT", clear)):
                path = folder / side / f"C{clip:03d}/{frame:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return folder


def sources(directory):
    """Returns {split: its list of sources}."""
    manifest = records.load_manifest(directory)
    read = {split: (directory / entry["sources"]).read_text() for split, entry in manifest["splits"].items()}
    return {split: [json.loads(line) for line in text.splitlines()] for split, text in read.items()}


@pytest.mark.parametrize("kind", ["png", "bmp"])  # BMP files are all of one size
def test_equal_clear_images_under_different_names_are_one_scene(tmp_path, kind, capsys):
    source = write_copies(tmp_path / "in", kind=kind)
    assert convert(source, tmp_path / "out", "--val_fraction=0.34") == 0
    out = capsys.readouterr().out
    assert "18 pairs of 6 scenes, 18 clear images, rule same_name" in out
    assert "  train: 12 pairs of 4 scenes in 1 shard\n  val: 6 pairs of 2 scenes in 1 shard\n" in out
    assert "  train: 12 records of 4 scenes\n  val: 6 records of 2 scenes\n" in out
    hashes = {split: {row["clear_sha256"] for row in rows} for split, rows in sources(tmp_path / "out").items()}
    assert len(hashes["train"]) == 4 and len(hashes["val"]) == 2 and not hashes["train"] & hashes["val"]
    assert main(["info", str(tmp_path / "out")]) == 0
    assert "val: 6 pairs in 1 shard, 2 scenes" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "out"), "--workers=1"]) == 0


def test_a_val_key_selects_all_copies_of_its_clear_image(tmp_path):
    source = write_copies(tmp_path / "in")
    (tmp_path / "keys.txt").write_text("3_2_0.92\n")
    assert convert(source, tmp_path / "out", f"--val_keys={tmp_path}/keys.txt") == 0
    assert [row["key"] for row in sources(tmp_path / "out")["val"]] == ["3_1_0.91", "3_2_0.92", "3_3_0.93"]


def test_files_of_one_size_that_differ_anywhere_are_different_scenes(tmp_path):
    base = bytearray(image(1, 300, 400).tobytes())
    folder = tmp_path / "GT"
    folder.mkdir()
    for number, changed in enumerate((None, 0, len(base) // 2, len(base) - 1, None)):
        data = bytearray(base)
        if changed is not None:
            data[changed] ^= 1
        (folder / f"{number}.raw").write_bytes(data)
    files = {path.name: (str(path), path.stat().st_size) for path in sorted(folder.iterdir())}
    assert scenes._find_copies(files) == [["0.raw", "4.raw"]]
    assert scenes._find_copies({"gone": (str(folder / "gone"), 5), "lost": (str(folder / "lost"), 5)}) == []


def test_only_clear_files_of_equal_size_are_read(tmp_path, monkeypatch):
    source = write_pairs(tmp_path / "in")
    pairs = plan.find_sources(hazy_dir=source / "hazy", gt_dir=source / "GT", rule="auto").pairs
    sizes = {pair.clear_path: pair.clear_state[0] for pair in pairs}
    equal = sorted(path for path, size in sizes.items() if [*sizes.values()].count(size) > 1)
    assert len(equal) == 2, "two of these images have files of one size"
    read, real = [], scenes._read_block
    monkeypatch.setattr(scenes, "_read_block", lambda *file: read.append(file[0]) or real(*file))
    monkeypatch.setattr(scenes, "_hash", None)  # the blocks differ
    assert scenes.join_scenes(pairs) == pairs
    assert sorted(read) == equal


def test_scene_keeps_the_frames_of_a_video_together(tmp_path, capsys):
    source = write_video(tmp_path / "in")
    assert convert(source, tmp_path / "out", "--scene=^(C[0-9]+)/", "--val_fraction=0.4") == 0
    assert "20 pairs of 5 scenes" in capsys.readouterr().out
    found = {split: {row["hazy"].split("/")[0] for row in rows} for split, rows in sources(tmp_path / "out").items()}
    assert len(found["train"]) == 3 and len(found["val"]) == 2 and not found["train"] & found["val"]
    assert {row["scene"] for row in sources(tmp_path / "out")["val"]} == found["val"]
    assert convert(source, tmp_path / "out", "--scene=^(C[0-9]+)/", "--val_fraction=0.4") == 0
    assert "complete; nothing to do" in capsys.readouterr().out
    assert convert(source, tmp_path / "out", "--val_fraction=0.4") == 2
    assert "scene=^(C[0-9]+)/ there, None now" in capsys.readouterr().err


def test_frames_in_numbered_subfolders_give_a_note_about_scenes(tmp_path, capsys):
    source = write_video(tmp_path / "in")
    assert convert(source, tmp_path / "out") == 0
    assert "note: the images are numbered in 5 subfolders; if these are videos" in capsys.readouterr().out
    assert convert(write_pairs(tmp_path / "flat"), tmp_path / "out2") == 0
    assert convert(source, tmp_path / "out3", "--scene=^(.+)/") == 0
    assert "note:" not in capsys.readouterr().out


def test_scenes_that_share_a_clear_image_are_joined(tmp_path):
    source = write_pairs(tmp_path / "in", scenes=4, versions=2)
    # By version, which is no scene: each clear image belongs to both.
    assert convert(source, tmp_path / "out", r"--scene=_(\d)$|_(\d)\.", "--val_fraction=0.5") == 2
    assert convert(source, tmp_path / "out", r"--scene=_(\d)\.", "--val_fraction=0.5") == 0
    assert list(sources(tmp_path / "out")) == ["train"]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("^(x.*)_", "does not match 16 of 16 names .*0001_0.8_1.jpg"),
        ("^(000[1-7])", r"does not match 2 of 16 names .*0008_0.8_1.jpg, 0008_0.8_2.jpg\)"),
        ("^()", "does not match 16 of 16"),
        ("(", "is not a regular expression"),
        ("^0001", "has no group"),
    ],
)
def test_a_scene_that_is_not_found_is_refused_by_name(source, tmp_path, expression, said, capsys):
    assert convert(source, tmp_path / "out", f"--scene={expression}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line), line
    assert not (tmp_path / "out").exists()


def old_data_set(source, output, monkeypatch):
    """Converts as version 0.1: each clear file is a scene, and the manifest does not count scenes."""
    with monkeypatch.context() as patch:
        patch.setattr(scenes, "join_scenes", lambda pairs: tuple(pairs))
        assert convert(source, output, "--val_fraction=0.34") == 0
    manifest = json.loads((output / "manifest.json").read_text())
    del manifest["provenance"]["scenes"], manifest["provenance"]["state_blocks"]
    (output / "manifest.json").write_text(json.dumps(manifest))
    return output


def test_a_data_set_of_an_older_version_that_divides_scenes_is_refused(tmp_path, monkeypatch, capsys):
    source = write_copies(tmp_path / "in")
    output = old_data_set(source, tmp_path / "out", monkeypatch)
    capsys.readouterr()
    assert convert(source, output, "--val_fraction=0.34") == 2
    assert "a data set of version 0.1 whose splits share" in capsys.readouterr().err
    assert main(["verify", str(output), "--workers=1"]) == 1
    assert "splits share" in capsys.readouterr().out


def test_a_data_set_of_an_older_version_without_copies_is_complete(source, tmp_path, monkeypatch, capsys):
    output = old_data_set(source, tmp_path / "out", monkeypatch)
    before = contents(output)
    assert convert(source, output, "--val_fraction=0.34") == 0
    assert "complete; nothing to do" in capsys.readouterr().out
    assert contents(output) == before
    assert records.load_manifest(output)["provenance"]["scenes"] == {"train": 5, "val": 3}
