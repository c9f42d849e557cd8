"""Conversion: the records hold the input files, and the same input gives the same bytes."""

import hashlib
import io
import json
import shutil

import numpy as np
import pytest
from converting import all_records, contents, convert, write_pairs
from PIL import Image
from places import SHARED

from hazeheal.data import records
from tfrecords_tools.__main__ import main
from tfrecords_tools.convert import pair_records, plan, shard, tfds_metadata


def test_passthrough_stores_the_files_bytes_and_the_index_describes_them(source, converted):
    pairs = all_records(converted, "train") + all_records(converted, "val")
    assert sorted(pair.key for pair, _ in pairs) == sorted(path.stem for path in (source / "hazy").iterdir())
    for pair, row in pairs:
        assert pair.hazy == (source / "hazy" / pair.hazy_source).read_bytes()
        assert pair.clear == (source / "GT" / pair.clear_source).read_bytes()
        assert (pair.height, pair.width) == (row["height"], row["width"]) == (40, 56)
        hazy, clear = (np.asarray(Image.open(io.BytesIO(data)), float) for data in (pair.hazy, pair.clear))
        assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean((hazy - clear) ** 2)), abs=1e-3)
    manifest = records.load_manifest(converted)
    assert [one["file"] for one in manifest["splits"]["train"]["shards"]] == [
        f"set-train.tfrecord-{n:05d}-of-00003" for n in range(3)
    ]
    for entry in manifest["splits"].values():
        for one in entry["shards"]:
            assert hashlib.sha256((converted / one["file"]).read_bytes()).hexdigest() == one["sha256"]
    assert not [path.name for path in converted.iterdir() if path.name.startswith(".")]


def test_split_keeps_scenes_together(converted):
    scenes = {split: {pair.clear_source for pair, _ in all_records(converted, split)} for split in ("train", "val")}
    assert len(scenes["val"]) == 2 and len(scenes["train"]) == 6
    assert not scenes["val"] & scenes["train"]


def test_the_split_is_close_to_its_fraction_and_stable_and_never_empty():
    def pairs(counts):
        states = {"hazy_path": "h", "clear_path": "c", "hazy_state": (1, 1), "clear_state": (1, 1)}
        return [
            pair_records.SourcePair(key=f"{s}_{i}", scene=f"s{s}", hazy="h", clear="c", **states)
            for s, count in enumerate(counts)
            for i in range(count)
        ]

    rng = np.random.default_rng(0)
    for trial in range(50):
        counts = rng.integers(1, 12, rng.integers(2, 40)).tolist()
        chosen = plan.split_scenes(pairs(counts), val_fraction=0.2, seed=trial)
        taken = sum(count for s, count in enumerate(counts) if f"s{s}" in chosen)
        assert 0 < len(chosen) < len(counts)
        smallest = min(counts)
        assert abs(taken - 0.2 * sum(counts)) <= max(smallest, 6), (counts, taken)
    ones = plan.split_scenes(pairs([1] * 1000), val_fraction=0.1, seed=0)
    assert len(ones) == 100
    more = plan.split_scenes(pairs([1] * 1010), val_fraction=0.1, seed=0)
    assert len(ones & more) >= 95  # ten new scenes move few other scenes
    assert len(ones & plan.split_scenes(pairs([1] * 1000), val_fraction=0.1, seed=1)) < 30
    assert plan.split_scenes(pairs([5]), val_fraction=0.5, seed=0) == set()
    assert plan.split_scenes(pairs([1, 1]), val_fraction=0.01, seed=0)


def test_val_keys(source, tmp_path, capsys):
    keys = tmp_path / "keys.txt"
    keys.write_text("# two scenes\n0003_0.8_1\n\n0005.jpg\n")
    assert convert(source, tmp_path / "out", f"--val_keys={keys}") == 0
    assert {pair.clear_source for pair, _ in all_records(tmp_path / "out", "val")} == {"0003.jpg", "0005.jpg"}
    keys.write_text("0003_0.8_1\nnobody\n")
    assert convert(source, tmp_path / "out2", f"--val_keys={keys}") == 2
    assert "nobody" in capsys.readouterr().err


def test_same_bytes_for_any_number_of_workers(source, converted, tmp_path):
    expected = contents(converted)
    for workers in (2, 3):
        output = tmp_path / str(workers)
        assert convert(source, output, "--num_shards=3", "--val_fraction=0.25", workers=workers) == 0
        assert contents(output) == expected
    moved = shutil.copytree(source, tmp_path / "moved")  # other modification times, another directory
    assert convert(moved, tmp_path / "out", "--num_shards=3", "--val_fraction=0.25") == 0
    assert contents(tmp_path / "out") == expected


