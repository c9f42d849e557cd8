"""The custom scalars and HParams pages, as TensorBoard's plugins read them and in a browser (slow)."""

import contextlib
import itertools
import json
import re
import subprocess
import sys

import browser
import processes
import pytest
import tiny
from live_page import ALL, LivePage
from scripts import ROOT
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, metadata
from train_calls import flags

from hazeheal import config as configs
from hazeheal.training.reports import accumulators, tags, tensorboard_plugins
from hazeheal.training.step import step

FACTS = {"data_dir": "records/rice1/", "groups": 1, "replicas": 2, "precision": "mixed_bfloat16"}
RATES = {*accumulators.RATES, "skipped_steps", "bad_records"}
QUALITY = {"psnr", "psnr_input", "ssim", "ssim_input"}


def patterns():
    layout = layout_pb2.Layout.FromString(tensorboard_plugins.layout().value[0].tensor.string_val[0])
    charts = [chart for category in layout.category for chart in category.chart]
    assert len({chart.title for chart in charts}) == len(charts)
    return list(itertools.chain.from_iterable(chart.multiline.tag for chart in charts))


def values_of(*overrides, **facts):
    flat = configs.flat(configs.load(["--config=rice1", *(f"--config.{o}" for o in overrides)]))
    return tensorboard_plugins.hyperparameters(flat, FACTS | facts)


def session_of(summary):
    (value,) = summary.value
    return metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)


def test_every_scalar_of_a_run_has_a_chart_and_every_chart_a_scalar():
    training = {name for name in step.METRICS if name != "skipped"} | RATES
    flat = training | QUALITY | {f"val_{name}" for name in step.LOSSES}
    grouped, found = {tags.tag(name) for name in flat}, patterns()
    assert {tag.split("/")[0] for tag in grouped} == {"loss", "quality", "speed", "health"}
    for tag in grouped | flat:  # those of version 0.1 too
        assert any(re.match(pattern, tag) for pattern in found), tag
    for pattern in found:
        assert any(re.match(pattern, tag) for tag in grouped), pattern
    psnr = next(p for p in found if re.match(p, "quality/psnr"))
    assert not re.match(psnr, "quality/psnr_input")


def test_the_table_has_the_fields_that_change_what_is_learned():
    values = values_of("optimizer.learning_rate=0.5", "train.log_every=7 steps", "data.workers=3")
    assert values["optimizer.learning_rate"] == 0.5
    assert (values["data_set"], values["train.precision"], values["replicas"]) == (
        "rice1",
        "mixed_bfloat16",
        2,
    )
    assert values_of(data_dir="runs/mine/tfrecords")["data_set"] == "mine"
    assert values["data.flip"] is True and isinstance(values["model.norm"], str)
    assert values_of("train.log_every=7 steps", "data.workers=3", "samples.count=1") == values_of()
    assert values_of("seed=1") != values_of() != values_of("model.width=8")
    start = session_of(tensorboard_plugins.trial(values, run="runs/mine"))
    assert start.hparams["optimizer.learning_rate"].number_value == 0.5
    assert start.hparams["data.flip"].bool_value is True
    assert len(start.hparams) == len(values)


def test_the_most_important_columns_are_visible_first():
    values = values_of()
    content = tensorboard_plugins.experiment(values).value[0].metadata.plugin_data.content
    experiment = metadata.parse_experiment_plugin_data(content)
    infos = {info.name: info for info in experiment.hparam_infos}
    assert list(infos) == list(values)
    # The plugin's order: fields marked as differing, then by name. Five columns are visible.
    ordered = sorted(infos, key=lambda name: (not infos[name].differs, name))
    assert ordered[:5] == list(tensorboard_plugins.VISIBLE_FIRST) and not infos[ordered[5]].differs
    numbers = {name for name, info in infos.items() if info.type == api_pb2.DATA_TYPE_FLOAT64}
    assert {"optimizer.learning_rate", "model.width", "replicas"} <= numbers
    assert not {"data.flip", "data_set", "model.norm"} & numbers
    names = [(metric.name.group, metric.name.tag) for metric in experiment.metric_infos]
    assert names[0] == ("val", "quality/psnr") and ("val", "loss/gen_l1_loss") in names
    assert [metric.display_name for metric in experiment.metric_infos] == [f[-1] for f in tensorboard_plugins.METRICS]


