"""Measures the limit of any pipeline that crops JPEG pairs: libjpeg-turbo decodes the crops in a loop, on all cores.

    python benchmarks/decode_alone.py FOLDER [--seconds=5]

FOLDER/hazy and FOLDER/GT contain files with the same names, which are read into memory first. One thread per core decodes
the same random window of both images of a random pair and discards it. There is no reading, checking, flipping or batching.
The decoder is the pipeline's (`tf.image.decode_and_crop_jpeg`). It is called in a loop inside a tf.function, so that Python is
not timed. Prints the figures as JSON.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from hazeheal.data.pipeline.decode import DCT

PAIRS_PER_CALL = 16


def make_decoder(folder, crop):
    """A tf.function of a seed that decodes `PAIRS_PER_CALL` pairs of crops, one after another."""
    names = sorted(path.name for path in (folder / "hazy").iterdir())
    hazy, clear = ([(folder / side / name).read_bytes() for name in names] for side in ("hazy", "GT"))
    hazy, clear = tf.constant(hazy), tf.constant(clear)
    height, width, _ = tf.io.decode_jpeg(hazy[0]).shape

    @tf.function
    def decode(seed):
        indices = tf.random.stateless_uniform([PAIRS_PER_CALL], [seed, 0], 0, len(names), tf.int32)
        tops = tf.random.stateless_uniform([PAIRS_PER_CALL], [seed, 1], 0, height - crop + 1, tf.int32)
        lefts = tf.random.stateless_uniform([PAIRS_PER_CALL], [seed, 2], 0, width - crop + 1, tf.int32)
        total = tf.constant(0, tf.int32)
        for i in tf.range(PAIRS_PER_CALL):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            window = [tops[i], lefts[i], crop, crop]
            for images in (hazy, clear):
                image = tf.image.decode_and_crop_jpeg(images[indices[i]], window, channels=3, dct_method=DCT)
                # The next image waits for this one: a thread decodes one image at a time.
                with tf.control_dependencies([image]):
                    total += tf.cast(image[0, 0, 0], tf.int32)
        return total

    return decode


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("folder", type=pathlib.Path)
    parse.add_argument("--crop_size", type=int, default=256)
    parse.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parse.add_argument("--seconds", type=float, default=5)
    flags = parse.parse_args(argv)
    decode = make_decoder(flags.folder, flags.crop_size)
    decode(tf.constant(0))
    start = time.perf_counter()

    def work(thread):
        calls = 0
        while time.perf_counter() - start < flags.seconds:
            calls += 1
            decode(tf.constant(thread + calls * flags.threads)).numpy()
        return calls

    with concurrent.futures.ThreadPoolExecutor(flags.threads) as pool:
        calls = sum(pool.map(work, range(flags.threads)))
    seconds = time.perf_counter() - start
    print(json.dumps({"pairs_per_second": calls * PAIRS_PER_CALL / seconds, "tensorflow": tf.__version__}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