def test_tfds_loads_a_data_set_with_an_empty_shard_without_a_network(tmp_path, monkeypatch):
    import socket

    import tensorflow_datasets as tfds

    def no_network(*arguments):
        raise AssertionError(f"tried to connect: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    source = write_pairs(tmp_path / "in", scenes=12, versions=1, kind="png")
    for path in sorted((source / "hazy").iterdir())[3:6]:
        path.write_bytes(path.read_bytes()[:-40])  # all pairs of the second shard
    assert convert(source, tmp_path / "out", "--num_shards=4", "--val_fraction=0", "--skip_bad") == 0
    manifest = records.load_manifest(tmp_path / "out")
    assert [one["records"] for one in manifest["splits"]["train"]["shards"]] == [3, 0, 3, 3]
    builder = tfds.builder_from_directory(str(tmp_path / "out"))
    assert builder.name == "set" and builder.info.splits["train"].num_examples == 9
    examples = list(tfds.as_numpy(builder.as_dataset(split="train")))
    assert len(examples) == 9
    for example in examples:
        key = example["key"].decode()
        for side, folder in (("hazy", "hazy"), ("clear", "GT")):
            expected = np.asarray(Image.open(source / folder / example[f"{side}_source"].decode()))
            np.testing.assert_array_equal(example[side], expected)
        assert example["hazy_source"].decode() == f"{key}.png"
        assert (example["height"], example["width"]) == (40, 56)
    assert main(["verify", str(tmp_path / "out"), "--workers=1"]) == 0


def test_the_tfds_metadata_equals_what_tfds_writes(converted, tmp_path):
    import tensorflow_datasets as tfds

    manifest = records.load_manifest(converted)
    template = tfds.core.ShardedFileTemplate(
        data_dir=tmp_path,
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        dataset_name=manifest["name"],
        filetype_suffix="tfrecord",
    )
    splits = []
    for split, entry in manifest["splits"].items():
        for one in entry["shards"]:
            (tmp_path / one["file"]).touch()  # TFDS takes the data set's name from the shards
        splits.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[one["records"] for one in entry["shards"]],
                num_bytes=sum(one["bytes"] for one in entry["shards"]),
                filename_template=template,
            )
        )
    text, number = tfds.features.Text(), tfds.features.Scalar(np.int64)
    image = tfds.features.Image(shape=(None, None, 3), doc="uint8 RGB")
    features = dict.fromkeys(("hazy", "clear"), image) | dict.fromkeys(("height", "width"), number)
    features |= dict.fromkeys(("key", "hazy_source", "clear_source", "hazy_sha256", "clear_sha256"), text)
    tfds.folder_dataset.write_metadata(
        data_dir=tmp_path,
        features=tfds.features.FeaturesDict(features),
        split_infos=splits,
        version="1.0.0",
        filename_template=template,
        check_data=False,
        description="Pairs of hazy and clear images, converted by hazeheal-tfrecords.",
        supervised_keys=("hazy", "clear"),
    )
    for name in tfds_metadata.FILES:
        assert json.loads((converted / name).read_text()) == json.loads((tmp_path / name).read_text())


def test_a_shard_depends_only_on_its_spec(source, tmp_path):
    pairs = plan.find_sources(hazy_dir=source / "hazy", gt_dir=source / "GT", rule="auto").pairs
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        spec = shard.ShardSpec(
            output_dir=str(tmp_path / name),
            file=records.shard_name("x", "train", 0, 1),
            pairs=pairs[:5],
            options=pair_records.RecordOptions(),
        )
        assert shard.write_shard(spec) == []
        assert shard.read_note(spec)["records"] == 5 and shard.is_finished(spec, skip_bad=False)
        made.append(spec)
    assert made[0].digest == made[1].digest and made[0].path.read_bytes() == made[1].path.read_bytes()
    made[0].path.write_bytes(made[0].path.read_bytes()[:-1] + b"x")
    assert not shard.is_finished(made[0], skip_bad=False)  # a changed shard is written again


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not available")
def test_real_pairs(tmp_path):
    rice = SHARED / "data/rice1"
    assert main(["convert", f"--hazy_dir={rice}/hazy", f"--gt_dir={rice}/GT", f"--output_dir={tmp_path}/rice1"]) == 0
    assert main(["extract", f"{tmp_path}/rice1", f"--output_dir={tmp_path}/files"]) == 0
    for folder in ("hazy", "GT"):
        assert {p.name: p.read_bytes() for p in (rice / folder).iterdir()} == {
            p.name: p.read_bytes() for p in (tmp_path / "files" / folder).iterdir()
        }
