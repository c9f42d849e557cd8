"""TensorBoard's pages "custom scalars" (charts, grouped by subject) and "HParams" (a table that compares runs).

    values = hyperparameters(flat_config, facts)
    writers.write("", [layout(), experiment(values), trial(values, run="runs/mine")], step=0)

The messages are written to the summaries folder itself, above `train` and `val`: HParams looks for the metrics of a
run in the folders below the one that holds its hyperparameters.
"""

import hashlib
import os
import pathlib
from collections.abc import Mapping

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from hazeheal.training.reports import tags

# {category: {chart: names of scalars}}. A name stands for the curves of training and of validation.
CHARTS = {
    "Losses of the generator": {
        "total": ("gen_total_loss",),
        "reconstruction (L1)": ("gen_l1_loss",),
        "adversarial": ("gen_gan_loss",),
        "perceptual": ("gen_perceptual_loss",),
    },
    "Losses of the discriminator": {
        "discriminator": ("disc_loss",),
        "discriminator against generator": ("disc_loss", "gen_gan_loss"),
    },
    "Quality on the validation set": {
        "PSNR in dB, restored and hazy input": ("psnr", "psnr_input"),
        "SSIM, restored and hazy input": ("ssim", "ssim_input"),
    },
    "Speed": {
        "images per second, of the loop and of all the time": ("images_per_second", "images_per_second_wall"),
        "seconds per step": ("step_seconds",),
        "share of the time spent waiting for input": ("input_wait_share",),
        "share of the time outside of the training loop": ("overhead_share",),
    },
    "Health": {
        "gradient norms": ("gen_grad_norm", "disc_grad_norm"),
        "learning rate": ("learning_rate",),
        "non-finite steps, skipped records": ("skipped_steps", "bad_records"),
        "loss scale": ("loss_scale",),
    },
}
# (folder below the summaries, scalar, name in the table). The table shows the newest value.
METRICS = (
    ("val", "psnr", "PSNR (dB)"),
    ("val", "ssim", "SSIM"),
    ("val", "psnr_input", "PSNR of the input (dB)"),
    ("val", "gen_l1_loss", "L1 on validation"),
    ("train", "gen_total_loss", "total loss"),
    ("train", "images_per_second", "images/s"),
)
# The columns that are visible at first. The plugin shows five columns: those marked as differing, by name.
VISIBLE_FIRST = ("data_set", "model.depth", "model.width", "optimizer.learning_rate", "train.batch_size")
# Fields that change what is written, or how fast, but not what is learned.
_NOT_COMPARED = ("data.workers", "data.reader", "data.max_val_pictures", "data.val_tile_size", "samples.", "profile.")
_NOT_COMPARED += ("train.steps_per_loop", "train.xla", "train.keep")
_NOT_COMPARED += ("train.log_every", "train.sample_every", "train.validate_every", "train.save_every")


def layout() -> Summary:
    """Returns the page of charts."""

    def chart(title, names):
        lines = layout_pb2.MultilineChartContent(tag=[tags.pattern(name) for name in names])
        return layout_pb2.Chart(title=title, multiline=lines)

    pages = [
        layout_pb2.Category(title=title, chart=[chart(*entry) for entry in charts.items()])
        for title, charts in CHARTS.items()
    ]
    message = custom_scalar.pb(layout_pb2.Layout(category=pages))  # of TensorFlow's class, unlike the others
    return Summary.FromString(message.SerializeToString())


def hyperparameters(flat: Mapping[str, object], facts: Mapping[str, object]) -> dict[str, bool | float | str]:
    """Returns what distinguishes one run from another, by name.

    Args:
        flat: The configuration, as `config.flat` returns it.
        facts: `data_dir`, `groups`, `replicas` and `precision`, as in status.json.
    """
    values = {name: value for name, value in flat.items() if not name.startswith(_NOT_COMPARED)}
    values |= {
        "train.precision": facts["precision"],  # what `auto` resolved to
        "replicas": facts["replicas"],
        "groups": facts["groups"],
        "data_set": _data_set_name(os.path.abspath(facts["data_dir"])),
    }
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in values.items()
    }


def _data_set_name(path):
    """Returns the name of the directory, or of its parent if the launcher converted the images into it."""
    folder = pathlib.PurePath(path)
    return folder.parent.name if folder.name == "tfrecords" else folder.name


def experiment(values: Mapping[str, bool | float | str]) -> Summary:
    """Returns the columns of the table; `values` are the `hyperparameters` of any run."""
    metrics = [hparams.Metric(tags.tag(name), group=folder, display_name=title) for folder, name, title in METRICS]
    summary = hparams.hparams_config_pb([hparams.HParam(name) for name in values], metrics)
    # The order of the columns and the type of numbers can only be set in the plugin data.
    plugin = summary.value[0].metadata.plugin_data
    data = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
    for info in data.experiment.hparam_infos:
        info.differs = info.name in VISIBLE_FIRST
        if isinstance(values[info.name], int | float) and not isinstance(values[info.name], bool):
            info.type = api_pb2.DATA_TYPE_FLOAT64
    plugin.content = data.SerializeToString()
    return summary


def trial(values: Mapping[str, bool | float | str], *, run: str | os.PathLike) -> Summary:
    """Returns the row of the run in the directory `run`; `values` are its `hyperparameters`."""
    # The path is part of the name: two runs of one name would become one row with the mean of their metrics.
    path = pathlib.Path(run).resolve()
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:6]
    return hparams.hparams_pb(values, trial_id=f"{path.name}-{digest}")
