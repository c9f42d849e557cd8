"""The device of this machine: the precisions that it supports, and its peak in each of them.

The peak is what products of large matrices reach on this machine, not the value of a data sheet. It depends on clocks, memory
and virtualization. `report` relates the speed of the networks to it.
"""

import tensorflow as tf

from hazeheal.benchmark.timing import timed_rounds
from hazeheal.distributed import runtime
from hazeheal.errors import UsageError
from hazeheal.utils.cpu import describe_cpu, usable_cores

DTYPES = {"float32": "float32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}


def measure(spec: dict) -> dict:
    """Describes the device and measures its peak.

    Args:
        spec: `cpu`: do not use the GPUs; `seconds` of a round; `rounds`.

    Returns:
        kind (`CPU` or `GPU`), name, count, cores, tensorflow; auto: what training selects; precisions: the supported
        ones; left_out: {precision: why it is not supported}; peak: {precision: FLOP/s in each round}.
    """
    gpus = [] if spec["cpu"] else tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    name = describe_cpu()[0]
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0])["device_name"]
    best, reason = runtime.choose_precision("auto", gpus=gpus)
    supported, left_out = [], {}
    for precision in DTYPES:
        try:
            runtime.choose_precision(precision, gpus=gpus)
            supported.append(precision)
        except UsageError:
            left_out[precision] = f"not supported by this device ({reason})"
    side = 8192 if gpus else 2048
    timing = {"seconds": spec["seconds"], "rounds": spec["rounds"]}
    return {
        "kind": "GPU" if gpus else "CPU",
        "name": name,
        "count": max(1, len(gpus)),
        "cores": usable_cores(),
        "tensorflow": tf.__version__,
        "auto": {
            "precision": best,
            "xla": "on" if runtime.choose_xla("auto", on_gpu=bool(gpus))[0] else "off",
        },
        "precisions": supported,
        "left_out": left_out,
        "peak": {p: _matmul_rates(side, dtype=DTYPES[p], **timing) for p in supported},
    }


def _matmul_rates(side, *, dtype, seconds, rounds):
    """FLOP/s of repeated products of square matrices with `side` rows, in each round."""
    start = tf.cast(tf.random.stateless_normal([side, side], seed=[0, 1]), dtype)
    # With this standard deviation repeated products keep their magnitude.
    factor = tf.cast(tf.random.stateless_normal([side, side], seed=[0, 2]) * side**-0.5, dtype)

    @tf.function
    def repeat(count):
        x = start
        for _ in tf.range(count):
            x = tf.matmul(x, factor)
        return x[0, 0]

    count, durations, _ = timed_rounds(lambda n: repeat(tf.constant(n)).numpy(), seconds=seconds, rounds=rounds)
    return [2 * side**3 * count / duration for duration in durations]
