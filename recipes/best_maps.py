"""How well could maps of a given size and number of levels restore an image, if a network found the best ones?

    python recipes/best_maps.py --split=OUT --maps 64x2 32x4 32x8 16x8

For validation pairs of `split.py` it fits K and B of the scattering model (`hazeheal.models.view`), with maps of 64x64
positions and 2 levels of brightness and so on, by gradient descent on the squared error, and prints a Markdown table of
PSNR in dB. This is an upper limit for networks with such maps.
"""

import argparse
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

from scores import find_pairs, load  # noqa: E402

SETS = {"outdoor": 5, "its": 4, "rice1": 3, "i_haze": 1}  # {set: largest number of pairs}
LARGEST = 288  # larger images are cropped
STEPS, RATE = 250, 0.03
DECAY = 6e-5  # weight of the squared maps, relative to the mean squared error


def best_psnr(hazy, clear, *, side, bins) -> float:
    """PSNR in dB of an image restored by the best maps of side x side positions and `bins` levels."""
    import tensorflow as tf

    from hazeheal.models.view import ApplyMaps

    x, y = (tf.constant(image[None] / 127.5 - 1, tf.float32) for image in (hazy, clear))
    maps, apply = tf.Variable(tf.zeros([1, side, side, 6 * bins])), ApplyMaps()
    # Each value of the maps acts on as many values of the image.
    reach = x.shape.num_elements() / (3 * side * side)
    adam = tf.keras.optimizers.Adam(RATE)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            restored = apply([maps, x])
            loss = tf.reduce_sum((restored - y) ** 2) + DECAY * reach * tf.reduce_sum(maps**2)
        adam.apply_gradients([(tape.gradient(loss, maps), maps)])
        return tf.reduce_mean((tf.clip_by_value(restored, -1, 1) - y) ** 2)

    for _ in range(STEPS):
        error = step()
    return float(10 * np.log10(4 / error))


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--split", required=True, type=pathlib.Path, help="the output of split.py")
    parse.add_argument("--maps", nargs="+", default=["64x2", "32x4"], metavar="SIDExBINS")
    flags = parse.parse_args(argv)
    files = {name: find_pairs(flags.split, "val", name, limit=count) for name, count in SETS.items()}
    pairs = {
        name: [[load(path)[:LARGEST, :LARGEST] for path in pair] for pair in group] for name, group in files.items()
    }
    print(f"| maps | {' | '.join(pairs)} |", "|---" * (len(pairs) + 1) + "|", sep="\n")
    for size in flags.maps:
        side, bins = map(int, size.split("x"))
        means = [np.mean([best_psnr(*pair, side=side, bins=bins) for pair in group]) for group in pairs.values()]
        print(f"| {side}x{side}, {bins} levels | {' | '.join(f'{value:.2f}' for value in means)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
