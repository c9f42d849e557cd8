"""Conversion: what goes in comes out, in the same bytes whatever happens in between."""

import ast
import hashlib
import io
import itertools
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from hazeheal import records
from hazeheal.data import pictures
from hazeheal.errors import HazeHealError
from tfrecords_tools import convert as conversion
from tfrecords_tools import extract, making, plan, pool, resume, shard
from tfrecords_tools.__main__ import main

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def picture(seed, height=40, width=56):
    """A smooth colour field with some noise: compresses like a picture, and no two are alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / rng.uniform(4, 20) + y / rng.uniform(4, 20) + rng.uniform(0, 6)) for _ in range(3)]
    return np.clip(128 + 90 * np.stack(waves, -1) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(
        np.uint8
    )


def hazed(clear, t):
    return (clear * t + 235 * (1 - t)).astype(np.uint8)


def write_pairs(folder, *, scenes=8, versions=2, kind="jpg", height=40, width=56):
    """`folder/hazy/0001_0.8_1.jpg`, ... and `folder/GT/0001.jpg`: several hazy pictures of each clear one."""
    for name in ("hazy", "GT"):
        (folder / name).mkdir(parents=True)
    for scene in range(1, scenes + 1):
        clear = picture(scene, height, width)
        Image.fromarray(clear).save(folder / f"GT/{scene:04d}.{kind}")
        for version in range(1, versions + 1):
            haze = hazed(clear, 0.3 + 0.6 * version / (versions + 1))
            Image.fromarray(haze).save(folder / f"hazy/{scene:04d}_0.8_{version}.{kind}")
    return folder


def arguments(source, output, *more):
    return [
        "convert",
        f"--hazy_dir={source}/hazy",
        f"--gt_dir={source}/GT",
        f"--output_dir={output}",
        "--name=set",
        *more,
    ]


def convert(source, output, *more, workers=1):
    return main(arguments(source, output, f"--workers={workers}", *more))


def all_records(directory, split):
    """Every record of a split by way of the index, as a reader would take them."""
    opened = records.open_split(directory, split)
    found = []
    for number, row in enumerate(opened.index):
        data = opened.shards[row["shard"]].read_bytes()
        payload = data[int(row["offset"]) : int(row["offset"]) + int(row["length"])]
        records.check_payload(payload, split=opened, record=number)
        found.append((records.parse(payload), row))
    return found


def contents(directory):
    """{file: bytes}, with the one part of the manifest left out that may differ from run to run."""
    found = {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*"))}
    manifest = json.loads(found["manifest.json"])
    manifest.pop("provenance")
    return found | {"manifest.json": json.dumps(manifest)}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("source") / "set")


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
    output = tmp_path_factory.mktemp("converted") / "set"
    assert convert(source, output, "--num_shards=3", "--val_fraction=0.25") == 0
    return output


def test_keep_holds_the_files_bytes_and_the_index_describes_them(source, converted):
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
    scenes = {
        split: {pair.clear_source for pair, _ in all_records(converted, split)} for split in ("train", "val")
    }
    assert len(scenes["val"]) == 2 and len(scenes["train"]) == 6
    assert not scenes["val"] & scenes["train"]


def test_split_is_near_its_fraction_stable_and_never_empty():
    def pairs(counts):
        states = {"hazy_state": (1, 1), "clear_state": (1, 1)}
        return [
            making.SourcePair(key=f"{s}_{i}", scene=f"s{s}", hazy="h", clear="c", **states)
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
    assert len(ones & more) >= 95  # ten more scenes move few of the others
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
    moved = shutil.copytree(source, tmp_path / "moved")  # other times, another place
    assert convert(moved, tmp_path / "out", "--num_shards=3", "--val_fraction=0.25") == 0
    assert contents(tmp_path / "out") == expected


def start(source, output, *more, **options):
    command = [sys.executable, "-m", "tfrecords_tools", *arguments(source, output, *more)]
    return subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def wait_for_a_finished_shard(process, output):
    deadline = time.monotonic() + 60
    while not list(output.glob(".*.done.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def alive(session):
    """The processes of a session that still run (those that ended and were not waited for do not count)."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = path.parent.name, path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(rest[3]) == session and rest[0] not in "ZX":
            found.append(int(pid))
    return found


