"""Restoring whole images with the generator: speed, memory and floating-point operations."""

import time

import numpy as np

from hazeheal import config as configs
from hazeheal.benchmark import flops
from hazeheal.benchmark.step import open_runtime
from hazeheal.benchmark.timing import peak_bytes, spread, timed_rounds
from hazeheal.inference.gan import DehazeGAN


def measure(spec: dict) -> dict:
    """Restores one image repeatedly with `DehazeGAN.restore`, uint8 in and out.

    Args:
        spec: `config`, `cpu`, `precision`, `height` and `width` of the image, `seconds` of a round, `rounds`.

    Returns:
        Spreads images_per_second and megapixels_per_second; first_seconds and peak_memory_bytes, spreads of one value;
        flops_per_image.

    Raises:
        UsageError: The device does not support the precision.
    """
    height, width = spec["height"], spec["width"]
    runtime = open_runtime({"cpu": spec["cpu"], "replicas": 1, "precision": spec["precision"], "xla": "off"})
    gan = DehazeGAN(configs.from_dict(spec["config"]), precision=runtime.precision, for_training=False)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    begin = time.perf_counter()
    gan.restore(image)
    first = time.perf_counter() - begin

    def work(count):
        for _ in range(count):
            gan.restore(image)

    count, durations, _ = timed_rounds(work, seconds=spec["seconds"], rounds=spec["rounds"])
    return {
        "images_per_second": spread(count / duration for duration in durations),
        "megapixels_per_second": spread(count * height * width / 1e6 / duration for duration in durations),
        "first_seconds": spread([first]),
        "peak_memory_bytes": spread([peak_bytes(runtime)]),
        "flops_per_image": flops.of_generator(gan.generator, height=height, width=width),
    }
