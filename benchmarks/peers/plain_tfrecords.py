"""Pairs become one TFRecord file, as a script of one page does it: PIL, one process, TFRecordWriter.

    python benchmarks/peers/plain_tfrecords.py --folder=DIR --output=FILE [--image_size=286]

DIR/hazy and DIR/GT hold files of equal names. Every picture is decoded, so that a damaged one is found, and its
size is stored. Without --image_size the file's own bytes go into the record; with it both pictures are resized
(Lanczos) and saved as JPEG of quality 95, colour at full resolution. `hazeheal-tfrecords convert` does more: it
compares sizes, measures every pair's PSNR (of what the record holds, decoded again after JPEG), hashes sources
and records, writes an index, brings all to the disk, and can be taken up after an interruption.
"""

import argparse
import io
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import tensorflow as tf
from PIL import Image


def encoded(path, image_size):
    """(bytes, height, width) of one picture for its record."""
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        picture = image.convert("RGB")
    if image_size:
        picture = picture.resize((image_size, image_size), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=95, subsampling=0)
        data = buffer.getvalue()
    return data, picture.height, picture.width


def example(hazy_path, clear_path, image_size):
    hazy, height, width = encoded(hazy_path, image_size)
    clear, _, _ = encoded(clear_path, image_size)

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
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--folder", required=True, type=pathlib.Path)
    parse.add_argument("--output", required=True)
    parse.add_argument("--image_size", type=int)
    flags = parse.parse_args(argv)
    with tf.io.TFRecordWriter(flags.output) as writer:
        for path in sorted((flags.folder / "hazy").iterdir()):
            writer.write(example(path, flags.folder / "GT" / path.name, flags.image_size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
