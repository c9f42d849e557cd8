"""GeoTIFFs are restored window by window: chosen bands change, and everything else stays. Needs rasterio.

The files are written by rasterio, and the results are read by rasterio and by tifffile.
"""

import numpy as np
import pytest
import tifffile
from disks import full_disk
from refusals import refusal
from test_restorer import make_gan, noise, whole
from test_view import FIELDS

rasterio = pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")

from rasterio import shutil  # noqa: E402
from rasterio.enums import ColorInterp, MaskFlags  # noqa: E402
from rasterio.rpc import RPC  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402

from hazeheal.data.images.pixel_options import AS_STORED, PixelOptions  # noqa: E402
from hazeheal.errors import DataError, OutputError  # noqa: E402
from hazeheal.inference import geotiff, scene  # noqa: E402
from hazeheal.inference.jobs import Job  # noqa: E402
from hazeheal.inference.restorer import Restorer  # noqa: E402

HEIGHT, WIDTH = 200, 300
PLACE = {"crs": "EPSG:32632", "transform": from_origin(500000, 5200000, 10, 10)}


@pytest.fixture(scope="module")
def gan():
    return make_gan(**FIELDS)


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(scene, "WINDOW", 64)


def bands(count=3, *, dtype="uint16", white=65535):
    """`[count, H, W]` of smooth and rough parts, between 0 and white."""
    images = [noise(HEIGHT, WIDTH, seed=seed, dtype=np.uint16) for seed in range(-(-count // 3))]
    samples = np.moveaxis(np.concatenate(images, axis=2), 2, 0)[:count] * (white / 65535)
    return samples.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(samples).astype(dtype)


def write(path, samples, *, tags=None, **options):
    count, height, width = samples.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": samples.dtype, **PLACE}
    with rasterio.open(path, "w", **profile | options) as dataset:
        dataset.write(samples)
        dataset.update_tags(**tags or {})
    return path


def restore(gan, path, *, options=AS_STORED, compare=False, **settings):
    """Restores one scene, and returns the path of the result."""
    output = path.parent / "out" / path.name
    job = Job(path, output, output.with_name("compare.tif") if compare else None)
    geotiff.restore_scene(job, Restorer(gan), options, **settings)
    return output


def expected(gan, samples, white):
    """The restored bands `[3, H, W]` of those in red, green and blue, by the Keras model itself."""
    wide = np.rint(np.clip(np.moveaxis(samples, 0, 2) / white, 0, 1) * 65535).astype(np.uint16)
    return np.moveaxis(whole(gan, wide), 2, 0) * (white / 65535)


def read(path):
    """The samples by rasterio, which are those that tifffile reads."""
    with rasterio.open(path) as dataset:
        samples = dataset.read()
    by_tifffile = tifffile.TiffFile(path).pages[0]
    if by_tifffile.compression in (1, 8):
        other = by_tifffile.asarray().reshape(by_tifffile.shaped[0], *samples.shape[1:], -1)
        np.testing.assert_array_equal(samples, np.moveaxis(other, 3, 1).reshape(samples.shape))
    return samples


LAYOUTS = {
    "strips": {},
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 32},
    "planes, Deflate, predictor": {"interleave": "band", "compress": "deflate", "predictor": 2},
    "LZW, tiles": {"compress": "lzw", "tiled": True, "blockxsize": 128, "blockysize": 128},
    "BigTIFF": {"bigtiff": "yes"},
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_scene_in_windows_equals_the_whole_image(gan, tmp_path, small_windows, layout, dtype):
    white = np.iinfo(dtype).max
    samples = bands(dtype=dtype, white=white)
    path = write(tmp_path / "a.tif", samples, photometric="rgb", **LAYOUTS[layout])
    assert geotiff.is_scene(path)
    result = restore(gan, path)
    difference = np.abs(read(result) - expected(gan, samples, white))
    assert difference.max() <= (1 if dtype == "uint8" else 3)
    with rasterio.open(path) as hazy, rasterio.open(result) as restored:
        assert restored.profile == hazy.profile
        assert restored.block_shapes == hazy.block_shapes
        assert restored.tags(ns="IMAGE_STRUCTURE") == hazy.tags(ns="IMAGE_STRUCTURE")
        assert restored.colorinterp == hazy.colorinterp


def test_everything_but_the_chosen_bands_is_kept(gan, tmp_path, small_windows):
    samples = bands(5, white=4095)
    tags = {"TIFFTAG_DATETIME": "2024:07:03 10:00:00", "AREA_OR_POINT": "Point", "MINE": "x"}
    path = write(tmp_path / "a.tif", samples, tags=tags, nodata=0, interleave="band")
    names = ("height", "lat", "line", "long", "samp")
    scalars = {f"{name}_{kind}": 2.0 for name in names for kind in ("off", "scale")}
    series = {f"{name}_{kind}_coeff": [1.0] * 20 for name in ("line", "samp") for kind in ("num", "den")}
    rpc = RPC(**scalars, **series, err_bias=0.0, err_rand=0.0)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(2, STATISTICS_MEAN="5", WAVELENGTH="560")
        dataset.update_tags(5, STATISTICS_MEAN="6")
        dataset.set_band_description(2, "B03")
        dataset.scales, dataset.offsets, dataset.units = (1e-4,) * 5, (-0.1,) * 5, ("x",) * 5
        dataset.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red] + [ColorInterp.undefined] * 2
        dataset.rpcs = rpc
    result = restore(gan, path, options=PixelOptions(white=4095))  # the bands are those that the file calls red, ...
    restored = read(result)
    np.testing.assert_array_equal(restored[3:], samples[3:])
    wanted = expected(gan, samples[[2, 1, 0]], 4095)
    valid = (samples[:3] != 0).any(0)
    assert np.abs(restored[[2, 1, 0]] - wanted)[:, valid].max() <= 2
    with rasterio.open(path) as hazy, rasterio.open(result) as dataset:
        for name in ("profile", "descriptions", "scales", "offsets", "units", "colorinterp", "crs", "transform"):
            assert getattr(dataset, name) == getattr(hazy, name), name
        assert dataset.tags() == hazy.tags() and dataset.tags()["MINE"] == "x"
        assert dataset.tags(2) == {"WAVELENGTH": "560"}, "the statistics are those of the hazy band"
        assert dataset.tags(5)["STATISTICS_MEAN"] == "6"
        assert dataset.rpcs.to_dict() == hazy.rpcs.to_dict() and dataset.rpcs.line_off == 2


def test_chosen_bands_and_white(gan, tmp_path, small_windows):
    samples = bands(8, white=4095)
    path = write(tmp_path / "a.tif", samples, photometric="minisblack")
    assert "--bands=4,3,2" in refusal(DataError, restore, gan, path)
    message = refusal(DataError, restore, gan, path, options=PixelOptions(bands=(4, 3, 2)))
    assert "far below" in message and "--white=4095" in message
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    restored = read(restore(gan, path, options=PixelOptions(white=4095, bands=(6, 3, 2))))
    kept = [0, 3, 4, 6, 7]
    np.testing.assert_array_equal(restored[kept], samples[kept])
    assert np.abs(restored[[5, 2, 1]] - expected(gan, samples[[5, 2, 1]], 4095)).max() <= 1


def test_a_percentile(gan, tmp_path, small_windows):
    samples = bands(3, white=4000)
    samples[:, 0, :5] = 60000
    path = write(tmp_path / "a.tif", samples, photometric="rgb")
    white = float(np.percentile(samples, 99.5, method="higher"))
    restored = read(restore(gan, path, options=PixelOptions(white="p99.5"))).astype(int)
    wanted = expected(gan, samples, white) + np.maximum(samples - white, 0)
    assert np.abs(restored - wanted).max() <= 1


@pytest.mark.parametrize(("dtype", "no_data"), [("uint16", 0), ("uint8", 255), ("float32", -9999), ("float32", np.nan)])
def test_pixels_without_data_stay_and_do_not_reach_the_network(gan, tmp_path, small_windows, dtype, no_data):
    white = {"uint8": 255, "uint16": 65535, "float32": 1.0}[dtype]
    samples = bands(3, dtype=dtype, white=white)
    whole_scene = write(tmp_path / "whole.tif", samples, photometric="rgb")
    samples[:, :, :140] = no_data
    options = PixelOptions(white=1.0) if dtype == "float32" else PixelOptions()
    path = write(tmp_path / "a.tif", samples, photometric="rgb", nodata=no_data)
    restored = read(restore(gan, path, options=options))
    np.testing.assert_array_equal(restored[:, :, :140], samples[:, :, :140])
    dark = np.random.default_rng(0).uniform(0, 0.1 * white, samples.shape)  # of more values than a border has
    filled = np.where(np.arange(WIDTH) < 140, dark, samples).astype(dtype)
    black = write(tmp_path / "black.tif", filled, photometric="rgb")
    best, bad = (read(restore(gan, file, options=options))[:, :, 140:] for file in (whole_scene, black))
    errors = [np.abs(other.astype(float) - restored[:, :, 140:]).mean() for other in (best, bad)]
    assert errors[0] < 0.6 * errors[1], "nearer to the scene that has all pixels than to the one with a dark border"


@pytest.mark.parametrize(("dtype", "value"), [("uint16", 0), ("uint16", 65535), ("uint8", 0), ("float32", 0.0)])
def test_a_border_of_one_value_counts_as_without_data(gan, tmp_path, small_windows, dtype, value):
    white = {"uint8": 255, "uint16": 65535, "float32": 1.0}[dtype]
    samples = (0.2 + 0.6 * bands(3, dtype="float32", white=1.0)) * white
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    across, along = columns + 0.25 * rows - 175, rows - 0.25 * columns - 62
    samples = np.where((np.abs(across) < 120) & (np.abs(along) < 80), samples, value).astype(dtype)  # a rotated scene
    options = PixelOptions(white=1.0) if dtype == "float32" else PixelOptions()
    untagged = write(tmp_path / "untagged.tif", samples, photometric="rgb")
    tagged = write(tmp_path / "tagged.tif", samples, photometric="rgb", nodata=value)
    ours, wanted = (read(restore(gan, file, options=options)) for file in (untagged, tagged))
    np.testing.assert_array_equal(ours, wanted)
    np.testing.assert_array_equal(ours[samples == value], samples[samples == value])


@pytest.mark.parametrize("kind", ["alpha", "mask"])
def test_transparent_and_masked_pixels_stay(gan, tmp_path, small_windows, kind):
    samples = bands(3, dtype="uint8", white=255)
    visible = np.full((HEIGHT, WIDTH), 255, np.uint8)
    visible[:, :140] = 0
    if kind == "alpha":
        path = write(tmp_path / "a.tif", np.concatenate([samples, visible[None]]), photometric="rgb", alpha="yes")
    else:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            path = write(tmp_path / "a.tif", samples, photometric="rgb")
            with rasterio.open(path, "r+") as dataset:
                dataset.write_mask(visible)
    result = restore(gan, path)
    with rasterio.open(result) as dataset:
        restored = dataset.read()
        np.testing.assert_array_equal(dataset.dataset_mask(), visible)
        flag = MaskFlags.alpha if kind == "alpha" else MaskFlags.per_dataset
        assert flag in dataset.mask_flag_enums[0]
    np.testing.assert_array_equal(restored[:3, :, :140], samples[:, :, :140])
    assert (restored[:3, :, 140:] != samples[:, :, 140:]).mean() > 0.5
    assert not list(result.parent.glob("*.msk"))


def test_a_cog_stays_a_cog(gan, tmp_path, monkeypatch):
    samples = np.tile(bands(4), (1, 4, 4))
    plain = write(tmp_path / "plain.tif", samples, photometric="minisblack", nodata=0)
    path = tmp_path / "a.tif"
    shutil.copy(plain, path, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=256)
    result = restore(gan, path, options=PixelOptions(bands=(3, 2, 1)))
    with rasterio.open(path) as hazy, rasterio.open(result) as dataset:
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        assert structure["LAYOUT"] == "COG" and structure["PREDICTOR"] == "2"
        assert dataset.overviews(1) == hazy.overviews(1) != []
        assert dataset.profile == hazy.profile
        np.testing.assert_array_equal(dataset.read(4), samples[3])
    restored = read(result)
    assert np.abs(restored[[2, 1, 0]] - expected(gan, samples[[2, 1, 0]], 65535)).max() <= 3


def test_overviews_show_the_restored_bands(gan, tmp_path):
    path = write(tmp_path / "a.tif", bands(3), photometric="rgb", tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    with rasterio.open(restore(gan, path)) as dataset:
        assert dataset.overviews(1) == [2, 4]
        whole_size, reduced = dataset.read(), dataset.read(out_shape=(3, HEIGHT // 2, WIDTH // 2))
    means = whole_size.reshape(3, HEIGHT // 2, 2, WIDTH // 2, 2).mean((2, 4))
    assert np.abs(means - reduced).max() <= 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_inverted_gray(gan, tmp_path, small_windows, dtype):
    white = np.iinfo(dtype).max
    gray = bands(1, dtype=dtype, white=white)
    path = write(tmp_path / "a.tif", white - gray, photometric="miniswhite")
    result = restore(gan, path)
    assert tifffile.TiffFile(result).pages[0].photometric == 0
    luma = np.tensordot([0.299, 0.587, 0.114], expected(gan, np.repeat(gray, 3, axis=0), white), axes=1)
    assert np.abs((white - read(result)[0]) - luma).max() <= (1 if dtype == "uint8" else 3)


def test_jpeg_becomes_lossless(gan, tmp_path):
    path = write(tmp_path / "a.tif", bands(3, dtype="uint8", white=255), compress="jpeg", photometric="ycbcr")
    with rasterio.open(restore(gan, path)) as dataset:
        assert dataset.profile["compress"] == "deflate" and "photometric" not in dataset.profile
        assert dataset.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def test_a_generator_without_a_view(tmp_path, small_windows):
    gan = make_gan(model__norm="none", model__se_ratio=0.0, model__depth=1)
    samples = bands(4, white=4095)
    path = write(tmp_path / "a.tif", samples, photometric="minisblack", nodata=0)
    restored = read(restore(gan, path, options=PixelOptions(white=4095, bands=(1, 2, 3))))
    np.testing.assert_array_equal(restored[3], samples[3])
    valid = (samples[:3] != 0).any(0)
    assert (np.abs(restored[:3] - expected(gan, samples[:3], 4095)) <= 1)[:, valid].mean() > 0.99


def test_a_comparison_is_small(gan, tmp_path, monkeypatch):
    monkeypatch.setattr(geotiff, "COMPARED", 100)
    path = write(tmp_path / "a.tif", bands(3, white=4095), photometric="rgb")
    result = restore(gan, path, options=PixelOptions(white=4095), compare=True)
    image = tifffile.imread(result.parent / "compare.tif")
    assert (image.shape, image.dtype) == ((67, 200, 3), np.uint8)
    assert image.max() > 200
    assert sorted(file.name for file in result.parent.iterdir()) == ["a.tif", "compare.tif"]


def test_a_damaged_scene_and_a_full_disk_leave_nothing(gan, tmp_path, capfd):
    path = write(tmp_path / "a.tif", bands(3), photometric="rgb", compress="deflate")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert refusal(DataError, restore, gan, path).startswith(f"{path}: truncated or damaged (")
    path = write(tmp_path / "b.tif", bands(3), photometric="rgb")
    with full_disk(100_000):  # the temporary file does not fit
        assert "cannot be written" in refusal(OutputError, restore, gan, path)
    path = write(tmp_path / "c.tif", bands(12), photometric="minisblack")
    with full_disk(700_000):  # the result does not fit
        assert "cannot be written" in refusal(OutputError, restore, gan, path, options=PixelOptions(bands=(2,)))
    path = write(tmp_path / "d.tif", bands(6), photometric="minisblack", interleave="band", compress="deflate")
    data = path.read_bytes()
    start, stop = len(data) * 3 // 4, len(data) * 7 // 8  # the directory may be at the end
    path.write_bytes(data[:start] + bytes(stop - start) + data[stop:])
    message = refusal(OutputError, restore, gan, path, options=PixelOptions(bands=(1, 2, 3)))
    assert f"{tmp_path / 'out/d.tif'} cannot be written" in message, "another band is damaged"
    assert not list((tmp_path / "out").iterdir())
    assert capfd.readouterr().err == ""


def test_an_existing_result_is_not_overwritten(gan, tmp_path):
    path = write(tmp_path / "a.tif", bands(3), photometric="rgb")
    result = restore(gan, path)
    result.write_bytes(b"mine")
    restore(gan, path)
    assert result.read_bytes() == b"mine"
    restore(gan, path, overwrite=True)
    assert len(result.read_bytes()) > 1000


def test_photographs_and_large_files(tmp_path, monkeypatch):
    photograph = tmp_path / "photograph.tif"
    tifffile.imwrite(photograph, np.zeros((20, 30, 3), np.uint16), photometric="rgb", metadata=None)
    assert not geotiff.is_scene(photograph), "a TIFF without tags of GeoTIFF"
    monkeypatch.setattr(geotiff, "LARGE", 1000)
    assert geotiff.is_scene(photograph)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("a.png", "missing.tif"):
        assert not geotiff.is_scene(tmp_path / name)
