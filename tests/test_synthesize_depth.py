"""`hazeheal-tfrecords synthesize --depth_dir`: the meaning of depth maps, and which are refused."""

import json

import numpy as np
import pytest
from converting import image
from PIL import Image

from hazeheal.data.images import image_io
from hazeheal.errors import DataError
from tfrecords_tools.__main__ import main
from tfrecords_tools.synthesize.apply_haze import read_depth

HEIGHT, WIDTH = 24, 36


@pytest.fixture
def folders(tmp_path):
    """Two images in clear/, and their maps in depth/ in millimeters: 1 m in the left half, 5 m in the right."""
    for folder in ("clear", "depth"):
        (tmp_path / folder).mkdir()
    millimeters = np.full((HEIGHT, WIDTH), 1000, np.uint16)
    millimeters[:, WIDTH // 2 :] = 5000
    for number, kind in ((1, "jpg"), (2, "png")):
        Image.fromarray(image(number, HEIGHT, WIDTH)).save(tmp_path / f"clear/{number}.{kind}")
        Image.fromarray(millimeters).save(tmp_path / f"depth/{number}.png")
    return tmp_path


def synthesize(folders, *flags):
    paths = [f"--clear_dir={folders}/clear", f"--depth_dir={folders}/depth", f"--output_dir={folders}/pairs"]
    return main(["synthesize", *paths, "--workers=1", *flags])


def assert_refused(folders, capsys, message, *flags, code=1):
    assert synthesize(folders, *flags) == code
    assert message in capsys.readouterr().err
    assert not (folders / "pairs").exists()


def transmission(folders, number):
    """Returns the image's row in haze.json and the median t = (I - A) / (J - A) of its left and right half."""
    row = next(
        row for row in json.loads((folders / "pairs/haze.json").read_text())["images"] if row["hazy"] == f"{number}.png"
    )
    clear = image_io.load_rgb(folders / "clear" / row["clear"])[0].astype(float)
    hazy = image_io.load_rgb(folders / "pairs/hazy" / row["hazy"])[0].astype(float)
    airlight = 255 * np.array(row["airlight"])
    t = (hazy - airlight) / np.where(np.abs(clear - airlight) > 40, clear - airlight, np.nan)
    return row, [float(np.nanmedian(half)) for half in (t[:, : WIDTH // 2], t[:, WIDTH // 2 :])]


def test_sixteen_bit_maps_in_millimeters(folders):
    assert synthesize(folders, "--depth_scale=65.535", "--beta=0.1,0.3") == 0
    for number in (1, 2):
        row, (left, right) = transmission(folders, number)
        assert row["kind"] == "depth" and row["depth"] == f"{number}.png" and 0.1 <= row["beta"] <= 0.3
        assert left == pytest.approx(np.exp(-row["beta"] * 1), abs=0.02)
        assert right == pytest.approx(np.exp(-row["beta"] * 5), abs=0.02)


@pytest.mark.parametrize(
    ("values", "expected"),
    [("distance", (0.2, 0.8)), ("nearness", (0.8, 0.2)), ("disparity", (0.25, 0.0625))],
)
def test_eight_bit_maps_and_the_meaning_of_their_values(folders, values, expected):
    gray = np.full((2 * HEIGHT, 2 * WIDTH), 51, np.uint8)  # twice the image's size; values 0.2 and 0.8
    gray[:, WIDTH:] = 204
    for number in (1, 2):
        Image.fromarray(gray).save(folders / f"depth/{number}.png")
    assert synthesize(folders, f"--depth_values={values}", "--beta=1") == 0
    _, found = transmission(folders, 2)
    np.testing.assert_allclose(found, np.exp(-np.array(expected)), atol=0.02)


def test_names_are_paired_by_an_expression_and_surplus_maps_are_not_used(folders, capsys):
    for number in (1, 2):
        (folders / f"depth/{number}.png").rename(folders / f"depth/{number}_depth.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folders / "depth/9_depth.png")
    assert_refused(folders, capsys, "do not have exactly one depth map", "--depth_pairing=same_name")
    assert synthesize(folders, r"--depth_pairing=^(\d+)") == 0
    assert "ignoring 1 depth map without an image" in capsys.readouterr().out


def test_an_image_without_a_map_is_refused(folders, capsys):
    (folders / "depth/1.png").unlink()
    assert_refused(folders, capsys, "1.jpg has no depth map")
    assert_refused(folders, capsys, "is the same directory as --clear_dir", f"--depth_dir={folders}/clear", code=2)


def test_a_map_with_another_aspect_ratio_is_refused_before_anything_is_written(folders, capsys):
    Image.fromarray(np.zeros((WIDTH, HEIGHT), np.uint8)).save(folders / "depth/2.png")
    assert synthesize(folders) == 1
    message = f"2.png: the depth map is {HEIGHT}x{WIDTH} and 2.png is {WIDTH}x{HEIGHT} (upright)"
    assert message in capsys.readouterr().err
    assert not (folders / "pairs/haze.json").exists() and not (folders / "pairs/hazy").exists()


def test_a_map_in_color_is_named_and_the_other_image_is_written(folders, capsys):
    Image.fromarray(image(5, HEIGHT, WIDTH)).save(folders / "depth/1.png")
    assert synthesize(folders) == 1
    assert "depth/1.png: a depth map must be an 8-bit gray image" in capsys.readouterr().err
    assert [path.name for path in (folders / "pairs/hazy").iterdir()] == ["2.png"]


def test_file_formats_of_depth_maps(tmp_path):
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    exif = Image.Exif()
    exif[0x0112] = 6
    images = {
        "l": Image.fromarray(gray),
        "rgb": Image.fromarray(np.stack([gray] * 3, -1)),
        "16": Image.fromarray(gray.astype(np.uint16) * 257),
    }
    for name, encoded in images.items():
        encoded.save(tmp_path / f"{name}.png")
        np.testing.assert_allclose(read_depth(tmp_path / f"{name}.png"), gray / 255, atol=1e-6)
    images["16"].save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_allclose(read_depth(tmp_path / "turned.png"), np.rot90(gray, -1) / 255, atol=1e-6)
    Image.fromarray(gray.astype(np.float32)).save(tmp_path / "float.tif")
    images["16"].save(tmp_path / "16.tif")
    images["l"].convert("P").save(tmp_path / "palette.png")
    for name in ("float.tif", "16.tif", "palette.png", "missing.png"):
        with pytest.raises(DataError, match=name):
            read_depth(tmp_path / name)
