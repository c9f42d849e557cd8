"""`hazeheal dehaze` as users run it: folders in, results and messages out."""

import pathlib

import checkpoints_made
import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin
from tiff_files import colors, extra_samples, written

from hazeheal import __main__ as program
from hazeheal.data.images import image_io
from hazeheal.errors import HazeHealError
from hazeheal.inference import image_metadata, results_record
from hazeheal.inference.gan import DehazeGAN
from hazeheal.inference.restorer import Restorer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's directory with two checkpoints: what dehaze reads of a training."""
    path = tmp_path_factory.mktemp("runs") / "run"
    return checkpoints_made.write_run(path, (5, 20.0), (9, 10.0), model__se_ratio=0.25)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    for name, size in {
        "a.png": (30, 41),
        "b/c.jpg": (30, 41),
        "b/d.png": (200, 190),
        "b/e.bmp": (1, 1),
    }.items():
        path = pathlib.Path("in", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=95)
    return pathlib.Path("in")


def dehaze(capsys, *argv):
    """Returns (exit code, stdout, stderr)."""
    code = program.main(["dehaze", *map(str, argv)])
    return code, *capsys.readouterr()


def names(folder):
    files = (p for p in pathlib.Path(folder).rglob("*") if p.is_file() and p.name != results_record.NAME)
    return sorted(str(p.relative_to(folder)) for p in files)


def load(path):
    return image_io.load_rgb(path)[0]


def test_a_folder(run, folder, capsys):
    flags = [folder, f"--model={run}", "--output=out", "--tile_size=120", "--compare"]
    code, said, wrong = dehaze(capsys, *flags)
    assert code == 0, wrong
    assert said.startswith("restored 4 to out\n1 of them in tiles (--tile_size=120).")
    expected = ["a.png", "b/c.jpg", "b/d.png", "b/e.bmp"]
    assert names("out") == sorted([*expected, *(n.replace(".", ".compare.") for n in expected)])
    gan = DehazeGAN.from_run(run)
    for name in ("a.png", "b/e.bmp"):
        assert np.array_equal(load(f"out/{name}"), gan.restore(load(f"in/{name}")))
    assert np.abs(load("out/b/c.jpg").astype(int) - gan.restore(load("in/b/c.jpg"))).mean() < 6
    both = load("out/b/d.compare.png")
    assert both.shape == (200, 380, 3)
    assert np.array_equal(both, np.concatenate([load("in/b/d.png"), load("out/b/d.png")], axis=1))

    before = {name: pathlib.Path("out", name).stat().st_mtime_ns for name in names("out")}
    pathlib.Path("out/a.png").unlink()
    code, said, _ = dehaze(capsys, *flags)
    assert code == 0
    assert said == ("skipped 3 existing results; use --overwrite to replace\nrestored 1 to out\n")
    after = {name: pathlib.Path("out", name).stat().st_mtime_ns for name in names("out")}
    assert {name for name in before if before[name] != after[name]} == {"a.png"}, "nor was its a.compare.png"
    assert np.array_equal(load("out/a.png"), gan.restore(load("in/a.png")))
    assert dehaze(capsys, *flags, "--which=newest", "--overwrite")[0] == 0
    assert np.array_equal(load("out/a.png"), DehazeGAN.from_run(run, which=9).restore(load("in/a.png")))
    assert not np.array_equal(load("out/a.png"), gan.restore(load("in/a.png")))


def test_results_of_other_settings_are_refused(run, folder, capsys):
    flags = [folder, f"--model={run}", "--output=out"]
    assert dehaze(capsys, *flags)[0] == 0
    before = {name: pathlib.Path("out", name).read_bytes() for name in names("out")}
    for other, said in (
        (["--which=newest"], "out/a.png was made with weights="),
        (["--strength=0.5"], "out/a.png was made with strength=1.0 (now 0.5); replace it with --overwrite"),
        (["--mirror"], "mirror=False (now True)"),
        (["--quality=70"], "quality=None (now 70)"),
    ):
        code, said_out, wrong = dehaze(capsys, *flags, *other)
        assert code == 2 and said in wrong and wrong.count("\n") == 1 and not said_out
    assert before == {name: pathlib.Path("out", name).read_bytes() for name in names("out")}
    pathlib.Path("out/b/d.png").unlink()
    assert dehaze(capsys, folder / "b/d.png", f"--model={run}", "--output=out/b", "--strength=0.5")[0] == 0
    assert "out/b/d.png, which" not in dehaze(capsys, folder / "a.png", *flags[1:])[2]
    pathlib.Path("out/b/e.bmp").write_bytes(b"of the user")
    (pathlib.Path("out") / results_record.NAME).unlink()
    code, _, wrong = dehaze(capsys, *flags)
    assert code == 2 and "out/a.png exists, but .hazeheal.jsonl does not list it as a result" in wrong
    assert pathlib.Path("out/b/e.bmp").read_bytes() == b"of the user"


