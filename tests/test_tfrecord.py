"""Records and frames that are written without TensorFlow equal those of TensorFlow, byte for byte."""

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


def make_pair():
    return records.Pair(
        key="é 1",
        hazy=np.random.default_rng(1).bytes(70_000),
        clear=b"\x00",
        height=2**31,
        width=1,
        hazy_source="a/ü.png",
        clear_source="",
    )


def test_an_example_equals_that_of_tensorflow():
    pair = make_pair()

    def text(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def integer(value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    feature = {
        name: integer(value) if isinstance(value, int) else text(value.encode() if isinstance(value, str) else value)
        for name, value in dataclasses.asdict(pair).items()
    }
    feature |= {f"{side}_sha256": text(records.sha256(getattr(pair, side)).encode()) for side in ("hazy", "clear")}
    expected = tf.train.Example(features=tf.train.Features(feature=feature))
    payload = records.serialize(pair)
    assert payload == expected.SerializeToString(deterministic=True)
    assert records.parse(payload) == pair
    spec = {"hazy": tf.io.FixedLenFeature([], tf.string), "height": tf.io.FixedLenFeature([], tf.int64)}
    parsed = tf.io.parse_single_example(payload, spec)
    assert parsed["hazy"].numpy() == pair.hazy and parsed["height"].numpy() == 2**31


def test_every_kind_of_feature_equals_that_of_tensorflow():
    def fill(example):
        feature = example.features.feature
        feature["bytes"].bytes_list.value.extend([b"a", b""])
        feature["floats"].float_list.value.extend([1.5, -0.0])
        feature["integers"].int64_list.value.extend([0, -1, 2**62])
        return example.SerializeToString(deterministic=True)

    assert fill(Example()) == fill(tf.train.Example())
    assert Example.FromString(fill(tf.train.Example())).features.feature["floats"].float_list.value[0] == 1.5


def test_frames_equal_those_of_tensorflow(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "expected")) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    frames = b"".join(tfrecord.frame(payload) for payload in PAYLOADS)
    assert frames == (tmp_path / "expected").read_bytes()


@pytest.mark.parametrize("module", ["tensorflow", "tensorflow_datasets"])
def test_no_command_imports_tensorflow(module):
    code = f"import sys, tfrecords_tools.__main__; sys.exit('{module}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0
