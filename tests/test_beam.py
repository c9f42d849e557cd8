"""Conversion in an Apache Beam pipeline: the same bytes as a local conversion, and its errors."""

import importlib.util
import json
import shutil
import sys

import pytest

from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.errors import HazeHealError
from tfrecords_tools.__main__ import main
from tfrecords_tools.convert import beam, shard

PAIRS = 18
needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="Apache Beam is not installed: pip install 'hazeheal[beam]'",
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    synthetic_pairs.write_dataset(folder, pairs=PAIRS, size=24, progress=False)
    return folder


def convert(images, output, *flags):
    folders = [f"--hazy_dir={images}/hazy", f"--gt_dir={images}/GT", f"--output_dir={output}"]
    return main(["convert", *folders, "--name=set", "--num_shards=3", *flags])


def files(folder):
    """Returns {name: bytes} of a data set, with the manifest parsed and without its provenance."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    manifest = json.loads(found["manifest.json"])
    del manifest["provenance"]
    return found | {"manifest.json": manifest}


@needs_beam
def test_the_bytes_equal_those_of_a_local_conversion(images, tmp_path, monkeypatch, capsys):
    assert convert(images, tmp_path / "local", "--workers=1") == 0
    monkeypatch.chdir(tmp_path)  # workers may run in another directory
    assert convert(images, "beam", "--runner=DirectRunner") == 0
    local, found = files(tmp_path / "local"), files(tmp_path / "beam")
    assert sorted(local) == sorted(found)
    assert [name for name in local if local[name] != found[name]] == []
    assert len([name for name in found if ".tfrecord-" in name]) == 4  # 3 train, 1 val
    assert main(["verify", "beam"]) == 0
    assert "in a pipeline of DirectRunner" in capsys.readouterr().out
    assert convert(images, "beam", "--runner=DirectRunner") == 0
    assert "nothing to do" in capsys.readouterr().out


@needs_beam
def test_an_interrupted_conversion_is_resumed(images, tmp_path, monkeypatch, capsys):
    def run_out(specs, **_):
        shard.write_shard(specs[0])
        raise HazeHealError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(beam, "write_shards", run_out)
        assert convert(images, tmp_path / "set", "--runner=DirectRunner") == 1
    capsys.readouterr()
    assert convert(images, tmp_path / "set", "--runner=DirectRunner") == 0
    assert "resuming: 1 of 4 shards already finished" in capsys.readouterr().out
    assert convert(images, tmp_path / "local", "--workers=1") == 0
    assert files(tmp_path / "set") == files(tmp_path / "local")


@needs_beam
def test_a_bad_image_is_named(images, tmp_path, capsys):
    source = shutil.copytree(images, tmp_path / "source")
    path = source / "hazy/0003.png"
    content = path.read_bytes()
    path.write_bytes(content[:200])  # its header is intact
    assert convert(source, tmp_path / "set", "--runner=DirectRunner") == 1
    assert "0003" in capsys.readouterr().err
    assert not (tmp_path / "set/manifest.json").exists()
    assert convert(source, tmp_path / "set", "--runner=DirectRunner", "--skip_bad") == 0
    assert json.loads((tmp_path / "set/manifest.json").read_text())["skipped"] == 1


@needs_beam
def test_a_missing_shard_is_an_error(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shard, "read_note", lambda spec: None)
    assert convert(images, tmp_path / "set", "--runner=DirectRunner") == 1
    error = capsys.readouterr().err
    assert "tfrecord-00000-of-00003 is missing or was changed" in error and "file system that they share" in error


@needs_beam
def test_a_shard_that_cannot_be_written_is_named(images, tmp_path, monkeypatch, capsys):
    real = shard.write_shard

    def in_the_way(spec):
        if spec.file.endswith("00001-of-00003"):
            raise HazeHealError(f"{spec.file} cannot be written: no space")
        return real(spec)

    monkeypatch.setattr(shard, "write_shard", in_the_way)
    assert convert(images, tmp_path / "set", "--runner=DirectRunner") == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith(
        "hazeheal-tfrecords: error: --runner=DirectRunner: set-train.tfrecord-00001-of-00003 cannot be written: no space"
    )


@needs_beam
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--runner=NoRunner"], "--runner=NoRunner is not known to Apache Beam"),
        (["--runner=no.such.Runner"], "--runner=no.such.Runner is not known to Apache Beam"),
        (["--runner=DirectRunner", "--beam_options='"], "cannot be split"),
        (["--runner=DirectRunner", "--beam_options=--direct_num_workers=many"], "--direct_num_workers"),
    ],
)
def test_invalid_runners_and_options_are_refused(images, tmp_path, capsys, flags, said):
    assert convert(images, tmp_path / "set", *flags) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_the_error_without_beam_names_the_package_to_install(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam.runners.runner", None)
    assert convert(images, tmp_path / "set", "--runner=DirectRunner") == 2
    assert "pip install 'hazeheal[beam]'" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--runner=DirectRunner", "--workers=2"], "--runner=DirectRunner has its own workers"),
        (["--beam_options=--x"], "--beam_options=--x needs --runner"),
    ],
)
def test_flags_that_exclude_each_other(images, tmp_path, capsys, flags, said):
    assert convert(images, tmp_path / "set", *flags) == 2
    assert said in capsys.readouterr().err


def test_our_own_error_is_found_in_that_of_a_runner():
    text = "Traceback ...\n  File x\nhazeheal.errors.HazeHealError: disk full [while running 'WriteShard']\n\nmore"
    assert beam._reason(RuntimeError(text)) == "disk full [while running 'WriteShard']"
    assert beam._reason(HazeHealError("disk full")) == "disk full"
    assert beam._reason(RuntimeError("\nno worker\nat all")) == "no worker"
    assert beam._reason(RuntimeError()) == "RuntimeError"