@pytest.fixture(scope="module")
def big_source(tmp_path_factory):
    """Takes seconds to re-encode, so that a run can be hit in the middle."""
    return write_pairs(tmp_path_factory.mktemp("big") / "set", scenes=18, versions=1, height=320, width=480)


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="needs /proc")
def test_killed_conversion_goes_on_and_gives_the_same_bytes(big_source, tmp_path):
    flags = ("--num_shards=8", "--encoding=png")
    output, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(big_source, output, *flags, "--workers=2")
    wait_for_a_finished_shard(process, output)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while alive(process.pid):
        assert time.monotonic() < deadline, f"workers outlive the conversion: {alive(process.pid)}"
        time.sleep(0.05)
    state = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    assert "manifest.json" not in state
    finished = [name[1 : -len(".done.json")] for name in state if name.endswith(".done.json")]
    assert 0 < len(finished) < 9
    (output / ".set-train.tfrecord-00003-of-00008.tmp-1").write_bytes(b"half a shard")
    assert convert(big_source, output, *flags) == 0
    for name in finished:
        assert (output / name).stat().st_mtime_ns == state[name], f"{name} was written again"
    assert convert(big_source, whole, *flags) == 0
    assert contents(output) == contents(whole)


def test_interrupt_ends_quickly_with_130(big_source, tmp_path):
    process = start(big_source, tmp_path / "out", "--num_shards=8", "--encoding=png", "--workers=2")
    wait_for_a_finished_shard(process, tmp_path / "out")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    begin = time.monotonic()
    assert process.wait(20) == 130
    assert time.monotonic() - begin < 5
    error = process.stderr.read()
    assert "interrupted" in error and "Traceback" not in error
    assert not list((tmp_path / "out").glob(".*tmp-*"))


def test_full_disk_is_one_line_and_leaves_no_half_shard(big_source, tmp_path):
    def limit():  # a file of more than 300 KB cannot be written, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    process = start(big_source, tmp_path / "out", "--workers=1", "--encoding=png", preexec_fn=limit)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in error and "cannot be written" in error.splitlines()[-1]
    assert not list((tmp_path / "out").glob("*tfrecord*"))


def _die(task, progress):
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return task


def test_killed_worker_is_a_clear_error():
    with pytest.raises(HazeHealError, match=r"worker process was killed.*--workers=2"):
        pool.run_tasks(_die, range(6), workers=2, total=6, unit="task")


def _slow(task, progress):
    for _ in range(task * 300):
        time.sleep(0.1)
        progress(1)
    return task


def test_running_tasks_are_stopped_with_the_first_error():
    def interrupt(result):
        raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pool.run_tasks(_slow, range(3), workers=2, total=900, unit="task", stop_after=interrupt)
    assert time.monotonic() - begin < 20  # they would sleep for 30 s and more


