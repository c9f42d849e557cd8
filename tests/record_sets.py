"""Data sets whose images encode the number of their record and the position of each pixel."""

import io
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from disks import flip
from PIL import Image

from hazeheal.data import records, tfrecord

SIZES = [(40, 56), (32, 32), (48, 36)]  # (height, width), used in turn


def number_image(number, *, height, width, channels=3):
    """Returns uint8 [height, width, channels]: R is the record's number, G twice the row, B twice the column."""
    rows, columns = np.mgrid[:height, :width]
    planes = [np.full_like(rows, number), 2 * rows, 2 * columns][:channels]
    return np.stack(planes, -1).astype(np.uint8)


def encode(image, form, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


def clear_of(hazy):
    """Returns the clear image of a hazy one: a constant is added, so that a shift between them is visible."""
    return hazy + np.array([50, 60, 70], np.uint8)


def make_pair(number, form="PNG"):
    height, width = SIZES[number % len(SIZES)]
    hazy = number_image(number, height=height, width=width)
    options = {"quality": 95} if form == "JPEG" else {}
    return records.Pair(
        key=f"é{number:03d}",
        hazy=encode(hazy, form, **options),
        clear=encode(clear_of(hazy), form, **options),
        height=height,
        width=width,
        hazy_source=f"{number:03d}_hazy.png",
        clear_source=f"{number:03d}_GT.png",
    )


def write_dataset(directory, pairs, *, shards=3, split="train", name="tiny"):
    """Writes a data set as the conversion does, but with TensorFlow's record writer."""
    directory = pathlib.Path(directory)
    directory.mkdir(exist_ok=True)
    rows, lines, listed = [], [], []
    for shard, chunk in enumerate(np.array_split(np.arange(len(pairs)), shards)):
        path = directory / records.shard_name(name, split, shard, shards)
        offset = 0
        with tf.io.TFRecordWriter(str(path)) as writer:
            for i in chunk:
                payload = records.serialize(pairs[i])
                writer.write(payload)
                start, crc = offset + tfrecord.FRAME_HEADER_BYTES, records.zlib.crc32(payload)
                rows.append((shard, start, len(payload), crc, pairs[i].height, pairs[i].width, 20.0))
                offset = start + len(payload) + tfrecord.FRAME_FOOTER_BYTES
                source = {"key": pairs[i].key, "hazy": pairs[i].hazy_source, "clear": pairs[i].clear_source}
                lines.append(json.dumps(source))
        data = path.read_bytes()
        assert len(data) == offset
        listed.append({"file": path.name, "records": len(chunk), "bytes": offset, "sha256": records.sha256(data)})
    index, sources = f"{name}-{split}.index.npy", f"{name}-{split}.sources.jsonl"
    np.save(directory / index, np.array(rows, records.INDEX_DTYPE))
    (directory / sources).write_text("\n".join(lines) + "\n", encoding="utf-8")
    manifest = {"schema": records.SCHEMA_VERSION, "name": name, "options": {}}
    manifest["splits"] = {
        split: {
            "records": len(pairs),
            "shards": listed,
            "index": index,
            "index_sha256": records.sha256((directory / index).read_bytes()),
            "sources": sources,
            "sources_sha256": records.sha256((directory / sources).read_bytes()),
        }
    }
    manifest["fingerprint"] = records.fingerprint(manifest)
    (directory / records.MANIFEST).write_text(json.dumps(manifest))
    return directory


COUNT = 10


def write_ten(directory):
    """Writes ten PNG pairs of three sizes in three shards; the smallest size is 32x32."""
    return write_dataset(directory, [make_pair(i) for i in range(COUNT)])


def take(dataset, count):
    return list(dataset.take(count).as_numpy_iterator())


def assert_equal(a, b):
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])


def joined(batches):
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


# --------------------------------------------------------------------------------------------- damage
def first_error(processor, dataset):
    """Reads until the dataset fails; returns the error as the processor translates it."""
    with pytest.raises(tf.errors.OpError) as caught:
        take(dataset, 50)
    return processor.translate_error(caught.value)


def flip_byte(data, number):
    split = records.open_split(data, "train")
    row = split.index[number]
    flip(split.shards[row["shard"]], int(row["offset"]) + int(row["length"]) // 2)
    return split.shards[row["shard"]]


def lose(shard, how):
    """Removes (`gone`) or truncates a shard that is being read."""
    if how == "gone":
        shard.unlink()
    else:
        os.truncate(shard, 100)
