"""`verify` finds every flipped byte and names the record; `info` describes a data set."""

import json
import os
import shutil

import numpy as np
import pytest
from disks import flip
from PIL import Image

from hazeheal.data import records, tfrecord
from hazeheal.errors import DataError
from tfrecords_tools.__main__ import main
from tfrecords_tools.verify import find_problems

PAIRS = 8


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A data set of 8 PNG pairs: 6 for training in 2 shards, 2 for validation."""
    folder = tmp_path_factory.mktemp("verify")
    for name in ("hazy", "GT"):
        (folder / name).mkdir()
    rng = np.random.default_rng(1)
    for number in range(PAIRS):
        clear = rng.integers(0, 200, (12 + number % 2, 16, 3), dtype=np.uint8)
        Image.fromarray(clear).save(folder / f"GT/{number}.png")
        Image.fromarray(clear + np.uint8(20)).save(folder / f"hazy/{number}.png")
    flags = [
        f"--hazy_dir={folder}/hazy",
        f"--gt_dir={folder}/GT",
        f"--output_dir={folder}/set",
        "--workers=1",
    ]
    assert main(["convert", *flags, "--num_shards=2", "--val_fraction=0.25"]) == 0
    return folder / "set"


@pytest.fixture
def copy(intact, tmp_path):
    return shutil.copytree(intact, tmp_path / "set")


def problems(directory):
    return find_problems(directory, records.load_manifest(directory))


def first_shard(directory):
    """Returns the first shard's path, its rows of the index, and the sources of the split."""
    split = records.open_split(directory, "train")
    rows = split.index[split.index["shard"] == 0]
    sources = [json.loads(line) for line in split.sources.read_text().splitlines()]
    return split.shards[0], rows, sources


def test_an_intact_data_set(intact, capsys):
    assert main(["verify", str(intact), "--workers=1"]) == 0
    assert f"{PAIRS} records in 3 shards" in capsys.readouterr().out


def test_damage_is_named_on_the_command_line(copy, capsys):
    path, rows, sources = first_shard(copy)
    flip(path, int(rows["offset"][1]) + 200)
    assert main(["verify", str(copy), "--workers=2"]) == 1
    out, error = capsys.readouterr()
    assert error.splitlines()[-1].startswith("hazeheal-tfrecords: error: ") and "Traceback" not in error
    assert f"{path}, record 1 (number 1 of split train), key {sources[1]['key']!r}" in out
    assert f"made of {sources[1]['hazy']} and {sources[1]['clear']}" in out
    assert "the SHA-256 of the clear image does not match" in out


@pytest.mark.parametrize(
    "where, word",
    [
        ("length", "frame's length or CRC is damaged"),
        ("length crc", "frame's length or CRC is damaged"),
        ("payload", "CRC32"),
        ("footer", "frame's length or CRC is damaged"),
    ],
)
def test_damage_in_every_part_of_a_frame_is_found(where, word, copy):
    path, rows, _ = first_shard(copy)
    start, length = int(rows["offset"][1]), int(rows["length"][1])
    flip(
        path,
        {"length": start - 12, "length crc": start - 3, "payload": start + 50, "footer": start + length + 2}[where],
    )
    found = problems(copy)
    assert any("SHA-256" in line for line in found)
    named = [line for line in found if ", record " in line]
    assert named and all(f"{path}, record 1 " in line for line in named), found
    assert any(word in line for line in named), named


def test_a_flipped_byte_anywhere_is_found_in_the_right_record(intact, tmp_path):
    rng = np.random.default_rng(7)
    path, rows, _ = first_shard(intact)
    size = path.stat().st_size
    for position in [0, 7, 8, 11, size - 1, size - 4, *rng.integers(0, size, 20).tolist()]:
        directory = shutil.copytree(intact, tmp_path / str(position), dirs_exist_ok=True)
        flip(directory / path.name, position, bits=int(rng.integers(1, 256)))
        starts = rows["offset"].astype(int) - tfrecord.FRAME_HEADER_BYTES
        hit = int(np.searchsorted(starts, position, side="right")) - 1
        named = {line.split(" (number")[0].rsplit(" ", 1)[-1] for line in problems(directory) if ", record " in line}
        assert named == {str(hit)}, (position, named)
        shutil.rmtree(directory)


def test_several_damaged_records_are_all_named(copy):
    path, rows, _ = first_shard(copy)
    flip(path, int(rows["offset"][0]) - 12, bits=0x80)  # hides all later frames
    flip(path, int(rows["offset"][2]) + 9)
    named = {line.split(" (number")[0].rsplit(" ", 1)[-1] for line in problems(copy) if ", record " in line}
    assert named == {"0", "2"}


def test_truncated_missing_and_longer_shards(copy):
    path, rows, _ = first_shard(copy)
    data = path.read_bytes()
    path.write_bytes(data[: int(rows["offset"][2]) + 5])
    found = problems(copy)
    assert any("bytes instead of" in line for line in found)
    assert any(", record 2 " in line and ": truncated" in line for line in found)
    assert not any(", record 1 " in line for line in found)
    path.write_bytes(b"")
    assert sum(": truncated" in line for line in problems(copy)) == 3
    path.write_bytes(data + b"more")
    assert len([line for line in problems(copy) if "bytes instead of" in line]) == 1
    path.unlink()
    assert any(f"shard {path}: missing" in line for line in problems(copy))


@pytest.mark.parametrize("name", ["set-train.index.npy", "set-val.sources.jsonl", "dataset_info.json", "features.json"])
def test_damage_in_the_other_files_is_found(name, copy):
    for position in (0, -1):
        flip(copy / name, position)
        found = problems(copy)
        assert found and name in found[0], found
        assert not any("tfrecord" in line for line in found), "the shards are intact"
        flip(copy / name, position)
    assert problems(copy) == []
    (copy / name).unlink()
    assert any(name in line and "missing" in line for line in problems(copy))


