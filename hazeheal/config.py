"""Configurations: from a name and overrides to one checked `ConfigDict`, before a byte reaches a device.

A configuration is a Python file with `get_config() -> ml_collections.ConfigDict`. `--config=NAME` is
looked up as a path, then as `./configs/NAME.py`, then among those that ship with the package;
`--config.x.y=v` overrides one field, with its type.
"""

import contextlib
import dataclasses
import difflib
import fractions
import importlib.util
import io
import json
import math
import pathlib
import re
import traceback

from hazeheal.data.pipeline.haze_settings import FreshHaze
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.utils.console import shorten

CHOICES = {
    "data.reader": ("auto", "local", "gfile"),
    "model.norm": ("none", "layer"),
    "model.output": ("residual", "scattering"),
    "loss.haze_mask": ("difference", "dark_channel"),
    "loss.weighting": ("fixed", "balanced"),
    "optimizer.decay": ("constant", "cosine", "linear"),
    "optimizer.reduce_dtype": ("float32", "float16"),
    "train.precision": ("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    "train.xla": ("auto", "on", "off"),
}
# The least a number may be; the type of the limit is that of the field.
AT_LEAST = {
    **dict.fromkeys(("seed", "data.workers", "data.max_val_pictures", "train.steps", "samples.count"), 0),
    **dict.fromkeys(("data.crop_size", "model.depth", "model.disc_width", "optimizer.accumulate"), 1),
    **dict.fromkeys(("optimizer.max_skipped", "train.batch_size", "train.steps_per_loop", "train.keep"), 1),
    **{"model.width": 2, "model.patch_size": 1, "model.view_size": 0, "samples.max_side": 16},
    "data.window_min": 0.0,
    **dict.fromkeys(("loss.l1_weight", "loss.gan_weight", "loss.perceptual_weight", "loss.haze_share"), 0.0),
    **dict.fromkeys(("loss.balanced_gan_share", "loss.balanced_perceptual_share", "model.se_ratio"), 0.0),
    **dict.fromkeys(("optimizer.learning_rate", "optimizer.disc_learning_rate", "train.epochs"), 0.0),
    **dict.fromkeys(("optimizer.beta1", "optimizer.beta2", "optimizer.clip_norm"), 0.0),
    "optimizer.ema_half_life": 0.0,
    **dict.fromkeys(("optimizer.epsilon", "loss.charbonnier_eps"), 1e-12),
}
INTEGERS_AT_MOST = 2**63 - 1
AT_MOST = {"model.depth": 12, "model.patch_size": 16, "model.view_size": 4096, "loss.haze_share": 1.0}
AT_MOST["data.window_min"] = 1.0
AT_MOST |= dict.fromkeys(("optimizer.beta1", "optimizer.beta2"), 0.999999)
INTERVALS = tuple(f"train.{name}_every" for name in ("log", "sample", "validate", "save"))
INTERVALS += ("optimizer.warmup",)
TEXTS = ("data.train_split", "data.val_split", "loss.perceptual_weights", "loss.perceptual_layer")
TEXTS += ("profile.steps",)
FLAGS = ("data.flip", "data.rot90")
# What may differ from one replica group's machine to another's.
OF_THE_HOST = ("data.workers", "data.reader", "loss.perceptual_weights", "samples.count")
OF_THE_HOST += ("samples.max_side",)
# Fields and values of earlier versions, each with what to do instead. An entry takes effect once the field is
# gone from configs/default.py, or the value from CHOICES.
_FIXED_WEIGHTS = "the losses have fixed weights, loss.gan_weight and loss.perceptual_weight"
REMOVED_FIELDS = {
    "loss.weighting": _FIXED_WEIGHTS,
    "loss.balanced_gan_share": _FIXED_WEIGHTS,
    "loss.balanced_perceptual_share": _FIXED_WEIGHTS,
}
REMOVED_VALUES = {
    "model.norm": dict.fromkeys(("batch", "instance", "group"), "use none or layer"),
    "model.output": {"direct": "use residual or scattering"},
}
KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}


