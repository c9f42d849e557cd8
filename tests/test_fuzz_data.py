"""Fuzz: overrides and files of configurations, and the bytes of data sets, through `hazeheal` and `hazeheal-tfrecords`.

    configuration  any field, any value, any order of the arguments, broken files: `hazeheal train --dry_run`
    bytes          shards, index, sources, manifest and metadata, flipped, cut, lengthened, lost, exchanged: `verify`,
                   `info`, `extract`, `train --dry_run`, `convert` again, and `convert` of one that was interrupted

Looking at a data set must not change it, and `verify` must find and name what was done to a file. The oracle is
`fuzzing`'s.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil

import converting
import fuzzing
import pytest
import tiny
from hypothesis import strategies as st
from PIL import Image

from hazeheal import __main__ as hazeheal_main
from hazeheal import config as configs
from hazeheal import records
from hazeheal.commands import train
from tfrecords_tools import __main__ as tools_main
from tfrecords_tools import finish, resume

SIDE = (24, 40)  # of the pictures; the crop of `tiny` is 16
CONVERT = ("--num_shards=2", "--val_fraction=0.25")


@dataclasses.dataclass(frozen=True)
class DataSets:
    """`whole`: a data set of 8 pairs, PNG and JPEG. `unfinished`: the same, killed before its last files came."""

    source: pathlib.Path
    whole: pathlib.Path
    unfinished: pathlib.Path


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    source = converting.write_pairs(
        folder / "in", scenes=4, versions=2, kind="png", height=SIDE[0], width=SIDE[1]
    )
    for scene in ("0001", "0002"):  # some as JPEG
        path = source / f"GT/{scene}.png"
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    assert converting.convert(source, folder / "whole", *CONVERT) == 0

    def killed(**_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "assemble", killed)
        assert converting.convert(source, folder / "unfinished", *CONVERT) == 130
    return DataSets(source, folder / "whole", folder / "unfinished")


@pytest.fixture(autouse=True)
def never_train(monkeypatch):
    def trained(*_):
        raise AssertionError("--dry_run trains")

    monkeypatch.setattr(train, "train", trained)


def tools(argv):
    return fuzzing.run(tools_main.main, argv)


def hazeheal(argv):
    return fuzzing.run(hazeheal_main.main, argv)


@pytest.mark.parametrize(
    "argument",
    ["--config.model.norm=a\nb", "--config=\x1b[2J", "a\r\nb", "--workdir=\udcff", "--data_dir=\u2028"],
)
def test_odd_values_stay_on_one_line(argument, sets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [
        "train",
        *tiny.arguments(train__steps=5),
        f"--data_dir={sets.whole}",
        "--workdir=run",
        "--dry_run",
        argument,
    ]
    fuzzing.judge(hazeheal(argv), fuzzing.TRAIN)


# ---- configuration --------------------------------------------------------------------------------------------

DEFAULT = (fuzzing.ROOT / "configs/default.py").read_text(encoding="utf-8")
FIELDS = configs.flat(configs.load(["--config=default"]))
NUMBERS = (
    "0",
    "1",
    "2",
    "3",
    "4",
    "7",
    "16",
    "-1",
    "-0",
    "１２",
    "1_000",
    "0x10",
    "1e3",
    "1.0",
    "",
    " 5",
    "+5",
    "true",
)
NUMBERS += (
    "9" * 20,
    "9" * 400,
    "9" * 4299,
    "9" * 5000,
    "nan",
    "None",
    "1e-3",
    "0.5",
    "1e308",
    "1e400",
    "-inf",
    "inf",
)
NUMBERS += ("1e-400", "-1e-9", "10000000000", "()", "[1]", "é", "\udcff")
TRUTHS = ("true", "false", "True", "1", "0", "yes", "", "maybe", "None", "\n")
TEXTS = (
    "",
    "train",
    "val",
    "test",
    "imagenet",
    "/nowhere.npz",
    "/dev/null",
    "x" * 300,
    "x" * 5000,
    "é",
    "\udcff",
    "1:2",
)
TEXTS += (
    "2:1",
    "１:２",
    "1:" + "9" * 5000,
    "block1_conv2",
    "block3_conv3",
    "a b",
    "=",
    "--",
    "None",
    "[",
    "{}",
    "%s",
    ".",
)
TIMES = (
    "never",
    "5 steps",
    "1 epoch",
    "0.5 epochs",
    "0 steps",
    " 3epochs ",
    "1e3 steps",
    "-5 steps",
    "nan epochs",
    "5",
)
TIMES += (
    "9" * 400 + " steps",
    "9" * 5000 + " steps",
    "0." + "9" * 5000 + " epochs",
    "１ step",
    "٣ steps",
    "",
    "steps",
)
LINES = ("a\nb", "\x1b[31m", "tr\rain", "\u2028", "\x85")  # what would break or disguise a line
KINDS = {int: NUMBERS, float: NUMBERS, bool: TRUTHS, str: TEXTS}
SOURCES = (
    "",
    "\0",
    "\xff",
    "def get_config(:\n",
    "  x = 1\n",
    "x = 1\n",
    "get_config = 3\n",
    "import nothing_like_it\n",
    "raise SystemExit(3)\n",
    "import sys; sys.exit()\n",
    "raise BaseException('x')\n",
    "raise GeneratorExit\n",
    "raise OSError(2, 'No', 'x')\n",
    "raise ValueError\n",
    "raise ValueError('\\n\\na\\nb')\n",
    "raise ValueError('\\r\\x1b[2J\\u2028')\n",
    "raise KeyError('\\udcff')\n",
    "class E(Exception):\n    msg = 5\n    lineno = 'x'\nraise E\n",
    "class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n",
    "def get_config():\n    return get_config()\n",
    "def get_config():\n    pass\n",
    "def get_config(x):\n    pass\n",
    "def get_config():\n    return {'seed': 1}\n",
    "def get_config():\n    return 1 / 0\n",
    "def get_config():\n    yield 1\n",
    "class C:\n    def to_dict(self): return [1]\n    def items(self): return []\ndef get_config():\n    return C()\n",
    "from ml_collections import ConfigDict\nget_config = ConfigDict\n",
    "from ml_collections import ConfigDict\nget_config = lambda: ConfigDict({1: 2, 'a': {3: 4}})\n",
)
CHANGES = (
    "config.seed = 10 ** 400",
    "config.train.epochs = 10 ** 400",
    "config.train.epochs = float('nan')",
    "config.seed = True",
    "config.seed = config",
    "config.data = config",
    "config.data.workers = None",
    "config.train = None",
    "config.train = 3",
    "del config.model",
    "config.model.depth = 10 ** 10",
    "config.optimizer.extra = [1, (2,)]",
    "config.loss.l1_weight = 1",
    "config.lock()",
    "config = ConfigDict(config.to_dict())",
    "config = __import__('ml_collections').FrozenConfigDict(config)",
    "config = config.to_dict()",
    "config = __import__('json').dumps(config.to_dict())",
    "config.seed = __import__('ml_collections').config_dict.placeholder(int)",
    "config.seed = __import__('ml_collections').config_dict.required_placeholder(int)",
    "config.seed = __import__('ml_collections').FieldReference(5)",
    "config.data.train_split = 'tr\\nain'",
    "config.data.train_split = '\\udcff'",
    "config.train.log_every = '\\x1b[2J'",
    "config.loss.l1_weight = __import__('numpy').float64(1)",
    "config.seed = __import__('numpy').int64(1)",
    "config.loss.l1_weight = __import__('numpy').ones(3)",
)


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
    return DEFAULT.replace(
        "    return config\n", "".join(f"    {c}\n" for c in changes) + "    return config\n"
    )


# Place (0 to 1), and what is inserted there; None: its line is lost. (Parts of lines are not lost: what is left is
# run, and `ConfigDict` with a part of the next line behind it became an assignment to the class.)
TYPED = (None, None, "(", ")", "'", '"', "\n", " ", "0", "x", "=", ".", "\t", "é", "\\", "#", "lambda")
EDITS = st.lists(st.tuples(st.floats(0, 0.999), st.sampled_from(TYPED)), min_size=1, max_size=3)


def _valid(key):
    """Values of a field that are right by themselves, for data of `SIDE` and a run of some steps."""
    if key in configs.CHOICES:
        return configs.CHOICES[key]
    if key in configs.INTERVALS:
        return ("5 steps", "1 epoch", "0.25 epochs")
    special = {"train.epochs": ("0",), "train.steps": ("5", "9"), "data.train_split": ("train",)}
    special |= {
        "data.val_split": ("val", ""),
        "loss.perceptual_weights": ("imagenet",),
        "profile.steps": ("", "1:4"),
    }
    special |= {"loss.perceptual_layer": ("block1_conv1", "block3_conv3"), "data.crop_size": ("8", "24")}
    special |= {"model.depth": ("1", "2"), "model.width": ("4", "6"), "samples.max_side": ("16", "99")}
    special |= {
        "optimizer.accumulate": ("1", "2"),
        "train.batch_size": ("2", "4"),
        "loss.haze_share": ("0.5", "1"),
    }
    special |= dict.fromkeys(("optimizer.beta1", "optimizer.beta2"), ("0", "0.9"))
    special |= dict.fromkeys(("seed", "data.workers"), ("0", "3"))
    kinds = {bool: ("true", "false"), int: ("1", "12"), float: ("1", "0.5", "2e-3")}
    return special.get(key) or kinds[type(FIELDS[key])]


WRONG_KEYS = (
    "train",
    "trian.steps",
    "",
    ".",
    "train.",
    "train..steps",
    "train.steps.x",
    "a" * 300,
    "seed ",
    "_fields",
    "keys",
)


@st.composite
def commands(draw) -> Command:
    """From commands that must succeed to ones in which little is right."""
    base = [(f"--config.{key}={value}",) for key, value in {**tiny.OVERRIDES, "train.steps": 5}.items()]
    if draw(st.integers(0, 3)) == 0:
        keys = draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=4, unique=True))
        wanted = tuple((key, draw(st.sampled_from(_valid(key)))) for key in keys)
        form = draw(st.sampled_from((("--config.{}={}",), ("-config.{}={}",), ("--config.{}", "{1}"))))
        more = [tuple(part.format(key, value) for part in form) for key, value in wanted]
        flags = draw(
            st.permutations(
                [("--config=default",), ("--data_dir=@data",), ("--workdir", "@run"), ("--dry_run",)]
            )
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
            (*KINDS[type(FIELDS[key])], *(TIMES if key in configs.INTERVALS else ()), *_valid(key))
        )
        value = draw(
            st.one_of(
                values, st.sampled_from((*NUMBERS, *TEXTS, *TIMES, *TRUTHS, *LINES)), st.text(max_size=6)
            )
        )
        value = value.replace("\0", "")  # no argument of a process can hold one
        if draw(st.integers(0, 5)) == 0:
            key = draw(st.sampled_from(WRONG_KEYS))
        parts.append(draw(st.sampled_from(((f"--config.{key}={value}",), (f"--config.{key}", value)))))
    flags = [
        (f"--config={draw(st.sampled_from(('default',) * 8 + ODD_NAMES)) if source is None else '@file'}",)
    ]
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


ODD_NAMES = (
    "",
    ".",
    "/",
    "nothing",
    "no/thing.py",
    "default.py",
    "x" * 300,
    "\n",
    "é",
    "\udcff",
    "@run",
    "default ",
)
ODD_PLACES = (
    "",
    ".",
    "/",
    "/dev/null",
    "/dev/null/x",
    "@none",
    "x" * 300,
    "a\nb",
    "é",
    "\udcff",
    "@file",
    "@loop",
)
ODD_FLAGS = (
    ("--",),
    ("-",),
    ("extra",),
    ("--dry_run",),
    ("--dry_run=1",),
    ("--help",),
    ("--nothing",),
    ("--config",),
    ("--config=default",),
    ("--config.seed",),
    ("--configs=x",),
    ("--noconfig.data.flip",),
    ("--flagfile=/dev/null",),
    ("--gpus=0",),
    ("--gpus=0,1", "--cpu_replicas=2"),
    ("--gpus=",),
    ("--gpus=x\ny",),
    ("--cpu_replicas=2",),
    ("--cpu_replicas=٢",),
    ("--cpu_replicas=" + "9" * 400,),
    ("--cpu_replicas=" + "9" * 5000,),
    ("--restore_from=@none",),
    ("--restore_from=@data",),
    ("--restore_from=" + "x" * 300,),
    ("--restore_from=\udcff",),
    ("a\nb\x1b",),
)


def check_command(sets, run=hazeheal):
    def check(command: Command, folder) -> str:
        places = {
            "@data": sets.whole,
            "@run": folder / "run",
            "@file": folder / "my config.py",
            "@none": folder / "none",
        }
        places["@loop"] = folder / "loop"
        places["@loop"].symlink_to("loop")
        if command.source is not None:
            places["@file"].write_text(command.text(), encoding="utf-8", errors="surrogateescape")
        argv = ["train"]
        for argument in command.arguments:
            head, mark, name = argument.rpartition("@")
            argv.append(f"{head}{places[mark + name]}" if mark + name in places else argument)
        before = fuzzing.snapshot(folder, sets.whole)
        with contextlib.chdir(folder) if hasattr(contextlib, "chdir") else contextlib.nullcontext():
            ended = run(argv)
        word = fuzzing.judge(ended, fuzzing.TRAIN)
        after = {p: w for p, w in fuzzing.snapshot(folder, sets.whole).items() if b"__pycache__" not in p}
        assert after == before, "a dry run writes"
        if "--help" in command.arguments and "usage:" in ended.out:
            return "help"
        if command.sure:
            assert word == "success", ended
        if word == "success":
            text, end, rest = ended.out.partition("\n}\n")
            shown = configs.from_dict(json.loads(text + end))
            configs.check(shown)
            fields = configs.flat(shown)
            assert fields.keys() == FIELDS.keys() and rest.startswith("data "), ended
            for key, value in command.requested:
                kind = type(FIELDS[key])
                assert fields[key] == (value == "true" if kind is bool else kind(value)), (key, value)
        else:
            assert ended.out == "" or ended.out.startswith("{\n"), ended
        return word

    return check


# ---- bytes ----------------------------------------------------------------------------------------------------

ODD_VALUES = (
    None,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    "",
    "x",
    "../../etc/passwd",
    [],
    {},
    [[]],
    True,
    "\udcff",
    "a\n\x1b",
)


@dataclasses.dataclass(frozen=True)
class Damage:
    """One thing done to one file: `file` and `other` count through the sorted names, `place` runs from 0 to 1."""

    kind: str
    file: int
    place: float
    number: int
    other: int

    def apply(self, folder) -> None:
        names = sorted(path.name for path in folder.iterdir())
        weighted = [n for n in names for _ in range(4 if n == records.MANIFEST else 1)]
        path, other = folder / weighted[self.file % len(weighted)], folder / names[self.other % len(names)]
        if not path.is_file() or path.is_symlink():
            return
        data = path.read_bytes()
        at = min(int(self.place * len(data)), max(0, len(data) - 1))
        new = {
            "flip": lambda: (
                data[:at] + bytes(b ^ 1 << self.number % 8 for b in data[at : at + 1]) + data[at + 1 :]
            ),
            "byte": lambda: data[:at] + bytes([self.number % 256]) + data[at + 1 :],
            "cut": lambda: data[:at],
            "lose": lambda: data[:at] + data[at + 1 + self.number % 40 :],
            "insert": lambda: data[:at] + bytes([self.number % 256]) * (1 + self.other) + data[at:],
            "zeros": lambda: data[:at] + bytes(len(data) - at),
            "twice": lambda: data + data,
            "garbage": lambda: (b"[" * 100_000, b"3", b'"x"', b"{}", b"[]", b"null", b"\xff\xfe", b"")[
                self.number % 8
            ],
            "empty": lambda: b"",
            "other": lambda: other.read_bytes() if other.is_file() else b"",
            "json": lambda: self._operated(data, path.name),
        }
        if self.kind in new:
            path.write_bytes(new[self.kind]())
        elif self.kind == "exchange" and other.is_file() and not other.is_symlink():
            path.write_bytes(other.read_bytes())
            other.write_bytes(data)
        elif self.kind in ("remove", "folder", "loop", "nowhere", "pipe"):
            path.unlink()
            if self.kind == "folder":
                path.mkdir()
            elif self.kind == "pipe":
                os.mkfifo(path)
            elif self.kind != "remove":
                path.symlink_to(path.name if self.kind == "loop" else "nowhere")

    def _operated(self, data: bytes, name: str) -> bytes:
        """Another value somewhere in a JSON document; a manifest may be signed anew."""
        try:
            lines = data.decode().splitlines() if name.endswith(".jsonl") else [data.decode()]
            number = self.other % len(lines)
            document = json.loads(lines[number])
        except (ValueError, ZeroDivisionError):
            return data
        places = []

        def walk(value):
            for key in (
                value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
            ):
                places.append((value, key))
                walk(value[key])

        walk(document)
        if not places:
            return data
        container, key = places[int(self.place * len(places))]
        if self.number % 5 == 0:
            del container[key]
        else:
            container[key] = ODD_VALUES[self.number % len(ODD_VALUES)]
        if name == records.MANIFEST and self.number % 2 and isinstance(document, dict):
            document["fingerprint"] = records.fingerprint(document)
        lines[number] = json.dumps(document)
        return ("\n".join(lines) + "\n").encode()


FEW = ("flip", "byte", "cut", "lose", "insert")
MANY = (
    "zeros",
    "twice",
    "garbage",
    "empty",
    "other",
    "exchange",
    "remove",
    "folder",
    "loop",
    "nowhere",
    "pipe",
    "json",
)
KIND = st.one_of(st.sampled_from(FEW), st.sampled_from((*FEW, *MANY)), st.just("json"))
DAMAGE = st.builds(
    Damage,
    KIND,
    st.integers(0, 63),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 999),
    st.integers(0, 9),
)
SETS = st.tuples(st.sampled_from(("whole", "whole", "unfinished")), st.lists(DAMAGE, max_size=3))


def check_bytes(sets, run_tools=tools, run_hazeheal=hazeheal):
    originals = {pair for split in ("train", "val") for pair in pictures(sets.whole, split)}

    def check(case, folder) -> str:
        kind, damages = case
        data = folder / "data"
        shutil.copytree(getattr(sets, kind), data)
        for damage in damages:
            damage.apply(data)
        before = fuzzing.snapshot(data)
        changed = differences(getattr(sets, kind), data)
        verified = run_tools(["verify", data, "--workers=1"])
        word = fuzzing.judge(verified, fuzzing.TOOLS)
        must_find(verified, word, changed, sets, kind, data)
        for command in (["info", data], ["info", data, "--json"]):
            fuzzing.judge(tools(command), fuzzing.TOOLS)
        out = folder / "out"
        extracted = tools(["extract", data, f"--output_dir={out}"])
        if fuzzing.judge(extracted, fuzzing.TOOLS) == "error":
            assert word == "error" or changed, extracted
            assert not out.exists() or "all others were written" in extracted.err, extracted
        assert sorted(os.listdir(folder)) == ["data", *["out"] * out.exists()]
        assert {path.read_bytes() for path in out.rglob("*") if path.is_file()} <= originals
        argv = [
            "train",
            *tiny.arguments(train__steps=5),
            f"--data_dir={data}",
            f"--workdir={folder / 'run'}",
            "--dry_run",
        ]
        ended = run_hazeheal(argv)
        dry = fuzzing.judge(ended, fuzzing.TRAIN)
        assert changed or kind != "whole" or dry == "success", ended
        assert kind == "whole" or dry == "error", ended
        assert not (folder / "run").exists()
        assert fuzzing.snapshot(data) == before, "looking at a data set changed it"
        converted = convert_again(sets, kind, data, before, changed)
        return word if kind == "whole" else converted

    return check


def pictures(data, split):
    opened = records.open_split(data, split)
    for row in opened.index:
        payload = opened.shards[row["shard"]].read_bytes()[int(row["offset"]) :][: int(row["length"])]
        pair = records.parse(payload)
        yield from (pair.hazy, pair.clear)


def differences(original, data) -> set:
    """Names of the files that are not as they were."""
    now = {path.name: path.read_bytes() if path.is_file() else None for path in data.iterdir()}
    then = {path.name: path.read_bytes() for path in original.iterdir()}
    return {name for name in now.keys() | then.keys() if now.get(name) != then.get(name)}


def must_find(ended, word, changed, sets, kind, data):
    """`verify` finds every change of a file, and names the file."""
    if kind == "unfinished":
        assert word == "error", ended
        return
    if not changed:
        assert word == "success", ended
        return
    if changed == {records.MANIFEST}:
        # Of the manifest's own changes those in the provenance, which describes no data, may be passed over.
        with contextlib.suppress(ValueError, RecursionError):
            path = data / records.MANIFEST
            now = json.loads(path.read_bytes()) if path.is_file() else None  # not out of a pipe
            if isinstance(now, dict) and records.fingerprint(now) == now.get("fingerprint"):
                return
        assert word == "error" and records.MANIFEST in ended.err, ended
        return
    if records.MANIFEST in changed:
        return  # it says what is to be found
    assert word == "error", ended
    for name in changed:
        assert str(data / name) in ended.out + ended.err, (name, ended)


def convert_again(sets, kind, data, before, changed) -> str:
    """A whole data set is left as it is; an unfinished one becomes what it would have become, or is refused."""
    ended = tools(converting.arguments(sets.source, data, *CONVERT, "--workers=1"))
    word = fuzzing.judge(ended, fuzzing.TOOLS)
    if kind == "whole":
        assert changed or word == "success", ended
        assert fuzzing.snapshot(data) == before, ended
        return word
    assert changed or word == "success", ended
    if word == "success":
        found = converting.contents(data)
        assert found == converting.contents(sets.whole), ended
    else:
        assert not [name for name in os.listdir(data) if ".tmp-" in name]
        assert (data / resume.STATE).exists() or resume.STATE in changed, ended
    return word


# ---- campaigns ------------------------------------------------------------------------------------------------

SIZES = pytest.mark.parametrize(
    "full", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["small", "full"]
)


@SIZES
def test_configuration(full, sets, tmp_path):
    count = fuzzing.cases("configuration", full=full)
    fuzzing.campaign("configuration", count, commands(), check_command(sets), base=tmp_path)


@SIZES
def test_configuration_in_processes(full, sets, tmp_path):
    check = check_command(sets, run=lambda argv: fuzzing.run_process("hazeheal", argv))
    count = fuzzing.PROCESSES["configuration"][full]
    fuzzing.campaign("configuration, as processes", count, commands(), check, base=tmp_path)


@SIZES
def test_bytes(full, sets, tmp_path):
    fuzzing.campaign("bytes", fuzzing.cases("bytes", full=full), SETS, check_bytes(sets), base=tmp_path)


@SIZES
def test_bytes_in_processes(full, sets, tmp_path):
    check = check_bytes(
        sets,
        run_tools=lambda argv: fuzzing.run_process("tfrecords_tools", argv),
        run_hazeheal=lambda argv: fuzzing.run_process("hazeheal", argv),
    )
    fuzzing.campaign("bytes, as processes", fuzzing.PROCESSES["bytes"][full], SETS, check, base=tmp_path)
