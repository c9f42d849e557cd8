"""Records and their frames, made without TensorFlow, are TensorFlow's own, byte for byte."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from places import ROOT

from hazeheal.data import records, tfrecord
from hazeheal.data.example_proto import Example

PAYLOADS = [b"", b"x", bytes(range(256)) * 300, np.random.default_rng(0).bytes(100_003)]


def some_pair():
    return records.Pair(
        key="é 1",
        hazy=np.random.default_rng(1).bytes(70_000),
        clear=b"\x00",
        height=2**31,
        width=1,
        hazy_source="a/ü.png",
        clear_source="",
    )


def test_an_example_is_tensorflows():
    pair = some_pair()

    def text(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def integer(value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    feature = {
        name: integer(value)
        if isinstance(value, int)
        else text(value.encode() if isinstance(value, str) else value)
        for name, value in dataclasses.asdict(pair).items()
    }
    feature |= {
        f"{side}_sha256": text(records.sha256(getattr(pair, side)).encode()) for side in ("hazy", "clear")
    }
    theirs = tf.train.Example(features=tf.train.Features(feature=feature))
    payload = records.serialize(pair)
    assert payload == theirs.SerializeToString(deterministic=True)
    assert records.parse(payload) == pair
    parsed = tf.io.parse_single_example(payload, records.feature_spec())
    assert parsed["hazy"].numpy() == pair.hazy and parsed["height"].numpy() == 2**31


def test_every_kind_of_feature_is_tensorflows():
    def fill(example):
        feature = example.features.feature
        feature["bytes"].bytes_list.value.extend([b"a", b""])
        feature["floats"].float_list.value.extend([1.5, -0.0])
        feature["integers"].int64_list.value.extend([0, -1, 2**62])
        return example.SerializeToString(deterministic=True)

    assert fill(Example()) == fill(tf.train.Example())
    assert Example.FromString(fill(tf.train.Example())).features.feature["floats"].float_list.value[0] == 1.5


def test_frames_are_tensorflows(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    ours = b"".join(tfrecord.frame(payload) for payload in PAYLOADS)
    assert ours == (tmp_path / "theirs").read_bytes()
    assert list(tfrecord.read_frames(tmp_path / "theirs")) == PAYLOADS


@pytest.mark.parametrize("record", range(len(PAYLOADS)))
def test_reading_ends_at_a_damaged_frame(tmp_path, record):
    whole = [tfrecord.frame(payload) for payload in PAYLOADS]
    before = b"".join(whole[:record])
    for place in (0, 7, 8, 11, len(whole[record]) - 1):
        damaged = bytearray(b"".join(whole))
        damaged[len(before) + place] ^= 1
        (tmp_path / "damaged").write_bytes(damaged)
        assert list(tfrecord.read_frames(tmp_path / "damaged")) == PAYLOADS[:record]
    for length in (1, 11, len(whole[record]) - 1):
        (tmp_path / "short").write_bytes(before + whole[record][:length])
        assert list(tfrecord.read_frames(tmp_path / "short")) == PAYLOADS[:record]


def test_a_length_beyond_the_file_asks_for_no_memory(tmp_path):
    header = (2**62).to_bytes(8, "little")
    (tmp_path / "long").write_bytes(header + tfrecord.frame_ends(header)[1] + b"x" * 40)
    assert list(tfrecord.read_frames(tmp_path / "long")) == []


@pytest.mark.parametrize(
    "module", ["tfrecords_tools.preload", "tfrecords_tools.convert.command", "tfrecords_tools.extract"]
)
def test_what_makes_and_checks_records_does_not_wait_for_tensorflow(module):
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0
