"""Configurations: from a name and overrides to one checked `ConfigDict`, before a byte reaches a device.

A configuration is a Python file with `get_config() -> ml_collections.ConfigDict`. `--config=NAME` is
looked up as a path, then as `./configs/NAME.py`, then among those that ship with the package;
`--config.x.y=v` overrides one field, with its type.
"""

import contextlib
import fractions
import importlib.util
import io
import json
import pathlib
import re

from hazeheal.errors import UsageError

CHOICES = {
    "data.reader": ("auto", "local", "gfile"),
    "model.norm": ("none", "layer", "instance", "group", "batch"),
    "model.output": ("residual", "direct"),
    "loss.haze_mask": ("difference", "dark_channel"),
    "loss.weighting": ("fixed", "balanced"),
    "optimizer.decay": ("constant", "cosine", "linear"),
    "train.precision": ("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    "train.xla": ("auto", "on", "off"),
}
AT_LEAST = {
    "seed": 0,
    "data.crop_size": 1,
    "data.workers": 0,
    "data.max_val_pictures": 0,
    "model.width": 2,
    "model.depth": 1,
    "model.disc_width": 1,
    "model.se_ratio": 0,
    "loss.l1_weight": 0,
    "loss.gan_weight": 0,
    "loss.perceptual_weight": 0,
    "loss.balanced_gan_share": 0,
    "loss.balanced_perceptual_share": 0,
    "optimizer.learning_rate": 0,
    "optimizer.disc_learning_rate": 0,
    "optimizer.clip_norm": 0,
    "optimizer.accumulate": 1,
    "optimizer.ema_half_life": 0,
    "optimizer.max_skipped": 1,
    "train.batch_size": 1,
    "train.epochs": 0,
    "train.steps": 0,
    "train.steps_per_loop": 1,
    "train.keep": 1,
    "samples.count": 0,
    "samples.max_side": 16,
}
INTERVALS = ("train.log_every", "train.sample_every", "train.validate_every", "train.save_every")


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
            if value is None:
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
        if not path.is_file():
            raise UsageError(f"--config={name}: there is no such file")
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
    from absl import flags
    from ml_collections import config_flags

    names = [a.partition("=")[2] for a in argv if a.startswith("--config=")]
    if len(names) != 1:
        raise UsageError(f"give --config=NAME exactly once (it was given {len(names)} times)")
    path = find(names[0])
    args = ["hazeheal", f"--config={path}", *(a for a in argv if not a.startswith("--config="))]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=args)
    try:
        # config_flags prints to stderr what it then raises again.
        with contextlib.redirect_stderr(io.StringIO()):
            values(args)
            config = values.config
    except Exception as error:  # config_flags raises whatever the file or its parser raises
        text = str(error).strip().splitlines()
        raise UsageError(f"--config={names[0]}: {text[0] if text else type(error).__name__}") from error
    if config is None or not hasattr(config, "to_dict"):
        raise UsageError(
            f"--config={names[0]}: get_config() returned {type(config).__name__}, not a ConfigDict"
        )
    config.lock()
    check(config)
    return config


def from_dict(fields: dict):
    """Rebuilds a configuration from `config.to_dict()`, as a run's `config.json` holds it."""
    from ml_collections import ConfigDict

    config = ConfigDict(fields)
    config.lock()
    return config


def flat(config) -> dict:
    """Returns {'train.batch_size': 4, ...} in the order of the configuration."""

    def walk(fields, prefix):
        for name, value in fields.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(walk(config.to_dict(), ""))


def to_json(config) -> str:
    return json.dumps(config.to_dict(), indent=2) + "\n"


def check(config) -> None:
    """Checks every field for itself and against the others, as far as no data are needed.

    Raises:
        UsageError: What is wrong, the value, and what to do.
    """
    fields = flat(config)
    missing = [k for k in (*CHOICES, *AT_LEAST, *INTERVALS) if k not in fields]
    if missing:
        raise UsageError(f"the configuration lacks {', '.join(missing)}; start from configs/default.py")
    for key, choices in CHOICES.items():
        if fields[key] not in choices:
            raise UsageError(f"--config.{key}={fields[key]} is not known; use one of {', '.join(choices)}")
    for key, least in AT_LEAST.items():
        # Written so that a NaN is refused too.
        if not fields[key] >= least:
            raise UsageError(f"--config.{key}={fields[key]} is too small; it must be {least} or more")
    for key in (*INTERVALS, "optimizer.warmup"):
        try:
            parse_interval(fields[key])
        except UsageError as error:
            raise UsageError(f"--config.{key}: {error}") from None
    for key in ("optimizer.beta1", "optimizer.beta2", "loss.haze_share"):
        if not 0 <= fields[key] <= 1:
            raise UsageError(f"--config.{key}={fields[key]} is outside [0, 1]")
    if (config.train.epochs > 0) == (config.train.steps > 0):
        raise UsageError(
            f"--config.train.epochs={config.train.epochs:g} and --config.train.steps={config.train.steps}: "
            "exactly one of them must be above 0; set the other to 0"
        )
    least = 2 ** (config.model.depth + 1)
    if config.data.crop_size < least:
        raise UsageError(
            f"--config.data.crop_size={config.data.crop_size} is too small for "
            f"--config.model.depth={config.model.depth}; use {least} or more, or a smaller depth"
        )
    if config.model.width % 2:
        raise UsageError(f"--config.model.width={config.model.width} is odd; the stem needs half of it")
    profile_steps(config)


def profile_steps(config):
    """Returns (first, last) of `profile.steps`, or None where no profile is asked for."""
    text = config.profile.steps
    if not text:
        return None
    match = re.fullmatch(r"(\d+):(\d+)", text)
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


def parse_interval(text: str):
    """Splits '10 epochs' or '500 steps' into (number, 'epoch' or 'step'); 'never' is (0, 'step').

    Raises:
        UsageError: The text is neither.
    """
    match = re.fullmatch(r"\s*(?:(never)|(\d+(?:\.\d+)?)\s*(step|epoch)s?)\s*", str(text))
    if match is None:
        raise UsageError(f"{text!r} is no interval; write 'N steps', 'N epochs' or 'never'")
    return (fractions.Fraction(0), "step") if match[1] else (fractions.Fraction(match[2]), match[3])
