"""Command lines of `hazeheal train` for the fuzz tests: any field, any value, any order of the arguments, broken files."""

import dataclasses

import tiny
from fuzz_values import (
    CHANGES,
    DEFAULT,
    FIELDS,
    KINDS,
    LINES,
    NUMBERS,
    ODD_FLAGS,
    ODD_NAMES,
    ODD_PLACES,
    SOURCES,
    TEXTS,
    TIMES,
    TRUTHS,
    WRONG_KEYS,
    valid_values,
)
from hypothesis import strategies as st

from hazeheal import config as configs


@dataclasses.dataclass(frozen=True)
class Command:
    """`source`: the text of a configuration file, or what is changed in the default; None for the default's name."""

    source: str | tuple | None
    arguments: tuple
    sure: bool = False
    requested: tuple = ()

    def text(self) -> str:
        if isinstance(self.source, str):
            return self.source
        if isinstance(self.source[0], str):
            return _changed(self.source)
        text = DEFAULT
        for place, new in self.source:
            at, lines = int(place * len(text)), text.splitlines(keepends=True)
            if new is None:
                del lines[int(place * len(lines))]
            text = "".join(lines) if new is None else text[:at] + new + text[at:]
        return text


def _changed(changes):
    return DEFAULT.replace("    return config\n", "".join(f"    {c}\n" for c in changes) + "    return config\n")


# Place (0 to 1), and what is inserted there; None: its line is lost. (Parts of lines are not lost: what is left is
# run, and `ConfigDict` with a part of the next line behind it became an assignment to the class.)
TYPED = (None, None, "(", ")", "'", '"', "\n", " ", "0", "x", "=", ".", "\t", "é", "\\", "#", "lambda")
EDITS = st.lists(st.tuples(st.floats(0, 0.999), st.sampled_from(TYPED)), min_size=1, max_size=3)


@st.composite
def commands(draw) -> Command:
    """From commands that must succeed to ones in which little is right."""
    base = [(f"--config.{key}={value}",) for key, value in {**tiny.OVERRIDES, "train.steps": 5}.items()]
    if draw(st.integers(0, 3)) == 0:
        keys = draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=4, unique=True))
        wanted = tuple((key, draw(st.sampled_from(valid_values(key)))) for key in keys)
        form = draw(st.sampled_from((("--config.{}={}",), ("-config.{}={}",), ("--config.{}", "{1}"))))
        more = [tuple(part.format(key, value) for part in form) for key, value in wanted]
        flags = draw(
            st.permutations([("--config=default",), ("--data_dir=@data",), ("--workdir", "@run"), ("--dry_run",)])
        )
        cut = draw(st.integers(0, 4))
        arguments = [a for part in (*flags[:cut], *base, *more, *flags[cut:]) for a in part]
        return Command(None, tuple(arguments), True, wanted)
    source = draw(
        st.one_of(
            st.none(),
            st.none(),
            st.none(),
            st.sampled_from(SOURCES),
            st.lists(st.sampled_from(CHANGES), min_size=1, max_size=2).map(tuple),
            EDITS.map(tuple),
        )
    )
    parts = [*base] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from(sorted(FIELDS)))
        values = st.sampled_from(
            (
                *KINDS[type(FIELDS[key])],
                *(TIMES if configs.FIELDS[key].units else ()),
                *valid_values(key),
            )
        )
        value = draw(
            st.one_of(values, st.sampled_from((*NUMBERS, *TEXTS, *TIMES, *TRUTHS, *LINES)), st.text(max_size=6))
        )
        value = value.replace("\0", "")  # no argument of a process can hold one
        if draw(st.integers(0, 5)) == 0:
            key = draw(st.sampled_from(WRONG_KEYS))
        parts.append(draw(st.sampled_from(((f"--config.{key}={value}",), (f"--config.{key}", value)))))
    flags = [(f"--config={draw(st.sampled_from(('default',) * 8 + ODD_NAMES)) if source is None else '@file'}",)]
    flags += [(f"--data_dir={draw(st.sampled_from(('@data',) * 6 + ODD_PLACES))}",)]
    flags += [(f"--workdir={draw(st.sampled_from(('@run',) * 6 + ODD_PLACES))}",)]
    for _ in range(draw(st.integers(0, 1))):
        parts.append(draw(st.sampled_from(ODD_FLAGS)))
    if draw(st.integers(0, 5)) == 0:
        flags.pop(draw(st.integers(0, 2)))
    parts = draw(st.permutations([*parts, *flags])) if draw(st.booleans()) else [*flags, *parts]
    place = draw(st.integers(0, len(parts)))
    parts.insert(place, ("--dry_run",))
    return Command(source, tuple(a for part in parts for a in part))
