"""The table of public data sets, their miniature copies and docs/datasets.md agree."""

import importlib
import pathlib
import re
import shlex

import pytest
from converting import all_records
from miniature_sets import plant
from places import ROOT

from hazeheal.data.pairing.pairing import pair_folders
from hazeheal.data.pairing.public_sets import PUBLIC_SETS
from hazeheal.data.pairing.rules import find_rule
from tfrecords_tools.__main__ import main

DOCS = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line) for line in DOCS.splitlines() if line.startswith("hazeheal-tfrecords convert --hazy_dir=")
]
SETS = pytest.mark.parametrize("one", PUBLIC_SETS, ids=lambda one: one.name)


def flag(command, name):
    return next((word.partition("=")[2] for word in command if word.startswith(f"--{name}=")), None)


@SETS
def test_the_files_pair_by_their_rule_and_by_auto(one, tmp_path):
    made = {(hazy, clear) for hazy, clear in plant(one, tmp_path)}
    found = set()
    for hazy_dir, gt_dir in (map(tmp_path.joinpath, folders) for folders in one.splits.values()):
        for rule in (one.rule, "auto"):
            result = pair_folders(hazy_dir, gt_dir, rule=rule)
            assert not result.leftovers
            found |= {(hazy_dir / pair.hazy, gt_dir / pair.clear) for pair in result.pairs}
    assert found == made


@SETS
def test_the_command_in_the_docs_converts_the_files(one, tmp_path, monkeypatch):
    made = plant(one, tmp_path, border=1 if one.size_mismatch == "center_crop" else 0)
    folders = next(iter(one.splits.values()))  # what is trained on
    (command,) = (c for c in COMMANDS if (flag(c, "hazy_dir"), flag(c, "gt_dir")) == folders)
    assert find_rule(flag(command, "pairing")).name == one.rule
    assert (flag(command, "size_mismatch") or "error") == one.size_mismatch
    monkeypatch.chdir(tmp_path)
    assert main([*command[1:], "--workers=1", "--val_fraction=0"]) == 0
    converted = {pair.hazy_source: pair.clear_source for pair, _ in all_records(flag(command, "output_dir"), "train")}
    inside = {
        hazy.name: clear.name for hazy, clear in made if pathlib.Path(folders[0]) in hazy.relative_to(tmp_path).parents
    }
    assert converted == inside and len(converted) == 2


@SETS
def test_docs_name_the_page_the_example_the_configuration_and_the_builder(one):
    family = one.name.partition("_")[0] if one.name.startswith("satehaze1k") else one.name
    assert importlib.import_module(f"hazeheal.configs.{one.config}").get_config()
    row = next(line for line in DOCS.splitlines() if f"`hazy_pairs/{family}" in line)
    assert f"`{one.config}`" in row
    assert one.page in DOCS or one.page.startswith("the page of the paper")
    for name in one.example:
        assert name in DOCS


def test_the_commands_for_other_names_work_too(tmp_path, monkeypatch):
    """The commands for HRSD and for the user's own pairs."""
    mine, hrsd = (c for c in reversed(COMMANDS) if flag(c, "output_dir") in ("records/mine", "records/dhid"))
    examples = {line.split()[0]: line.split()[1] for line in DOCS.splitlines() if re.match(r"(D|HRSD)/", line)}
    assert len(examples) == 2
    monkeypatch.chdir(tmp_path)
    for command, (hazy, clear) in zip((hrsd, mine), examples.items(), strict=True):
        for path in map(pathlib.Path, (hazy, clear)):
            path.parent.mkdir(parents=True)
            (path.parent / path.name).touch()
        found = pair_folders(flag(command, "hazy_dir"), flag(command, "gt_dir"), rule=flag(command, "pairing"))
        assert not found.leftovers and len(found.pairs) == 1


def test_all_commands_of_the_docs_belong_to_a_set():
    of_sets = {folders for one in PUBLIC_SETS for folders in one.splits.values()}
    others = [c for c in COMMANDS if (flag(c, "hazy_dir"), flag(c, "gt_dir")) not in of_sets]
    assert [flag(c, "output_dir") for c in others] == ["records/dhid", "records/mine", "records/s2", "records/photos"]
