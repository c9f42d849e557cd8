"""`--split` adds an official split to a data set, which is valid before, during and after."""

import json
import os
import shlex
import shutil
import signal

import pytest
from converting import all_records, contents, convert, hazed, image
from miniature_sets import plant
from PIL import Image
from places import ROOT

from hazeheal.data import records
from hazeheal.data.pairing.public_sets import PUBLIC_SETS
from tfrecords_tools.__main__ import main
from tfrecords_tools.convert import finalize, output_dir, shard


def write_split(folder, *, first, pairs=3, kind="png"):
    """Writes a folder as SateHaze1k's: the file names of all splits are the same."""
    for number in range(pairs):
        clear = image(first + number)
        for side, name, pixels in (("hazy", "inputs", hazed(clear, 0.5)), ("GT", "targets", clear)):
            path = folder / side / f"{number}-{name}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture
def official(tmp_path):
    """{split: folder of its images}, as the authors publish them."""
    firsts = {"train": 0, "valid": 100, "test": 200}
    return {split: write_split(tmp_path / "official" / split, first=first) for split, first in firsts.items()}


@pytest.fixture
def base(official, tmp_path):
    """A data set of the split train."""
    assert convert(official["train"], tmp_path / "base", "--val_fraction=0") == 0
    return tmp_path / "base"


def verify(directory):
    return main(["verify", str(directory), "--workers=1"])


@pytest.mark.parametrize("first", ["--val_fraction=0", "--split=train"])
def test_official_splits_are_added(official, tmp_path, first, capsys):
    out = tmp_path / "out"
    assert convert(official["train"], out, first) == 0
    before = records.load_manifest(out)
    train = {path.name: path.read_bytes() for path in out.glob("set-train*")}
    assert convert(official["valid"], out, "--split=val") == 0
    assert convert(official["test"], out, "--split=test") == 0
    printed = capsys.readouterr().out
    assert "val: 3 pairs of 3 scenes in 1 shard" in printed and "wrote 3 records" in printed
    after = records.load_manifest(out)
    assert list(after["splits"]) == ["test", "train", "val"] and after["splits"]["train"] == before["splits"]["train"]
    assert after["fingerprint"] != before["fingerprint"]
    assert {path.name: path.read_bytes() for path in out.glob("set-train*")} == train
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        found = {(pair.hazy_source, pair.hazy, pair.clear) for pair, _ in all_records(out, split)}
        files = [(f"{n}-inputs.png", f"{n}-targets.png") for n in range(3)]
        source = official[folder]
        assert found == {(h, (source / "hazy" / h).read_bytes(), (source / "GT" / c).read_bytes()) for h, c in files}
    keys = [pair.key for split in after["splits"] for pair, _ in all_records(out, split)]
    assert len(set(keys)) == 9
    assert verify(out) == 0
    assert main(["info", str(out)]) == 0
    assert "added val: options: encoding=keep" in capsys.readouterr().out
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_each_command_says_that_the_data_set_is_complete(official, base, capsys):
    assert convert(official["valid"], base, "--split=val") == 0
    expected = contents(base)
    for folder, flag in (("train", "--val_fraction=0"), ("valid", "--split=val")):
        capsys.readouterr()
        assert convert(official[folder], base, flag) == 0
        assert "complete; nothing to do" in capsys.readouterr().out
    for path in (official["valid"] / "GT").iterdir():
        os.utime(path)
    assert convert(official["valid"], base, "--split=val") == 0
    assert convert(official["train"], base, "--val_fraction=0") == 0
    assert contents(base) == expected
    (official["valid"] / "GT/0-targets.png").write_bytes((official["train"] / "GT/0-targets.png").read_bytes())
    assert convert(official["valid"], base, "--split=val") == 2


def test_the_same_splits_give_the_same_bytes(official, base, tmp_path):
    expected = None
    for name in ("a", "b"):
        shutil.copytree(base, tmp_path / name)
        assert convert(official["valid"], tmp_path / name, "--split=val", workers=1 if name == "a" else 2) == 0
        expected = expected or contents(tmp_path / name)
    assert contents(tmp_path / "b") == expected


def test_tfds_loads_an_added_split(official, base):
    import tensorflow_datasets as tfds

    assert convert(official["valid"], base, "--split=val") == 0
    builder = tfds.builder_from_directory(str(base))
    assert {name: info.num_examples for name, info in builder.info.splits.items()} == {"train": 3, "val": 3}
    keys = [example["key"].decode() for example in tfds.as_numpy(builder.as_dataset(split="val"))]
    assert sorted(keys) == ["val/0-inputs", "val/1-inputs", "val/2-inputs"]


def test_a_scene_that_another_split_has_is_refused_by_name(official, base, capsys):
    before = contents(base)
    shutil.copy(official["train"] / "GT/2-targets.png", official["valid"] / "GT/1-targets.png")
    assert convert(official["valid"], base, "--split=val") == 1
    error = capsys.readouterr().err
    assert "1 pairs show scenes that" in error and "(1-inputs.png and 2-inputs.png in train)" in error
    assert contents(base) == before


