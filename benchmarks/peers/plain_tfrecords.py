"""Writes pairs to one TFRecord file as a short script does: PIL, one process, TFRecordWriter.

    python benchmarks/peers/plain_tfrecords.py --folder=DIR --output=FILE [--image_size=286] [--same_work]

DIR/hazy and DIR/GT contain files with the same names. Every image is decoded, which detects damaged files, and its size is
stored. Without --image_size the record contains the bytes of the files. With it both images are resized (Lanczos) and encoded
as JPEG of quality 95 without chroma subsampling.

`hazeheal-tfrecords convert` does more. --same_work adds the same work in a straightforward way: it compares sizes, computes the
PSNR of every pair (in float32, on the images of the record), hashes sources, records and the file, and writes an index with a
CRC of each record. It cannot resume an interrupted conversion, as `convert` can.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import sys
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf
from PIL import Image


def encoded(path, image_size):
    """(bytes of the file, bytes for the record, image) of one file."""
    source = data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    if image_size:
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95, subsampling=0)
        data = buffer.getvalue()
    return source, data, image


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def psnr(hazy, clear):
    """PSNR of two images in dB."""
    error = np.mean((np.asarray(hazy, np.float32) - np.asarray(clear, np.float32)) ** 2)
    return float(10 * np.log10(255.0**2 / error)) if error else float("inf")


def example(hazy_path, clear_path, image_size, same_work):
    """(bytes of the record, its row of the index or None)."""
    hazy_source, hazy, image = encoded(hazy_path, image_size)
    clear_source, clear, clear_image = encoded(clear_path, image_size)
    height, width = image.height, image.width
    row = None
    if same_work:
        if image.size != clear_image.size:
            raise SystemExit(f"{hazy_path.name}: {image.size} and {clear_image.size}")
        if image_size:  # the PSNR is that of the images in the record
            image, clear_image = decoded(hazy), decoded(clear)
        hashes = [hashlib.sha256(data).hexdigest() for data in (hazy_source, clear_source, hazy, clear)]
        row = {"key": hazy_path.stem, "psnr": psnr(image, clear_image), "sha256": hashes}

    def text(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def integer(value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    feature = {
        "key": text(hazy_path.stem.encode()),
        "hazy": text(hazy),
        "clear": text(clear),
        "height": integer(height),
        "width": integer(width),
        "hazy_source": text(hazy_path.name.encode()),
        "clear_source": text(clear_path.name.encode()),
    }
    if same_work:
        feature |= {"hazy_sha256": text(hashes[2].encode()), "clear_sha256": text(hashes[3].encode())}
    payload = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    if same_work:
        row |= {"height": height, "width": width, "length": len(payload), "crc32": zlib.crc32(payload)}
    return payload, row


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--folder", required=True, type=pathlib.Path)
    parse.add_argument("--output", required=True)
    parse.add_argument("--image_size", type=int)
    parse.add_argument("--same_work", action="store_true", help="do the same work as `hazeheal-tfrecords convert`")
    flags = parse.parse_args(argv)
    rows = []
    with tf.io.TFRecordWriter(flags.output) as writer:
        for path in sorted((flags.folder / "hazy").iterdir()):
            clear_path = flags.folder / "GT" / path.name
            payload, row = example(path, clear_path, flags.image_size, flags.same_work)
            writer.write(payload)
            rows.append(row)
    if flags.same_work:
        shard = hashlib.sha256(pathlib.Path(flags.output).read_bytes()).hexdigest()
        index = json.dumps({"sha256": shard, "records": rows})
        pathlib.Path(f"{flags.output}.index.json").write_text(index, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
