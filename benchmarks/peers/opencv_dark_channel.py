"""The dark channel prior (He, Sun and Tang 2011) with a guided filter, in OpenCV, as it is commonly implemented.

    python benchmarks/peers/opencv_dark_channel.py [--height=412 --width=550]

The dark channel is an erosion with a window of 15. The atmospheric light is that of the haziest 0.1 % of the pixels. The
transmission is 1 - 0.95 dark(I / A), refined by a guided filter (He et al. 2013) of radius 60, and at least 0.1. Input and output
are uint8. OpenCV uses all cores. Prints the figures as JSON.
"""

import argparse
import json
import os
import sys
import time

import cv2
import numpy as np

WINDOW, OMEGA, MIN_TRANSMISSION, RADIUS, EPS = 15, 0.95, 0.1, 60, 1e-3


def dark_channel(image):
    """[H, W, 3] to [H, W]: the minimum over the channels and a square window."""
    blue, green, red = cv2.split(image)
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (WINDOW, WINDOW))
    return cv2.erode(cv2.min(cv2.min(blue, green), red), kernel)


def atmospheric_light(image, dark):
    """[3]: the mean color of the pixels with the highest dark channel."""
    count = max(1, dark.size // 1000)
    haziest = np.argpartition(dark.ravel(), -count)[-count:]
    return image.reshape(-1, 3)[haziest].mean(0)


def guided_filter(guide, values):
    """Smooths `values` but keeps the edges of `guide`; both are [H, W] float32."""

    def mean(x):
        return cv2.boxFilter(x, -1, (2 * RADIUS + 1, 2 * RADIUS + 1))

    mean_guide, mean_values = mean(guide), mean(values)
    a = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + EPS)
    b = mean_values - a * mean_guide
    return mean(a) * guide + mean(b)


def dehaze(hazy):
    """uint8 [H, W, 3] to the same."""
    image = hazy.astype(np.float32) / 255
    light = atmospheric_light(image, dark_channel(image))
    transmission = 1 - OMEGA * dark_channel(image / light)
    gray = cv2.cvtColor(hazy, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    transmission = np.maximum(guided_filter(gray, transmission), MIN_TRANSMISSION)[..., None]
    restored = (image - light) / transmission + light
    return (np.clip(restored, 0, 1) * 255 + 0.5).astype(np.uint8)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--height", type=int, default=412)
    parse.add_argument("--width", type=int, default=550)
    parse.add_argument("--seconds", type=float, default=5)
    flags = parse.parse_args(argv)
    cv2.setNumThreads(len(os.sched_getaffinity(0)))
    hazy = np.random.default_rng(0).integers(0, 256, (flags.height, flags.width, 3), np.uint8)
    for _ in range(2):
        dehaze(hazy)
    count, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < flags.seconds:
        dehaze(hazy)
        count += 1
    print(json.dumps({"images_per_second": count / seconds, "opencv": cv2.__version__}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
