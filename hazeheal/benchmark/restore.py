"""Restoring whole images with the generator: images a second, memory, work."""

import time

import numpy as np

from hazeheal import config as configs
from hazeheal.benchmark import flops
from hazeheal.benchmark.memory import peak_bytes
from hazeheal.benchmark.step import open_runtime
from hazeheal.benchmark.timing import spread, timed_rounds
from hazeheal.inference.gan import DehazeGAN


def measure(spec) -> dict:
    """Restores one image over and over, as `DehazeGAN.restore` does it: uint8 in, uint8 out.

    Args:
        spec: `config`, `cpu`, `precision`, `height` and `width` of the image, `seconds` of a round, `rounds`.

    Returns:
        images_per_second, megapixels_per_second: spreads; first_seconds, peak_memory_bytes: spreads of
        one value; flops_per_image.

    Raises:
        UsageError: The device lacks the precision.
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
        "flops_per_image": flops.of_generator(gan, height=height, width=width),
    }