def test_too_small_a_disk_is_refused(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    assert convert(source, tmp_path / "out") == 1
    assert "free" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_no_plain_rgb_are_reencoded_and_counted(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=5, versions=1, kind="png")
    clear = picture(1)
    alpha = np.dstack([clear, np.full(clear.shape[:2], 200, np.uint8)])
    Image.fromarray(alpha).save(source / "GT/0001.png")
    Image.fromarray(clear[..., 0]).save(source / "GT/0002.png")
    turned = Image.fromarray(np.rot90(clear).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the pixels above come upright again
    turned.save(source / "GT/0003.jpg", exif=exif, quality=100, subsampling=0)
    (source / "GT/0003.png").unlink()
    Image.fromarray(clear).save(source / "GT/0004.bmp")
    (source / "GT/0004.png").unlink()
    assert convert(source, tmp_path / "out", "--val_fraction=0") == 0
    assert "7 pictures kept byte for byte, 3 re-encoded" in capsys.readouterr().out
    made = {pair.clear_source: pair.clear for pair, _ in all_records(tmp_path / "out", "train")}
    np.testing.assert_array_equal(Image.open(io.BytesIO(made["0001.png"])), clear)
    assert made["0002.png"] == (source / "GT/0002.png").read_bytes()  # gray is kept
    np.testing.assert_array_equal(Image.open(io.BytesIO(made["0004.bmp"])), clear)
    upright = np.asarray(Image.open(io.BytesIO(made["0003.jpg"])), int)
    assert np.abs(upright - clear).mean() < 6
    assert made["0003.jpg"].startswith(b"\x89PNG")
    # and out again: kept ones as they were, the others with the suffix of what they are
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    assert sorted(path.name for path in (tmp_path / "files/GT").iterdir()) == [
        f"000{n}.png" for n in range(1, 6)
    ]
    for name in ("GT/0002.png", "GT/0005.png", "hazy/0001_0.8_1.png"):
        assert (tmp_path / "files" / name).read_bytes() == (source / name).read_bytes()


def test_extract_finds_names_for_two_sources_that_become_one(tmp_path):
    source = write_pairs(tmp_path / "in", scenes=2, versions=1, kind="png")
    (source / "hazy/0001_0.8_1.png").unlink()
    for seed, kind in ((7, "bmp"), (8, "tif")):
        Image.fromarray(picture(seed)).save(source / f"hazy/0001_0.8_1.{kind}")
    assert convert(source, tmp_path / "out", "--val_fraction=0") == 0
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    for seed, name in ((7, "0001_0.8_1.png"), (8, "0001_0.8_1.tif.png")):
        np.testing.assert_array_equal(Image.open(tmp_path / "files/hazy" / name), picture(seed))


def test_extract_gives_back_the_folders(source, converted, tmp_path, capsys):
    assert main(["extract", str(converted), f"--output_dir={tmp_path / 'all'}"]) == 0
    for folder in ("hazy", "GT"):
        expected = {path.name: path.read_bytes() for path in (source / folder).iterdir()}
        assert {path.name: path.read_bytes() for path in (tmp_path / "all" / folder).iterdir()} == expected
    assert main(["extract", str(converted), f"--output_dir={tmp_path / 'val'}", "--split=val"]) == 0
    assert (
        len(list((tmp_path / "val/hazy").iterdir())) == 4 and len(list((tmp_path / "val/GT").iterdir())) == 2
    )
    capsys.readouterr()
    assert main(["extract", str(converted), f"--output_dir={tmp_path / 'all'}"]) == 2
    assert main(["extract", str(converted), f"--output_dir={tmp_path / 'x'}", "--split=test"]) == 2
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/a.png", "a/../../b.png", "..\\a.png", "C:a.png", "a//b", ""]
)
def test_extract_refuses_names_that_lead_out(name, source, tmp_path, monkeypatch):
    pairs = plan.find_sources(hazy_dir=source / "hazy", gt_dir=source / "GT", rule="auto").pairs
    made = next(
        making.make_records(
            pairs[0], hazy_dir=source / "hazy", gt_dir=source / "GT", options=making.RecordOptions()
        )
    )
    monkeypatch.setattr(extract, "WINDOWS", "\\" in name or ":" in name)  # elsewhere they lead nowhere
    writer = extract._Writer(tiled=False)
    writer.folder = tmp_path / "a" / "b"
    evil = records.Pair(**{**vars(made.pair), "hazy_source": name})
    with pytest.raises(HazeHealError, match="out of the folder"):
        writer.write(evil, made.source)
    assert not list(tmp_path.rglob("*.png"))


def test_extract_leaves_a_file_its_name_though_another_one_would_become_the_same(tmp_path):
    source = tmp_path / "in"
    for number, name in enumerate(("1.bmp", "1.png", "2.bmp", "2.png/3.png")):  # 2.png is a folder
        (source / "hazy" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(source / "hazy" / name)
    (source / "GT").mkdir()
    for name in ("1.png", "2.png", "3.png"):
        Image.fromarray(picture(9)).save(source / "GT" / name)
    assert convert(source, tmp_path / "out", "--val_fraction=0", "--pairing=same_name") == 0
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    hazy = tmp_path / "files/hazy"
    found = {str(path.relative_to(hazy)) for path in hazy.rglob("*") if path.is_file()}
    assert found == {"1.png", "1.bmp.png", "2.bmp.png", "2.png/3.png"}
    assert (hazy / "1.png").read_bytes() == (source / "hazy/1.png").read_bytes()


def test_extract_shortens_names_that_its_suffixes_make_too_long(tmp_path):
    source = tmp_path / "in"
    for folder, seed in (("hazy", 1), ("GT", 2)):
        (source / folder).mkdir(parents=True)
        Image.fromarray(picture(seed)).save(source / folder / f"{'é' * 125}.png")
    assert convert(source, tmp_path / "out", "--val_fraction=0", "--tile_size=30") == 0
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    names = [path.name for path in (tmp_path / "files/hazy").iterdir()]
    assert len(names) == 4 and all(len(name.encode()) <= 255 and name.endswith(".png") for name in names)


def test_extract_into_directories_that_are_there(converted, tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    (tmp_path / "target/.extract.tmp-7/hazy").mkdir(parents=True)  # left by one that was killed
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path / "here")
    for output in (".", "../link"):
        assert main(["extract", str(converted), f"--output_dir={output}"]) == 0
        assert sorted(os.listdir(output)) == ["GT", "hazy"]
        assert len(os.listdir(f"{output}/hazy")) == 16
    for output in ("", ".", "../dangling"):
        assert main(["extract", str(converted), f"--output_dir={output}"]) == 2
    assert "--output_dir is empty" in capsys.readouterr().err

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extract._Writer, "write", full)
    assert main(["extract", str(converted), "--output_dir=new/deep/er"]) == 1
    assert sorted(os.listdir()) == ["GT", "hazy"]


def test_tiles_cover_the_picture_and_hold_its_pixels(source, tmp_path, capsys):
    assert convert(source, tmp_path / "out", "--tile_size=24", "--tile_overlap=6", "--val_fraction=0") == 0
    assert "encoding: png" in capsys.readouterr().out
    covered = {}
    for pair, _ in all_records(tmp_path / "out", "train"):
        key, place = pair.key.split("@")
        top, left = map(int, place.split("_"))
        whole = pictures.load_rgb(source / "hazy" / pair.hazy_source)[0]
        tile = np.asarray(Image.open(io.BytesIO(pair.hazy)))
        assert tile.shape == (24, 24, 3) == (pair.height, pair.width, 3)
        np.testing.assert_array_equal(tile, whole[top : top + 24, left : left + 24])
        mask = covered.setdefault(key, np.zeros(whole.shape[:2], int))
        mask[top : top + 24, left : left + 24] += 1
    assert len(covered) == 16 and all(mask.min() >= 1 for mask in covered.values())
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    assert (tmp_path / "files/GT/0001_0.8_1@00016_00032.png").is_file()
    for length in range(1, 80):
        for tile, overlap in ((1, 0), (7, 3), (24, 6), (80, 79)):
            starts = making.tile_starts(length, tile, overlap)
            assert starts == sorted(set(starts)) and starts[0] == 0
            assert max(starts) + tile == length or (length < tile and starts == [0])
            assert all(b - a <= tile - overlap for a, b in itertools.pairwise(starts))


def test_resizing(source, tmp_path):
    assert convert(source, tmp_path / "square", "--image_size=32") == 0
    pair, row = all_records(tmp_path / "square", "train")[0]
    assert (row["height"], row["width"]) == (32, 32) == Image.open(io.BytesIO(pair.clear)).size
    assert convert(source, tmp_path / "side", "--max_side=28", "--encoding=jpeg", "--quality=90") == 0
    pair, row = all_records(tmp_path / "side", "train")[0]
    assert (row["height"], row["width"]) == (20, 28) and pair.hazy.startswith(b"\xff\xd8")
    small = np.asarray(Image.open(io.BytesIO(pair.hazy)), float)
    whole = pictures.load_rgb(source / "hazy" / pair.hazy_source)[0].astype(float)
    mean = whole.reshape(20, 2, 28, 2, 3).mean((1, 3))  # an independent half-size picture
    assert np.abs(small - mean).mean() < 4
    hazy, clear = (np.asarray(Image.open(io.BytesIO(data)), float) for data in (pair.hazy, pair.clear))
    assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean((hazy - clear) ** 2)), abs=1e-3)
    options = making.RecordOptions(max_side=100)
    assert making.output_size(60, 100, options) == (60, 100)
    assert making.output_size(1000, 1, options) == (100, 1)


