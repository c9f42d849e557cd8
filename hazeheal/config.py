"""Configurations: loads one by name, applies the overrides of the command line and checks the result.

A configuration is a Python file with `get_config() -> ml_collections.ConfigDict`. `--config=NAME` is looked up as a
path, then as `./configs/NAME.py`, then among those that are included; `--config.x.y=VALUE` overrides one field.
`hazeheal.config_fields` has the type and the limits of each field.
"""

import ast
import contextlib
import difflib
import importlib.util
import io
import json
import pathlib
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hazeheal.config_fields import FIELDS, KINDS, REMOVED_FIELDS, check, flat, without_removed
from hazeheal.errors import UsageError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from hazeheal.data.records import Split


def split_argv(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits `argv` into the arguments of the configuration and all others.

    Args:
        argv: Arguments; those of the configuration are `--config=x`, `--config x`, `--config.a.b=v` or `--config.a.b v`.

    Returns:
        The arguments of the configuration, each written with `=`, and the others.
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


def find(name: str) -> pathlib.Path:
    """Returns the file of `--config=name`.

    Raises:
        UsageError: There is none; the message lists the valid names.
    """
    path = pathlib.Path(name)
    if path.suffix == ".py" or len(path.parts) > 1:
        if path.suffix != ".py" or not path.is_file():
            raise UsageError(f"--config={name}: this is not a Python file; give a file NAME.py, or a name")
        return path
    folders = [pathlib.Path("configs"), *shipped_folders()]
    for folder in folders:
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
    names = sorted({path.stem for folder in folders for path in folder.glob("*.py")} - {"__init__"})
    raise UsageError(f"--config={name}: no configuration has this name; use one of {', '.join(names)}")


def shipped_folders() -> Iterator[pathlib.Path]:
    """Yields the folders of the included configurations: of an installation, and of a clone."""
    with contextlib.suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec("hazeheal.configs")
        if spec is not None and spec.submodule_search_locations:
            yield from map(pathlib.Path, spec.submodule_search_locations)
    yield pathlib.Path(__file__).resolve().parents[1] / "configs"


def summaries() -> dict[str, str]:
    """Returns {name: first line of its docstring} of the included configurations, in alphabetical order."""
    folder = next(folder for folder in shipped_folders() if (folder / "default.py").is_file())
    docstrings = {
        path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*.py"))
        if path.stem != "__init__"
    }
    return {name: docstring.splitlines()[0] for name, docstring in docstrings.items()}


def load(argv: Sequence[str]) -> "ConfigDict":
    """Loads the configuration that `argv` names and applies its overrides.

    Args:
        argv: `--config=NAME` and any number of `--config.x.y=v`, as `split_argv` returns them.

    Returns:
        A locked `ConfigDict` that has passed `check`.

    Raises:
        UsageError: A configuration, field or value is unknown or invalid.
    """
    names = [argument.partition("=")[2] for argument in argv if argument.startswith("--config=")]
    if len(names) != 1:
        raise UsageError(f"give --config=NAME exactly once (it was given {len(names)} times)")
    path = find(names[0])
    config = _run_file(path, name=names[0])
    overrides = [argument for argument in argv if not argument.startswith("--config=")]
    if overrides:
        known = flat(config)
        for override in overrides:
            _check_name(override, known)
        config = _apply(overrides, path=path, known=known)
    config = _locked(config.to_dict())  # also where the file returned a frozen one
    check(config)
    return config


def _run_file(path, *, name):
    """Returns what the file's `get_config` returns; any error in the file becomes one line."""
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(f"hazeheal_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
        from ml_collections import ConfigDict

        is_config = isinstance(config, ConfigDict)
        if is_config:
            flat(config)  # fails if a field holds the configuration itself, or a required value is missing
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file may raise anything
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = lines[-1] if lines else None
        if isinstance(error, SyntaxError) and error.filename == str(path):
            line = error.lineno
        where = f"{path}, line {line}" if line else path
        raise UsageError(
            f"--config={name}: {type(error).__name__} in {where}: {_first_line(error)}; fix the file"
        ) from error
    if not is_config:
        raise UsageError(f"--config={name}: get_config() returned {type(config).__name__}, not a ConfigDict")
    return config


def _first_line(error):
    """The first line of an exception's message; it may be empty, and computing it may fail."""
    try:
        return str(getattr(error, "msg", None) or error).strip().split("\n")[0]
    except Exception:
        return ""


def _check_name(override, known):
    key = override.partition("=")[0].removeprefix("--config.")
    if key in known:
        return
    if key in REMOVED_FIELDS:
        raise UsageError(f"{override}: this field was removed; {REMOVED_FIELDS[key]}")
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean --config.{close[0]}?" if close else "; --dry_run prints all fields"
    raise UsageError(f"{override}: the configuration has no field {key!r}{hint}")


def _apply(overrides, *, path, known):
    """Returns the configuration of a file with its overrides, each converted to the type of its field."""
    from absl import flags
    from ml_collections import config_flags

    values = flags.FlagValues()
    args = ["hazeheal", f"--config={path}", *overrides]
    # Without sys_argv it would read the arguments of this process.
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=args)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it prints the error that it raises
            values(args)
            return values.config
    except Exception as error:  # of many types, also those of the file
        # The message begins with the flag.
        wrong = next((o for o in overrides if f"flag {o}:" in str(error)), None)
        if wrong is None:
            raise UsageError(f"{' '.join(overrides)}: {_first_line(error)}") from error
        kind = type(known[wrong.partition("=")[0].removeprefix("--config.")])
        raise UsageError(f"{wrong} is not {KINDS.get(kind, kind.__name__)}") from error


def from_dict(fields: Mapping) -> "ConfigDict":
    """Rebuilds a stored configuration, as `config.json` of a run and weights files hold it.

    Fields that were removed since are dropped. `check_model_fields` refuses networks that this version cannot build.
    """
    return _locked(without_removed(fields))


def _locked(fields):
    from ml_collections import ConfigDict

    config = ConfigDict(fields)
    config.lock()
    return config


def to_json(config: "ConfigDict") -> str:
    """Returns the text of `config.json`."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def shared(config: "ConfigDict") -> dict[str, object]:
    """Returns {flag: value} of all fields that must be the same in all replica groups of a job."""
    values = flat(config).items()
    return {
        f"--config.{name}": value for name, value in values if name not in FIELDS or not FIELDS[name].per_host
    }


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
