"""`--pairs`: a table expresses any layout of folders, with splits and scenes; wrong rows are refused by line."""

import json
import os
import re
import shlex
import unicodedata

import pytest
from converting import all_records, convert, hazed, image, write_pairs
from PIL import Image
from places import ROOT

from hazeheal.data import records
from tfrecords_tools.__main__ import main


def write_images(folder, names):
    """Writes images with these names, each with other pixels."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(hazed(image(seed), 0.8)).save(path)
    return folder


def convert_table(table, output, *more):
    return main(["convert", f"--pairs={table}", f"--output_dir={output}", "--name=set", "--workers=1", *more])


def pairs_of(directory):
    """Returns {split: {(hazy file, clear file)}} of a data set."""
    splits = records.load_manifest(directory)["splits"]
    return {split: {(p.hazy_source, p.clear_source) for p, _ in all_records(directory, split)} for split in splits}


# {layout: rows of the table}: one folder (FRIDA), a folder for each city (BeDDE), the authors' splits (SateHaze1k)
LAYOUTS = {
    "FRIDA": [(f"{kind}080-{n:06d}.png", f"LIma-{n:06d}.png", "") for n in range(1, 4) for kind in "UKLM"],
    "BeDDE": [
        (f"{c}/fog/{c}_{n:02d}.png", f"{c}/gt/{c}_clear.png", "") for c in ("beijing", "tianjin") for n in (1, 2)
    ],
    "SateHaze1k": [
        (f"{split}/input/{n}-inputs.png", f"{split}/target/{n}-targets.png", split)
        for split in ("train", "valid", "test")
        for n in range(3)
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_can_be_expressed(tmp_path, layout):
    rows = LAYOUTS[layout]
    write_images(tmp_path / "D", dict.fromkeys(name for row in rows for name in row[:2]))
    columns = 3 if rows[0][2] else 2
    lines = [",".join(row[:columns]) for row in (("hazy", "clear", "split"), *rows)]
    (tmp_path / "D/pairs.csv").write_text("\n".join(lines) + "\n")
    assert convert_table(tmp_path / "D/pairs.csv", tmp_path / "out") == 0
    found = pairs_of(tmp_path / "out")
    assert set().union(*found.values()) == {row[:2] for row in rows}
    if columns == 3:
        assert {split: len(pairs) for split, pairs in found.items()} == {"train": 3, "val": 3, "test": 3}
        assert all(hazy.startswith("valid/") for hazy, _ in found["val"])
    else:
        clear = {split: {clear for _, clear in pairs} for split, pairs in found.items()}
        assert clear["train"] and clear["val"] and not clear["train"] & clear["val"]
    assert main(["verify", str(tmp_path / "out"), "--workers=1"]) == 0
    assert convert_table(tmp_path / "D/pairs.csv", tmp_path / "out") == 0


@pytest.mark.parametrize("layout", ["FRIDA", "BeDDE"])
def test_without_a_table_these_layouts_are_refused_with_a_way_out(tmp_path, layout, capsys):
    folder = write_images(tmp_path / "D", dict.fromkeys(name for row in LAYOUTS[layout] for name in row[:2]))
    folders = [f"--hazy_dir={folder}", f"--gt_dir={folder}"]
    assert main(["convert", *folders, f"--output_dir={tmp_path}/out"]) == 1
    assert "list the pairs in a table for `hazeheal-tfrecords convert --pairs`" in capsys.readouterr().err


def test_the_tables_and_commands_of_the_docs(tmp_path, monkeypatch):
    for layout in ("FRIDA", "BeDDE"):
        write_images(tmp_path / layout, dict.fromkeys(name for row in LAYOUTS[layout] for name in row[:2]))
    text = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    section = text[text.index("## A table of pairs") : text.index("## Layouts")]
    python, bash = re.findall(r"```(?:python|bash)\n(.*?)```", section, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(python, {})
    for line in bash.splitlines():
        assert main([*shlex.split(line)[1:], "--workers=1"]) == 0
    for layout, output in (("FRIDA", "records/frida"), ("BeDDE", "records/bedde")):
        expected = {row[:2] for row in LAYOUTS[layout]}
        assert set().union(*pairs_of(tmp_path / output).values()) == expected


FORMS = {
    "plain": "hazy,clear\nh/1.png,c/1.png\nh/2.png,c/2.png\n",
    "other order and case": "Clear , HAZY\nc/1.png,h/1.png\nc/2.png,h/2.png\n",
    "semicolons of Excel": "hazy;clear;;\r\nh/1.png;c/1.png;;\r\n\r\nh/2.png;c/2.png;;\r\n;;;\r\n",
    "tabs and quotes": '"hazy"\t"clear"\n"h/1.png"\t"c/1.png"\nh/2.png\tc/2.png',
    "back-slashes": "hazy,clear\n.\\h\\1.png,c\\1.png\nh\\2.png,.\\c\\2.png\n",
    "spaces": "hazy, clear\nh/1.png, c/1.png\nh/2.png, c/2.png\n",
    "old Mac": "hazy,clear\rh/1.png,c/1.png\rh/2.png,c/2.png\r",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table(tmp_path, form, encoding):
    write_images(tmp_path, ["h/1.png", "h/2.png", "c/1.png", "c/2.png"])
    (tmp_path / "t.csv").write_bytes(FORMS[form].encode(encoding))
    assert convert_table(tmp_path / "t.csv", tmp_path / "out", "--val_fraction=0") == 0
    assert pairs_of(tmp_path / "out") == {"train": {("h/1.png", "c/1.png"), ("h/2.png", "c/2.png")}}


def test_names_are_relative_to_the_folders_that_are_given(tmp_path):
    source = write_pairs(tmp_path / "in", scenes=2, versions=1)
    table = tmp_path / "elsewhere/t.csv"
    table.parent.mkdir()
    table.write_text(f"hazy,clear\n0001_0.8_1.jpg,0001.jpg\n{source}/hazy/0002_0.8_1.jpg,{source}/GT/0002.jpg\n")
    assert convert(source, tmp_path / "out", f"--pairs={table}", "--val_fraction=0") == 0
    assert pairs_of(tmp_path / "out")["train"] == {("0001_0.8_1.jpg", "0001.jpg"), ("0002_0.8_1.jpg", "0002.jpg")}


def test_accents_match_composed_and_decomposed(tmp_path):
    composed = "Zürich.png"
    write_images(tmp_path, [f"h/{unicodedata.normalize('NFD', composed)}", f"c/{composed}"])
    decomposed = unicodedata.normalize("NFD", composed)
    (tmp_path / "t.csv").write_text(f"hazy,clear\nh/{composed},c/{decomposed}\n", encoding="utf-8")
    assert convert_table(tmp_path / "t.csv", tmp_path / "out") == 0


def test_scenes_of_a_table_stay_in_one_split(tmp_path, capsys):
    write_images(tmp_path, [f"{side}/{n}.png" for side in "hc" for n in range(8)])
    rows = [f"h/{n}.png,c/{n}.png,{'night' if n % 2 else ''}" for n in range(8)]
    (tmp_path / "t.csv").write_text("\n".join(["hazy,clear,scene", *rows]))
    assert convert_table(tmp_path / "t.csv", tmp_path / "out", "--val_fraction=0.25") == 0
    assert "8 pairs of 5 scenes" in capsys.readouterr().out
    (split,) = {split for split, pairs in pairs_of(tmp_path / "out").items() if ("h/1.png", "c/1.png") in pairs}
    assert {(f"h/{n}.png", f"c/{n}.png") for n in (1, 3, 5, 7)} <= pairs_of(tmp_path / "out")[split]
    assert convert_table(tmp_path / "t.csv", tmp_path / "out2", "--scene=(.)") == 2


def test_a_scene_in_two_splits_is_refused(tmp_path, capsys):
    write_images(tmp_path, ["h/1.png", "h/2.png", "h/3.png", "c/1.png", "c/3.png"])
    (tmp_path / "c/2.png").write_bytes((tmp_path / "c/1.png").read_bytes())
    (tmp_path / "t.csv").write_text("hazy,clear,split\nh/1.png,c/1.png,train\nh/2.png,c/2.png,val\nh/3.png,c/3.png,val")
    assert convert_table(tmp_path / "t.csv", tmp_path / "out") == 1
    assert "1 scenes are in two splits (h/1.png in train and h/2.png in val)" in capsys.readouterr().err
    (tmp_path / "t.csv").write_text("hazy,clear,split,scene\nh/1.png,c/1.png,train,a\nh/3.png,c/3.png,val,a")
    assert convert_table(tmp_path / "t.csv", tmp_path / "out") == 1
    assert "h/1.png in train and h/3.png in val" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_with_other_splits_is_another_data_set(tmp_path, capsys):
    write_images(tmp_path, ["h/1.png", "h/2.png", "c/1.png", "c/2.png"])
    table = tmp_path / "t.csv"
    table.write_text("hazy,clear,split\nh/1.png,c/1.png,train\nh/2.png,c/2.png,val")
    assert convert_table(table, tmp_path / "out") == 0
    table.write_text("hazy;clear;split\r\nh/2.png;c/2.png;VALID\r\nh/1.png;c/1.png;Training")
    assert convert_table(table, tmp_path / "out") == 0
    assert "complete" in capsys.readouterr().out
    table.write_text("hazy,clear,split\nh/1.png,c/1.png,val\nh/2.png,c/2.png,train")
    assert convert_table(table, tmp_path / "out") == 2
    assert "assignments_sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "first line '' must be a header"),
        ("h/1.png,c/1.png\n", 2, "first line 'h/1.png,c/1.png' must be a header with the columns hazy and clear"),
        ("hazy,clear,slpit\nh/1.png,c/1.png,val\n", 2, "first line 'hazy,clear,slpit' must be a header"),
        ("hazy,clear\n", 2, "lists no pairs"),
        ("hazy,clear\nh/1.png,c/1.png,val\n", 2, "line 2 'h/1.png,c/1.png,val' has 3 values for 2 columns"),
        ("hazy,clear\nh/1.png,\n", 1, "line 2: clear '' is empty"),
        (
            "hazy,clear\n\nh/1.png,c/9.png\nh/8.png,c/1.png\n",
            1,
            "2 rows are wrong: line 4: hazy 'h/8.png' does not exist",
        ),
        ("hazy,clear\n../t.csv,c/1.png\n", 1, "line 2: hazy '../t.csv' leads out of"),
        ("hazy,clear\n/etc/passwd,c/1.png\n", 1, "line 2: hazy '/etc/passwd' leads out of"),
        ("hazy,clear\nh/@eaDir/1.png,c/1.png\n", 1, "'h/@eaDir/1.png' is hidden, or is in a folder of the system"),
        ("hazy,clear\nh/1.png,c/1.png\nh/1.png,c/2.png\n", 2, "line 3: hazy 'h/1.png' is in line 2 too"),
        ("hazy,clear,split\nh/1.png,c/1.png,\n", 2, "line 2: split '' is none of train, val, test"),
        ("hazy,clear,split\nh/1.png,c/1.png,dev set\n", 2, "split 'dev set' is none of train, val, test"),
        ("hazy,clear\nh/1.png,h/1.png\n", 1, "same files as their clear images"),
        ('hazy,clear\n"h/1.png,c/1.png\n', 1, "line 2: clear '' is empty"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(tmp_path, text, code, said, capsys):
    write_images(tmp_path / "D", ["h/1.png", "h/@eaDir/1.png", "c/1.png", "c/2.png"])
    (tmp_path / "D/t.csv").write_text(text)
    assert convert_table(tmp_path / "D/t.csv", tmp_path / "out") == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--hazy_dir=h"], "--gt_dir"),
        (["--pairs=t.csv", "--pairing=rice"], "--pairs=t.csv and --pairing=rice exclude each other"),
        (["--pairs=nowhere.csv"], "--pairs=nowhere.csv cannot be read"),
        (["--pairs=h"], "--pairs=h cannot be read"),
        (["--pairs=split.csv", "--val_fraction=0.2"], "has a column split, which excludes"),
        (["--pairs=split.csv", "--split=val"], "has a column split, which excludes"),
    ],
)
def test_flags_that_exclude_each_other(tmp_path, monkeypatch, flags, said, capsys):
    write_images(tmp_path, ["h/1.png", "c/1.png"])
    (tmp_path / "t.csv").write_text("hazy,clear\nh/1.png,c/1.png\n")
    (tmp_path / "split.csv").write_text("hazy,clear,split\nh/1.png,c/1.png,train\n")
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "--output_dir=out", *flags]) == 2
    assert said in capsys.readouterr().err


def test_a_renamed_table_gives_the_same_fingerprint(tmp_path):
    write_images(tmp_path, ["h/1.png", "h/2.png", "c/1.png", "c/2.png"])
    found = []
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("hazy,clear\nh/1.png,c/1.png\nh/2.png,c/2.png\n")
        assert convert_table(tmp_path / name, tmp_path / name[0]) == 0
        manifest = json.loads((tmp_path / name[0] / "manifest.json").read_text())
        assert manifest["provenance"]["hazy_dir"] == os.path.realpath(tmp_path)
        found.append(manifest["fingerprint"])
    assert found[0] == found[1]
