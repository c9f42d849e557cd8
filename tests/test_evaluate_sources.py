"""`hazeheal evaluate` on a table of pairs, on images without ground truth, and with its images written."""

import csv
import json
import shutil

import numpy as np
import pytest
import tiny
from evaluations import call, flags_of, folders_of, write_run
from PIL import Image

from hazeheal.data.images import image_io
from hazeheal.evaluation import no_reference
from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.restorer import Restorer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return folders_of(tiny.data_set(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "mine")


def rows_of(output):
    with open(output / "scores.csv", newline="") as file:
        return list(csv.DictReader(file))


def write_table(path, folders, *, splits=None, names=None, count=4):
    """A table of the first pairs of `folders`, with names relative to its folder."""
    hazy, clear = (sorted(folder.iterdir())[:count] for folder in folders.values())
    lines = ["hazy,clear" + (",split" if splits else "")]
    for i, (a, b) in enumerate(zip(hazy, clear, strict=True)):
        lines.append(f"{a.parent.name}/{a.name},{b.parent.name}/{b.name}" + (f",{splits[i]}" if splits else ""))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_gives_the_scores_of_the_folders(folders, tmp_path, capsys):
    table = write_table(folders["hazy"].parent / "pairs.csv", folders)
    flags = ["--no_model", "--no_baseline"]
    assert call(capsys, f"--pairs={table}", *flags, f"--output={tmp_path / 'a'}")[0] == 0
    assert call(capsys, *flags_of(folders), *flags, "--limit=4", f"--output={tmp_path / 'b'}")[0] == 0
    of_table, of_folders = rows_of(tmp_path / "a"), rows_of(tmp_path / "b")
    assert [row["input_psnr"] for row in of_table] == [row["input_psnr"] for row in of_folders]
    assert [row["key"] for row in of_table] == [row["key"] for row in of_folders]
    assert of_table[0]["hazy"].startswith("hazy/") and of_table[0]["clear"].startswith("GT/")
    summary = json.loads((tmp_path / "a/summary.json").read_text())
    assert summary["data"]["pairs"] == str(table)


def test_a_table_may_be_elsewhere_if_the_folders_are_named(folders, tmp_path, capsys):
    table = write_table(tmp_path / "pairs.csv", folders)
    code, _, err = call(capsys, f"--pairs={table}", "--no_model")
    assert code == 1 and "does not exist in" in err
    parent = folders["hazy"].parent
    code, out, err = call(capsys, f"--pairs={table}", f"--hazy_dir={parent}", f"--gt_dir={parent}", "--no_model")
    assert (code, err) == (0, "") and out.startswith(f"4 pairs of {table}")


def test_the_split_of_a_table(folders, tmp_path, capsys):
    parent = folders["hazy"].parent
    where = [f"--hazy_dir={parent}", f"--gt_dir={parent}", "--no_model", "--no_baseline"]
    table = write_table(tmp_path / "pairs.csv", folders, splits=["train", "val", "test", "val"])
    code, out, err = call(capsys, f"--pairs={table}", *where)
    assert (code, err) == (0, "") and out.startswith(f"2 pairs of split val of {table}")
    code, out, _ = call(capsys, f"--pairs={table}", *where, "--split=test", f"--output={tmp_path / 'out'}")
    assert code == 0 and out.startswith(f"1 pair of split test of {table}")
    assert rows_of(tmp_path / "out")[0]["hazy"].endswith(sorted(folders["hazy"].iterdir())[2].name)
    code, _, err = call(capsys, f"--pairs={table}", *where, "--split=dev")
    assert code == 1
    assert err == f"--pairs={table} has no pairs of split 'dev', only of test, train, val; name one with --split"
    plain = write_table(tmp_path / "plain.csv", folders)
    code, _, err = call(capsys, f"--pairs={plain}", *where, "--split=val")
    assert (code, err) == (2, f"--split=val needs a column split, which --pairs={plain} does not have")


def test_images_without_ground_truth(folders, run, tmp_path, capsys):
    output = tmp_path / "scores"
    flags = [f"--hazy_dir={folders['hazy']}", "--no_reference", f"--model={run}", "--limit=3", f"--output={output}"]
    code, out, err = call(capsys, *flags)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"3 images of {folders['hazy']}, the first of 14"
    assert [line.split()[0] for line in lines[2:5]] == ["input", "dark_channel", "mine"]
    assert lines[5] == no_reference.NOTE
    gan = DehazeGAN.from_run(run)
    for row in rows_of(output):
        assert "clear" not in row
        hazy = image_io.load_rgb(folders["hazy"] / row["hazy"])[0]
        for name, image in (("input", hazy), ("mine", gan.restore(hazy))):
            for figure, value in no_reference.measure(image, hazy).items():
                assert float(row[f"{name}_{figure}"]) == pytest.approx(value), (name, figure)
    summary = json.loads((output / "summary.json").read_text())
    assert set(summary["methods"]["mine"]) == {"dark", "edges", "gradient", "saturated"} <= set(summary["protocol"])
    page = (output / "report.html").read_text()
    assert no_reference.NOTE in page and 'value="clear"' not in page
    assert "worst means highest dark channel of mine" in page


def test_subfolders_and_a_damaged_header_without_ground_truth(tmp_path, capsys):
    for name in ("a/1.png", "b/1.png", "b/2.jpg"):
        (tmp_path / "hazy" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), 99, "uint8")).save(tmp_path / "hazy" / name)
    flags = [f"--hazy_dir={tmp_path / 'hazy'}", "--no_reference", "--no_model", "--no_baseline"]
    assert call(capsys, *flags, f"--output={tmp_path / 'out'}")[0] == 0
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["2", "a/1", "b/1"]
    (tmp_path / "hazy/b/2.jpg").write_bytes(b"no image")
    code, out, err = call(capsys, *flags)
    assert (code, out) == (1, "") and err.startswith(f"{tmp_path / 'hazy/b/2.jpg'}: not an image")


