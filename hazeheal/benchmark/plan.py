"""Selects the measurements for a configuration on a device, and lists those that are not possible.

The functions take the parsed flags of `hazeheal benchmark`.
"""

import argparse
from typing import NamedTuple

from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.errors import UsageError
from hazeheal.models.perceptual import check_perceptual_weights

KINDS = ("input", "step", "loop", "comm", "convert", "restore")
MIN_LOOP_STEPS = 10  # the first call of the loop is not timed
ENCODINGS = ("keep", "jpeg")


class Task(NamedTuple):
    """One measurement of a kind from `KINDS`.

    `of` contains the fields that distinguish its row from the others of its kind, `spec` all arguments of the measurement.
    """

    kind: str
    of: dict
    spec: dict

    def __str__(self):
        return " ".join([self.kind, *(f"{key}={value}" for key, value in self.of.items())])


def check(config: ConfigDict, flags: argparse.Namespace) -> None:
    """Checks everything that needs neither TensorFlow nor the device.

    Raises:
        UsageError: A flag is invalid.
        DataError: The data set is missing or damaged.
    """
    crop, replicas = config.data.crop_size, flags.replicas or [1]
    min_size = max(16, crop)
    if flags.seconds <= 0:
        raise UsageError(f"--seconds={flags.seconds:g} must be greater than 0")
    if min(replicas) < 1:
        raise UsageError(f"--replicas={','.join(map(str, replicas))}: each number must be at least 1")
    for count in replicas:
        configs.check_batch(config, replicas=1 if flags.per_replica else count)
    if flags.data_dir is not None:
        records.load_manifest(flags.data_dir)
        configs.check_crop(config, records.open_split(flags.data_dir, config.data.train_split))
        if "loop" in flags.what and config.data.val_split:
            records.open_split(flags.data_dir, config.data.val_split)
    elif flags.size < min_size:
        raise UsageError(f"--size={flags.size} is smaller than the crop of {crop}; use {min_size} or more")
    if {"step", "loop"} & set(flags.what) and config.loss.perceptual_weight:
        check_perceptual_weights(config.loss.perceptual_weights, config.loss.perceptual_layer)


def make_tasks(
    config: ConfigDict, flags: argparse.Namespace, *, device: dict, data_sets: dict[str, str]
) -> tuple[list[Task], dict[str, str]]:
    """Plans one pass.

    Args:
        config: The configuration.
        flags: What to measure.
        device: Result of `device.measure`.
        data_sets: {name: directory} of the data sets for `input`; the first one is also used for `step` and `loop`.

    Returns:
        (the tasks, {what is left out: why}).

    Raises:
        UsageError: The device does not support what was requested explicitly, or no task remains.
    """
    precisions, left_out = _choose_precisions(flags, device)
    replicas, skipped_replicas = _choose_replicas(config, flags, device)
    left_out |= skipped_replicas
    fields, tasks = config.to_dict(), []
    common = {"config": fields, "cpu": device["kind"] == "CPU"}
    common |= {"seconds": flags.seconds, "rounds": flags.rounds}

    def add(kind, of, **spec):
        if kind in flags.what:
            tasks.append(Task(kind, of, common | of | spec))

    for name, folder in data_sets.items():
        add("input", {"records": name}, data_dir=folder, cpu=True)
    modes = [(precision, xla) for precision in precisions for xla in flags.xla]
    # What training selects, or else the first mode, is measured on several replicas too.
    auto = tuple(device["auto"].values())
    chosen = auto if auto in modes else modes[0]
    runs = [(*mode, replicas[0]) for mode in modes] + [(*chosen, count) for count in replicas[1:]]
    for precision, xla, count in runs:
        batch = config.train.batch_size * (count if flags.per_replica else 1)
        of = {"precision": precision, "xla": xla, "replicas": count, "batch_size": batch}
        with_batch = fields | {"train": fields["train"] | {"batch_size": batch}}
        add("step", of, config=with_batch, data_dir=next(iter(data_sets.values())))
    steps = max(MIN_LOOP_STEPS, round(1000 * flags.seconds * flags.rounds / flags.step_ms))
    for count in replicas:
        batch = config.train.batch_size * (count if flags.per_replica else 1)
        of = {"step_ms": flags.step_ms, "steps": steps, "replicas": count, "batch_size": batch}
        train = fields["train"] | {"batch_size": batch, "epochs": 0.0, "steps": steps}
        data_dir = next(iter(data_sets.values()))
        add("loop", of, config=fields | {"train": train}, data_dir=data_dir, precision=chosen[0], xla="off")
    several = [count for count in replicas if count > 1]
    if "comm" in flags.what and not several:
        left_out["comm"] = "one replica has nothing to reduce"
    for count in several:
        add("comm", {"replicas": count}, precision="float32", xla="off")
    for encoding in ENCODINGS:
        add("convert", {"encoding": encoding, "pairs": flags.pairs, "size": flags.size})
    for precision in precisions:
        add("restore", {"precision": precision, "height": flags.image[0], "width": flags.image[1]})
    if not tasks:
        raise UsageError(f"nothing left to measure: {'; '.join(f'{k}: {v}' for k, v in left_out.items())}")
    return tasks, left_out


def _choose_precisions(flags, device):
    """(precisions to measure, {what is left out: why}). The others are compared with the first one."""
    requested = flags.precision or (*device["precisions"], *device["left_out"])
    left_out = {name: why for name, why in device["left_out"].items() if name in requested}
    chosen = [name for name in requested if name not in left_out]
    if not chosen:
        unsupported = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise UsageError(f"{unsupported}; use --precision={','.join(device['precisions'])}")
    return chosen, left_out


def _choose_replicas(config, flags, device):
    """(numbers of replicas to measure, {what is left out: why})."""
    on_gpus, num_gpus = device["kind"] == "GPU", device["count"]
    if flags.replicas is not None:
        if on_gpus and flags.replicas[-1] > num_gpus:
            raise UsageError(
                f"--replicas={flags.replicas[-1]}: this machine has {num_gpus} GPUs; use at most {num_gpus} replicas"
            )
        return flags.replicas, {}
    largest = num_gpus if on_gpus else min(2, device["cores"])
    chosen, left_out = [], {}
    for count in sorted({2**i for i in range(largest.bit_length())} | {largest}):
        micro_batches = count * config.optimizer.accumulate
        if flags.per_replica or config.train.batch_size % micro_batches == 0:
            chosen.append(count)
        else:
            reason = f"the batch of {config.train.batch_size} cannot be divided among them"
            left_out[f"{count} replicas"] = reason
    return chosen, left_out
