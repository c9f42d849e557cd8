"""Restoring whole images with the generator: speed, memory and floating-point operations."""

import numpy as np

from hazeheal import config as configs
from hazeheal.benchmark import flops
from hazeheal.benchmark.step import open_runtime
from hazeheal.benchmark.timing import peak_bytes, timed_rounds
from hazeheal.inference.gan import DehazeGAN


def measure(spec: dict) -> dict:
    """Restores one image repeatedly with `DehazeGAN.restore`, uint8 in and out.

    Args:
        spec: `config`, `cpu`, `precision`, `height` and `width` of the image, `seconds` of a round, `rounds`.

    Returns:
        images_per_second in each round; peak_memory_bytes; flops_per_image.

    Raises:
        UsageError: The device does not support the precision.
    """
    height, width = spec["height"], spec["width"]
    runtime = open_runtime(spec | {"replicas": 1, "xla": "off"})
    gan = DehazeGAN(configs.from_dict(spec["config"]), precision=runtime.precision, for_training=False)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)

    def work(count):
        for _ in range(count):
            gan.restore(image)

    count, durations, _ = timed_rounds(work, seconds=spec["seconds"], rounds=spec["rounds"])
    return {
        "images_per_second": [count / duration for duration in durations],
        "peak_memory_bytes": [peak_bytes(runtime)],
        "flops_per_image": flops.of_generator(gan.generator, height=height, width=width),
    }
