"""The cache of decoded images: the same batches with it and without, built by one process, complete or not there."""

import os
import pathlib
import signal
import sys
import threading
import time
import types

import numpy as np
import processes
import pytest
from disks import full_disk
from record_sets import COUNT, SIZES, assert_equal, flip_byte, make_pair, take, write_dataset

from hazeheal.data import records
from hazeheal.data.pipeline import cache_builder, pixel_cache
from hazeheal.data.pipeline.cache_builder import CacheBuilder, build_cache, choose_directory
from hazeheal.data.pipeline.haze_settings import HazeSettings
from hazeheal.data.pipeline.pixel_cache import cache_bytes, cache_path, is_complete
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.errors import UsageError
from hazeheal.utils.atomic import is_temporary

NEVER = threading.Event()
PLAIN = {"batch_size": 4, "crop_size": 24, "seed": 3}
FORMS = {
    "plain": PLAIN,
    "no flip": {**PLAIN, "flip": False, "rot90": False},
    "windows": {**PLAIN, "window_min": 0.5},
    "haze": {**PLAIN, "crop_size": 32, "haze": HazeSettings(share=0.5, share_clear=0.2)},
    "two replicas": {**PLAIN, "num_replicas": 2, "local_replicas": [1]},
}


def open_processor(data, **options):
    return DehazeDataProcessor(data, **{"batch_size": 1} | options)


@pytest.fixture(scope="module")
def jpeg_pairs(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "jpeg", [make_pair(i, "JPEG") for i in range(COUNT)])


@pytest.fixture(scope="module")
def built(tmp_path_factory, jpeg_pairs):
    """A directory with the cache of `jpeg_pairs`."""
    directory = tmp_path_factory.mktemp("built") / "caches"
    assert build_cache(directory, open_processor(jpeg_pairs), stop=NEVER)
    return directory


def in_directory(directory):
    return sorted(path.name for path in directory.iterdir())


# ------------------------------------------------------------------------------------------ the same batches
@pytest.mark.parametrize("orient", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_batches_are_the_same_bit_for_bit(jpeg_pairs, built, form, orient):
    decoded, cached = (open_processor(jpeg_pairs, **FORMS[form]) for _ in range(2))
    expected = take(decoded.dataset(5, orient=orient), 10)
    assert cached.open_cache(built) and not cached.open_cache(built)
    found = take(cached.dataset(5, orient=orient), 10)
    assert_equal(found, expected)
    assert cached.dataset(orient=orient).element_spec == decoded.dataset(orient=orient).element_spec


def test_memory_of_released_batches_is_used_again(jpeg_pairs, built, monkeypatch):
    made = []
    monkeypatch.setattr(
        pixel_cache, "np", types.SimpleNamespace(**vars(np) | {"empty": lambda *a: made.append(a) or np.empty(*a)})
    )
    decoded, cached = (open_processor(jpeg_pairs, **PLAIN) for _ in range(2))
    assert cached.open_cache(built)
    expected = list(decoded.dataset(orient=False).take(60).as_numpy_iterator())
    for batch, wanted in zip(cached.dataset(orient=False).take(60).as_numpy_iterator(), expected, strict=True):
        assert_equal([batch], [wanted])
    assert len(made) < 30
    made.clear()
    held = list(cached.dataset(orient=False).take(60))  # none of these may be written again
    assert_equal([{name: value.numpy() for name, value in batch.items()} for batch in held], expected)
    assert len(made) >= 60


def test_whole_images_are_the_same(jpeg_pairs, built):
    decoded, cached = open_processor(jpeg_pairs), open_processor(jpeg_pairs)
    assert cached.open_cache(built)
    for share in ({}, {"replica": 1, "replicas": 3}):
        assert_equal(*(list(p.evaluation_dataset(**share).as_numpy_iterator()) for p in (cached, decoded)))


def test_the_records_are_not_read(tmp_path, built, jpeg_pairs):
    processor = open_processor(jpeg_pairs, **PLAIN)
    assert processor.open_cache(built)
    moved = [shard.rename(tmp_path / shard.name) for shard in processor.split.shards]
    try:
        assert len(take(processor.dataset(), 5)) == 5
    finally:
        for shard, home in zip(moved, processor.split.shards, strict=True):
            shard.rename(home)


# ------------------------------------------------------------------------------------------------- building
def test_the_file_has_the_pixels_in_the_order_of_the_index(built, jpeg_pairs):
    split = records.open_split(jpeg_pairs, "train")
    pixels = np.fromfile(cache_path(built, split), np.uint8)
    assert len(pixels) == cache_bytes(split) == sum(6 * h * w for h, w in (SIZES[i % 3] for i in range(COUNT)))
    pairs = open_processor(jpeg_pairs).evaluation_dataset().as_numpy_iterator()
    np.testing.assert_array_equal(
        pixels, np.concatenate([p[side].ravel() for p in pairs for side in ("hazy", "clear")])
    )
    assert in_directory(built) == sorted(["lock", cache_path(built, split).name])


def test_an_incomplete_file_is_not_used_and_is_replaced(tmp_path, jpeg_pairs):
    processor = open_processor(jpeg_pairs)
    path = cache_path(tmp_path, processor.split)
    path.write_bytes(b"short")
    assert not processor.open_cache(tmp_path)
    assert build_cache(tmp_path, processor, stop=NEVER) and processor.open_cache(tmp_path)


def test_other_data_have_another_cache(tmp_path, built, jpeg_pairs):
    other = write_dataset(tmp_path / "other", [make_pair(i + 1, "JPEG") for i in range(COUNT)])
    assert not open_processor(other).open_cache(built)


def test_a_full_disk_leaves_nothing_and_is_logged_in_one_line(tmp_path, jpeg_pairs, caplog):
    processor = open_processor(jpeg_pairs)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with full_disk(1000), CacheBuilder(tmp_path, [processor]) as builder:
        builder._thread.join()
    (line,) = [record.getMessage() for record in caplog.records if "no cache" in record.getMessage()]
    assert line.startswith("no cache of decoded images (") and "File too large" in line and "\n" not in line
    assert in_directory(tmp_path) == ["lock"] and not processor.open_cache(tmp_path)


def test_a_damaged_record_means_no_cache_and_is_named(tmp_path, caplog):
    data = write_dataset(tmp_path / "data", [make_pair(i) for i in range(COUNT)])
    flip_byte(data, 6)
    with CacheBuilder(tmp_path / "caches", [open_processor(data)]) as builder:
        builder._thread.join()
    assert "no cache of decoded images (damaged record: " in caplog.text and "006_GT.png" in caplog.text
    assert in_directory(tmp_path / "caches") == ["lock"]


def test_a_stopped_builder_leaves_nothing(tmp_path, jpeg_pairs):
    stop = threading.Event()
    stop.set()
    assert not build_cache(tmp_path, open_processor(jpeg_pairs), stop=stop)
    assert in_directory(tmp_path) == ["lock"]


def test_two_builders_build_once(tmp_path, jpeg_pairs, monkeypatch):
    writes, write = [], cache_builder._write

    def slow_write(path, processor, *, stop):
        writes.append(path)
        time.sleep(0.3)
        return write(path, processor, stop=stop)

    monkeypatch.setattr(cache_builder, "_write", slow_write)
    results = []

    def build():
        results.append(build_cache(tmp_path, open_processor(jpeg_pairs), stop=NEVER))

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True, True] and len(writes) == 1


