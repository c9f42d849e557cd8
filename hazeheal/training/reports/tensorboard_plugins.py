"""What TensorBoard shows beyond curves: a page of charts that belong together, and a table that compares runs.

    writers.protos("", [layout(), experiment(fields), trial(fields, run="runs/mine")], step=0)

The messages are TensorBoard's own, of its plugins "custom scalars" and "HParams". They lie in the summaries folder
itself, above `train` and `val`: HParams finds the figures of a run in folders below the one that names its fields.
"""

import hashlib
import os
import pathlib

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

# {page: {chart: tags}}; a tag stands for itself and for its figure on the validation set.
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
        "PSNR in dB, and that of the hazy input": ("psnr", "psnr_input"),
        "SSIM, and that of the hazy input": ("ssim", "ssim_input"),
    },
    "Speed": {
        "images a second": ("images_per_second",),
        "seconds a step": ("step_seconds",),
        "share of the time that waits for input": ("input_wait_share",),
    },
    "Health": {
        "gradient norms": ("gen_grad_norm", "disc_grad_norm"),
        "learning rate": ("learning_rate",),
        "steps that were not finite, records that were left out": ("skipped_steps", "bad_records"),
        "loss scale": ("loss_scale",),
    },
}
# (folder below the summaries, tag, name in the table); the newest value counts.
FIGURES = (
    ("val", "psnr", "PSNR (dB)"),
    ("val", "ssim", "SSIM"),
    ("val", "psnr_input", "PSNR of the input (dB)"),
    ("val", "val_gen_l1_loss", "L1 on validation"),
    ("train", "gen_total_loss", "total loss"),
    ("train", "images_per_second", "images/s"),
)
# The fields whose columns are open at first. The plugin shows five: those that it is told differ, by name.
FIRST = ("data_set", "model.depth", "model.width", "optimizer.learning_rate", "train.batch_size")
# Fields that change what is written or how fast, but not what is learnt.
_NOT_COMPARED = ("data.workers", "data.reader", "data.max_val_pictures", "samples.", "profile.")
_NOT_COMPARED += ("train.steps_per_loop", "train.xla", "train.keep")
_NOT_COMPARED += ("train.log_every", "train.sample_every", "train.validate_every", "train.save_every")


def layout():
    """The page of charts, as a `Summary`."""

    def pattern(tag):  # matched from the start of a tag
        return f"(val_)?{tag}$"

    def chart(title, tags):
        lines = layout_pb2.MultilineChartContent(tag=[pattern(tag) for tag in tags])
        return layout_pb2.Chart(title=title, multiline=lines)

    pages = [
        layout_pb2.Category(title=title, chart=[chart(*entry) for entry in charts.items()])
        for title, charts in CHARTS.items()
    ]
    message = custom_scalar.pb(layout_pb2.Layout(category=pages))  # of TensorFlow's class, unlike the others
    return Summary.FromString(message.SerializeToString())


def fields(flat, facts) -> dict:
    """What tells one run from another: {name: bool, number or text}.

    Args:
        flat: The configuration, as `config.flat` gives it.
        facts: {'data_dir', 'groups', 'replicas', 'precision': value}, as status.json has them.
    """
    chosen = {k: v for k, v in flat.items() if not k.startswith(_NOT_COMPARED)}
    # What `auto` has come to.
    chosen |= {
        "train.precision": facts["precision"],
        "replicas": facts["replicas"],
        "groups": facts["groups"],
    }
    chosen["data_set"] = _name(os.path.abspath(facts["data_dir"]))
    return {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in chosen.items()}


def _name(path):
    """A data set's name: its folder's, or where the launcher has converted, that of the folder above."""
    folder = pathlib.PurePath(path)
    return folder.parent.name if folder.name == "tfrecords" else folder.name


def experiment(values):
    """Which fields and figures the table has, as a `Summary`; `values` are some run's `fields`."""
    metrics = [hparams.Metric(tag, group=folder, display_name=name) for folder, tag, name in FIGURES]
    summary = hparams.hparams_config_pb([hparams.HParam(name) for name in values], metrics)
    # What the API of summaries does not offer: the order, and that numbers lie on an axis of their own.
    plugin = summary.value[0].metadata.plugin_data
    told = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
    for info in told.experiment.hparam_infos:
        info.differs = info.name in FIRST
        if isinstance(values[info.name], int | float) and not isinstance(values[info.name], bool):
            info.type = api_pb2.DATA_TYPE_FLOAT64
    plugin.content = told.SerializeToString()
    return summary


def trial(values, *, run):
    """The row of the run in the directory `run`, as a `Summary`; `values` are its `fields`."""
    # By its place, too: two runs with equal fields would become one row with the mean of their figures.
    path = pathlib.Path(run).resolve()
    place = hashlib.sha256(os.fsencode(path)).hexdigest()[:6]
    return hparams.hparams_pb(values, trial_id=f"{path.name}-{place}")