def test_one_file_as_the_result(run, folder, capsys):
    flags = [folder / "a.png", f"--model={run}"]
    assert dehaze(capsys, *flags, "--output=new/b.tif")[0] == 0
    assert names(".")[-1] == "new/b.tif" and not pathlib.Path("new", results_record.NAME).exists()
    assert np.array_equal(load("new/b.tif"), DehazeGAN.from_run(run).restore(load("in/a.png")))
    code, _, wrong = dehaze(capsys, *flags, "--output=new/b.tif")
    assert code == 2 and "new/b.tif exists; replace it with --overwrite" in wrong
    assert dehaze(capsys, *flags, "--output=new/b.tif", "--overwrite")[0] == 0
    assert "is a file; name a folder" in dehaze(capsys, folder, f"--model={run}", "--output=new/b.tif")[2]


def test_suffix_extension_quality_and_strength(run, folder, capsys):
    flags = ["--suffix=_clear", "--ext=webp", "--quality=60", "--strength=0"]
    assert dehaze(capsys, folder, f"--model={run}", f"--output={folder}", *flags)[0] == 0
    results = ["a_clear.webp", "b/c_clear.webp", "b/d_clear.webp", "b/e_clear.webp"]
    assert names(folder) == sorted(["a.png", "b/c.jpg", "b/d.png", "b/e.bmp", *results])
    code, said, _ = dehaze(capsys, folder, f"--model={run}", f"--output={folder}", *flags)
    assert (code, said) == (0, "skipped 4 existing results; use --overwrite to replace\n")
    for strength in (0, 0.5, 1.5):
        flags = [f"--strength={strength}", f"--output=s{strength}.png"]
        assert dehaze(capsys, folder / "a.png", f"--model={run}", *flags)[0] == 0
    hazy, restored = load("in/a.png"), DehazeGAN.from_run(run).restore(load("in/a.png"))
    assert np.array_equal(load("s0.png"), hazy)
    for strength in (0.5, 1.5):
        wanted = np.rint(np.clip(hazy + strength * (restored.astype(float) - hazy), 0, 255))
        assert np.array_equal(load(f"s{strength}.png"), wanted)
    assert dehaze(capsys, folder, "--strength=2", "--output=out")[0] == 2


def test_any_failure_costs_its_own_file_alone(run, folder, capsys, monkeypatch):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[282], tags[282] = 2, "abc"
    Image.new("RGB", (20, 20), (9, 90, 30)).save(folder / "odd.tif", tiffinfo=tags)
    Image.new("RGB", (20, 20), (9, 90, 30)).save(folder / ("n" * 250 + ".gif"))
    read, restore = image_metadata.read, Restorer.restore_all

    def fail_to_read(path, options):
        if path.name == "c.jpg":
            raise RecursionError("of a library")
        return read(path, options)

    def fail_to_restore(self, images):
        for image in restore(self, images):
            if image.shape == (200, 190, 3):
                raise HazeHealError("not enough memory")
            yield image

    monkeypatch.setattr(image_metadata, "read", fail_to_read)
    monkeypatch.setattr(Restorer, "restore_all", fail_to_restore)
    code, said, wrong = dehaze(capsys, folder, f"--model={run}", "--output=out")
    assert code == 1 and said == "restored 3 to out\n"
    assert names("out") == ["a.png", "b/e.bmp", "odd.tif"]
    assert "in/b/c.jpg: cannot be read (RecursionError: of a library)" in wrong
    assert "in/b/d.png: not enough memory" in wrong and "File name too long" in wrong


def test_a_damaged_file_is_named_and_the_others_are_restored(run, folder, capsys):
    (folder / "b/d.png").write_bytes((folder / "b/d.png").read_bytes()[:999])
    (folder / "0.jpg").write_bytes(b"")
    code, said, wrong = dehaze(capsys, folder, f"--model={run}", "--output=out")
    assert code == 1
    assert said == "restored 3 to out\n"
    assert names("out") == ["a.png", "b/c.jpg", "b/e.bmp"]
    assert "error: in/0.jpg: the file is empty" in wrong
    assert "error: in/b/d.png: truncated or damaged" in wrong
    assert wrong.endswith("2 could not be restored completely\n")


