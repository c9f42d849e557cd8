"""`hazeheal evaluate` as users run it: on folders, records and runs, and the arguments it refuses."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import checkpoints_made
import numpy as np
import pytest
import tensorflow as tf
import tiny
from evaluations import call, flags_of, folders_of, write_run

from hazeheal.commands import evaluate as command
from hazeheal.commands.parsing import name_runs
from hazeheal.data.images import image_io
from hazeheal.data.images.image_ops import psnr
from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.evaluation import dark_channel, scores
from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.restorer import Restorer
from hazeheal.utils import quiet_import

ROOT = pathlib.Path(__file__).resolve().parents[1]
SEE = "; see hazeheal evaluate --help"
FILES = ["report.html", "scores.csv", "summary.json"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """14 pairs as folders and, beside them, as records."""
    return tiny.data_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folders(data):
    return folders_of(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "mine")


def test_folders_with_a_model(run, folders, tmp_path, capsys):
    output = tmp_path / "scores"
    code, out, err = call(capsys, *flags_of(folders), f"--model={run}", f"--output={output}", "--limit=3")
    assert (code, err) == (0, "")
    assert sorted(p.name for p in output.iterdir()) == FILES
    with open(output / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    gan = DehazeGAN.from_run(run)
    for row in rows:
        hazy, clear = (image_io.load_rgb(folders[k] / row[n])[0] for k, n in (("hazy", "hazy"), ("GT", "clear")))
        for name, image in (
            ("input", hazy),
            ("dark_channel", dark_channel.restore(hazy)),
            ("mine", gan.restore(hazy)),
        ):
            assert float(row[f"{name}_psnr"]) == pytest.approx(psnr(image, clear), abs=1e-9)
            assert float(row[f"{name}_ciede2000"]) == pytest.approx(scores.score(image, clear)["ciede2000"])
    summary = json.loads((output / "summary.json").read_text())
    assert summary["images"] == 3
    mean = np.mean([float(row["mine_ssim_y"]) for row in rows])
    assert summary["methods"]["mine"]["ssim_y"]["mean"] == pytest.approx(mean)
    assert summary["models"]["mine"]["checkpoint"] == "ckpt-00000004"  # the best
    assert summary["data"] | {"limited_to": 3, "of": 14} == summary["data"]
    assert summary["protocol"]["data_range"] == 255 and summary["protocol"]["resize"] == "none"
    assert summary["versions"]["tensorflow"] == tf.__version__
    page = (output / "report.html").read_text()
    assert page.count('<figure class="card"') == 3 and "worst means lowest PSNR of mine" in page
    table = out.splitlines()
    assert table[0].startswith(f"3 pairs of {folders['hazy']} and {folders['GT']}, the first of 14")
    assert [line.split()[0] for line in table[2:5]] == ["input", "dark_channel", "mine"]
    assert table[4].split()[1] == f"{summary['methods']['mine']['psnr']['mean']:.2f}"


def test_one_checkpoint_of_a_run(run, folders, capsys):
    newest = run / "group_00/checkpoints/ckpt-00000008"
    code, out, err = call(capsys, *flags_of(folders), f"--model={newest}", "--limit=1", "--no_baseline")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("ckpt-00000008 ")


def test_mirror(folders, tmp_path, capsys):
    run = checkpoints_made.write_run(tmp_path / "run", (5, 20.0))
    found = {}
    for name, flags in (("plain", []), ("mirrored", ["--mirror"])):
        more = [f"--model={run}", "--no_baseline", "--limit=1", f"--output={tmp_path / name}"]
        assert call(capsys, *flags_of(folders), *more, *flags)[0] == 0
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert summary["models"]["run"].get("mirror", False) == bool(flags)
        found[name] = summary["methods"]["run"]["psnr"]["mean"]
    first = sorted(folders["hazy"].iterdir())[0]
    hazy, clear = (image_io.load_rgb(folder / first.name)[0] for folder in folders.values())
    restored = Restorer(DehazeGAN.from_run(run), mirror=True).restore(hazy)
    assert found["mirrored"] == pytest.approx(psnr(restored, clear), abs=1e-6)
    assert found["plain"] != found["mirrored"]


def test_records_are_scored_like_their_source_files(data, folders, capsys, tmp_path):
    code, _, err = call(capsys, f"--data_dir={data}", "--no_model", f"--output={tmp_path / 'a'}")
    assert (code, err) == (0, "")
    assert call(capsys, *flags_of(folders), "--no_model", f"--output={tmp_path / 'b'}")[0] == 0
    of_records, of_files = ((tmp_path / name / "scores.csv").read_text().splitlines() for name in "ab")
    assert len(of_records) == 1 + 3  # the split `val`
    assert set(of_records) < set(of_files)
    summary = json.loads((tmp_path / "a/summary.json").read_text())
    assert (summary["data"]["split"], len(summary["data"]["fingerprint"])) == ("val", 64)


def test_two_models_and_no_baseline(run, folders, tmp_path, capsys):
    other = tmp_path / "mine"
    other.symlink_to(run)
    code, out, err = call(
        capsys, *flags_of(folders), f"--model={run}", f"--model={other}", "--no_baseline", "--limit=2"
    )
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == [
        "input",
        str(run),
        str(other),
    ]  # one name for both would mislead
    assert lines[3].split()[1:] == lines[4].split()[1:]
    assert lines[5:] == [f"{other} against {run}: +0.00 dB PSNR (standard error 0.00), better on 0 of 2"]


def test_nothing_is_overwritten_unless_asked(folders, tmp_path, capsys):
    output = tmp_path / "scores"
    arguments = [*flags_of(folders), "--limit=2", f"--output={output}", "--no_model", "--no_baseline"]
    assert call(capsys, *arguments)[0] == 0
    (output / "notes.txt").write_text("mine")
    before = tiny.files(output)
    (output / "scores.csv").unlink()
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err == f"--output={output} contains summary.json, report.html; name another, or give --overwrite"
    assert call(capsys, *arguments, "--overwrite")[0] == 0
    assert {k: v for k, v in tiny.files(output).items() if k in ("notes.txt", "scores.csv")} == {
        k: before[k] for k in ("notes.txt", "scores.csv")
    }
    (tmp_path / "file").touch()
    assert call(capsys, *flags_of(folders), f"--output={tmp_path / 'file'}")[0] == 2


def test_a_damaged_image_is_named_and_nothing_written(folders, tmp_path, capsys):
    for kind, folder in folders.items():
        (tmp_path / kind).mkdir()
        for file in sorted(folder.iterdir())[:3]:
            (tmp_path / kind / file.name).write_bytes(file.read_bytes())
    bad = sorted((tmp_path / "GT").iterdir())[1]
    bad.write_bytes(bad.read_bytes()[:-40])
    flags = flags_of({"hazy": tmp_path / "hazy", "GT": tmp_path / "GT"})
    code, out, err = call(capsys, *flags, f"--output={tmp_path / 'scores'}", "--no_model", "--no_baseline")
    assert (code, out) == (1, "")
    assert err.startswith(f"{bad}: truncated or damaged")
    assert not any((tmp_path / "scores").iterdir())


def test_a_damaged_record_is_named(data, tmp_path, capsys):
    copy = tiny.damage_record(data, tmp_path / "copy", split="val")
    code, out, err = call(capsys, f"--data_dir={copy}", "--no_model", "--no_baseline")
    assert (code, out) == (1, "")
    assert err.startswith("damaged record: ") and "number 1 of split val" in err
    code, _, err = call(capsys, f"--data_dir={copy}", "--split=test")
    assert (code, err) == (1, f"{copy} has no split 'test'; it has train, val")


def write(folder, name, size, seed=0):
    folder.mkdir(exist_ok=True)
    hazy, _ = synthetic_pairs.make_pair(seed, size=64)
    image_io.save(np.ascontiguousarray(hazy[: size[0], : size[1]]), folder / name)


def test_pairs_of_two_sizes_and_orphans(tmp_path, capsys):
    write(tmp_path / "hazy", "1.png", (20, 30))
    write(tmp_path / "GT", "1.png", (22, 30))
    flags = [*flags_of({"hazy": tmp_path / "hazy", "GT": tmp_path / "GT"}), "--no_model"]
    code, _, err = call(capsys, *flags)
    assert code == 1
    assert err.startswith("images of different sizes in 1 pair (1.png 30x20, 1.png 30x22); crop both images to")
    code, _, err = call(capsys, *flags, "--size_mismatch=center_crop", f"--output={tmp_path / 'out'}")
    assert (code, err) == (0, "")
    with open(tmp_path / "out/scores.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["width"], row["height"]) == ("30", "20")
    hazy, clear = (image_io.load_rgb(tmp_path / kind / "1.png")[0] for kind in ("hazy", "GT"))
    assert float(row["input_psnr"]) == pytest.approx(psnr(hazy, np.ascontiguousarray(clear[1:21])))
    write(tmp_path / "hazy", "2.png", (20, 30))
    code, _, err = call(capsys, *flags, "--size_mismatch=center_crop")
    assert code == 1 and "have no partner (2.png)" in err and "--allow_orphans" in err
    assert call(capsys, *flags, "--size_mismatch=center_crop", "--allow_orphans")[0] == 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no images are given; give --data_dir, or --hazy_dir and --gt_dir, or --pairs"),
        (["--data_dir=a", "--hazy_dir=b"], "--hazy_dir cannot be combined with --data_dir"),
        (["--data_dir=a", "--pairs=b.csv"], "--pairs cannot be combined with --data_dir"),
        (["--pairs=b.csv", "--pairing=rice"], "--pairing cannot be combined with --pairs"),
        (["--pairs=b.csv", "--allow_orphans"], "--allow_orphans cannot be combined with --pairs"),
        (["--no_reference"], "--no_reference needs --hazy_dir, the folder of the images"),
        (["--no_reference", "--data_dir=a"], "--data_dir cannot be combined with --no_reference"),
        (["--no_reference", "--hazy_dir=a", "--gt_dir=b"], "--gt_dir cannot be combined with --no_reference"),
        (
            ["--no_reference", "--hazy_dir=a", "--lpips"],
            "--lpips cannot be combined with --no_reference: it compares with clear images",
        ),
        (["--data_dir=a", "--save_images"], "--save_images needs --output"),
        (
            ["--data_dir=a", "--tile_size=0"],
            f"argument --tile_size: must be a positive integer, got '0'{SEE}",
        ),
        (["--data_dir=a", "--gt_dir=b"], "--gt_dir cannot be combined with --data_dir"),
        *[
            (["--data_dir=a", *removed], "--lpips_weights was removed; use --lpips=alex or --lpips=vgg")
            for removed in (["--lpips_weights=a.npz"], ["--lpips_weights", "a.npz"], ["--lpips_weights"])
        ],
        (
            ["--hazy_dir=b"],
            "--hazy_dir needs --gt_dir, the folder of the clear images; for images without clear ones, give --no_reference",
        ),
        (["--data_dir=a", "--pairing=rice"], "--pairing cannot be combined with --data_dir"),
        (["--data_dir=a", "--white=4095"], "--white cannot be combined with --data_dir"),
        (["--hazy_dir=a", "--gt_dir=b", "--split=val"], "--split cannot be combined with --hazy_dir"),
        (["--data_dir=a", "--overwrite"], "--overwrite needs --output"),
        (["--data_dir=a", "--output="], "--output='' is not a folder; name a folder, which may be new"),
        (
            ["--data_dir=a", "--no_model", "--model=x"],
            "--no_model and --model=x exclude each other; give one of them",
        ),
        (["--data_dir=a", "--model=x", "--model=./x/"], "--model=x is given twice; name each run once"),
        (
            ["--data_dir=a", "--limit=0"],
            f"argument --limit: must be a positive integer, got '0'{SEE}",
        ),
        (
            ["--hazy_dir=/nowhere", "--gt_dir=/"],
            "hazy_dir='/nowhere' is not an existing folder; give the folder that holds the images",
        ),
    ],
)
def test_bad_usage(capsys, argv, said):
    assert call(capsys, *argv) == (2, "", said)


def test_a_model_without_a_run_or_checkpoint_is_refused(run, folders, capsys, tmp_path):
    code, _, err = call(capsys, *flags_of(folders), f"--model={tmp_path}")
    assert code == 1 and err.startswith(f"{tmp_path} is not a run directory: config.json cannot be read")
    code, _, err = call(capsys, *flags_of(folders), f"--model={run}", "--which=5")
    assert code == 1 and "has no intact checkpoint (5)" in err


def test_names_of_models(tmp_path, monkeypatch):
    def names(*runs):
        return name_runs(runs, taken=command.RESERVED)

    assert names("runs/a", "runs/b/") == {"a": "runs/a", "b": "runs/b/"}
    assert names("x/a", "/y/a", "clear") == {"./x/a": "x/a", "/y/a": "/y/a", "./clear": "clear"}
    # One that ships, and a path of its name.
    assert names("best", "./best", "a/fast") == {"best": "best", "./best": "./best", "fast": "a/fast"}
    monkeypatch.chdir(tmp_path)
    assert names(".", "a\nb") == {tmp_path.name: ".", "a\\nb": "a\nb"}


def test_help_does_not_import_tensorflow():
    code = """
import sys
from hazeheal.__main__ import main
print(main(["evaluate", "--help"]), sorted({"tensorflow", "keras"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0 []"
    assert all(word in done.stdout for word in ("--hazy_dir", "examples", "exit codes", "scores.csv"))


def test_tensorflow_prints_no_startup_messages(data):
    """Records are read by TensorFlow, before a model is loaded."""
    command = [sys.executable, "-m", "hazeheal", "evaluate", "--no_model", f"--data_dir={data}", "--limit=1"]
    environment = {name: value for name, value in os.environ.items() if name != quiet_import.LOG_LEVEL}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == "" and done.stdout.startswith("1 pair of split val")