def split_argv(argv):
    """Splits `argv` into the arguments that belong to the configuration and the rest.

    Both `--config=x` and `--config x` are taken, as are `--config.a.b=v` and `--config.a.b v`.
    """
    ours, rest, pending = [], [], iter(argv)
    for argument in pending:
        if re.match(r"--?config(\.[\w.]*)?(=|$)", argument) is None:
            rest.append(argument)
            continue
        if "=" not in argument:
            value = next(pending, None)
            if value is None or value.startswith("--"):
                raise UsageError(f"{argument} needs a value, as in {argument}=VALUE")
            argument = f"{argument}={value}"
        ours.append("--" + argument.lstrip("-"))
    return ours, rest


def find(name: str) -> pathlib.Path:
    """Returns the file that `--config=name` means.

    Raises:
        UsageError: There is none; the message lists the names that there are.
    """
    path = pathlib.Path(name)
    if path.suffix == ".py" or len(path.parts) > 1:
        if path.suffix != ".py" or not path.is_file():
            raise UsageError(f"--config={name}: there is no such Python file")
        return path
    folders = [pathlib.Path("configs"), *shipped_folders()]
    for folder in folders:
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
    names = sorted({p.stem for folder in folders for p in folder.glob("*.py")} - {"__init__"})
    raise UsageError(f"--config={name}: there is no such configuration; there are {', '.join(names)}")


def shipped_folders():
    """Folders of the configurations that come with the package: installed, and in a checkout."""
    with contextlib.suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec("hazeheal.configs")
        if spec is not None and spec.submodule_search_locations:
            yield from map(pathlib.Path, spec.submodule_search_locations)
    yield pathlib.Path(__file__).resolve().parents[1] / "configs"


def load(argv):
    """Reads the configuration that `argv` names and applies its overrides.

    Args:
        argv: `--config=NAME` and any number of `--config.x.y=v`, as `split_argv` returns them.

    Returns:
        A locked `ConfigDict` that has passed `check`.

    Raises:
        UsageError: Unknown configuration, key or value; one line says which.
    """
    names = [a.partition("=")[2] for a in argv if a.startswith("--config=")]
    if len(names) != 1:
        raise UsageError(f"give --config=NAME exactly once (it was given {len(names)} times)")
    path = find(names[0])
    config = _from_file(path, name=names[0])
    overrides = [a for a in argv if not a.startswith("--config=")]
    known = flat(config)
    for override in overrides:
        key = override.partition("=")[0].removeprefix("--config.")
        if key not in known:
            if key in REMOVED_FIELDS:
                raise UsageError(f"{override}: this field was removed; {REMOVED_FIELDS[key]}")
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean --config.{close[0]}?" if close else "; --dry_run shows all fields"
            raise UsageError(f"{override}: the configuration has no field {key!r}{hint}")
    if overrides:
        config = _overridden(path, overrides, known)
    config = _locked(config.to_dict())  # a frozen one, which cannot be locked, becomes one like all others
    check(config)
    return config


def _from_file(path, *, name):
    """Runs the configuration's file; whatever goes wrong in it becomes one line."""
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(f"hazeheal_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
        from ml_collections import ConfigDict

        is_config = isinstance(config, ConfigDict)
        if is_config:
            flat(config)  # fails where a field holds the configuration itself, or nothing that was required
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file may raise anything
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = lines[-1] if lines else None
        if isinstance(error, SyntaxError) and error.filename == str(path):
            line = error.lineno
        what = f"{type(error).__name__} in {path}" + f", line {line}" * bool(line)
        raise UsageError(f"--config={name}: {what}: {_message(error)}; mend the file") from error
    if not is_config:
        raise UsageError(f"--config={name}: get_config() returned {type(config).__name__}, not a ConfigDict")
    return config


def _message(error) -> str:
    """The first line of an error's text, which may be empty, and may be an error's own work to make."""
    try:
        return str(getattr(error, "msg", None) or error).strip().split("\n")[0]
    except Exception:
        return ""


def _overridden(path, overrides, known):
    from absl import flags
    from ml_collections import config_flags

    values = flags.FlagValues()
    args = ["hazeheal", f"--config={path}", *overrides]
    # Left alone it reads the process's own arguments.
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=args)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it prints what it then raises again
            values(args)
            return values.config
    except Exception as error:  # of many types, the file's own among them
        # Its message begins with the flag and goes on with Python's words for the conversion.
        wrong = next((o for o in overrides if f"flag {o}:" in str(error)), None)
        if wrong is None:
            raise UsageError(f"{' '.join(overrides)}: {_message(error)}") from error
        kind = type(known[wrong.partition("=")[0].removeprefix("--config.")])
        raise UsageError(f"{wrong} is not {KINDS.get(kind, kind.__name__)}") from error


