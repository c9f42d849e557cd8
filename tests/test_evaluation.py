"""Scores compared with scikit-image and with BasicSR's definitions; rows and summaries."""

import math
import types

import numpy as np
import pytest
from scipy.signal import correlate2d
from skimage import color
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from test_metrics import noise, noisy, scene

from hazeheal.errors import HazeHealError
from hazeheal.evaluation import evaluate, no_reference, results, scores, strips

FIXED = {
    "a little noise": (scene(40, 53), noisy(scene(40, 53))),
    "haze": (scene(31, 24), (scene(31, 24) * 0.6 + 90).astype("uint8")),
    "unrelated": (noise(20, 37), scene(20, 37)),
}


def basicsr_y(image):
    """`to_y_channel`: weighted sum of BGR in [0, 1] as float32, scaled to [0, 255]."""
    bgr = image[..., ::-1].astype(np.float32) / 255.0
    y = (np.dot(bgr, [24.966, 128.553, 65.481]) + 16.0) / 255.0
    return y.astype(np.float32)[..., None] * 255.0


def basicsr_psnr(a, b):
    """`calculate_psnr` with crop_border=0."""
    mse = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return 10.0 * np.log10(255.0 * 255.0 / mse)


def basicsr_ssim(a, b):
    """`calculate_ssim` with crop_border=0: cv2.getGaussianKernel(11, 1.5), filter2D, [5:-5, 5:-5], mean of channels."""
    line = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    kernel = np.outer(line / line.sum(), line / line.sum())
    c1, c2, found = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []
    for x, y in zip(*(np.moveaxis(p.astype(np.float64), -1, 0) for p in (a, b)), strict=True):
        mu1, mu2, xx, yy, xy = (correlate2d(z, kernel, "valid") for z in (x, y, x * x, y * y, x * y))
        s1, s2, s12 = xx - mu1**2, yy - mu2**2, xy - mu1 * mu2
        found.append(((2 * mu1 * mu2 + c1) * (2 * s12 + c2) / ((mu1**2 + mu2**2 + c1) * (s1 + s2 + c2))).mean())
    return np.mean(found)


@pytest.mark.parametrize("name", FIXED)
def test_scores_are_those_of_basicsr(name):
    a, b = FIXED[name]
    found = scores.score(a, b)
    assert found["psnr"] == pytest.approx(basicsr_psnr(a, b), abs=1e-9)
    assert found["ssim"] == pytest.approx(basicsr_ssim(a, b), abs=1e-9)
    # BasicSR computes Y in float32.
    assert found["psnr_y"] == pytest.approx(basicsr_psnr(basicsr_y(a), basicsr_y(b)), abs=1e-4)
    assert found["ssim_y"] == pytest.approx(basicsr_ssim(basicsr_y(a), basicsr_y(b)), abs=1e-6)


@pytest.mark.parametrize("name", FIXED)
def test_scores_are_those_of_scikit_image(name):
    a, b = FIXED[name]
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    y_a, y_b = (color.rgb2ycbcr(x)[..., 0] for x in (a, b))
    wanted = {
        "psnr": peak_signal_noise_ratio(a, b, data_range=255),
        "ssim": structural_similarity(a, b, channel_axis=-1, **settings),
        "psnr_y": peak_signal_noise_ratio(y_a, y_b, data_range=255),
        "ssim_y": structural_similarity(y_a, y_b, **settings),
        "ciede2000": color.deltaE_ciede2000(color.rgb2lab(a), color.rgb2lab(b)).mean(),
    }
    assert scores.score(a, b) == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("size", [(163, 57), (12, 90), (11, 40), (10, 41), (1, 30), (40, 3)])
@pytest.mark.parametrize("pixels", [1, 700, 4000])
def test_strips_give_the_scores_of_the_whole_image(monkeypatch, size, pixels):
    clear = scene(*size)
    image = noisy(clear)
    wanted = scores.score(image, clear)
    if min(size) >= 11:
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
        assert wanted["ssim"] == pytest.approx(
            structural_similarity(image, clear, channel_axis=-1, **settings), abs=1e-9
        )
    monkeypatch.setattr(strips, "STRIP", pixels)
    assert scores.score(image, clear) == pytest.approx(wanted, abs=1e-10)


def test_equal_images_count_100_db():
    a = scene(20, 20)
    wanted = {"psnr": 100, "ssim": 1, "psnr_y": 100, "ssim_y": 1, "ciede2000": 0}
    assert scores.score(a, a) == pytest.approx(wanted, abs=1e-12)


def pair(key, hazy, clear):
    return types.SimpleNamespace(key=key, hazy=f"{key}.png", clear=f"{key}.jpg", load=lambda: (hazy, clear))


