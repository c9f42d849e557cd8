"""Fuzz: folders of unusual images with unusual names, and unusual flags, through `hazeheal-tfrecords`.

A converted data set must pass `verify`, `info` and `extract`, and contain the pixels of the input. An error must satisfy
`fuzz_oracle`, and leave no files. `fuzzing.cases` returns the number of cases.
"""

import contextlib
import io
import json
import os
import pathlib
import re

import fuzz_oracle
import fuzzing
import numpy as np
from fuzz_conversions import Case, cases
from PIL import Image

from hazeheal.data import records
from tfrecords_tools.convert import output_dir


def check(case: Case, root: pathlib.Path, run=fuzz_oracle.tools) -> str:
    folders, written = case.write(root)
    output = case.place_output(root, folders)
    argv = case.arguments(root, folders, output)
    inputs = [folder for folder in dict.fromkeys(folders) if output != folder]
    before = {p: w for p, w in fuzzing.snapshot(*folders).items() if not p.startswith(os.fsencode(output) + b"/")}
    around = fuzzing.snapshot(root)
    with _inside(output if case.output in (".", "") else root):
        ended = run(argv)
        word = fuzz_oracle.judge(ended, fuzz_oracle.TOOLS)
        if "--help" in case.flags and "usage:" in ended.out:
            return "help"
        if case.sure():
            assert word == "success", (ended, case.sure())
        if word == "error":
            nothing_left(output, around, root)
        else:
            check_output(case, root, output, folders, written, run)
            again = fuzzing.snapshot(output)
            repeated = run(argv)
            assert fuzz_oracle.judge(repeated, fuzz_oracle.TOOLS) == "success" and "nothing to do" in repeated.out, (
                repeated
            )
            assert fuzzing.snapshot(output) == again
    after = {p: w for p, w in fuzzing.snapshot(*folders).items() if p in before or output not in folders}
    after = {p: w for p, w in after.items() if not _within(p, output)}
    assert after == {p: w for p, w in before.items() if not _within(p, output)}, "an input was changed"
    assert inputs or word == "error"
    return word


@contextlib.contextmanager
def _inside(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _within(path: bytes, folder) -> bool:
    return path == os.fsencode(folder) or path.startswith(os.fsencode(folder) + b"/")


def nothing_left(output, around, root):
    """After an error nothing has changed, or there is an unfinished conversion that the same command can resume."""
    now = fuzzing.snapshot(root)
    changed = {path for path in now.keys() | around.keys() if now.get(path) != around.get(path)}
    if not changed:
        return
    own = rb"\.convert\.json|\.?\w+-(train|val)\.(tfrecord-\d{5}-of-\d{5}(\.done\.json)?|sources\.jsonl|index\.npy)"
    own += rb"|dataset_info\.json|features\.json|skipped\.txt"
    assert (output / output_dir.STATE).is_file(), changed
    real = os.fsencode(os.path.realpath(output))
    for path in changed:
        if os.fsencode(os.path.realpath(path)) == real or real.startswith(path + b"/"):
            continue  # the directory itself and its parents
        assert re.fullmatch(own, os.path.basename(path)), changed


def check_output(case, root, output, folders, written, run):
    """Reads the data set without the tools, then with the tools."""
    manifest = records.load_manifest(output)
    names = {name for name in os.listdir(output) if output not in folders or name.startswith(manifest["name"])}
    expected = {"manifest.json", "dataset_info.json", "features.json"}
    pairs = []
    for split, entry in manifest["splits"].items():
        expected |= {one["file"] for one in entry["shards"]} | {entry["index"], entry["sources"]}
        opened = records.open_split(output, split)
        for number, row in enumerate(opened.index):
            data = opened.shards[row["shard"]].read_bytes()
            payload = data[int(row["offset"]) : int(row["offset"]) + int(row["length"])]
            records.check_payload(payload, split=opened, record=number)
            pairs.append(records.parse(payload))
    if manifest["skipped"]:
        expected.add("skipped.txt")
        lines = (output / "skipped.txt").read_text(encoding="utf-8").split("\n")
        assert len(lines) == manifest["skipped"] + 2 and all(line.count("\t") == 3 for line in lines[1:-1]), lines
    assert names == expected
    assert len({pair.key for pair in pairs}) == len(pairs) > 0
    options = manifest["options"]
    whole = not options["tile_size"]
    for pair in pairs if whole else ():
        pixels_are_right(pair, options, written)
    if whole:
        assert case.sure().items() <= {pair.hazy_source: pair.clear_source for pair in pairs}.items()
    for command in (["verify", output, "--workers=1"], ["info", output], ["info", output, "--json"]):
        ended = run(command)
        assert fuzz_oracle.judge(ended, fuzz_oracle.TOOLS) == "success", ended
    found = json.loads(ended.out)
    assert sum(split["records"] for split in found["splits"].values()) == len(pairs)
    target = root / "extracted \n\udcff" / "to"
    ended = run(["extract", output, f"--output_dir={target}"])
    assert fuzz_oracle.judge(ended, fuzz_oracle.TOOLS) == "success", ended
    check_extracted(pairs, target, written, whole=whole)


def pixels_are_right(pair, options, written):
    """Lossless records of images of equal size contain the input's pixels."""
    put_in = [files.get(name) for files, name in zip(written, (pair.hazy_source, pair.clear_source), strict=True)]
    known = all(content is not None and content.rgb is not None for content in put_in)
    unchanged = known and put_in[0].rgb.shape == put_in[1].rgb.shape
    unchanged &= "bands" not in options and not (
        options["max_side"] or options["image_size"] or options["encoding"] == "jpeg"
    )
    for data, content in zip((pair.hazy, pair.clear), put_in, strict=True):
        with Image.open(io.BytesIO(data)) as image:
            assert image.format in ("PNG", "JPEG", "MPO")
            shown = np.asarray(image.convert("RGB"))
        assert shown.shape[:2] == (pair.height, pair.width)
        if unchanged:
            np.testing.assert_array_equal(shown, content.rgb)


def check_extracted(pairs, target, written, *, whole):
    """Every image of every record is extracted, and a file stored byte for byte has its own name."""
    found = {}
    for folder in ("hazy", "GT"):
        for path, (_, _, _) in fuzzing.snapshot(target / folder).items():
            if os.path.isfile(path):
                name = os.fsdecode(os.path.relpath(path, os.fsencode(target / folder)))
                found[folder, name] = pathlib.Path(os.fsdecode(path)).read_bytes()
    for side, folder in enumerate(("hazy", "GT")):
        made = {(pair.hazy, pair.clear)[side] for pair in pairs}
        assert {data for (place, _), data in found.items() if place == folder} == made
        for pair in pairs if whole else ():
            name, data = (pair.hazy_source, pair.clear_source)[side], (pair.hazy, pair.clear)[side]
            content = written[side].get(name)
            if content is not None and content.data == data:
                assert found.get((folder, name)) == data, name


@fuzzing.SIZES
def test_folders(full, tmp_path):
    fuzzing.campaign("folders", fuzzing.cases("folders", full=full), cases(), check, base=tmp_path)


@fuzzing.SIZES
def test_folders_in_processes(full, tmp_path):
    count = fuzzing.PROCESSES["folders"][full]

    def in_processes(case, root):
        return check(case, root, run=lambda argv: fuzz_oracle.run_process("tfrecords_tools", argv))

    fuzzing.campaign("folders, as processes", count, cases(), in_processes, base=tmp_path)