def from_dict(fields: dict):
    """Rebuilds a configuration from `config.to_dict()`, as a run's `config.json` holds it.

    Fields of `REMOVED_FIELDS`, which a run of an earlier version holds, are dropped. `check_model_fields` refuses
    the networks of `REMOVED_VALUES`.
    """
    known = field_types()

    def without_removed(fields, prefix=""):
        return {
            name: without_removed(value, f"{prefix}{name}.") if isinstance(value, dict) else value
            for name, value in fields.items()
            if (key := f"{prefix}{name}") in known or key not in REMOVED_FIELDS
        }

    return _locked(without_removed(fields))


def _locked(fields):
    from ml_collections import ConfigDict

    config = ConfigDict(fields)
    config.lock()
    return config


def flat(config) -> dict:
    """Returns {'train.batch_size': 4, ...} in alphabetical order."""

    def walk(fields, prefix):
        for name, value in fields.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(walk(config.to_dict(), ""))


def shared(config) -> dict:
    """{flag: value} of all fields that the replica groups of a job must have alike."""
    return {f"--config.{name}": value for name, value in flat(config).items() if name not in OF_THE_HOST}


def to_json(config) -> str:
    return json.dumps(config.to_dict(), indent=2) + "\n"


def field_types() -> dict:
    """{'train.batch_size': int, ...} of all fields that a configuration has."""
    kinds = {k: type(least) for k, least in AT_LEAST.items()}
    kinds |= dict.fromkeys((*CHOICES, *INTERVALS, *TEXTS), str) | dict.fromkeys(FLAGS, bool)
    return kinds | {f"data.fresh_haze.{field.name}": field.type for field in dataclasses.fields(FreshHaze)}


def check_model_fields(config, *, source) -> None:
    """Refuses the networks of another version: their variables alone do not say what they compute.

    Args:
        config: A stored configuration, as `from_dict` returns it.
        source: Where it was read, for the message.

    Raises:
        HazeHealError: `config.model` has other fields than this version, or one of `REMOVED_VALUES`.
    """
    for key, values in REMOVED_VALUES.items():
        section, name = key.split(".")
        value = config.get(section, {}).get(name)
        if value in values and value not in CHOICES[key]:
            raise HazeHealError(
                f"{source}: {key}={value} was removed; use the version that trained it, or train again: {values[value]}"
            )
    known = {name for name in field_types() if name.startswith("model.")}
    if differ := {f"model.{name}" for name in config.get("model", {})} ^ known:
        raise HazeHealError(
            f"{source}: the networks of this version have other fields ({', '.join(sorted(differ))}); use the version "
            "that made it, or train anew"
        )