def test_a_checkpoint_as_the_model(run, folder, capsys):
    checkpoint = run / "group_00/checkpoints/ckpt-00000009"
    assert dehaze(capsys, folder / "a.png", f"--model={checkpoint}", "--output=out")[0] == 0
    assert np.array_equal(load("out/a.png"), DehazeGAN.from_run(run, which="newest").restore(load("in/a.png")))


def test_mirror(run, folder, capsys):
    for output, flags in (("out", ["--mirror"]), ("plain", [])):
        assert dehaze(capsys, folder / "a.png", f"--model={run}", f"--output={output}", *flags)[0] == 0
    wanted = Restorer(DehazeGAN.from_run(run), mirror=True).restore(load(folder / "a.png"))
    assert np.array_equal(load("out/a.png"), wanted)
    assert not np.array_equal(load("plain/a.png"), wanted)


def test_tiffs_of_16_bits_and_of_more_bands(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hazy = colors(5, white=4095)
    pathlib.Path("a.tif").write_bytes(written(hazy, photometric="minisblack", planar=True, **extra_samples(4)))
    dark = np.rint(colors(3, white=4095)).astype(np.uint16)
    pathlib.Path("b.tif").write_bytes(written(dark))
    code, said, wrong = dehaze(capsys, "a.tif", "b.tif", f"--model={run}", "--output=out")
    assert (code, said) == (1, "restored 0 to out\n")
    assert "a.tif: TIFF of 5 bands of uint16" in wrong and "--bands=4,3,2" in wrong
    assert "b.tif: 16-bit samples far below the white level" in wrong and "--white=4095" in wrong
    flags = ["--bands=4,3,1", "--white=4095", f"--model={run}", "--output=out"]
    assert dehaze(capsys, "a.tif", "b.tif", *flags)[0] == 0
    restored = np.moveaxis(tifffile.imread("out/a.tif"), 0, 2)
    np.testing.assert_array_equal(restored[..., [1, 4]], hazy[..., [1, 4]])
    gan = DehazeGAN.from_run(run)
    for result, source in ((restored[..., [3, 2, 0]], hazy[..., [3, 2, 0]]), (tifffile.imread("out/b.tif"), dark)):
        assert result.dtype == np.uint16
        wide = np.floor(source * (65535 / 4095) + 0.5).astype(np.uint16)
        assert np.abs(result - gan.restore(wide) * (4095 / 65535)).max() <= 1
    for flag in ("--white=0", "--bands=1,2", "--color=keep"):
        assert dehaze(capsys, "a.tif", flag, "--output=out2")[0] == 2


def test_raw_files_in_a_folder_are_named(run, folder, capsys):
    pathlib.Path("in/photo.dng").write_bytes(b"II*\0")
    code, said, _ = dehaze(capsys, folder, f"--model={run}", "--output=out")
    assert code == 0
    assert said.startswith("left out 1 camera raw file (in/photo.dng); develop them")
    code, _, wrong = dehaze(capsys, "in/photo.dng", f"--model={run}", "--output=out")
    assert code == 1 and "in/photo.dng: " in wrong


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--model=runs/none"], 1, "runs/none does not exist, and no pretrained network has that name"),
        (["--which=7"], 1, "has no intact checkpoint (7)"),
        (["--which=last"], 2, "'last' is not a checkpoint"),
        (["--model=fast", "--which=best"], 2, "--model=fast is a single file of weights; omit --which"),
        (["--gpus=0"], 2, "no GPU that TensorFlow can use; omit --gpus to use the CPU"),
        (["--ext=gif"], 2, "--ext=gif is not a format that can be written"),
        (["--tile_size=32"], 2, "tile_size=32 is too small"),
        (["--gpus=0,0"], 2, "--gpus=0,0: this machine has"),
        (["--precision=float64"], 2, "invalid choice: 'float64'"),
        (["--output=in"], 2, "which is an input"),
    ],
)
def test_invalid_flags_are_refused_first(run, folder, capsys, flags, code, said):
    given = {"--model": f"--model={run}", "--output": "--output=out"}
    given |= {flag.split("=")[0]: flag for flag in flags}
    result, _, wrong = dehaze(capsys, folder, *given.values())
    assert result == code
    assert said in wrong
    assert wrong.count("\n") == 1
    assert not pathlib.Path("out").exists()


def test_a_damaged_checkpoint_is_refused(run, folder, capsys, tmp_path):
    checkpoint = tmp_path / "run/group_00/checkpoints/ckpt-00000009"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")
    code, _, wrong = dehaze(capsys, folder, f"--model={checkpoint}", "--output=out")
    assert code == 1
    assert "is damaged" in wrong
