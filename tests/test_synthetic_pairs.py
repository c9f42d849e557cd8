"""Synthetic pairs: reproducible, complete on disk, and with haze that is worth removing."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.data.synthesis.scenes import KINDS, make_scene
from hazeheal.errors import UsageError

# Means of the quarters of hazy and of clear image 0, size 64, seed 7.
EXPECTED_MEANS = [[[179.7, 182.0], [156.4, 173.4]], [[117.4, 121.3], [87.7, 111.9]]]


@pytest.fixture(scope="module")
def pairs():
    return [synthetic_pairs.make_pair(index) for index in range(16)]


def test_pairs_depend_on_index_and_seed_alone(pairs):
    again = synthetic_pairs.make_pair(3)
    for image, before in zip(again, pairs[3], strict=True):
        assert image.dtype == np.uint8 and image.shape == (160, 160, 3)
        np.testing.assert_array_equal(image, before)
    clears = {clear.tobytes() for _, clear in pairs} | {synthetic_pairs.make_pair(3, seed=1)[1].tobytes()}
    assert len(clears) == len(pairs) + 1


def test_another_process_makes_the_same_pixels(pairs):
    code = "import sys; from hazeheal.data.synthesis.synthetic_pairs import make_pair; sys.stdout.buffer.write(make_pair(5)[0])"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert made == pairs[5][0].tobytes()


def test_pixels_are_those_of_this_version():
    """Coarse means, as the last bits differ between processors; changed pixels need a new VERSION."""
    hazy, clear = synthetic_pairs.make_pair(0, size=64, seed=7)
    means = [image.reshape(2, 32, 2, 32, 3).mean((1, 3, 4)).round(1).tolist() for image in (hazy, clear)]
    assert synthetic_pairs.VERSION == 2
    np.testing.assert_allclose(means, EXPECTED_MEANS, atol=0.3)


def test_haze_is_dense_but_not_opaque(pairs):
    psnr = np.array([peak_signal_noise_ratio(clear, hazy) for hazy, clear in pairs])
    assert psnr.min() > 10 and psnr.max() < 18.2
    assert psnr.std() > 1, "all pairs have the same haze"
    shares = []
    for hazy, clear in pairs:
        hazy, clear = hazy.astype(float), clear.astype(float)
        # The detail that comes through is the transmission: fine differences of hazy against those of clear.
        fine = [np.abs(np.diff(image.mean(2), axis=1)) for image in (hazy, clear)]
        blocks = [f[:, :159].reshape(4, 40, 159)[:, :, :156].reshape(4, 40, 4, 39).sum((1, 3)) for f in fine]
        transmission = blocks[0] / blocks[1]
        assert transmission.min() > synthetic_pairs.MIN_TRANSMISSION - 0.05, "opaque"
        assert (hazy - clear).mean() > 5, "haze does not brighten"
        shares.append(transmission.max() - transmission.min())
    assert np.median(shares) > 0.1, "the haze is uniform"


def test_inverting_the_model_gives_the_clear_image(monkeypatch):
    """The pair follows the scattering model with the maps that were drawn."""
    maps = {}
    real = synthetic_pairs.add_haze
    monkeypatch.setattr(synthetic_pairs, "add_haze", lambda clear, **drawn: maps.update(drawn) or real(clear, **drawn))
    hazy, clear = synthetic_pairs.make_pair(2)
    t = np.exp(-maps["beta"] * maps["depth"].astype(float))[..., None]
    restored = (hazy / 255 - maps["airlight"] * (1 - t)) / t
    assert peak_signal_noise_ratio(clear / 255, restored.clip(0, 1), data_range=1) > 40


def test_scenes_hold_detail_at_every_scale_and_color(pairs):
    detail, saturation = [], []
    for _, clear in pairs:
        gray, bands = clear.mean(2), []
        for _ in range(4):
            smaller = gray[: len(gray) // 2 * 2, : len(gray) // 2 * 2].reshape(len(gray) // 2, 2, -1, 2).mean((1, 3))
            bands.append(float((gray - smaller.repeat(2, 0).repeat(2, 1)).std()))
            gray = smaller
        detail.append(bands)
        saturation.append(float((clear.max(2).astype(int) - clear.min(2)).mean()))
        assert clear.std() > 12
    assert (np.median(detail, axis=0) > 4).all(), np.median(detail, axis=0)
    assert np.median(saturation) > 20


@pytest.mark.parametrize("size", [16, 17, 48, 201])
def test_sizes(size):
    hazy, clear = synthetic_pairs.make_pair(1, size=size)
    assert hazy.shape == clear.shape == (size, size, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_scene(kind, monkeypatch):
    class Rng(np.random.Generator):
        def choice(self, a, *args, **kwargs):
            return kind if a is KINDS else super().choice(a, *args, **kwargs)

    for seed in range(4):
        scene = make_scene(Rng(np.random.PCG64(seed)), 48)
        assert scene.shape == (48, 48, 3) and scene.dtype == np.float32
        assert scene.min() >= 0 and scene.max() <= 1 and scene.std() > 0.02


@pytest.mark.parametrize("wrong", [{"index": -1}, {"size": 15}, {"seed": -1}])
def test_make_pair_refuses_bad_numbers(wrong):
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}=.* must be"):
        synthetic_pairs.make_pair(**({"index": 0} | wrong))


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_dataset_is_written_completed_and_left_unchanged(tmp_path, monkeypatch):
    folder = tmp_path / "a set"
    synthetic_pairs.write_dataset(folder, pairs=3, size=32, progress=False)
    assert names(folder) == [
        *(f"{kind}/{i:04d}.png" for kind in ("GT", "hazy") for i in range(3)),
        "synthetic.json",
    ]
    hazy, clear = synthetic_pairs.make_pair(2, size=32)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "hazy/0002.png")), hazy)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "GT/0002.png")), clear)

    made = []
    real = synthetic_pairs.make_pair
    monkeypatch.setattr(synthetic_pairs, "make_pair", lambda i, **k: made.append(i) or real(i, **k))
    synthetic_pairs.write_dataset(folder, pairs=3, size=32, progress=False)
    assert made == []
    (folder / "GT/0001.png").unlink()
    synthetic_pairs.write_dataset(folder, pairs=3, size=32, progress=False)
    assert made == [1]
    assert len(names(folder)) == 7
    (folder / "hazy/0000.png").unlink()  # lost after it was complete
    synthetic_pairs.write_dataset(folder, pairs=3, size=32, progress=False)
    assert made == [1, 0]
    assert len(names(folder)) == 7


def test_a_dataset_never_mixes_with_another(tmp_path):
    synthetic_pairs.write_dataset(tmp_path / "set", pairs=1, size=16, progress=False)
    for other in ({"pairs": 2}, {"size": 17}, {"seed": 1}):
        with pytest.raises(UsageError, match="other settings"):
            synthetic_pairs.write_dataset(tmp_path / "set", **({"pairs": 1, "size": 16} | other), progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        synthetic_pairs.write_dataset(tmp_path / "mine", pairs=1, size=16)
    assert names(tmp_path / "mine") == ["thesis.txt"]
    with pytest.raises(UsageError, match="pairs=0 must be 1 or more"):
        synthetic_pairs.write_dataset(tmp_path / "none", pairs=0)
    with pytest.raises(UsageError, match="size=3 must be 16 or more"):
        synthetic_pairs.write_dataset(tmp_path / "none", size=3)
    assert not (tmp_path / "none").exists()


def test_command_line(tmp_path, capsys):
    flags = [f"--output_dir={tmp_path / 'set'}", "--pairs=2", "--size=16", "--seed=4"]
    assert synthetic_pairs.main(flags) == 0
    assert json.loads((tmp_path / "set/synthetic.json").read_text()) == {
        **{"version": synthetic_pairs.VERSION, "pairs": 2, "size": 16, "seed": 4}
    }
    assert "2 of 2 synthetic pairs" in capsys.readouterr().err
    assert synthetic_pairs.main([*flags, "--size=5"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert synthetic_pairs.main([f"--output_dir={tmp_path / 'set/synthetic.json/x'}", "--pairs=1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
