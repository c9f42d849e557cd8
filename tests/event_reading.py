"""Event files read back with TensorBoard's own reader."""

import os

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.io_wrapper import IsTensorFlowEventsFile

from hazeheal.training.reports.tensorboard import SummaryWriters


def read(directory):
    """Returns {tag: [(step, tensor), ...]} of a folder, as TensorBoard sees it."""
    accumulator = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
    }


def steps(directory, tag="loss"):
    return [step for step, _ in read(directory).get(tag, [])] if directory.exists() else []


def visible(directory):
    """Returns all (folder, tag, step) that TensorBoard shows for a log directory."""
    found = []
    for folder, _, names in sorted(os.walk(directory)):
        if any(IsTensorFlowEventsFile(name) for name in names):
            found += [(folder, tag, step) for tag, events in read(folder).items() for step, _ in events]
    return found


def event_paths(directory):
    return sorted(directory.glob("events.out.tfevents.*"))


def write_run(directory, first, last):
    """A process that writes steps `first` to `last` and goes."""
    writers = SummaryWriters(directory)
    for step in range(first, last + 1):
        writers.scalars("train", {"loss": step + 0.5}, step=step)
    writers.close()