def test_saved_images(folders, run, tmp_path, capsys):
    hazy_dir, gt_dir = tmp_path / "hazy", tmp_path / "GT"
    for source, target in zip(folders.values(), (hazy_dir, gt_dir), strict=True):
        for i, file in enumerate(sorted(source.iterdir())[:2]):
            (target / f"part{i}").mkdir(parents=True)
            shutil.copyfile(file, target / f"part{i}" / "same.png")
    output = tmp_path / "scores"
    flags = [f"--hazy_dir={hazy_dir}", f"--gt_dir={gt_dir}", f"--model={run}", f"--output={output}", "--save_images"]
    code, out, err = call(capsys, *flags)
    assert (code, err) == (0, "") and out.splitlines()[-1].endswith(f"report.html, images to {output}")
    summary = json.loads((output / "summary.json").read_text())
    assert summary["image_folders"] == {n: f"images/{n}" for n in ("input", "dark_channel", "mine", "clear")}
    gan, page = DehazeGAN.from_run(run), (output / "report.html").read_text()
    for key in ("part0/same", "part1/same"):
        hazy, clear = (image_io.load_rgb(folder / f"{key}.png")[0] for folder in (hazy_dir, gt_dir))
        for name, image in (("input", hazy), ("mine", gan.restore(hazy)), ("clear", clear)):
            saved = output / "images" / name / f"{key}.png"
            np.testing.assert_array_equal(np.asarray(Image.open(saved)), image)
            assert f'data-full="images/{name}/{key}.png"' in page
    before = tiny.files(output)
    for name in ("scores.csv", "summary.json", "report.html"):
        (output / name).unlink()
    code, _, err = call(capsys, *flags)
    assert (code, err) == (2, f"--output={output} contains images; name another, or give --overwrite")
    (output / "images/input/part0/same.png").write_bytes(b"older")
    assert call(capsys, *flags, "--overwrite")[0] == 0
    after = tiny.files(output)
    assert after["images/input/part0/same.png"] == before["images/input/part0/same.png"]
    assert call(capsys, *[flag for flag in flags if flag != "--save_images"], "--overwrite")[0] == 0
    assert {k: v for k, v in tiny.files(output).items() if k.startswith("images")} == {
        k: v for k, v in after.items() if k.startswith("images")
    }


def test_saved_images_never_replace_an_input(folders, tmp_path, capsys):
    output = tmp_path / "scores"
    flags = ["--no_model", "--no_baseline", "--limit=2", f"--output={output}", "--save_images"]
    assert call(capsys, *flags_of(folders), *flags)[0] == 0
    before = tiny.files(output)
    saved = [f"--hazy_dir={output / 'images/input'}", f"--gt_dir={output / 'images/clear'}", "--overwrite"]
    code, out, err = call(capsys, *saved, *flags)
    assert (code, out) == (2, "") and "where --save_images writes; name another --output" in err
    inside = [f"--hazy_dir={tmp_path}", "--no_reference", "--overwrite"]
    code, out, err = call(capsys, *inside, *flags)
    assert (code, out) == (2, "") and "where --save_images writes; name another --output" in err
    assert tiny.files(output) == before
    assert call(capsys, *saved, *flags[:3], f"--output={tmp_path / 'other'}", "--save_images")[0] == 0


def test_tiles_of_the_given_size(folders, run, tmp_path, monkeypatch, capsys):
    sizes = []
    plain = Restorer.__init__

    def recorded(self, *args, tile_size=1024, devices=(None,), **options):
        sizes.append((tile_size, tuple(devices)))
        plain(self, *args, tile_size=tile_size, devices=devices, **options)

    monkeypatch.setattr(Restorer, "__init__", recorded)
    flags = [*flags_of(folders), f"--model={run}", "--limit=1", "--no_baseline", "--tile_size=512"]
    assert call(capsys, *flags, f"--output={tmp_path / 'out'}")[0] == 0
    assert sizes == [(512, ("CPU:0",))]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["models"]["mine"]["tile_size"] == 512
    code, out, err = call(capsys, *flags[:-1], "--tile_size=2")
    assert (code, out) == (2, "") and "tile_size=2" in err


def test_gpus_that_do_not_exist_are_refused(folders, capsys):
    code, out, err = call(capsys, *flags_of(folders), "--no_model", "--gpus=0")
    assert (code, out) == (2, "") and err.startswith("--gpus=0: this machine has no GPU that TensorFlow can use")
