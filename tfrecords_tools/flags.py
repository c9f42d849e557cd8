"""Command-line flags that are declared once, as the fields of a dataclass.

@dataclasses.dataclass(kw_only=True)
class Options:
    output_dir: str = flag("DIR", "directory to create", group="output")
    workers: int | None = flag("N", "number of processes", None)

add_flags(parser, Options)  # --output_dir=DIR (required), --workers=N
options = read_flags(Options, parser.parse_args())
"""

import argparse
import dataclasses
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def flag(
    metavar: str | None,
    help: str,
    default: Any = dataclasses.MISSING,
    *,
    group: str | None = None,
    choices: Sequence[str] | None = None,
    parse: Callable[[str], Any] | None = None,
    required: bool = False,
    replaces: Sequence[str] = (),
) -> Any:
    """Declares a dataclass field that is also a command-line flag of the same name.

    Args:
        metavar: Placeholder of the value in `--help`.
        help: Help text, in argparse's format.
        default: The value if the flag is not given. Without a default the flag is required.
        group: Title of the group in `--help` that starts with this flag; None continues the group of the flag before.
        choices: Allowed values.
        parse: Converts the flag's text. By default the field's annotated type does.
        required: Whether the flag is required although the field has a default.
        replaces: Earlier flags that are not required if this one is given.
    """
    metadata = {"metavar": metavar, "help": help, "group": group, "choices": choices, "parse": parse}
    metadata |= {"required": required, "replaces": replaces}
    return dataclasses.field(default=default, metadata=metadata)


def add_flags(parser: argparse.ArgumentParser, options: type) -> None:
    """Adds a flag to `parser` for each field that `flag` declares; a `bool` field is a flag without a value."""
    group, actions = parser, {}
    for field in _flag_fields(options):
        settings = field.metadata
        if settings["group"]:
            group = parser.add_argument_group(settings["group"])
        if field.type is bool:
            group.add_argument(f"--{field.name}", action="store_true", help=settings["help"])
            continue
        has_default = field.default is not dataclasses.MISSING
        actions[field.name] = group.add_argument(
            f"--{field.name}",
            action=_Replace if settings["replaces"] else "store",
            required=settings["required"] or not has_default,
            default=field.default if has_default else None,
            type=settings["parse"] or _value_type(field.type),
            choices=settings["choices"],
            metavar=settings["metavar"],
            help=settings["help"],
        )
        if settings["replaces"]:
            actions[field.name].replaced = [actions[name] for name in settings["replaces"]]


class _Replace(argparse.Action):
    """Stores a value, and makes other flags optional."""

    replaced: Sequence[argparse.Action] = ()

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, values)
        for action in self.replaced:
            action.required = False


def read_flags(options: type[T], args: argparse.Namespace, **others: Any) -> T:
    """Returns the options object of parsed flags; `others` are its fields that are not flags."""
    values = {field.name: getattr(args, field.name) for field in _flag_fields(options)}
    return options(**values, **others)


def _flag_fields(options: type) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(options) if "help" in field.metadata]


def _value_type(annotation: Any) -> type:
    """Returns `int` for `int` and for `int | None`."""
    return next((kind for kind in typing.get_args(annotation) if kind is not type(None)), annotation)