def test_size_mismatch(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=4, versions=1, kind="png")
    large = picture(2, 50, 60)
    Image.fromarray(large).save(source / "GT/0002.png")
    assert convert(source, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "0002_0.8_1.png is 56x40, 0002.png is 60x50" in error and "--size_mismatch" in error
    assert convert(source, tmp_path / "crop", "--size_mismatch=center_crop", "--val_fraction=0") == 0
    pair = {p.clear_source: p for p, _ in all_records(tmp_path / "crop", "train")}["0002.png"]
    np.testing.assert_array_equal(Image.open(io.BytesIO(pair.clear)), large[5:45, 2:58])
    assert pair.hazy == (source / "hazy/0002_0.8_1.png").read_bytes()
    assert convert(source, tmp_path / "resize", "--size_mismatch=resize", "--val_fraction=0") == 0
    pair = {p.clear_source: p for p, _ in all_records(tmp_path / "resize", "train")}["0002.png"]
    assert Image.open(io.BytesIO(pair.clear)).size == (56, 40)


def test_orphans_are_listed_with_everything_else_in_one_report(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=4, versions=1, kind="png")
    (source / "GT/0001.png").unlink()
    Image.fromarray(picture(9)).save(source / "GT/0099.png")
    Image.fromarray(picture(2, 50, 60)).save(source / "GT/0002.png")
    (source / "hazy/0003_0.8_1.png").write_bytes(b"")
    assert convert(source, tmp_path / "out") == 1
    error = capsys.readouterr().err
    for name in (
        "0001_0.8_1.png",
        "0099.png",
        "0002.png is 60x50",
        "0003_0.8_1.png",
        "--allow_orphans",
        "--skip_bad",
    ):
        assert name in error, name
    more = ("--allow_orphans", "--skip_bad", "--size_mismatch=resize", "--val_fraction=0")
    assert convert(source, tmp_path / "out", *more) == 0
    assert [pair.key for pair, _ in all_records(tmp_path / "out", "train")] == ["0002_0.8_1", "0004_0.8_1"]


def damage(source):
    """Five kinds of bad pictures; two of them look well until they are decoded."""
    hazy = sorted((source / "hazy").iterdir())
    hazy[0].write_bytes(b"")
    hazy[1].write_bytes(b"this is no picture")
    hazy[2].write_bytes(hazy[2].read_bytes()[:-300])
    data = bytearray(hazy[3].read_bytes())
    data[len(data) // 2] ^= 255
    hazy[3].write_bytes(data)
    frames = [Image.fromarray(picture(n)) for n in range(3)]
    frames[0].save(hazy[4], format="PNG", save_all=True, append_images=frames[1:])
    return [path.stem for path in hazy[:5]]


def test_bad_pictures_end_the_conversion_or_are_skipped(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=12, versions=1, kind="png")
    bad = damage(source)
    assert convert(source, tmp_path / "out", "--num_shards=2") == 1
    error = capsys.readouterr().err
    assert bad[0] in error and bad[1] in error and "--skip_bad" in error
    assert convert(source, tmp_path / "out", "--num_shards=2", "--skip_bad") == 0
    error = capsys.readouterr().err
    lines = (tmp_path / "out/skipped.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == bad
    assert "empty" in lines[1] and "truncated" in lines[3] and "CRC" in lines[4] and "animated" in lines[5]
    pairs = all_records(tmp_path / "out", "train") + all_records(tmp_path / "out", "val")
    assert len(pairs) == 7
    for pair, _ in pairs:
        assert pair.hazy == (source / "hazy" / pair.hazy_source).read_bytes()
    assert convert(source, tmp_path / "pool", "--num_shards=2", "--skip_bad", workers=2) == 0
    assert contents(tmp_path / "pool") == contents(tmp_path / "out")


def test_a_repaired_source_costs_only_its_shard(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=12, versions=1, kind="png")
    last = sorted((source / "hazy").iterdir())[-1]
    whole = last.read_bytes()
    data = bytearray(whole)
    data[len(data) // 2] ^= 255
    last.write_bytes(data)
    flags = ("--num_shards=4", "--val_fraction=0")
    assert convert(source, tmp_path / "out", *flags) == 1
    assert last.stem in capsys.readouterr().err
    first = (tmp_path / "out/set-train.tfrecord-00000-of-00004").stat().st_mtime_ns
    last.write_bytes(whole)
    assert convert(source, tmp_path / "out", *flags) == 0
    assert "taken up: 3 of 4" in capsys.readouterr().out
    assert (tmp_path / "out/set-train.tfrecord-00000-of-00004").stat().st_mtime_ns == first
    assert not (tmp_path / "out/skipped.txt").exists()


def test_a_bad_picture_ends_the_conversion_early(tmp_path):
    source = write_pairs(tmp_path / "in", scenes=8, versions=1, kind="png")
    first = min((source / "hazy").iterdir())
    first.write_bytes(first.read_bytes()[:-40])
    assert convert(source, tmp_path / "out", "--num_shards=4", "--val_fraction=0") == 1
    assert [path.name[-14:] for path in (tmp_path / "out").glob("*tfrecord*[0-9]")] == ["00000-of-00004"]


def test_tfds_loads_it_even_with_an_empty_shard_and_without_a_network(tmp_path, monkeypatch):
    import socket

    import tensorflow_datasets as tfds

    def no_network(*arguments):
        raise AssertionError(f"tried to connect: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    source = write_pairs(tmp_path / "in", scenes=12, versions=1, kind="png")
    for path in sorted((source / "hazy").iterdir())[3:6]:
        path.write_bytes(path.read_bytes()[:-40])  # the whole second shard
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


def test_output_directory_of_somebody_else_is_refused(source, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.tex").write_text("x")
    assert convert(source, output) == 2
    assert "thesis.tex" in capsys.readouterr().err
    (output / "thesis.tex").unlink()
    assert convert(source, output) == 0
    before = contents(output)
    assert convert(source, output) == 0
    assert "complete" in capsys.readouterr().out
    for path in (source / "hazy").iterdir():  # newer, and still the same
        os.utime(path)
    assert convert(source, output, "--workers=2") == 0
    assert "complete" in capsys.readouterr().out
    assert convert(source, output, "--encoding=png") == 2
    assert "encoding=keep there, png now" in capsys.readouterr().err
    other = shutil.copytree(source, tmp_path / "other")
    data = bytearray((other / "GT/0004.jpg").read_bytes())
    data[-20] ^= 1  # as long as before
    (other / "GT/0004.jpg").write_bytes(data)
    assert convert(other, output) == 2
    assert "0004.jpg" in capsys.readouterr().err
    (other / "GT/0004.jpg").unlink()
    assert convert(other, output, "--allow_orphans") == 2
    assert contents(output) == before
    (output / "set-val.tfrecord-00000-of-00001").unlink()
    assert convert(source, output) == 1
    assert "missing" in capsys.readouterr().err


ODD = "a\nb\t\x1b[31m\u2028\x85\\C:é"


def test_odd_names_stay_on_their_lines_and_come_back(tmp_path, capsys):
    source = tmp_path / "in \n\x1b"
    for folder, names in (("hazy", (ODD, f"bad {ODD}", f"alone {ODD}")), ("GT", (ODD, f"bad {ODD}"))):
        (source / folder).mkdir(parents=True)
        for number, name in enumerate(names):
            Image.fromarray(picture(number)).save(source / folder / f"{name}.png")
    (source / f"hazy/bad {ODD}.png").write_bytes(b"no picture")
    (source / f"hazy/x.{ODD}").write_bytes(b"")
    flags = ("--val_fraction=0", "--pairing=same_name")
    assert convert(source, tmp_path / "out", *flags) == 1
    shown = r"a\nb\t\x1b[31m\u2028\x85\C:é"
    lines = capsys.readouterr().err.split("\n")
    assert lines[:2] == ["hazy pictures without a clear one: 1", f"  alone {shown}.png"]
    assert lines[3].startswith(f"  bad {shown}.png: not a picture")
    assert len(lines) == 6 and lines[-1] == ""
    assert convert(source, tmp_path / "out", *flags, "--allow_orphans", "--skip_bad") == 0
    _, row, end = (tmp_path / "out/skipped.txt").read_text().split("\n")
    assert row.split("\t")[:3] == [f"bad {shown}", f"bad {shown}.png", f"bad {shown}.png"] and end == ""
    assert main(["extract", str(tmp_path / "out"), f"--output_dir={tmp_path / 'files'}"]) == 0
    path = tmp_path / f"files/hazy/{ODD}.png"
    assert path.read_bytes() == (source / f"hazy/{ODD}.png").read_bytes()
    copy = str(shutil.copytree(tmp_path / "out", f"{tmp_path}/caf\udce9 \n"))  # no UTF-8, and a line break
    capsys.readouterr()
    for command in (["verify", "--workers=1"], ["info"], ["extract", f"--output_dir={tmp_path}/\udcff"]):
        assert main([*command, copy]) == 0
    damaged = pathlib.Path(copy, "set-train.tfrecord-00000-of-00001")
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    assert main(["verify", copy, "--workers=1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_no_output_is_left_where_nothing_was_written(source, tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    for output in ("new/deep/er", "loop", "loop/er", "n" * 256):
        assert main(arguments(source, tmp_path / output, "--num_shards=99")) == 2
        assert "hazeheal-tfrecords: error: " in capsys.readouterr().err
        assert os.listdir(tmp_path) == ["loop"]
    assert plan.default_name(tmp_path / "loop") == "loop"  # before Python 3.13 pathlib raises there
    assert plan.default_name("n" * 255) == "n" * 150


def test_files_of_others_are_neither_removed_nor_overlooked(source, tmp_path, capsys):
    output = tmp_path / "out"
    (output / ".mine.tmp-old").mkdir(parents=True)
    (output / "x.tmp-1.png").touch()
    (output / ".set-train.index.npy.tmp-12").touch()  # of a conversion that was killed
    assert convert(source, output) == 2
    assert "other files (.mine.tmp-old, x.tmp-1.png)" in capsys.readouterr().err
    assert len(os.listdir(output)) == 3


NOTE = ".set-val.tfrecord-00000-of-00001.done.json"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        *((resume.STATE, content, 2) for content in (b"3", b"[" * 100_000, "pipe")),
        *((NOTE, content, 0) for content in (b"[]", b'{"note": 3}', b"[" * 100_000, "pipe", "flip")),
    ],
)
def test_a_damaged_unfinished_conversion_is_mended_or_refused(
    name, content, code, source, converted, tmp_path, capsys, monkeypatch
):
    def stop(**_):
        raise KeyboardInterrupt

    output, flags = tmp_path / "out", ("--num_shards=3", "--val_fraction=0.25")
    with monkeypatch.context() as patch:
        patch.setattr("tfrecords_tools.finish.assemble", stop)
        assert convert(source, output, *flags) == 130
    data = (output / name).read_bytes()
    (output / name).unlink()
    if content == "pipe":
        os.mkfifo(output / name)
    else:  # a flip that leaves the note a note
        (output / name).write_bytes(data.replace(b"skipped", b"skippee") if content == "flip" else content)
    assert convert(source, output, *flags) == code
    if code == 0:
        assert contents(output) == contents(converted)
    else:
        assert "cannot be read" in capsys.readouterr().err


def test_again_with_damaged_sources(source, tmp_path, capsys):
    assert convert(source, tmp_path / "out") == 0
    (tmp_path / "out/set-train.sources.jsonl").write_text("{\n")
    for path in (source / "hazy").iterdir():
        os.utime(path)
    assert convert(source, tmp_path / "out") == 1
    assert "sources.jsonl: its SHA-256 is not" in capsys.readouterr().err


def test_nothing_left_to_train_on(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=2, versions=1, kind="png")
    (source / "hazy/0001_0.8_1.png").write_bytes(b"")
    (tmp_path / "keys").write_text("0002.png\n")
    flags = (f"--val_keys={tmp_path / 'keys'}", "--skip_bad", "--num_shards=1")
    assert convert(source, tmp_path / "out", *flags) == 1
    assert "nothing is left to train on" in capsys.readouterr().err
    assert plan.auto_shards(2, num_bytes=2**40) == 2  # never more than pairs


def test_a_file_that_holds_far_more_than_its_picture(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=3, versions=1, kind="png")
    os.truncate(source / "hazy/0002_0.8_1.png", 2**32)  # sparse: zeros behind the picture
    assert convert(source, tmp_path / "out", "--skip_bad", "--val_fraction=0") == 0
    assert "4,294,967,296 bytes are more than 56x40 pixels take" in capsys.readouterr().err


def test_pictures_too_long_for_jpeg_are_bad_pictures(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=2, versions=1, kind="png")
    for name in ("hazy/0001_0.8_1.png", "GT/0001.png"):
        Image.fromarray(np.zeros((1, 65501, 3), np.uint8)).save(source / name)
    flags = ("--encoding=jpeg", "--val_fraction=0")
    assert convert(source, tmp_path / "out", *flags) == 1
    assert "bad: 0001_0.8_1: 65501x1: JPEG holds 65500 pixels" in capsys.readouterr().err
    assert convert(source, tmp_path / "out", *flags, "--skip_bad") == 0


def test_too_little_memory_is_one_line(source, tmp_path, capsys, monkeypatch):
    def starve(*_, **__):
        raise MemoryError

    monkeypatch.setattr(conversion, "write_shard", starve)
    assert convert(source, tmp_path / "out") == 1
    assert "error: not enough memory; use fewer --workers" in capsys.readouterr().err


def test_two_conversions_into_one_directory(source, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with resume.claimed(tmp_path / "out"):
        assert convert(source, tmp_path / "out") == 1
    assert "another conversion" in capsys.readouterr().err
    assert convert(source, tmp_path / "out") == 0


def test_unfinished_conversion_of_another_kind_is_refused(source, tmp_path, capsys, monkeypatch):
    def stop(spec, progress=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tfrecords_tools.convert.write_shard", stop)
        assert convert(source, tmp_path / "out") == 130
    assert convert(source, tmp_path / "out", "--seed=5") == 2
    assert "seed=0 there, 5 now" in capsys.readouterr().err
    assert convert(source, tmp_path / "out") == 0


@pytest.mark.parametrize(
    "flags, word",
    [
        (["--encoding=keep", "--image_size=64"], "--encoding=keep"),
        (["--encoding=keep", "--tile_size=64"], "--encoding=keep"),
        (["--image_size=64", "--max_side=64"], "--max_side"),
        (["--tile_overlap=3"], "--tile_size"),
        (["--tile_size=8", "--tile_overlap=8"], "less than"),
        (["--image_size=0"], "--image_size=0"),
        (["--num_shards=x"], "--num_shards"),
        (["--num_shards=1000"], "--num_shards=1000"),
        (["--val_fraction=1.5"], "1.5"),
        (["--val_fraction=nan"], "nan"),
        (["--val_fraction=0.1", "--val_keys=x"], "--val_keys"),
        (["--val_keys=/nowhere"], "/nowhere"),
        (["--quality=80"], "--encoding=jpeg"),
        (["--quality=0", "--encoding=jpeg"], "--quality=0"),
        (["--workers=0"], "--workers=0"),
        (["--name=a-b"], "--name=a-b"),
        (["--pairing=("], "("),
        (["--hazy_dir=/nowhere"], "/nowhere"),
        (["--output_dir=gs://b/c"], "gs://b/c"),
        (["--output_dir="], "--output_dir is empty"),
        (["--output_dir=\udcff"], "\\udcff is no valid UTF-8"),
        (["--num_shards=" + "9" * 400], "9 is more than the "),
        (["--image_size=100000"], "--image_size=100000 makes pictures of more than 300,000,000 pixels"),
        (["--name=" + "n" * 151], "has 151 letters"),
        (["--pairing=(?L)(a)"], "(?L)(a)"),
        (["--pairing=(a{99999999999})"], "repetition number is too large"),
        (["--nothing=a\nb\x1b"], "--nothing=a\\nb\\x1b"),
        (["--encoding=webp"], "webp"),
        (["--imagesize=3"], "--imagesize"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(flags, word, source, tmp_path, capsys):
    assert convert(source, tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("hazeheal-tfrecords: error: ") and word in error[-1]
    assert not [line for line in error if "Traceback" in line]
    assert not (tmp_path / "out").exists()


def test_help_and_no_command(capsys):
    for argv in ([], ["convert"], ["verify"], ["info"], ["extract"]):
        assert main([*argv, "--help"]) == 0
        assert "usage: hazeheal-tfrecords" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["info", "/nowhere"]) == 1
    assert "hazeheal-tfrecords: error:" in capsys.readouterr().err


def test_help_does_not_wait_for_tensorflow():
    code = "import sys; from tfrecords_tools.__main__ import main; main(['convert', '--help']); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0


def test_imports_only_what_lies_below():
    allowed = {"errors", "lines", "records", "data.pictures", "data.pairing", "data.synthetic"}
    for path in (ROOT / "tfrecords_tools").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hazeheal"):
                base = node.module.removeprefix("hazeheal").lstrip(".")
                names = (
                    [base]
                    if base and base != "data"
                    else [f"{base}.{a.name}".lstrip(".") for a in node.names]
                )
            assert set(names) <= allowed, f"{path.name}: {names}"


def test_a_shard_is_a_function_of_its_spec(source, tmp_path):
    pairs = plan.find_sources(hazy_dir=source / "hazy", gt_dir=source / "GT", rule="auto").pairs
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        spec = shard.ShardSpec(
            output_dir=str(tmp_path / name),
            file=records.shard_name("x", "train", 0, 1),
            hazy_dir=str(source / "hazy"),
            gt_dir=str(source / "GT"),
            pairs=pairs[:5],
            options=making.RecordOptions(),
        )
        note = shard.write_shard(spec)
        assert note["records"] == 5 and shard.read_done(spec) == note
        made.append(spec)
    assert made[0].digest == made[1].digest and made[0].path.read_bytes() == made[1].path.read_bytes()
    made[0].path.write_bytes(made[0].path.read_bytes()[:-1] + b"x")
    assert shard.read_done(made[0]) is None  # a shard that was changed is not taken up


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not beside the repository")
def test_real_pairs(tmp_path):
    rice = SHARED / "data/rice1"
    assert (
        main(["convert", f"--hazy_dir={rice}/hazy", f"--gt_dir={rice}/GT", f"--output_dir={tmp_path}/rice1"])
        == 0
    )
    assert main(["extract", f"{tmp_path}/rice1", f"--output_dir={tmp_path}/files"]) == 0
    for folder in ("hazy", "GT"):
        assert {p.name: p.read_bytes() for p in (rice / folder).iterdir()} == {
            p.name: p.read_bytes() for p in (tmp_path / "files" / folder).iterdir()
        }