KILLED = """
import sys, threading, pathlib
from hazeheal.data.pipeline import cache_builder, pixel_cache
from hazeheal.data.pipeline.processor import DehazeDataProcessor

class Processor:
    def __init__(self, processor):
        self.split = processor.split
    def evaluation_dataset(self):
        return self
    def as_numpy_iterator(self):
        pairs = DehazeDataProcessor(sys.argv[1], batch_size=1).evaluation_dataset().as_numpy_iterator()
        yield next(pairs)
        print("writing", flush=True)
        threading.Event().wait()

processor = Processor(DehazeDataProcessor(sys.argv[1], batch_size=1))
cache_builder.build_cache(pathlib.Path(sys.argv[2]), processor, stop=threading.Event())
"""


def test_what_a_killed_builder_left_behind_is_removed(tmp_path, jpeg_pairs):
    directory = tmp_path / "caches"
    process = processes.start(sys.executable, "-c", KILLED, jpeg_pairs, directory)
    assert process.stdout.readline() == "writing\n"
    other = threading.Event()
    threading.Timer(0.2, other.set).start()
    assert not build_cache(directory, open_processor(jpeg_pairs), stop=other), "it waits for the process that builds"
    process.kill()
    process.wait()
    assert any(map(is_temporary, in_directory(directory)))
    processor = open_processor(jpeg_pairs)
    assert build_cache(directory, processor, stop=NEVER)
    assert in_directory(directory) == sorted(["lock", cache_path(directory, processor.split).name])


# -------------------------------------------------------------------------------------------- where and whether
@pytest.fixture
def split(jpeg_pairs):
    return records.open_split(jpeg_pairs, "train")


def machine(monkeypatch, *, disk, memory):
    monkeypatch.setattr(cache_builder.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=disk))
    monkeypatch.setattr(cache_builder, "available_memory", lambda: memory)


def test_auto_takes_at_most_half_of_disk_and_memory(monkeypatch, split):
    needed = cache_bytes(split)
    machine(monkeypatch, disk=2 * needed, memory=2 * needed)
    directory, reason = choose_directory("auto", [split])
    assert directory == pathlib.Path(os.environ["XDG_CACHE_HOME"], "hazeheal") and reason == ""
    for disk, memory, what in ((2 * needed - 2, 10**9, "disk space"), (10**9, 2 * needed - 2, "memory")):
        machine(monkeypatch, disk=disk, memory=memory)
        directory, reason = choose_directory("auto", [split])
        assert directory is None and f"more than half of the free {what}" in reason
    assert choose_directory("off", [split])[0] is None


def test_a_directory_that_is_too_small_is_refused(monkeypatch, split, tmp_path):
    needed = cache_bytes(split)
    machine(monkeypatch, disk=needed, memory=0)
    assert choose_directory(str(tmp_path / "new"), [split]) == (tmp_path / "new", "")
    machine(monkeypatch, disk=needed - 1, memory=0)
    with pytest.raises(UsageError, match=r"--config.data.cache=.* are free there; use another directory, auto or off"):
        choose_directory(str(tmp_path / "new"), [split])


def test_a_cache_that_exists_needs_no_space(monkeypatch, split, built):
    machine(monkeypatch, disk=0, memory=0)
    assert is_complete(cache_path(built, split), split)
    assert choose_directory(str(built), [split]) == (built, "")