def test_named_scenes_are_compared_by_name(official, tmp_path, capsys):
    scene = r"--scene=(\d+)-"
    assert convert(official["train"], tmp_path / "out", "--split=train", scene) == 0
    assert convert(official["valid"], tmp_path / "out", "--split=val", scene) == 1
    assert "0-inputs.png and 0-inputs.png in train" in capsys.readouterr().err
    assert convert(official["valid"], tmp_path / "out", "--split=val") == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--split=train"], "a data set that has a split train already"),
        (["--split=val", "--name=other"], "--name=other is not the name of the data set"),
        (["--split=val", "--val_fraction=0.1"], "--split=val takes all pairs"),
        (["--split=dev"], "invalid choice"),
        ([], "a data set with other options"),
    ],
)
def test_what_cannot_be_added_is_refused(official, base, flags, said, capsys):
    before = contents(base)
    assert convert(official["valid"], base, *flags) == 2
    assert said in capsys.readouterr().err
    assert contents(base) == before


def test_the_name_of_the_data_set_is_the_default(official, base):
    folders = [f"--hazy_dir={official['valid']}/hazy", f"--gt_dir={official['valid']}/GT"]
    assert main(["convert", *folders, f"--output_dir={base}", "--split=val", "--workers=1"]) == 0
    assert (base / "set-val.tfrecord-00000-of-00001").exists()


def test_an_addition_that_is_killed_at_any_time_leaves_a_valid_data_set(official, base, tmp_path, monkeypatch):
    """Ends the addition before each of its writes in turn."""
    before = contents(base)
    assert convert(official["valid"], shutil.copytree(base, tmp_path / "whole"), "--split=val") == 0
    expected = contents(tmp_path / "whole")

    class Killed(BaseException):
        pass

    def ending_at(number, real):
        def write(path, *arguments, **options):
            calls.append(path)
            if len(calls) > number:
                raise Killed
            return real(path, *arguments, **options)

        return write

    ends = 0
    while True:
        output, calls = shutil.copytree(base, tmp_path / str(ends)), []
        with monkeypatch.context() as patch:
            for module in (finalize, output_dir, shard):
                for name in ("atomic_write", "atomic_path"):
                    if hasattr(module, name):
                        patch.setattr(module, name, ending_at(ends, getattr(module, name)))
            try:
                assert convert(official["valid"], output, "--split=val") == 0
                break
            except Killed:
                ends += 1
        manifest = records.load_manifest(output)
        assert verify(output) == 0
        assert contents(output)["set-train.index.npy"] == before["set-train.index.npy"]
        assert (
            "val" not in manifest["splits"]
            or manifest["fingerprint"] == json.loads(expected["manifest.json"])["fingerprint"]
        )
        # The command of the other split leaves what is unfinished alone.
        assert convert(official["train"], output, "--val_fraction=0") == 0
        assert convert(official["valid"], output, "--split=val") == 0
        assert contents(output) == expected
    assert ends > 6
    assert "next_tfds_sha256" not in records.load_manifest(output)["provenance"]


def test_an_addition_resumes_its_finished_shards(official, base, monkeypatch, capsys):
    def stop(**_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finalize, "assemble", stop)
        assert convert(official["valid"], base, "--split=val", "--num_shards=2") == 130
    assert convert(official["train"], base, "--val_fraction=0") == 0
    capsys.readouterr()
    assert convert(official["valid"], base, "--split=val", "--num_shards=2") == 0
    assert "resuming: 2 of 2 shards already finished" in capsys.readouterr().out
    assert verify(base) == 0 and not [path for path in base.iterdir() if path.name.startswith(".")]


def test_skipped_pairs_of_all_splits_are_listed(official, tmp_path):
    out = tmp_path / "out"
    for split in ("train", "valid"):
        path = official[split] / "hazy/1-inputs.png"
        path.write_bytes(path.read_bytes()[:-30])
    assert convert(official["train"], out, "--val_fraction=0", "--skip_bad") == 0
    assert convert(official["valid"], out, "--split=val", "--skip_bad") == 0
    assert convert(official["test"], out, "--split=test") == 0
    assert records.load_manifest(out)["skipped"] == 2
    rows = (out / "skipped.txt").read_text().splitlines()[1:]
    assert [row.split("\t")[0] for row in rows] == ["1-inputs", "val/1-inputs"]


def test_extract_keeps_equal_names_of_splits_apart(official, base, tmp_path):
    assert convert(official["valid"], base, "--split=val") == 0
    assert main(["extract", str(base), f"--output_dir={tmp_path / 'files'}"]) == 0
    for split, folder in (("train", "train"), ("val", "valid")):
        for side in ("hazy", "GT"):
            expected = {path.name: path.read_bytes() for path in (official[folder] / side).iterdir()}
            found = tmp_path / "files" / side / split
            assert {path.name: path.read_bytes() for path in found.iterdir()} == expected
    assert convert(tmp_path / "files", tmp_path / "again") == 0  # the names still pair
    assert main(["extract", str(base), f"--output_dir={tmp_path / 'val'}", "--split=val"]) == 0
    assert (tmp_path / "val/hazy/0-inputs.png").exists()


def test_sigterm_while_a_split_is_added_leaves_the_data_set(official, base, monkeypatch):
    before = contents(base)
    real = shard.write_shard

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("tfrecords_tools.convert.command.write_shard", interrupted)
        assert convert(official["valid"], base, "--split=val") == 143
    (base / output_dir.STATE).unlink()
    assert contents(base) == before


def test_the_commands_of_the_docs(tmp_path, monkeypatch):
    (one,) = (one for one in PUBLIC_SETS if one.name == "satehaze1k_thin")
    text = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in text.splitlines() if line.endswith("--output_dir=records/thin")]
    monkeypatch.chdir(tmp_path)
    plant(one, tmp_path)
    assert len(commands) == 3
    for command in commands:
        assert main([*command[1:], "--workers=1"]) == 0
    assert {split: entry["records"] for split, entry in records.load_manifest("records/thin")["splits"].items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }
