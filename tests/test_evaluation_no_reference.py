"""Figures without ground truth: each against its definition, and what they say of synthetic haze."""

import numpy as np
import pytest
from test_metrics import noise, scene

from hazeheal.evaluation import no_reference, strips


def gray(image):
    return image @ [0.2125, 0.7154, 0.0721] / 255


def gradient_and_edges(image):
    """The magnitude of the Sobel gradient, and where it is at least 5 % of the brightest of 3x3 pixels."""
    padded = np.pad(gray(image), 1, mode="symmetric")
    height, width = image.shape[:2]
    gradient, edges = np.empty((height, width)), np.empty((height, width), bool)
    for i, j in np.ndindex(height, width):
        window = padded[i : i + 3, j : j + 3]
        down = (window[0] - window[2]) @ [1, 2, 1] / 4
        across = (window[:, 0] - window[:, 2]) @ [1, 2, 1] / 4
        gradient[i, j] = np.hypot(down, across)
        edges[i, j] = gradient[i, j] >= 0.05 * max(window.max(), 1 / 255)
    return gradient, edges


@pytest.mark.parametrize("size", [(31, 44), (16, 5), (1, 1)])
def test_figures_are_those_of_their_definitions(size):
    hazy = (scene(*size) // 2 + 100).astype("uint8")
    image = scene(*size)
    image[0, 0], hazy[0, 0] = 255, 250
    image[-1, -1], hazy[-1, -1] = 0, 0  # black before
    found = no_reference.measure(image, hazy)
    height, width = size
    patches = [image[max(i - 7, 0) : i + 8, max(j - 7, 0) : j + 8].min() / 255 for i, j in np.ndindex(height, width)]
    assert found["dark"] == pytest.approx(np.mean(patches))
    gradient, edges = gradient_and_edges(image)
    before, _ = gradient_and_edges(hazy)
    assert found["edges"] == pytest.approx(100 * edges.mean())
    ratios = np.maximum(gradient, 1 / 255)[edges] / np.maximum(before, 1 / 255)[edges]
    assert found["gradient"] == pytest.approx(np.exp(np.log(ratios).mean()) if edges.any() else 1)
    saturated = [set(image[i, j]) in ({0}, {255}) and set(hazy[i, j]) not in ({0}, {255}) for i, j in np.ndindex(size)]
    assert found["saturated"] == pytest.approx(100 * np.mean(saturated))


@pytest.mark.parametrize("pixels", [1, 300, 2000])
def test_strips_give_the_figures_of_the_whole_image(monkeypatch, pixels):
    hazy, image = (scene(83, 57) // 2 + 100).astype("uint8"), scene(83, 57)
    wanted = no_reference.measure(image, hazy)
    monkeypatch.setattr(strips, "STRIP", pixels)
    assert no_reference.measure(image, hazy) == pytest.approx(wanted, rel=1e-12)


def test_the_input_has_a_gradient_of_1_and_nothing_saturated():
    found = no_reference.measure(scene(40, 30), scene(40, 30))
    assert (found["gradient"], found["saturated"]) == (1, 0)
    flat = np.full((20, 20, 3), 90, "uint8")
    assert no_reference.measure(flat, flat) == {"dark": 90 / 255, "edges": 0, "gradient": 1, "saturated": 0}


def test_haze_raises_the_dark_channel_and_hides_edges():
    clear = noise(60, 80) // 2
    found = [no_reference.measure((clear * t + 200 * (1 - t)).astype("uint8"), clear) for t in (1.0, 0.6, 0.2)]
    assert found[0]["dark"] < found[1]["dark"] < found[2]["dark"]
    assert found[0]["edges"] > found[1]["edges"] > found[2]["edges"]
    assert 1 == found[0]["gradient"] > found[1]["gradient"] > found[2]["gradient"]
