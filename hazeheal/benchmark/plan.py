"""Selects the measurements for a configuration on a device, and lists those that are not possible."""

import dataclasses

from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.errors import UsageError
from hazeheal.models.perceptual import check_perceptual_weights

KINDS = ("input", "step", "comm", "convert", "restore")
ENCODINGS = ("keep", "jpeg")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure.

    Attributes:
        what: Kinds of measurements, from `KINDS`.
        data_dir: A data set for `input` and `step`; None for synthetic pairs.
        cpu: Whether not to use the GPUs.
        replicas: Numbers of replicas, ascending; None for 1, 2, 4, ... and all GPUs, or for 1 and 2 on CPUs.
        per_replica: Whether the configuration's batch is the share of each replica instead of the global batch.
        precisions: Precisions to measure; None for all that the device supports.
        xla: Settings of XLA, from `off` and `on`.
        seconds: Duration of a round.
        rounds: Rounds in a process.
        passes: Passes over all processes.
        pairs: Number of synthetic pairs to convert.
        size: Side of the synthetic images in pixels.
        image: (height, width) of the image to restore.
    """

    what: tuple[str, ...] = KINDS
    data_dir: str | None = None
    cpu: bool = False
    replicas: tuple[int, ...] | None = None
    per_replica: bool = False
    precisions: tuple[str, ...] | None = None
    xla: tuple[str, ...] = ("off", "on")
    seconds: float = 1.0
    rounds: int = 3
    passes: int = 1
    pairs: int = 256
    size: int = 160
    image: tuple[int, int] = (412, 550)


@dataclasses.dataclass(frozen=True)
class Task:
    """One measurement.

    Attributes:
        kind: From `KINDS`.
        of: The fields that distinguish its row from the others of its kind.
        spec: Further arguments of the measurement.
    """

    kind: str
    of: dict
    spec: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        return " ".join([self.kind, *(f"{key}={value}" for key, value in self.of.items())])


def check(config: ConfigDict, options: Options) -> None:
    """Checks everything that needs neither TensorFlow nor the device.

    Raises:
        UsageError: An option is invalid.
        DataError: The data set is missing or damaged.
    """
    crop, replicas = config.data.crop_size, options.replicas or (1,)
    min_size = max(16, crop)
    if options.seconds <= 0:
        raise UsageError(f"--seconds={options.seconds:g} must be greater than 0")
    if options.pairs < 3:
        raise UsageError(
            f"--pairs={options.pairs} is too small to separate the start time; use at least 3 pairs"
        )
    if min(replicas) < 1:
        raise UsageError(f"--replicas={','.join(map(str, replicas))}: each number must be at least 1")
    for count in replicas:
        configs.check_batch(config, replicas=1 if options.per_replica else count)
    if options.data_dir is not None:
        records.load_manifest(options.data_dir)
        configs.check_crop(config, records.open_split(options.data_dir, config.data.train_split))
    elif options.size < min_size:
        raise UsageError(f"--size={options.size} is smaller than the crop of {crop}; use {min_size} or more")
    if "step" in options.what and config.loss.perceptual_weight:
        check_perceptual_weights(config.loss.perceptual_weights, config.loss.perceptual_layer)


def make_tasks(
    config: ConfigDict, options: Options, *, device: dict, data_sets: dict[str, str]
) -> tuple[list[Task], dict[str, str]]:
    """Plans one pass.

    Args:
        config: A configuration as `hazeheal.config.load` returns it.
        options: What to measure.
        device: Result of `device.measure`.
        data_sets: {name: directory} of the data sets for `input`; the first one is also used for `step`.

    Returns:
        (the tasks, {what is left out: why}).

    Raises:
        UsageError: The device does not support what was requested explicitly, or no task remains.
    """
    precisions, left_out = _choose_precisions(options, device)
    replicas, skipped_replicas = _choose_replicas(config, options, device)
    left_out |= skipped_replicas
    fields = config.to_dict()
    common = {"config": fields, "cpu": device["kind"] == "CPU"}
    tasks = []
    if "input" in options.what:
        for name, folder in data_sets.items():
            tasks.append(Task("input", {"records": name}, common | {"cpu": True, "data_dir": folder}))
    modes = [(precision, xla) for precision in precisions for xla in options.xla]
    # What training selects, or else the first mode, is measured on several replicas too.
    auto = tuple(device["auto"].values())
    chosen = auto if auto in modes else modes[0]
    runs = [(*mode, replicas[0]) for mode in modes] + [(*chosen, count) for count in replicas[1:]]
    for number, (precision, xla, count) in enumerate(runs if "step" in options.what else ()):
        batch = config.train.batch_size * (count if options.per_replica else 1)
        of = {"precision": precision, "xla": xla, "replicas": count, "batch_size": batch}
        spec = {"data_dir": next(iter(data_sets.values())), "flops": number == 0}
        spec["config"] = fields | {"train": fields["train"] | {"batch_size": batch}}
        tasks.append(Task("step", of, common | spec))
    if "comm" in options.what:
        several = [count for count in replicas if count > 1]
        if not several:
            left_out["comm"] = "one replica has nothing to reduce"
        for count in several:
            spec = {"precision": "float32", "xla": "off"}
            tasks.append(Task("comm", {"replicas": count}, common | spec))
    if "convert" in options.what:
        for encoding in ENCODINGS:
            tasks.append(
                Task("convert", {"encoding": encoding, "pairs": options.pairs, "size": options.size})
            )
    if "restore" in options.what:
        for precision in precisions:
            of = {"precision": precision, "height": options.image[0], "width": options.image[1]}
            tasks.append(Task("restore", of, common))
    if not tasks:
        raise UsageError(f"nothing left to measure: {'; '.join(f'{k}: {v}' for k, v in left_out.items())}")
    return tasks, left_out


def _choose_precisions(options, device):
    """(precisions to measure, {what is left out: why}). The others are compared with the first one."""
    requested = options.precisions or (*device["precisions"], *device["left_out"])
    left_out = {name: why for name, why in device["left_out"].items() if name in requested}
    chosen = tuple(name for name in requested if name not in left_out)
    if not chosen:
        unsupported = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise UsageError(f"{unsupported}; use --precision={','.join(device['precisions'])}")
    return chosen, left_out


def _choose_replicas(config, options, device):
    """(numbers of replicas to measure, {what is left out: why})."""
    on_gpus = device["kind"] == "GPU"
    if options.replicas is not None:
        if on_gpus and options.replicas[-1] > device["count"]:
            raise UsageError(
                f"--replicas={options.replicas[-1]}: this machine has {device['count']} GPUs; use at most "
                f"{device['count']} replicas"
            )
        return options.replicas, {}
    largest = device["count"] if on_gpus else min(2, device["cores"])
    chosen, left_out = [], {}
    for count in sorted({2**i for i in range(largest.bit_length())} | {largest}):
        micro_batches = count * config.optimizer.accumulate
        if options.per_replica or config.train.batch_size % micro_batches == 0:
            chosen.append(count)
        else:
            reason = f"the batch of {config.train.batch_size} cannot be divided among them"
            left_out[f"{count} replicas"] = reason
    return tuple(chosen), left_out