def test_a_damaged_shard_with_a_damaged_index_is_named_as_a_whole(copy):
    path, rows, _ = first_shard(copy)
    flip(path, int(rows["offset"][1]) + 50)
    flip(copy / "set-train.index.npy", 300)
    found = problems(copy)
    assert "the records of its shards cannot be checked one by one" in found[0]
    assert found[1:] == [f"shard {path}: its SHA-256 is not that of the manifest"]


def test_a_changed_manifest_is_refused(copy, capsys):
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"records": 6', '"records": 5'))
    assert main(["verify", str(copy)]) == 1
    assert "fingerprint" in capsys.readouterr().err


def change_and_sign(directory, change):
    """Changes the manifest and updates its fingerprint."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["fingerprint"] = records.fingerprint(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("options"),
        lambda m: m.update(name=None),
        lambda m: m.update(provenance=[]),
        lambda m: m["provenance"].update(versions="x"),
        lambda m: m["provenance"].update(tfds_sha256={"../../etc/passwd": "x"}),
        lambda m: m["splits"].update(val=3),
        lambda m: m["splits"]["val"].update(formats={"hazy": 3}),
        lambda m: m["splits"]["val"].update(records=-1),
        lambda m: m["splits"]["val"].pop("index"),
        lambda m: m["splits"]["val"]["shards"].append(None),
        lambda m: m["splits"]["val"]["shards"][0].update(file="../set-val.tfrecord-00000-of-00001"),
        lambda m: m["splits"]["val"]["shards"][0].update(bytes=True),
        lambda m: m["splits"]["val"].update(sources_sha256=3),
    ],
)
def test_a_malformed_manifest_is_refused(change, copy, tmp_path, capsys):
    change_and_sign(copy, change)
    for command in (["verify"], ["info"], ["extract", f"--output_dir={tmp_path / 'files'}"]):
        assert main([*command, str(copy)]) == 1
        assert "has a missing or invalid entry" in capsys.readouterr().err


def test_a_manifest_without_the_hashes_of_the_metadata_is_damaged(copy, capsys):
    change_and_sign(copy, lambda manifest: manifest["provenance"].pop("tfds_sha256"))
    assert main(["verify", str(copy), "--workers=1"]) == 1
    out = capsys.readouterr().out
    assert all(f"{name}: manifest.json lacks its SHA-256" in out for name in ("features.json", "dataset_info.json"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize(
    "name", ["manifest.json", "set-train.index.npy", "set-val.sources.jsonl", "features.json", "shard"]
)
def test_a_pipe_in_place_of_a_file_is_named_and_not_read(name, copy, capsys):
    path = first_shard(copy)[0] if name == "shard" else copy / name
    path.unlink()
    os.mkfifo(path)
    assert main(["verify", str(copy), "--workers=1"]) == 1
    assert str(path) in "".join(capsys.readouterr())
    assert main(["info", str(copy)]) in (0, 1)  # it does not read all files


def test_a_deeply_nested_manifest_is_refused(copy, capsys):
    (copy / "manifest.json").write_text("[" * 100_000)
    assert main(["verify", str(copy)]) == 1
    assert "manifest.json cannot be read" in capsys.readouterr().err


def test_extract_refuses_changed_sources(copy, tmp_path, capsys):
    path = copy / "set-train.sources.jsonl"
    path.write_text(path.read_text().replace(".png", ".pnh"))
    assert main(["extract", str(copy), f"--output_dir={tmp_path / 'files'}"]) == 1
    assert f"{path}: its SHA-256 is not that of the manifest" in capsys.readouterr().err
    assert not (tmp_path / "files").exists()


def test_a_record_with_text_that_is_not_utf8_is_refused(copy):
    path, rows, _ = first_shard(copy)
    payload = path.read_bytes()[int(rows["offset"][0]) :][: int(rows["length"][0])]
    pair = records.parse(payload)
    damaged = payload.replace(pair.hazy_source.encode(), b"\xff" * len(pair.hazy_source))
    with pytest.raises(DataError, match="not a HazeHeal record"):
        records.parse(damaged)


def test_extract_leaves_out_only_the_damaged_records(copy, tmp_path, capsys):
    path, rows, sources = first_shard(copy)
    flip(path, int(rows["offset"][1]) + 50)
    assert main(["extract", str(copy), f"--output_dir={tmp_path / 'files'}"]) == 1
    assert repr(sources[1]["key"]) in capsys.readouterr().out
    assert len(list((tmp_path / "files/hazy").iterdir())) == PAIRS - 1


def test_info(intact, capsys):
    assert main(["info", str(intact), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found["splits"][split]["records"] for split in ("train", "val")] == [6, 2]
    assert found["splits"]["train"]["shards"] == 2
    sizes = {size: 0 for size in ("16x12", "16x13")}
    for split in found["splits"].values():
        assert split["psnr"] == pytest.approx(20 * np.log10(255 / 20), abs=1e-3)  # every pixel differs by 20
        assert split["formats"] == {side: {"png": split["records"]} for side in ("hazy", "clear")}
        for size, count in split["resolutions"].items():
            sizes[size] += count
    assert sizes == {"16x12": 4, "16x13": 4}
    assert found["fingerprint"] == records.load_manifest(intact)["fingerprint"]
    assert found["provenance"]["command"].startswith("hazeheal-tfrecords convert --hazy_dir=")
    assert main(["info", str(intact)]) == 0
    text = capsys.readouterr().out
    assert "train: 6 pairs in 2 shards" in text and "mean 22.11 dB" in text and found["fingerprint"] in text
