"""`hazeheal train --plot_models`: diagrams of the networks, or one line that says what is missing."""

import subprocess

import pytest
import tiny
from train_calls import RUN, refused

from hazeheal.__main__ import main
from hazeheal.data.images import image_io


def graphviz_works():
    try:
        return subprocess.run(["dot", "-V"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_plot_models(tmp_path, capsys):
    pytest.importorskip("pydot")
    if not graphviz_works():
        pytest.skip("Graphviz is not installed")
    argv = ["train", *tiny.arguments(**RUN), f"--workdir={tmp_path / 'plots'}", "--plot_models"]
    assert main(argv) == 0
    paths = [tmp_path / "plots" / f"{name}_model.png" for name in ("generator", "discriminator")]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in paths]
    for path in paths:
        image, kept = image_io.load_rgb(path)
        assert kept.format == "png"
        assert min(image.shape[:2]) > 200
        assert image.std() > 10


def test_plot_models_without_graphviz(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    argv = ["train", *tiny.arguments(**RUN), f"--workdir={tmp_path / 'plots'}", "--plot_models"]
    said = refused(capsys, argv, code=1)
    assert said.startswith("--plot_models needs pydot (pip install 'hazeheal[plots]') and Graphviz")
    assert not list((tmp_path / "plots").glob("*"))


def test_plot_models_where_nothing_can_be_written(capsys):
    pytest.importorskip("pydot")
    said = refused(capsys, ["train", *tiny.arguments(**RUN), "--workdir=/dev/null/plots", "--plot_models"], code=1)
    assert "/dev/null/plots/generator_model.png cannot be written" in said
