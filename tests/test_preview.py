"""`hazeheal train --preview`: the first training pairs as an image."""

import numpy as np
import pytest
import tiny
from train_calls import refused

from hazeheal.__main__ import main
from hazeheal.data.images import image_io
from hazeheal.data.pipeline.processor import DehazeDataProcessor
from hazeheal.training.preflight.preview import preview_sheet


def argv(data, path, **overrides):
    return ["train", *tiny.arguments(train__steps=5, **overrides), f"--data_dir={data}", f"--preview={path}"]


def test_preview(data, tmp_path, capsys):
    path, fresh = tmp_path / "fed.png", {"data__fresh_haze__share": 0.5, "data__fresh_haze__share_clear": 0.3}
    assert main(argv(data, path, **fresh)) == 0
    assert capsys.readouterr().out == f"{path}: the first 24 pairs of the run\n"
    image, _ = image_io.load_rgb(path)
    config = tiny.config(train__steps=5, **fresh)
    batches = DehazeDataProcessor.from_config(config, data, split="train").dataset().take(6)
    pairs = [pair for batch in batches.as_numpy_iterator() for pair in zip(batch["hazy"], batch["clear"], strict=True)]
    np.testing.assert_array_equal(image, preview_sheet(pairs))
    assert list(tmp_path.iterdir()) == [path]


def test_the_sheet_has_every_pair():
    pairs = [(np.full((16, 16, 3), n, np.uint8), np.full((16, 16, 3), 100 + n, np.uint8)) for n in range(7)]
    colors = {tuple(pixel) for pixel in preview_sheet(pairs).reshape(-1, 3)}
    assert colors >= {(n, n, n) for n in [*range(7), *range(100, 107)]}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fed.gif", "must be the name of an image file that ends in .png or .jpg"),
        ("there.png", "exists; choose another file name"),
    ],
)
def test_invalid_paths_are_refused(data, tmp_path, capsys, name, said):
    (tmp_path / "there.png").write_bytes(b"existing")
    assert said in refused(capsys, argv(data, tmp_path / name), code=2)
    assert (tmp_path / "there.png").read_bytes() == b"existing"


def test_a_preview_needs_a_data_set_and_a_crop_that_fits(data, tmp_path, capsys):
    without = [a for a in argv(data, tmp_path / "fed.png") if not a.startswith("--data_dir")]
    assert "--data_dir=DIR is needed" in refused(capsys, without, code=2)
    said = refused(capsys, argv(data, tmp_path / "fed.png", data__crop_size=64), code=2)
    assert "crop_size=64 is larger than the smallest image, 40x40" in said
