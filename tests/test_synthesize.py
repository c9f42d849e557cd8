"""`hazeheal-tfrecords synthesize`: pairs that `convert` accepts, equal for any number of processes."""

import json
import os
import shutil

import numpy as np
import pytest
from converting import all_records, image
from PIL import Image

from hazeheal.data.images import image_io, image_ops
from hazeheal.data.pairing.pairing import pair_folders
from hazeheal.data.synthesis import scattering
from tfrecords_tools.__main__ import main
from tfrecords_tools.synthesize import apply_haze


@pytest.fixture
def clear(tmp_path):
    """Clear images of several kinds: rotated by EXIF, in a subdirectory, gray, TIFF."""
    folder = tmp_path / "clear"
    (folder / "street").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image(1)).save(folder / "turned.jpg", quality=95, exif=exif)
    Image.fromarray(image(2, 33, 21)).save(folder / "street/7.png")
    Image.fromarray(image(3)[..., 0]).save(folder / "gray.png")
    Image.fromarray(image(4)).save(folder / "7.tif")
    return folder


def synthesize(clear, output, *flags):
    return main(["synthesize", f"--clear_dir={clear}", f"--output_dir={output}", *flags])


def files(folder):
    """Returns {name: bytes} of all files in a directory and its subdirectories."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def rows(output):
    return json.loads((output / "haze.json").read_text(encoding="utf-8"))["images"]


def error(capsys):
    text = capsys.readouterr().err
    assert text.splitlines()[-1].startswith("hazeheal-tfrecords: error: ")
    return text


def test_convert_pairs_the_output_without_flags(clear, tmp_path, capsys):
    output = tmp_path / "pairs"
    assert synthesize(clear, output, "--per_picture=3", "--workers=1") == 0
    made = files(output)
    assert {name[3:]: data for name, data in made.items() if name.startswith("GT/")} == files(clear)
    assert sorted(name for name in made if name.startswith("hazy/street")) == [
        *(f"hazy/street/v{version}/7.png" for version in (1, 2, 3))
    ]
    assert len(made) == 4 + 4 * 3 + 1 and len(rows(output)) == 12
    found = pair_folders(output / "hazy", output / "GT")
    assert not found.leftovers and found.rule == "same_name"
    assert {(row["hazy"], row["clear"]) for row in rows(output)} == {(p.hazy, p.clear) for p in found.pairs}
    capsys.readouterr()
    flags = [f"--hazy_dir={output}/hazy", f"--gt_dir={output}/GT", f"--output_dir={tmp_path}/records"]
    assert main(["convert", *flags, "--workers=1", "--val_fraction=0.3"]) == 0
    read = [record for split in ("train", "val") for record, _ in all_records(tmp_path / "records", split)]
    assert len(read) == 12
    for record in read:
        row = next(row for row in rows(output) if row["hazy"] == record.hazy_source)
        before = image_io.load_rgb(clear / row["clear"])[0]
        np.testing.assert_array_equal(image_io.load_rgb(record.clear)[0], before)
        hazy = image_io.load_rgb(record.hazy)[0]
        assert hazy.shape == before.shape
        assert 4 < np.abs(hazy.astype(int) - before).mean() < 140
    turned = next(record for record in read if record.clear_source == "turned.jpg")
    assert (turned.height, turned.width) == (56, 40), "upright"


def test_the_manifest_reproduces_the_haze(clear, tmp_path):
    assert synthesize(clear, tmp_path / "pairs", "--seed=5") == 0
    assert {row["kind"] for row in rows(tmp_path / "pairs")} <= {"clouds", "ramps"}
    for row in rows(tmp_path / "pairs"):
        hazy, before = row.pop("hazy"), row.pop("clear")
        reproduced = scattering.apply_haze(image_io.load_rgb(clear / before)[0], scattering.Haze(**row))
        np.testing.assert_array_equal(image_io.load_rgb(tmp_path / "pairs/hazy" / hazy)[0], reproduced)


def test_the_output_depends_on_the_seed_and_not_on_the_number_of_processes(clear, tmp_path):
    for name, flags in {"one": ["--workers=1"], "two": ["--workers=2"], "other": ["--seed=1"]}.items():
        assert synthesize(clear, tmp_path / name, "--per_picture=2", *flags) == 0
    one, two, other = (files(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]) == name.startswith("GT/") for name in one)


def test_an_interrupted_run_is_resumed_without_rewriting_files(clear, tmp_path, capsys):
    output = tmp_path / "pairs"
    assert synthesize(clear, output, "--per_picture=2") == 0
    expected = files(output)
    lost = output / "hazy/street/v2/7.png"
    lost.unlink()
    (output / "GT/gray.png").unlink()
    (output / "hazy/.77-3abc.part.png").write_bytes(b"half")
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*.png")}
    capsys.readouterr()
    assert synthesize(clear, output, "--per_picture=2") == 0
    assert "8 hazy images of 4 clear images, 7 already finished" in capsys.readouterr().out
    assert files(output) == expected
    assert {path: path.stat().st_mtime_ns for path in times if path.exists()} == {
        path: time for path, time in times.items() if ".part" not in path.name
    }
    assert synthesize(clear, output, "--per_picture=2") == 0
    assert "complete; nothing to do" in capsys.readouterr().out


def test_new_images_are_added_and_changed_images_are_refused(clear, tmp_path, capsys):
    output = tmp_path / "pairs"
    assert synthesize(clear, output) == 0
    before = files(output)
    Image.fromarray(image(9)).save(clear / "new.png")
    assert synthesize(clear, output) == 0
    after = files(output)
    assert after.keys() - before.keys() == {"hazy/new.png", "GT/new.png"}
    assert all(after[name] == before[name] for name in before if name != "haze.json")
    assert len(rows(output)) == 5
    for flags, message in (
        (["--seed=1"], "seed=0 there, 1 now"),
        (["--beta=1"], r"beta=[0.6, 1.8] there, [1.0, 1.0] now"),
    ):
        assert synthesize(clear, output, *flags) == 2
        assert message in error(capsys)
    Image.fromarray(image(10)).save(clear / "new.png")
    assert synthesize(clear, output) == 2
    assert "clear images have changed, or were removed or renamed (new.png)" in error(capsys)
    (clear / "new.png").unlink()
    assert synthesize(clear, output) == 2
    assert "clear images have changed, or were removed or renamed (new.png)" in error(capsys)
    assert files(output) == after


def test_the_output_of_version_0_1_is_recognized(clear, tmp_path, capsys):
    output = tmp_path / "pairs"
    assert synthesize(clear, output) == 0
    expected = files(output)
    manifest = json.loads((output / "haze.json").read_text(encoding="utf-8"))
    manifest["pictures"] = manifest.pop("images")
    (output / "haze.json").write_text(json.dumps(manifest), encoding="utf-8")
    capsys.readouterr()
    assert synthesize(clear, output) == 0
    assert "complete; nothing to do" in capsys.readouterr().out
    assert files(output) == expected
    assert synthesize(clear, output, "--seed=1") == 2
    assert "seed=0 there, 1 now" in error(capsys)


def test_an_output_directory_with_other_contents_is_refused(clear, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.tex").touch()
    assert synthesize(clear, tmp_path / "other") == 2
    assert "thesis.tex" in error(capsys)
    for damage in ("[]", '{"settings": 3', '{"settings": {}, "images": [{"hazy": 1}]}'):
        (tmp_path / "other/haze.json").write_text(damage)
        assert synthesize(clear, tmp_path / "other") == 2
        assert "haze.json cannot be read" in error(capsys)
    assert sorted(os.listdir(tmp_path / "other")) == ["haze.json", "thesis.tex"]
    assert synthesize(clear, clear / "pairs") == 2
    assert "is inside --clear_dir" in error(capsys)
    assert not (clear / "pairs").exists()


def test_a_damaged_image_is_named_and_all_others_are_written(clear, tmp_path, capsys):
    original = (clear / "gray.png").read_bytes()
    (clear / "gray.png").write_bytes(original[:-300])
    output = tmp_path / "pairs"
    assert synthesize(clear, output, "--workers=1") == 1
    text = error(capsys)
    assert "gray.png: truncated or damaged" in text and "1 clear image cannot be used" in text
    assert len(files(output / "hazy")) == len(files(output / "GT")) == 3
    (clear / "gray.png").write_bytes(original)
    assert synthesize(clear, output) == 0
    assert len(files(output / "hazy")) == 4


def test_files_with_wrong_headers_are_refused_before_anything_is_written(clear, tmp_path, capsys):
    (clear / "note.png").write_bytes(b"no image")
    (clear / "empty.jpg").touch()
    assert synthesize(clear, tmp_path / "pairs") == 1
    text = error(capsys)
    assert "note.png: " in text and "empty.jpg: the file is empty" in text
    assert "2 clear images cannot be used, listed above; nothing was written" in text
    assert not files(tmp_path / "pairs")


@pytest.mark.parametrize(
    ("names", "flags"),
    [
        (["a.png", "a.jpg"], []),  # both would become hazy/a.png
        (["é.png", "é.jpg"], ["--per_picture=2"]),
        (
            ["x/7.png", "x/v1/7.png"],
            ["--per_picture=2"],
        ),  # hazy/x/v1/7.png would be paired with GT/x/v1/7.png
    ],
)
def test_ambiguous_names_are_refused(names, flags, tmp_path, capsys):
    for name in names:
        (tmp_path / "clear" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(1)).save(tmp_path / "clear" / name)
    assert synthesize(tmp_path / "clear", tmp_path / "pairs", *flags) == 1
    assert names[0] in error(capsys)
    assert not (tmp_path / "pairs").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--beta=2,1"], "--beta=2.0,1.0 must be LOW,HIGH"),
        (["--beta=much"], "'much' must be a number or LOW,HIGH"),
        (["--airlight=0.5,2"], "--airlight=0.5,2.0"),
        (["--tint=3"], "--tint=3.0"),
        (["--kind=rain"], "--kind=rain must be one or more of clouds,ramps"),
        (["--kind=clouds", "--depth_dir=."], "exclude each other"),
        (["--depth_scale=2"], "--depth_scale=2.0 needs --depth_dir"),
        (["--depth_dir=.", "--depth_scale=0"], "--depth_scale=0.0 must be positive and finite"),
        (["--depth_dir=nowhere"], "--depth_dir='nowhere' is not an existing folder"),
        (["--per_picture=0"], "--per_picture=0 must be a positive integer"),
        (["--seed=-1"], "--seed=-1 must be 0 or a positive integer"),
        (["--quality=80"], "--quality=80 needs --encoding=jpeg"),
        (["--encoding=jpeg", "--quality=0"], "--quality=0 must be from 1 to 100"),
        (["--clear_dir=nowhere"], "--clear_dir='nowhere' is not an existing folder"),
        (["--output_dir="], "--output_dir is empty"),
    ],
)
def test_a_usage_error_is_one_line(clear, tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    assert synthesize(clear, "pairs", *flags) == 2
    text = error(capsys)
    assert message in text and text.count("\n") == 1
    assert os.listdir(tmp_path) == ["clear"]


def test_jpeg_is_smaller_and_similar(clear, tmp_path):
    for name, flags in {"png": [], "jpeg": ["--encoding=jpeg", "--quality=90"]}.items():
        assert synthesize(clear, tmp_path / name, *flags) == 0
    hazy, stored = (
        image_io.load_rgb(tmp_path / f"{name}/hazy/7.{kind}")[0] for name, kind in (("png", "png"), ("jpeg", "jpg"))
    )
    assert image_ops.psnr(hazy, stored) > 30
    assert (tmp_path / "jpeg/hazy/7.jpg").stat().st_size < (tmp_path / "png/hazy/7.png").stat().st_size


def test_help_has_examples_and_exit_codes(capsys):
    assert main(["synthesize", "--help"]) == 0
    text = capsys.readouterr().out
    for word in (
        "examples:",
        "exit codes: 0 done",
        "--depth_values",
        "I = J t + A (1 - t)",
        "17% of the scene",
    ):
        assert word in " ".join(text.split())


def test_a_full_disk_stops_the_run_and_the_same_command_resumes_it(clear, tmp_path, monkeypatch, capsys):
    real, calls = apply_haze.image_io.encode, []

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(apply_haze.image_io, "encode", full)
    assert synthesize(clear, tmp_path / "pairs", "--workers=1") == 1
    assert "No space left" in error(capsys) and len(calls) == 2
    monkeypatch.undo()
    assert synthesize(clear, tmp_path / "pairs") == 0
    again = tmp_path / "again"
    assert synthesize(shutil.copytree(clear, tmp_path / "copy"), again) == 0
    assert files(again) == files(tmp_path / "pairs")
