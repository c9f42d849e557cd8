"""The device of this machine: its precisions, its peak in each precision, and its memory bandwidth.

The peak is what a large matrix product or convolution reaches on this machine, not the value of a data sheet. It depends on
clocks, memory and virtualization. `report` relates the speed of the networks to it.
"""

import tensorflow as tf

from hazeheal.benchmark.timing import spread, timed_rounds
from hazeheal.distributed import runtime
from hazeheal.errors import UsageError
from hazeheal.utils.cpu import describe_cpu, usable_cores

PRECISIONS = {"float32": "float32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}
# Side of the matrices; batch, side and channels of the convolution; bytes of the array for the bandwidth.
SIZES = {"CPU": (2048, (8, 64, 128), 2**28), "GPU": (8192, (64, 128, 256), 2**30)}


def measure(spec: dict) -> dict:
    """Describes the device and, if requested, measures its peak.

    Args:
        spec: `cpu`: do not use the GPUs; `peak`: measure the peak; `seconds` of a round; `rounds`.

    Returns:
        kind (`CPU` or `GPU`), name, count, cores, tensorflow; auto: what training selects; precisions: the supported
        ones; left_out: {precision: why it is not supported}. With `peak` also peak: {precision: {`matmul`, `conv`:
        spread of FLOP/s}} and bandwidth: spread of bytes/s read and written.
    """
    gpus = [] if spec["cpu"] else tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    kind = "GPU" if gpus else "CPU"
    name = describe_cpu()[0]
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0])["device_name"]
    best, reason = runtime.choose_precision("auto", gpus=gpus)
    supported = [precision for precision in PRECISIONS if _is_supported(precision, gpus)]
    result = {
        "kind": kind,
        "name": name,
        "count": max(1, len(gpus)),
        "cores": usable_cores(),
        "tensorflow": tf.__version__,
        "auto": {
            "precision": best,
            "xla": "on" if runtime.choose_xla("auto", on_gpu=bool(gpus))[0] else "off",
        },
        "precisions": supported,
        "left_out": {p: f"not supported by this device ({reason})" for p in PRECISIONS if p not in supported},
    }
    if spec["peak"]:
        side, image, size = SIZES[kind]
        timing = {"seconds": spec["seconds"], "rounds": spec["rounds"]}
        result["peak"] = {
            precision: {
                "matmul": _matmul_rate(side, dtype=PRECISIONS[precision], **timing),
                "conv": _conv_rate(*image, dtype=PRECISIONS[precision], **timing),
            }
            for precision in supported
        }
        result["bandwidth"] = _bandwidth(size, **timing)
    return result


def _is_supported(precision, gpus):
    try:
        runtime.choose_precision(precision, gpus=gpus)
        return True
    except UsageError:
        return False


def _matmul_rate(side, *, dtype, seconds, rounds):
    """Spread of the FLOP/s of products of square matrices with `side` rows."""
    start = tf.cast(tf.random.stateless_normal([side, side], seed=[0, 1]), dtype)
    # With this standard deviation repeated products keep their magnitude.
    factor = tf.cast(tf.random.stateless_normal([side, side], seed=[0, 2]) * side**-0.5, dtype)
    flops = 2 * side**3
    return _rate(lambda x: tf.matmul(x, factor), start, flops, seconds=seconds, rounds=rounds)


def _conv_rate(batch, side, channels, *, dtype, seconds, rounds):
    """Spread of the FLOP/s of 3x3 convolutions that keep the shape [batch, side, side, channels]."""
    shape = [batch, side, side, channels]
    start = tf.cast(tf.random.stateless_normal(shape, seed=[0, 1]), dtype)
    kernel = tf.random.stateless_normal([3, 3, channels, channels], seed=[0, 2])
    kernel = tf.cast(kernel * (9 * channels) ** -0.5, dtype)
    flops = 2 * 9 * channels * tf.size(start, tf.int64).numpy()

    def conv(x):
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME")

    return _rate(conv, start, flops, seconds=seconds, rounds=rounds)


def _bandwidth(size, *, seconds, rounds):
    """Spread of the bytes/s that are read and written when a number is added to an array of `size` bytes."""
    return _rate(lambda x: x + 1.0, tf.zeros([size // 4]), 2 * size, seconds=seconds, rounds=rounds)


def _rate(operation, start, amount, *, seconds, rounds):
    """Spread of `amount` per second, where `operation` is applied repeatedly, each time to its last result."""

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
