"""The fields of a configuration: type, limits and valid values of each, and the checks of a whole configuration.

`hazeheal.config` loads configurations and passes them through `check`.
"""

import dataclasses
import fractions
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hazeheal.data.pipeline.haze_settings import HazeSettings
from hazeheal.data.pipeline.mix_weights import parse_mix
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.models.receptive_field import tiling
from hazeheal.utils.console import shorten

if TYPE_CHECKING:
    from ml_collections import ConfigDict

LARGEST_INTEGER = 2**63 - 1
SMALLEST_PART = 64  # of data.val_tile_size, for networks with a view, which need no tiles
KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}


@dataclasses.dataclass(frozen=True)
class Field:
    """What one field may hold.

    Attributes:
        kind: int, float, bool or str. An integer is valid for a float.
        least, most: The range of a number; least=None: `HazeSettings` checks it. An integer is at most `LARGEST_INTEGER`.
        choices: The valid values; empty: all.
        units: The units of an interval ("5 epochs"); empty: the field holds none.
        per_host: Whether it may differ between the groups of a job.
    """

    kind: type
    least: float | None = None
    most: float = math.inf
    choices: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    per_host: bool = False


LENGTH = Field(str, units=("step", "epoch"))
INTERVAL = Field(str, units=("step", "epoch", "minute"))
WEIGHT = Field(float, least=0.0)
SHARE = Field(float, least=0.0, most=1.0)
# In the order of configs/default.py, which explains each field.
FIELDS = {
    "seed": Field(int, least=0),
    "data.train_split": Field(str),
    "data.val_split": Field(str),
    "data.crop_size": Field(int, least=1),
    "data.mix": Field(str),
    "data.window_min": SHARE,
    "data.flip": Field(bool),
    "data.rot90": Field(bool),
    "data.relight_share": SHARE,
    "data.relight_darkest": Field(float, least=0.01, most=1.0),
    "data.relight_tint": Field(float, least=0.0, most=0.99),
    "data.workers": Field(int, least=0, per_host=True),
    "data.reader": Field(str, choices=("auto", "local", "gfile"), per_host=True),
    "data.cache": Field(str, per_host=True),
    "data.max_val_pictures": Field(int, least=0),
    "data.val_tile_size": Field(int, least=0),
    **{f"data.fresh_haze.{field.name}": Field(field.type) for field in dataclasses.fields(HazeSettings)},
    "model.width": Field(int, least=2),
    "model.depth": Field(int, least=1, most=12),
    "model.norm": Field(str, choices=("none", "layer")),
    "model.output": Field(str, choices=("residual", "scattering")),
    "model.se_ratio": Field(float, least=0.0),
    "model.patch_size": Field(int, least=1, most=16),
    "model.view_size": Field(int, least=0, most=4096),
    "model.bins": Field(int, least=0, most=32),
    "model.edges": Field(str, choices=("zero", "repeat")),
    "model.upsampling": Field(str, choices=("transposed", "nearest")),
    "model.disc_width": Field(int, least=1),
    "loss.l1_weight": WEIGHT,
    "loss.gan_weight": WEIGHT,
    "loss.perceptual_weight": WEIGHT,
    "loss.perceptual_weights": Field(str, per_host=True),
    "loss.perceptual_layer": Field(str),
    "loss.difference": Field(str, choices=("charbonnier", "squared")),
    "loss.charbonnier_eps": Field(float, least=1e-12),
    "loss.haze_share": SHARE,
    "loss.l1_log_scale": Field(float, least=0.0),
    "loss.haze_mask": Field(str, choices=("difference", "dark_channel")),
    "optimizer.learning_rate": Field(float, least=0.0),
    "optimizer.disc_learning_rate": Field(float, least=0.0),
    "optimizer.beta1": Field(float, least=0.0, most=0.999999),
    "optimizer.beta2": Field(float, least=0.0, most=0.999999),
    "optimizer.epsilon": Field(float, least=1e-12),
    "optimizer.warmup": LENGTH,
    "optimizer.decay": Field(str, choices=("constant", "cosine", "linear")),
    "optimizer.clip_norm": Field(float, least=0.0),
    "optimizer.accumulate": Field(int, least=1),
    "optimizer.reduce_dtype": Field(str, choices=("float32", "float16")),
    "optimizer.ema_half_life": Field(float, least=0.0),
    "optimizer.max_skipped": Field(int, least=1),
    "train.batch_size": Field(int, least=1),
    "train.epochs": Field(float, least=0.0),
    "train.steps": Field(int, least=0),
    "train.steps_per_loop": Field(int, least=0),
    "train.precision": Field(str, choices=("auto", "float32", "mixed_bfloat16", "mixed_float16")),
    "train.xla": Field(str, choices=("auto", "on", "off")),
    "train.log_every": INTERVAL,
    "train.sample_every": INTERVAL,
    "train.validate_every": INTERVAL,
    "train.save_every": INTERVAL,
    "train.keep": Field(int, least=1),
    "samples.count": Field(int, least=0, per_host=True),
    "samples.max_side": Field(int, least=16, per_host=True),
    "profile.steps": Field(str),
}
# Fields and values of earlier versions, each with its replacement.
REMOVED_FIELDS = dict.fromkeys(
    ("loss.weighting", "loss.balanced_gan_share", "loss.balanced_perceptual_share"),
    "set the fixed weights loss.gan_weight and loss.perceptual_weight",
)
# Fields of the networks that version 0.1 does not have, with the values of its networks.
ADDED_MODEL_FIELDS = {"bins": 0, "edges": "zero", "upsampling": "transposed"}
REMOVED_VALUES = {
    "model.norm": dict.fromkeys(("batch", "instance", "group"), "use none or layer"),
    "model.output": {"direct": "use residual or scattering"},
}


