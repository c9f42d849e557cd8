"""What this machine's device can do: the precisions it has, its peak in each, its memory's bandwidth.

The peak is what a large matrix product or convolution reaches here, and not what a data sheet says: clocks,
memory and virtual machines set it, and it is what the networks' share is measured against.
"""

import tensorflow as tf

from hazeheal.benchmark.timing import spread, timed_rounds
from hazeheal.distributed import runtime
from hazeheal.errors import UsageError
from hazeheal.utils.cpu import describe_cpu, usable_cores

PRECISIONS = {"float32": "float32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}
# side of the matrices; batch, side and channels of the convolution; bytes of the array that is added to
SIZES = {"CPU": (2048, (8, 64, 128), 2**28), "GPU": (8192, (64, 128, 256), 2**30)}


def measure(spec) -> dict:
    """Describes the device, and measures it where `spec` says so.

    Args:
        spec: `cpu`: leave the GPUs alone; `peak`: measure; `seconds` of a round; `rounds`.

    Returns:
        kind (`CPU` or `GPU`), name, count, cores, memory_bytes; auto: what training would choose;
        precisions: those it has; left_out: {precision: why}; and with `peak`, peak: {precision:
        {`matmul`, `conv`: spread of FLOP/s}} and bandwidth: spread of bytes/s read and written.
    """
    gpus = [] if spec["cpu"] else tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    kind = "GPU" if gpus else "CPU"
    best, ability = runtime.choose_precision("auto", gpus=gpus)
    has = [p for p in PRECISIONS if _has(p, gpus)]
    found = {
        "kind": kind,
        "name": tf.config.experimental.get_device_details(gpus[0])["device_name"]
        if gpus
        else describe_cpu()[0],
        "count": max(1, len(gpus)),
        "cores": usable_cores(),
        "tensorflow": tf.__version__,
        "auto": {
            "precision": best,
            "xla": "on" if runtime.choose_xla("auto", on_gpu=bool(gpus))[0] else "off",
        },
        "precisions": has,
        "left_out": {p: f"this device lacks it ({ability})" for p in PRECISIONS if p not in has},
    }
    if spec["peak"]:
        side, image, size = SIZES[kind]
        timing = {"seconds": spec["seconds"], "rounds": spec["rounds"]}
        found["peak"] = {
            precision: {
                "matmul": matmul_rate(side, dtype=PRECISIONS[precision], **timing),
                "conv": conv_rate(*image, dtype=PRECISIONS[precision], **timing),
            }
            for precision in has
        }
        found["bandwidth"] = bandwidth(size, **timing)
    return found


def _has(precision, gpus):
    try:
        runtime.choose_precision(precision, gpus=gpus)
        return True
    except UsageError:
        return False


def matmul_rate(side, *, dtype, seconds, rounds) -> dict:
    """Spread of the FLOP/s of products of square matrices."""
    start = tf.cast(tf.random.stateless_normal([side, side], seed=[0, 1]), dtype)
    # Of this size, products of products keep their scale.
    factor = tf.cast(tf.random.stateless_normal([side, side], seed=[0, 2]) * side**-0.5, dtype)
    flops = 2 * side**3
    return _rate(lambda x: tf.matmul(x, factor), start, flops, seconds=seconds, rounds=rounds)


def conv_rate(batch, side, channels, *, dtype, seconds, rounds) -> dict:
    """Spread of the FLOP/s of 3x3 convolutions of [batch, side, side, channels] to the same shape."""
    shape = [batch, side, side, channels]
    start = tf.cast(tf.random.stateless_normal(shape, seed=[0, 1]), dtype)
    kernel = tf.random.stateless_normal([3, 3, channels, channels], seed=[0, 2])
    kernel = tf.cast(kernel * (9 * channels) ** -0.5, dtype)
    flops = 2 * 9 * channels * tf.size(start, tf.int64).numpy()

    def conv(x):
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME")

    return _rate(conv, start, flops, seconds=seconds, rounds=rounds)


def bandwidth(size, *, seconds, rounds) -> dict:
    """Spread of the bytes/s that adding a number to an array of `size` bytes reads and writes."""
    return _rate(lambda x: x + 1.0, tf.zeros([size // 4]), 2 * size, seconds=seconds, rounds=rounds)


def _rate(operation, start, amount, *, seconds, rounds):
    """Times `operation` applied over and over, each time to what it has made."""

    @tf.function
    def repeat(count):
        x = start
        for _ in tf.range(count):
            x = operation(x)
        return tf.reshape(x, [-1])[0]

    def work(count):
        repeat(tf.constant(count)).numpy()

    count, durations, _ = timed_rounds(work, seconds=seconds, rounds=rounds)
    return spread(amount * count / duration for duration in durations)
