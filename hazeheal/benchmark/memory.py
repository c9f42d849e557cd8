"""The most memory that this process has held so far, on its devices or, on CPUs, as a whole."""

import resource
import sys

import tensorflow as tf


def peak_bytes(runtime) -> int:
    """Returns the peak of the GPU that held the most, or the largest resident size of the process.

    Args:
        runtime: What was computed on (`distribute.Runtime`).
    """
    if runtime.on_gpu:
        return max(tf.config.experimental.get_memory_info(device)["peak"] for device in runtime.devices)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