def flat(config: "ConfigDict") -> dict[str, object]:
    """Returns {'train.batch_size': 4, ...} in alphabetical order."""

    def walk(fields, prefix):
        for name, value in fields.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(walk(config.to_dict(), ""))


def without_removed(fields: Mapping, prefix: str = "") -> dict:
    """Returns nested fields of a stored configuration without those of `REMOVED_FIELDS`."""
    return {
        name: without_removed(value, f"{prefix}{name}.") if isinstance(value, Mapping) else value
        for name, value in fields.items()
        if f"{prefix}{name}" not in REMOVED_FIELDS
    }


def check(config: "ConfigDict") -> None:
    """Checks each field, and the fields against each other; needs no data.

    Raises:
        UsageError: What is wrong, the value, and what to do.
    """
    values = flat(config)
    _check_names(values)
    for key, field in FIELDS.items():
        _check_field(key, values[key], field)
    try:
        HazeSettings(**config.data.fresh_haze)
        parse_mix(config.data.mix)
    except UsageError as error:
        raise UsageError(f"--config.data.{error}") from None
    if not config.data.train_split:
        raise UsageError("--config.data.train_split is empty; name the split to train on, as in train")
    if (config.train.epochs > 0) == (config.train.steps > 0):
        raise UsageError(
            f"--config.train.epochs={config.train.epochs:g} and --config.train.steps={config.train.steps}: "
            "exactly one of them must be above 0; set the other to 0"
        )
    _check_networks(config.model, crop_size=config.data.crop_size)
    _check_tile(config.model, size=config.data.val_tile_size)
    profile_steps(config)


def _check_names(values):
    unknown, missing = sorted(values.keys() - FIELDS.keys()), sorted(FIELDS.keys() - values.keys())
    for key in unknown:
        if key in REMOVED_FIELDS:
            raise UsageError(f"--config.{key}: this field was removed; {REMOVED_FIELDS[key]}")
    if unknown or missing:
        problem = f"lacks {', '.join(missing)}" if missing else f"has the unknown {', '.join(unknown)}"
        raise UsageError(f"the configuration {problem}; configs/default.py shows all fields")


def _check_field(key, value, field):
    accepted = (int, float) if field.kind is float else field.kind
    if not isinstance(value, accepted) or (field.kind is not bool and isinstance(value, bool)):
        raise UsageError(f"--config.{key}={shorten(value, as_text=repr)} is not {KINDS[field.kind]}")
    if field.choices and value not in field.choices:
        if advice := REMOVED_VALUES.get(key, {}).get(value):
            raise UsageError(f"--config.{key}={value} was removed; {advice}")
        choices = ", ".join(field.choices)
        raise UsageError(f"--config.{key}={shorten(value)} is not valid; use one of {choices}")
    if field.units:
        parse_interval(value, units=field.units, source=f"--config.{key}: ")
    if field.least is not None:
        _check_range(key, value, field)


