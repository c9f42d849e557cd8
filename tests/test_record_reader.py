"""Record readers: both kinds return the same bytes, also if garbage is collected during a read."""

import dataclasses
import os
import pathlib
import threading
import time

import numpy as np
import processes
import tensorflow as tf
from record_sets import COUNT, assert_equal, make_pair, take, write_dataset

from hazeheal.data import records
from hazeheal.data.pipeline import record_reader
from hazeheal.data.pipeline.graph_reader import GraphReader
from hazeheal.data.pipeline.processor import DehazeDataProcessor


# -------------------------------------------------------------------------------------------- readers
def test_both_kinds_give_the_same_batches(ten_pairs):
    batches = [
        take(DehazeDataProcessor(ten_pairs, batch_size=4, crop_size=16, reader=kind).dataset(), 8)
        for kind in ("auto", "local", "gfile")
    ]
    assert_equal(batches[0], batches[1])
    assert_equal(batches[0], batches[2])


def test_remote_shards_are_read_through_gfile(ten_pairs):
    split = records.open_split(ten_pairs, "train")
    assert record_reader.RecordReader(split).kind == "local"
    remote = []
    for shard in split.shards:
        tf.io.gfile.copy(str(shard), f"ram://shards/{shard.name}", overwrite=True)
        remote.append(pathlib.PurePosixPath(f"ram://shards/{shard.name}"))  # pathlib drops one slash
    reader = record_reader.RecordReader(dataclasses.replace(split, shards=tuple(remote)))
    assert reader.kind == "gfile"
    local = record_reader.RecordReader(split, "local")
    assert [reader.read(n) for n in range(COUNT)] == [local.read(n) for n in range(COUNT)]


def test_many_records_are_read_at_once(ten_pairs, monkeypatch):
    """A network disk takes milliseconds for a read: 16 at once are 2,000 pairs per second at 8 ms."""
    lock, reading, most, read = threading.Lock(), 0, 0, record_reader._read_local

    def slow_read(*arguments):
        nonlocal reading, most
        with lock:
            reading += 1
            most = max(most, reading)
        time.sleep(0.2)
        with lock:
            reading -= 1
        return read(*arguments)

    monkeypatch.setattr(record_reader, "_read_local", slow_read)
    batches = iter(DehazeDataProcessor(ten_pairs, batch_size=2, crop_size=16, workers=1).dataset())
    next(batches)
    end = time.monotonic() + 60
    while most < 16 and time.monotonic() < end:
        time.sleep(0.05)
    assert most >= 16


def test_large_records_are_not_read_ahead_without_bound(ten_pairs, monkeypatch):
    reader = GraphReader(records.open_split(ten_pairs, "train"), reader="local", on_bad_record="fail")
    assert reader.concurrent_batches(1) == 32
    index = reader._split.index.copy()
    index["length"] = 10 * 2**20
    monkeypatch.setattr(reader, "_split", dataclasses.replace(reader._split, index=index))
    assert [reader.concurrent_batches(batch) for batch in (1, 2, 4, 100)] == [25, 12, 6, 2]


def test_many_shards_need_few_descriptors(tmp_path):
    import resource

    data = write_dataset(tmp_path / "many", [make_pair(i) for i in range(200)], shards=200)
    processor = DehazeDataProcessor(data, batch_size=50, crop_size=16)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = max(int(name) for name in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 40, hard))
    try:
        seen = np.concatenate([batch["number"] for batch in take(processor.dataset(), 4)])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sorted(seen) == list(range(200))


def test_garbage_collection_during_a_read_does_not_block(ten_pairs):
    """Python collects an abandoned iterator, whose own reads are still running, in a read."""
    code = f"""
import gc, time
from hazeheal.data.pipeline import record_reader
from hazeheal.data.pipeline.graph_reader import GraphReader
from hazeheal.data.pipeline.processor import DehazeDataProcessor
gc.disable()
read = record_reader.RecordReader.read
def slow(self, number):
    if self is not collecting._records._reader:
        time.sleep(0.02)
    elif todo:
        todo.pop()
        gc.collect()
    return read(self, number)
record_reader.RecordReader.read = slow
for kind in ("local", "gfile"):
    make = lambda: DehazeDataProcessor({str(ten_pairs)!r}, batch_size=4, crop_size=16, reader=kind)
    abandoned, collecting, todo = make(), make(), ["collect"]
    cycle = [iter(abandoned.dataset())]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    print(len(list(collecting.dataset().take(10))))
"""
    code, out, err = processes.run_python(code)
    assert code == 0, err
    assert out.split()[-2:] == ["10", "10"]