def halfway(image):
    """A method that moves an image halfway to gray."""
    return (image // 2 + 64).astype("uint8")


def keep(pair, name, image):
    return pair.key, name, image.copy()


def test_rows_contain_every_method_in_order():
    pairs = [pair("a", scene(20, 31), noisy(scene(20, 31))), pair("b", noise(15, 12), scene(15, 12))]
    methods = {"input": evaluate.unchanged, "halfway": halfway}
    (first, _), (second, kept) = evaluate.evaluate(pairs, methods, keep=keep)
    assert {k: v for k, v in first.items() if k != "scores"} == {
        "key": "a",
        "hazy": "a.png",
        "clear": "a.jpg",
        "width": 31,
        "height": 20,
    }
    assert list(first["scores"]) == ["input", "halfway"]
    hazy, clear = pairs[1].load()
    assert second["scores"] == {
        "input": scores.score(hazy, clear),
        "halfway": scores.score(halfway(hazy), clear),
    }
    assert list(kept) == ["input", "halfway", "clear"]
    for name, image in {"input": hazy, "halfway": halfway(hazy), "clear": clear}.items():
        assert kept[name][:2] == ("b", name)
        np.testing.assert_array_equal(kept[name][2], image)


def test_rows_without_ground_truth():
    hazy = scene(20, 31)
    methods = {"input": evaluate.unchanged, "halfway": halfway}
    ((row, kept),) = evaluate.evaluate([pair("a", hazy, None)], methods, keep=keep)
    assert list(row) == ["key", "hazy", "width", "height", "scores"] and list(kept) == ["input", "halfway"]
    assert row["scores"]["halfway"] == no_reference.measure(halfway(hazy), hazy)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (lambda x: x[1:], r"bad returned uint8 \[19, 20, 3\] for an image of uint8 \[20, 20, 3\]"),
        (lambda x: x / 255, r"bad returned float64 \[20, 20, 3\]"),
    ],
)
def test_a_method_must_keep_shape_and_dtype(method, said):
    with pytest.raises(HazeHealError, match=said):
        list(evaluate.evaluate([pair("a", scene(20, 20), scene(20, 20))], {"input": evaluate.unchanged, "bad": method}))


def rows():
    """Three images; the method gains 2, 4 and -3 dB, and its colors are better in one."""
    figures = [((20, 6), (22, 5)), ((10, 3), (14, 7)), ((15, 4), (12, 9))]
    made = []
    for i, ((psnr, delta_e), (psnr_after, color_after)) in enumerate(figures):
        before = {"psnr": psnr, "ssim": 0.5, "psnr_y": 0.0, "ssim_y": 0.0, "ciede2000": delta_e}
        after = before | {"psnr": psnr_after, "ciede2000": color_after}
        made.append(
            {
                "key": f"k{i}",
                "hazy": "h",
                "clear": "c",
                "width": 4,
                "height": 3,
                "scores": {"input": before, "mine": after},
            }
        )
    return made


def test_summary():
    summary = results.summarize(rows())
    assert "gain" not in summary["input"]["psnr"]
    psnr = summary["mine"]["psnr"]
    assert psnr["mean"] == pytest.approx(16)
    assert psnr["std"] == pytest.approx(np.std([22, 14, 12]))
    assert (psnr["min"], psnr["median"], psnr["max"]) == (12, 14, 22)
    assert psnr["gain"] == pytest.approx(1)
    assert psnr["gain_stderr"] == pytest.approx(np.std([2, 4, -3], ddof=1) / math.sqrt(3))
    assert psnr["better_than_input"] == 2
    colors = summary["mine"]["ciede2000"]
    assert (colors["gain"], colors["better_than_input"]) == (pytest.approx((7 + 5 + 9 - 13) / 3), 1)
    assert summary["mine"]["ssim"]["better_than_input"] == 0  # equal is not better
    assert results.summarize(rows()[:1])["mine"]["psnr"]["gain_stderr"] is None


def test_csv_and_table():
    lines = results.to_csv(rows()).splitlines()
    assert lines[0].startswith(
        "key,hazy,clear,width,height,input_psnr,input_ssim,input_psnr_y,input_ssim_y,input_ciede2000,mine_psnr"
    )
    assert lines[2] == "k1,h,c,4,3,10,0.5,0.0,0.0,3,14,0.5,0.0,0.0,7"
    table = results.table(results.summarize(rows()), count=3).splitlines()
    assert table[0].split()[:2] == ["PSNR", "SSIM"]
    assert table[2].split() == ["mine", "16.00", "0.5000", "0.00", "0.0000", "7.00", "2", "of", "3"]


def test_one_method_against_another():
    compared = results.compare(rows(), "mine", against="input")
    summary = results.summarize(rows())["mine"]
    for metric, found in compared.items():
        assert found["gain"] == summary[metric]["gain"] and found["better"] == summary[metric]["better_than_input"]
    other = results.compare(rows(), "input", against="mine")["psnr"]
    assert (other["gain"], other["better"]) == (pytest.approx(-1), 1)
    line = results.comparison_line("mine", "input", compared, count=3)
    assert line == "mine against input: +1.00 dB PSNR (standard error 2.08), better on 2 of 3"
    assert results.compare(rows()[:1], "mine", against="input")["psnr"]["gain_stderr"] is None
