"""Fuzz: overrides and files of configurations through `hazeheal train --dry_run`, which must not write.

The oracle is `fuzz_oracle`'s.
"""

import contextlib
import json

import fuzz_oracle
import fuzzing
import pytest
import tiny
from fuzz_configurations import FIELDS, Command, commands
from fuzz_oracle import hazeheal
from fuzzing import SIZES

from hazeheal import config as configs

pytestmark = pytest.mark.usefixtures("never_train")


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
    fuzz_oracle.judge(hazeheal(argv), fuzz_oracle.TRAIN)


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
        word = fuzz_oracle.judge(ended, fuzz_oracle.TRAIN)
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


@SIZES
def test_configuration(full, sets, tmp_path):
    count = fuzzing.cases("configuration", full=full)
    fuzzing.campaign("configuration", count, commands(), check_command(sets), base=tmp_path)


@SIZES
def test_configuration_in_processes(full, sets, tmp_path):
    check = check_command(sets, run=lambda argv: fuzz_oracle.run_process("hazeheal", argv))
    count = fuzzing.PROCESSES["configuration"][full]
    fuzzing.campaign("configuration, as processes", count, commands(), check, base=tmp_path)
