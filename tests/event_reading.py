"""Event files read back with TensorBoard's own readers."""

import argparse
import contextlib
import pathlib
import time

import tensorflow as tf
from processes import PATIENCE
from tensorboard.backend.event_processing.data_ingester import LocalDataIngester
from tensorboard.backend.event_processing.io_wrapper import IsTensorFlowEventsFile
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.context import RequestContext
from tensorboard.data import server_ingester
from tensorboard.plugins.core.core_plugin import CorePluginLoader
from tensorboard.util.grpc_util import ChannelCredsType

from hazeheal.training.reports.tensorboard import SummaryWriters


def read(directory):
    """Returns {tag: [(step, tensor), ...]} of a folder, without superseded steps."""
    accumulator = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
    }


def steps(directory, tag="loss"):
    """Returns the steps of a tag in the order in which TensorBoard reads them."""
    return [step for step, _ in read(directory).get(tag, [])] if directory.exists() else []


def folders(directory):
    """Returns `directory` and its subfolders that TensorBoard finds event files in."""
    paths = pathlib.Path(directory).rglob("*")
    return sorted({path.parent for path in paths if IsTensorFlowEventsFile(path.name) and path.is_file()})


def event_paths(directory):
    return sorted(directory.glob("events.out.tfevents.*"))


def write_run(directory, first, last):
    """Writes the steps `first` to `last`, like a process that is then killed."""
    writers = SummaryWriters(directory)
    for step in range(first, last + 1):
        writers.scalars("train", {"loss": step + 0.5}, step=step)


def python_backend(directory):
    """Returns the data provider of `tensorboard --load_fast=false`, which has read `directory`."""
    parser = argparse.ArgumentParser()
    CorePluginLoader().define_flags(parser)
    flags = ["--load_fast=false", "--reload_interval=0", "--reload_task=blocking"]
    flags = parser.parse_args([f"--logdir={directory}", *flags])
    CorePluginLoader().fix_flags(flags)
    ingester = LocalDataIngester(flags)
    ingester.start()
    return ingester.data_provider


@contextlib.contextmanager
def rust_backend(directory):
    """Yields the data provider of `tensorboard` without flags. Its server rereads `directory` every second."""
    binary = server_ingester.get_server_binary()
    ingester = server_ingester.SubprocessServerDataIngester(
        binary, str(directory), reload_interval=1, channel_creds_type=ChannelCredsType.LOCAL
    )
    ingester.start()
    try:
        yield ingester.data_provider
    finally:
        ingester._stdin_handle.close()  # the server exits


def displayed(provider):
    """Returns {(run, tag): [step, ...]} of all scalars and images that the web pages show."""
    options = {"experiment_id": "", "downsample": 1000}
    scalars = provider.read_scalars(RequestContext(), plugin_name="scalars", **options)
    images = provider.read_blob_sequences(RequestContext(), plugin_name="images", **options)
    return {
        (run, tag): [datum.step for datum in data]
        for runs in (scalars, images)
        for run, tags in runs.items()
        for tag, data in tags.items()
    }


def displayed_by_both(directory):
    """Returns what both backends of TensorBoard show. The server reads in the background, so its result is polled."""
    python = displayed(python_backend(directory))
    with rust_backend(directory) as provider:
        end = time.monotonic() + PATIENCE
        while (rust := displayed(provider)) != python:
            assert time.monotonic() < end, (rust, python)
            time.sleep(0.1)
    return python