def test_equal_runs_in_two_directories_are_two_rows(tmp_path):
    names = [session_of(tensorboard_plugins.trial({}, run=tmp_path / place / "run")).group_name for place in ("a", "b")]
    assert names[0] != names[1] and all(re.fullmatch("run-[0-9a-f]{6}", name) for name in names)
    again = session_of(tensorboard_plugins.trial({}, run=tmp_path / "a" / ".." / "a" / "run"))
    assert again.group_name == names[0]


@contextlib.contextmanager
def tensorboard(runs, folder):
    """Runs `launch/tensorboard.sh` on several runs and yields its address."""
    folder.mkdir()
    variables = {"VIRTUAL_ENV": sys.prefix, "HAZEHEAL_SKIP_INSTALL": "1", "TMPDIR": str(folder)}
    script = ["bash", ROOT / "launch/tensorboard.sh", *runs, "--port", "0"]
    with open(folder / "said", "w+", encoding="utf-8") as said:
        server = processes.start(*script, variables=variables, stdout=subprocess.DEVNULL, stderr=said)
        try:
            address = lambda: re.search(r"http://\S+/", (folder / "said").read_text())  # noqa: E731
            processes.wait_for(address, server)
            yield address()[0]
        finally:
            server.terminate()
            server.wait(processes.PATIENCE)
    assert not list(folder.glob("hazeheal-tensorboard.*"))


@pytest.mark.slow
@browser.needed
def test_tensorboard_shows_curves_charts_images_and_the_table(tmp_path):
    data = tiny.data_set(tmp_path)
    for name, rate in (("one", 0.001), ("two", 0.003)):
        arguments = flags(data, tmp_path / name, train__steps=20, optimizer__learning_rate=rate)
        code, _, said = processes.finish(tiny.start(*arguments, "--cpu_replicas=1"))
        assert code == 0, said
    # A curve is visible if its path has several points.
    curves = f"""{ALL}("path.line").filter(e => (e.getAttribute("d") || "").split("L").length > 2).length"""
    runs = [f"{run}/group_00/summaries/{split}" for run in ("one", "two") for split in ("train", "val")]
    with (
        tensorboard([tmp_path / "one", tmp_path / "two"], tmp_path / "server") as address,
        LivePage(tmp_path / "browser") as page,
    ):
        page.show(f"{address}#scalars")
        page.until_text("loss/disc_loss", "health/disc_grad_norm", *runs)
        page.until(f"{curves} >= 2")
        page.show(f"{address}#custom_scalars")
        page.until_text(
            *tensorboard_plugins.CHARTS, "reconstruction (L1)", "loss/gen_l1_loss (one/group_00/summaries/train)"
        )
        page.until_text("loss/gen_l1_loss (two/group_00/summaries/val)")
        page.until(f"{curves} >= 4")
        page.show(f"{address}#images")
        page.until_text("hazy_restored_clear/00", *runs[1::2])
        shown = f"""{ALL}("img, .image, image-card, tf-image-loader *").filter(e => e.naturalWidth > 30).length"""
        page.until(f"{shown} >= 2")
        page.show(f"{address}#hparams")
        # Both runs have a row with their name and the PSNR of the last validation, to five digits.
        psnr = [json.loads((tmp_path / run / "result.json").read_text())["psnr"] for run in ("one", "two")]
        page.until_text("optimizer.learning_rate", "PSNR (dB)", "data_set", "one-", "two-")
        page.until_text(*(f"{value:#.5g}" for value in psnr))
