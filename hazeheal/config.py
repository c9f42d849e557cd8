"""Configurations: loads one by name, applies the overrides of the command line and checks the result.

A configuration is a Python file with `get_config() -> ml_collections.ConfigDict`. `--config=NAME` is looked up as a
path, then as `./configs/NAME.py`, then among those that are included; `--config.x.y=VALUE` overrides one field.
`hazeheal.config_fields` has the type and the limits of each field.
"""

import ast
import difflib
import importlib.util
import json
import pathlib
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hazeheal.config_fields import ADDED_MODEL_FIELDS, FIELDS, KINDS, REMOVED_FIELDS, check, flat, without_removed
from hazeheal.errors import UsageError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from hazeheal.data.records import Split

_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def split_argv(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits `argv` into the arguments of the configuration, each written as `--config.a.b=v`, and all others.

    They may be given as `--config=x`, `--config x`, `--config.a.b=v` or `--config.a.b v`, also with a single `-`.
    """
    config_flags, rest, arguments = [], [], iter(argv)
    for argument in arguments:
        if re.match(r"--?config(\.[\w.]*)?(=|$)", argument) is None:
            rest.append(argument)
            continue
        if "=" not in argument:
            value = next(arguments, None)
            if value is None or value.startswith("--"):
                raise UsageError(f"{argument} needs a value, as in {argument}=VALUE")
            argument = f"{argument}={value}"
        config_flags.append("--" + argument.lstrip("-"))
    return config_flags, rest


def is_named(config_flags: Sequence[str]) -> bool:
    """Whether the arguments of the configuration contain `--config=NAME`."""
    return any(argument.startswith("--config=") for argument in config_flags)


def find(name: str) -> pathlib.Path:
    """Returns the file of `--config=name`.

    Raises:
        UsageError: There is none; the message lists the valid names.
    """
    path = pathlib.Path(name)
    if path.suffix == ".py" and path.is_file():
        return path
    files = _included() | _in_folder(pathlib.Path("configs"))
    if name not in files:
        names = ", ".join(sorted(files))
        raise UsageError(f"--config={name}: neither a Python file nor a configuration; use one of {names}")
    return files[name]


def _included():
    """Returns {name: file} of the included configurations: of an installation, or of a clone."""
    installed = pathlib.Path(__file__).resolve().parent / "configs"
    return _in_folder(installed if installed.is_dir() else installed.parents[1] / "configs")


def _in_folder(folder):
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}


def summaries() -> dict[str, str]:
    """Returns {name: first line of its docstring} of the included configurations, in alphabetical order."""
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in _included().items()}
    return {name: ast.get_docstring(tree).splitlines()[0] for name, tree in trees.items()}


def load(argv: Sequence[str]) -> "ConfigDict":
    """Loads the configuration that `argv` names and applies its overrides.

    Args:
        argv: `--config=NAME` and any number of `--config.x.y=v`.

    Returns:
        A locked `ConfigDict` that has passed `check`.

    Raises:
        UsageError: A configuration, field or value is unknown or invalid.
    """
    names = [argument.partition("=")[2] for argument in argv if argument.startswith("--config=")]
    if len(names) != 1:
        raise UsageError(f"give --config=NAME exactly once (it was given {len(names)} times)")
    config = _run_file(find(names[0]), name=names[0])
    _override(config, [argument for argument in argv if not argument.startswith("--config=")])
    check(config)
    return config.lock()


def _run_file(path, *, name):
    """Returns a copy of what the file's `get_config` returns; any error in the file becomes one line."""
    from ml_collections import ConfigDict  # launch does not need it

    path = path.resolve()
    spec = importlib.util.spec_from_file_location(f"hazeheal_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
        if isinstance(config, ConfigDict):
            flat(config)  # fails if a field holds the configuration itself, or a required value is missing
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file may raise anything
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        if isinstance(error, SyntaxError) and error.filename == str(path):
            lines.append(error.lineno)
        where = f"{path}, line {lines[-1]}" if lines else path
        message = traceback.format_exception_only(error)[-1].splitlines()[0]
        raise UsageError(f"--config={name}: {where}: {message}; fix the file") from error
    if not isinstance(config, ConfigDict):
        raise UsageError(f"--config={name}: get_config() returned {type(config).__name__}, not a ConfigDict")
    return ConfigDict(config)  # the file's may be frozen


def _override(config, overrides):
    """Sets one field for each `--config.x.y=text`, whose text is converted to the type of the field."""
    known = flat(config)
    for override in overrides:
        key, _, text = override.removeprefix("--config.").partition("=")
        if key not in known:
            if key in REMOVED_FIELDS:
                raise UsageError(f"{override}: this field was removed; {REMOVED_FIELDS[key]}")
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean --config.{close[0]}?" if close else "; --dry_run prints all fields"
            raise UsageError(f"{override}: the configuration has no field {key!r}{hint}")
        kind = FIELDS[key].kind if key in FIELDS else str  # `check` refuses other fields
        try:
            value = _BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise UsageError(f"{override} is not {KINDS[kind]}") from None
        with config.ignore_type():  # an integer is valid for a float
            config.update_from_flattened_dict({key: value})


def from_dict(fields: Mapping) -> "ConfigDict":
    """Rebuilds a stored configuration, as `config.json` of a run and weights files hold it.

    Fields that were removed since are dropped, and those of the networks that were added since get the value that changes
    nothing. `check_model_fields` refuses networks that this version cannot build.
    """
    from ml_collections import ConfigDict

    fields = without_removed(fields)
    if "model" in fields:
        fields["model"] = ADDED_MODEL_FIELDS | fields["model"]
    return ConfigDict(fields).lock()


def load_stored(stored: "ConfigDict", overrides: Sequence[str]) -> "ConfigDict":
    """Applies `--config.x.y=v` to a stored configuration, as `load` does to a named one.

    A field that it lacks, because a later version has added it, gets the value of configs/default.py.

    Raises:
        UsageError: A field or value is unknown or invalid.
    """
    config = _run_file(_included()["default"], name="default")
    with config.unlocked(), config.ignore_type():
        config.update(stored)
    _override(config, overrides)
    check(config)
    return config.lock()


def to_json(config: "ConfigDict") -> str:
    """Returns the text of `config.json`."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def shared(config: "ConfigDict") -> dict[str, object]:
    """Returns {flag: value} of all fields that must be the same in all replica groups of a job."""
    return {f"--config.{name}": value for name, value in flat(config).items() if not _is_per_host(name)}


def without_host(config: "ConfigDict") -> dict:
    """Returns the fields for a file that is passed on: those of a host, such as its folders, have their defaults."""
    fields, default = config.to_dict(), flat(_run_file(_included()["default"], name="default"))
    for name in filter(_is_per_host, flat(config)):
        section, field = name.split(".")
        fields[section][field] = default[name]
    return fields


def _is_per_host(name):
    return name in FIELDS and FIELDS[name].per_host


def check_batch(config: "ConfigDict", *, replicas: int) -> None:
    """Refuses a global batch that does not divide over the replicas and their micro-batches."""
    batch, share = config.train.batch_size, replicas * config.optimizer.accumulate
    if batch % share:
        below, above = batch // share * share, (batch // share + 1) * share
        use = f"{below} or {above}" if below else f"{above}"
        parts = f"{replicas} replica{'s' if replicas > 1 else ''}"
        if config.optimizer.accumulate > 1:
            parts += f" times {config.optimizer.accumulate} micro-batches"
        raise UsageError(f"--config.train.batch_size={batch} does not divide over {parts}; use {use}")


def check_crop(config: "ConfigDict", split: "Split") -> None:
    """Refuses a crop that is larger than an image of `split`. Windows (`data.window_min`) fit any image."""
    if not config.data.window_min:
        split.check_crop(config.data.crop_size, setting="--config.data.crop_size")


def check_mix(config: "ConfigDict", split: "Split") -> None:
    """Refuses a mix that does not fit the files of `split`."""
    if config.data.mix.strip():
        from hazeheal.data.pipeline.mix import Mix  # NumPy, which launch does not need

        try:
            Mix(config.data.mix, split)
        except UsageError as error:
            raise UsageError(f"--config.data.{error}") from None