def check(config) -> None:
    """Checks every field for itself and against the others, as far as no data are needed.

    Raises:
        UsageError: What is wrong, the value, and what to do.
    """
    fields, kinds = flat(config), field_types()
    for problem, keys in (("lacks", kinds.keys() - fields), ("has the unknown", fields.keys() - kinds)):
        if keys:
            if removed := sorted(keys & REMOVED_FIELDS.keys()):
                raise UsageError(
                    f"--config.{removed[0]}: this field was removed; {REMOVED_FIELDS[removed[0]]}"
                )
            raise UsageError(
                f"the configuration {problem} {', '.join(sorted(keys))}; configs/default.py shows all fields"
            )
    for key, kind in kinds.items():
        taken = (int, float) if kind is float else kind
        if not isinstance(fields[key], taken) or (kind is not bool and isinstance(fields[key], bool)):
            raise UsageError(f"--config.{key}={shorten(fields[key], as_text=repr)} is not {KINDS[kind]}")
    for key, choices in CHOICES.items():
        if fields[key] not in choices:
            if advice := REMOVED_VALUES.get(key, {}).get(fields[key]):
                raise UsageError(f"--config.{key}={fields[key]} was removed; {advice}")
            raise UsageError(
                f"--config.{key}={shorten(fields[key])} is not known; use one of {', '.join(choices)}"
            )
    for key, least in AT_LEAST.items():
        value, most = fields[key], AT_MOST.get(key, math.inf)
        if isinstance(value, int):
            most = min(most, INTEGERS_AT_MOST)
        elif not math.isfinite(value):
            raise UsageError(f"--config.{key}={value} is not a finite number")
        if value < least:
            raise UsageError(f"--config.{key}={shorten(value)} is too small; it must be {least} or more")
        if value > most:
            raise UsageError(f"--config.{key}={shorten(value)} is too large; it must be {most} or less")
    for key in INTERVALS:
        parse_interval(fields[key], of=f"--config.{key}: ")
    if not config.data.train_split:
        raise UsageError("--config.data.train_split is empty; name the split to train on, as in train")
    try:
        FreshHaze(**config.data.fresh_haze)
    except UsageError as error:
        raise UsageError(f"--config.data.{error}") from None
    if (config.train.epochs > 0) == (config.train.steps > 0):
        raise UsageError(
            f"--config.train.epochs={config.train.epochs:g} and --config.train.steps={config.train.steps}: "
            "exactly one of them must be above 0; set the other to 0"
        )
    least = config.model.patch_size * 2 ** (config.model.depth + 1)
    for key, side in (("data.crop_size", config.data.crop_size), ("model.view_size", config.model.view_size)):
        if 0 < side < least:
            patches = f" and --config.model.patch_size={config.model.patch_size}" * (
                config.model.patch_size > 1
            )
            raise UsageError(
                f"--config.{key}={side} is too small for "
                f"--config.model.depth={config.model.depth}{patches}; use {least} or more, or a smaller depth"
            )
    if config.model.width % 2:
        raise UsageError(f"--config.model.width={config.model.width} is odd; the stem needs half of it")
    profile_steps(config)


def profile_steps(config):
    """Returns (first, last) of `profile.steps`, or None where no profile is asked for."""
    text = config.profile.steps
    if not text:
        return None
    match = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise UsageError(
            f"--config.profile.steps={text!r} is no range of steps; write FIRST:LAST, as in 100:110"
        )
    return int(match[1]), int(match[2])


def check_batch(config, *, replicas: int) -> None:
    """Refuses a global batch that does not divide over the replicas and their micro-batches."""
    share = replicas * config.optimizer.accumulate
    batch = config.train.batch_size
    if batch % share:
        below, above = batch // share * share, (batch // share + 1) * share
        use = f"{below} or {above}" if below else f"{above}"
        parts = f"{replicas} replica{'s' * (replicas > 1)}"
        if config.optimizer.accumulate > 1:
            parts += f" times {config.optimizer.accumulate} micro-batches"
        raise UsageError(f"--config.train.batch_size={batch} does not divide over {parts}; use {use}")


def check_crop(config, split) -> None:
    """Refuses a crop that is larger than an image of `split`, an opened `records.Split`; windows fit any."""
    if config.data.window_min:
        return
    sides = [min(row) for row in split.index[["height", "width"]].tolist()]
    smallest = min(range(len(sides)), key=sides.__getitem__, default=None)
    if sides and config.data.crop_size > sides[smallest]:
        row = split.index[smallest]
        raise UsageError(
            f"--config.data.crop_size={config.data.crop_size} is larger than the smallest image, "
            f"{row['width']}x{row['height']} pixels: {split.describe(smallest)}; use {sides[smallest]} or less"
        )


def parse_interval(text: str, *, of=""):
    """Splits '10 epochs' or '500 steps' into (number, 'epoch' or 'step'); 'never' is (0, 'step').

    Raises:
        UsageError: The text is neither; the message begins with `of`.
    """
    match = re.fullmatch(r"\s*(?:(never)|([0-9]{1,18}(?:\.[0-9]{1,30})?)\s*(step|epoch)s?)\s*", str(text))
    if match is None:
        raise UsageError(f"{of}{text!r} is no interval; write 'N steps', 'N epochs' or 'never'")
    return (fractions.Fraction(0), "step") if match[1] else (fractions.Fraction(match[2]), match[3])