def _check_range(key, value, field):
    most = min(field.most, LARGEST_INTEGER) if isinstance(value, int) else field.most
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"--config.{key}={value} is not a finite number")
    if value < field.least:
        raise UsageError(f"--config.{key}={shorten(value)} is too small; it must be {field.least} or more")
    if value > most:
        raise UsageError(f"--config.{key}={shorten(value)} is too large; it must be {most} or less")


def _check_networks(model, *, crop_size):
    least = model.patch_size * 2 ** (model.depth + 1)
    for key, side in (("data.crop_size", crop_size), ("model.view_size", model.view_size)):
        if 0 < side < least:
            raise UsageError(
                f"--config.{key}={side} is too small for --config.model.depth={model.depth} and "
                f"--config.model.patch_size={model.patch_size}; use {least} or more, or a smaller depth"
            )
    if model.bins and not (model.view_size and model.output == "scattering"):
        raise UsageError(
            f"--config.model.bins={model.bins} needs a view_size above 0 and output=scattering; set both, or bins=0"
        )
    if model.width % 2:
        raise UsageError(f"--config.model.width={model.width} is odd; the stem needs an even number")


def _check_tile(model, *, size):
    from hazeheal.models.tiles import smallest_tile  # NumPy, which launch does not need

    least = SMALLEST_PART if model.view_size else smallest_tile(**tiling(model.depth, model.patch_size))
    if 0 < size < least:
        raise UsageError(
            f"--config.data.val_tile_size={size} is too small for --config.model.depth={model.depth} and "
            f"--config.model.patch_size={model.patch_size}; use {least} or more, or 0 to let the network decide"
        )


def check_model_fields(config: "ConfigDict", *, source: object) -> None:
    """Refuses stored networks of another version: their variables alone do not say what they compute.

    Raises:
        HazeHealError: `config.model` has other fields than this version, or one of `REMOVED_VALUES`. The message
            begins with `source`.
    """
    advice = "use the version that trained it, or train again"
    stored = {f"model.{name}": value for name, value in config.get("model", {}).items()}
    for key, values in REMOVED_VALUES.items():
        if stored.get(key) in values:
            raise HazeHealError(f"{source}: {key}={stored[key]} was removed; {advice}: {values[stored[key]]}")
    known = {name for name in FIELDS if name.startswith("model.")}
    if differences := stored.keys() ^ known:
        names = ", ".join(sorted(differences))
        raise HazeHealError(f"{source}: the networks of this version have other fields ({names}); {advice}")


def profile_steps(config: "ConfigDict") -> tuple[int, int] | None:
    """Returns the first and the last step of `profile.steps`, or None if it is empty."""
    text = config.profile.steps
    if not text:
        return None
    match = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise UsageError(f"--config.profile.steps={text!r} is not a range of steps; use FIRST:LAST")
    return int(match[1]), int(match[2])


def parse_interval(
    text: str, *, units: tuple[str, ...] = INTERVAL.units, source: str = ""
) -> tuple[fractions.Fraction, str]:
    """Parses '10 epochs', '500 steps' or '2.5 minutes' as (number, unit), and 'never' as (0, 'step').

    Raises:
        UsageError: The text is not an interval, or not in one of `units`; the message begins with `source`.
    """
    match = re.fullmatch(r"\s*(?:(never)|([0-9]{1,18}(?:\.[0-9]{1,30})?)\s*(step|epoch|minute)s?)\s*", str(text))
    valid = ", ".join(f"'N {unit}s'" for unit in units) + " or 'never'"
    if match is None:
        raise UsageError(f"{source}{text!r} is not an interval; use {valid}")
    number, unit = (0, "step") if match[1] else (match[2], match[3])
    if unit not in units:
        raise UsageError(f"{source}{text!r} is in {unit}s; use {valid}")
    return fractions.Fraction(number), unit
