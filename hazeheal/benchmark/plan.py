"""Which measurements are made of a configuration on a device, and which cannot be."""

import dataclasses

from hazeheal import config as configs
from hazeheal.data import records
from hazeheal.errors import UsageError
from hazeheal.models.perceptual import check_perceptual_weights

KINDS = ("input", "step", "comm", "convert", "restore")
ENCODINGS = ("keep", "jpeg")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is measured.

    Attributes:
        what: Of `KINDS`.
        data_dir: A data set for `input` and `step`; None: pairs are made by rule.
        cpu: Leave the GPUs alone.
        replicas: Numbers of replicas, ascending; None: 1, 2, 4, ... and all GPUs, or 1 and 2 on CPUs.
        per_replica: The configuration's batch is each replica's share, and not the global batch.
        precisions: None: all that the device has.
        xla: Of `off` and `on`.
        seconds, rounds, passes: Of a round; in a process; over all processes.
        pairs, size: Of the images by rule: how many are converted, and their side.
        image: (height, width) of the image that is restored.
    """

    what: tuple = KINDS
    data_dir: str | None = None
    cpu: bool = False
    replicas: tuple | None = None
    per_replica: bool = False
    precisions: tuple | None = None
    xla: tuple = ("off", "on")
    seconds: float = 1.0
    rounds: int = 3
    passes: int = 1
    pairs: int = 256
    size: int = 160
    image: tuple = (412, 550)


@dataclasses.dataclass(frozen=True)
class Task:
    """One measurement.

    Attributes:
        kind: Of `KINDS`.
        of: What tells its row from the others of its kind.
        spec: What else the measurement is told.
    """

    kind: str
    of: dict
    spec: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        return " ".join([self.kind, *(f"{key}={value}" for key, value in self.of.items())])


def check(config, options: Options) -> None:
    """Checks all that needs neither TensorFlow nor the device.

    Raises:
        UsageError: A value cannot be meant.
        DataError: The data set is missing or damaged.
    """
    crop, replicas = config.data.crop_size, options.replicas or (1,)
    least = max(16, crop)
    if options.seconds <= 0:
        raise UsageError(f"--seconds={options.seconds:g} leaves no time to measure in; give more than 0")
    if options.pairs < 3:
        raise UsageError(f"--pairs={options.pairs} cannot tell the start from the work; give 3 or more")
    if min(replicas) < 1:
        raise UsageError(f"--replicas={','.join(map(str, replicas))}: each must be 1 or more")
    for count in replicas:
        configs.check_batch(config, replicas=1 if options.per_replica else count)
    if options.data_dir is not None:
        records.load_manifest(options.data_dir)
        configs.check_crop(config, records.open_split(options.data_dir, config.data.train_split))
    elif options.size < least:
        raise UsageError(f"--size={options.size} is smaller than the crop of {crop}; give {least} or more")
    if "step" in options.what and config.loss.perceptual_weight:
        check_perceptual_weights(config.loss.perceptual_weights, config.loss.perceptual_layer)


def make(config, options: Options, *, device: dict, data_sets: dict) -> tuple[list, dict]:
    """Plans one pass.

    Args:
        config: A configuration, as `hazeheal.config.load` returns it.
        options: What was asked for.
        device: What `device.measure` returned.
        data_sets: {name: directory} of the data sets for `input`; the first one serves `step` too.

    Returns:
        (list of `Task`, {what is left out: why}).

    Raises:
        UsageError: The device does not have what was asked for by name, or nothing is left.
    """
    precisions, left_out = choose_precisions(options, device)
    replicas, refused = choose_replicas(config, options, device)
    left_out |= refused
    fields = config.to_dict()
    common = {"config": fields, "cpu": device["kind"] == "CPU"}
    tasks = []
    if "input" in options.what:
        for name, folder in data_sets.items():
            tasks.append(Task("input", {"records": name}, common | {"cpu": True, "data_dir": folder}))
    modes = [(precision, xla) for precision in precisions for xla in options.xla]
    # What training would choose, or what comes nearest to it, is measured on several replicas too.
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
        raise UsageError(f"nothing is left to measure: {'; '.join(f'{k}: {v}' for k, v in left_out.items())}")
    return tasks, left_out


def choose_precisions(options, device) -> tuple[tuple, dict]:
    """(what is measured, {what was left out: why}); the first is what the others are compared with."""
    asked = options.precisions or (*device["precisions"], *device["left_out"])
    left_out = {name: why for name, why in device["left_out"].items() if name in asked}
    chosen = tuple(name for name in asked if name not in left_out)
    if not chosen:
        lacking = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise UsageError(f"{lacking}; use --precision={','.join(device['precisions'])}")
    return chosen, left_out


def choose_replicas(config, options, device) -> tuple[tuple, dict]:
    """(numbers of replicas, {what was left out: why})."""
    on_gpus = device["kind"] == "GPU"
    if options.replicas is not None:
        if on_gpus and options.replicas[-1] > device["count"]:
            raise UsageError(
                f"--replicas={options.replicas[-1]}: this machine has {device['count']} GPUs; give fewer"
            )
        return options.replicas, {}
    most = device["count"] if on_gpus else min(2, device["cores"])
    chosen, left_out = [], {}
    for count in sorted({2**i for i in range(most.bit_length())} | {most}):
        share = count * config.optimizer.accumulate
        if options.per_replica or config.train.batch_size % share == 0:
            chosen.append(count)
        else:
            left_out[f"{count} replicas"] = (
                f"the batch of {config.train.batch_size} does not divide over them"
            )
    return tuple(chosen), left_out
