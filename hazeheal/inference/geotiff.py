"""Restores GeoTIFFs window by window through rasterio: large scenes, chosen bands, pixels without data.

    if is_scene("S2.tif", options):
        restore_scene(job, restorer, options)

The restored bands go to a temporary file. A virtual data set (VRT) then joins them with the other bands and everything else
of the source, and GDAL copies it to the result with the layout of the source. So the reference system, the transform, tags,
masks and tiles are kept by GDAL's own rules, and no more than a window of the scene is in memory.
"""

import contextlib
import importlib.util
import os
import pathlib
import shutil
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from hazeheal.data.images import libtiff_errors, tiff
from hazeheal.data.images.pixel_options import PixelOptions
from hazeheal.data.images.to_rgb import UnsupportedImageError
from hazeheal.data.images.wide import WideImage
from hazeheal.errors import DataError, OutputError
from hazeheal.inference.invalid_pixels import fill_invalid
from hazeheal.inference.jobs import Job
from hazeheal.inference.restorer import Restorer
from hazeheal.inference.results_record import ResultsRecord, recorded
from hazeheal.inference.scene import Scene, Window, root_message
from hazeheal.models.windows import WindowedView, apply_maps
from hazeheal.utils.atomic import atomic_path

if TYPE_CHECKING:
    from tqdm import tqdm

LARGE = 1 << 30  # bytes of decoded samples from which on a TIFF without tags of GeoTIFF is restored in windows too
COMPARED = 2048  # the longest side of each image in a comparison
_CACHE = 256  # MiB of decoded blocks that GDAL keeps
_TILE = 512  # of the temporary file
# The others are lossy, or GDAL may lack their encoder. They become DEFLATE.
_LOSSLESS = {"NONE", "LZW", "DEFLATE", "PACKBITS", "LZMA", "ZSTD"}
_PHOTOMETRIC = {tiff.MINISWHITE: "MINISWHITE", tiff.MINISBLACK: "MINISBLACK"}


def is_scene(path: str | os.PathLike) -> bool:
    """Returns whether a file is a TIFF to restore with `restore_scene`, and rasterio is installed."""
    if importlib.util.find_spec("rasterio") is None:
        return False
    try:
        with open(path, "rb") as file:
            if not tiff.is_tiff(file.read(4)):
                return False
        layout = tiff.read_layout(path)
    except Exception:  # whoever reads the file reports it
        return False
    if layout.photometric not in (tiff.MINISWHITE, tiff.MINISBLACK, tiff.RGB, tiff.YCBCR) or layout.orientation != 1:
        return False
    # GDAL does not keep EXIF.
    is_photograph = layout.is_for_pillow and layout.has_exif and not layout.has_mask
    is_wanted = layout.has_mask or layout.bytes > LARGE or (layout.is_geo and not is_photograph)
    return is_wanted and not layout.premultiplied


def restore_scene(
    job: Job,
    restorer: Restorer,
    options: PixelOptions,
    *,
    overwrite: bool = False,
    record: ResultsRecord | None = None,
    bar: "tqdm | None" = None,
) -> None:
    """Restores one scene. A comparison is written with 8 bits and reduced to `COMPARED` pixels per side.

    Args:
        job: The files.
        restorer: A generator without a view gets the chosen bands at once; one with a view gets windows.
        options: The white level and the bands.
        overwrite: Whether outputs that exist may be replaced.
        record: Notes the results.
        bar: Counts the windows.

    Raises:
        DataError: The scene cannot be read, or its white or bands are not known.
        OutputError: The result cannot be written.
    """
    import rasterio
    from rasterio._err import CPLE_BaseError  # of GDAL, which rasterio does not always wrap
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    settings = {"GDAL_CACHEMAX": _CACHE, "GDAL_NUM_THREADS": "ALL_CPUS", "GDAL_TIFF_INTERNAL_MASK": True}
    try:
        layout = tiff.read_layout(job.source)
        with (
            warnings.catch_warnings(),
            rasterio.Env(**settings),
            _open_scene(job.source) as dataset,
            _work_folder(job.output) as folder,
        ):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # of the temporary file
            scene = Scene(dataset, layout, options)
            restored = folder / "restored.tif"
            with _open_bands(restored, scene, dataset) as bands:
                for window, samples in _restore(scene, restorer, bar):
                    bands.write(np.moveaxis(samples, 2, 0), window=_part(window))
            _check_complete(restored, name=job.output)
            if overwrite or not job.output.exists():
                with recorded(record, job.output), atomic_path(job.output, overwrite=overwrite) as temporary:
                    _assemble(dataset, layout, scene.bands, restored, folder, temporary)
                    _check_complete(temporary, name=job.output, overviews=dataset.overviews(1))
            if job.compare is not None and (overwrite or not job.compare.exists()):
                with recorded(record, job.compare), atomic_path(job.compare, overwrite=overwrite) as temporary:
                    _compare(dataset, scene, restored, temporary)
    except UnsupportedImageError as error:
        raise DataError(f"{job.source}: {error}") from None
    except (RasterioError, CPLE_BaseError) as error:
        raise OutputError(f"{job.output} cannot be written: {root_message(error)}") from error


def _libtiff_errors():
    import rasterio

    return libtiff_errors.collect_from(rasterio._base.__file__)


def _open_scene(path):
    import rasterio
    from rasterio.errors import RasterioError

    _libtiff_errors().clear()
    try:
        return rasterio.open(path)
    except RasterioError as error:
        raise DataError(f"{path}: truncated or damaged ({root_message(error)}); replace it") from error


@contextlib.contextmanager
def _work_folder(output):
    """Yields a temporary folder beside the result, on the disk that needs the space anyway."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".", suffix=".part", dir=output.parent)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror or error}") from error
    try:
        yield pathlib.Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _part(window):
    from rasterio.windows import Window as Part

    return Part.from_slices(window.rows, window.columns)


def _restore(scene, restorer, bar):
    """Yields (window, restored samples) of the whole scene."""

    def counted(windows, parts):
        if bar is not None:
            bar.reset(total=len(scene.positions()) * parts)
        for window in windows:
            yield window
            if bar is not None:
                bar.update()

    if not restorer.view_size:
        yield from _restore_at_once(scene, restorer, counted(scene.windows(), 1))
        return
    view = WindowedView(scene.height, scene.width, size=restorer.view_size)
    for window in counted(scene.windows(), 2):
        view.add(scene.in_unit_range(window), window.rows.start, window.columns.start, valid=window.valid)
    maps = restorer.maps(2 * view.filled() - 1)
    for window in scene.windows():
        place = (window.rows.start, window.columns.start, scene.height, scene.width)
        restored = apply_maps(maps, scene.in_unit_range(window), *place)
        yield window, scene.stored(restored, window)
        if bar is not None:
            bar.update()


def _restore_at_once(scene, restorer, windows):
    """As `_restore`, by a generator that needs the image itself: the chosen bands are in memory."""
    samples, valid = None, np.ones((scene.height, scene.width), bool)
    for window in windows:
        if samples is None:
            samples = np.empty((scene.height, scene.width, len(scene.bands)), window.samples.dtype)
        samples[window.rows, window.columns] = window.samples
        if window.valid is not None:
            valid[window.rows, window.columns] = window.valid
    valid = None if valid.all() else valid
    image = WideImage(samples, scene.white, scene.inverted, valid=valid)
    restored = image.from_network(restorer.restore(fill_invalid(image.for_network(), valid)))
    for rows, columns in scene.positions():
        yield Window(rows, columns, samples[rows, columns], None), restored[rows, columns]


def _open_bands(path, scene, dataset):
    """Opens the temporary file of the restored bands."""
    import rasterio

    layout = {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE, "bigtiff": "IF_SAFER"}
    size = {"height": scene.height, "width": scene.width, "count": len(scene.bands)}
    return rasterio.open(path, "w", driver="GTiff", dtype=dataset.dtypes[scene.bands[0]], **size, **layout)


def _assemble(dataset, layout, bands, restored, folder, output):
    """Writes the source with restored bands."""
    import rasterio
    import rasterio.shutil
    from rasterio.enums import Resampling

    virtual = folder / "scene.vrt"
    rasterio.shutil.copy(dataset, virtual, driver="VRT")
    _replace_bands(virtual, bands, restored)
    structure, block = dataset.tags(ns="IMAGE_STRUCTURE"), dataset.block_shapes[0]
    compression = structure.get("COMPRESSION", "NONE").upper()
    options = {"COMPRESS": compression if compression in _LOSSLESS else "DEFLATE", "BIGTIFF": "IF_SAFER"}
    has_predictor = structure.get("PREDICTOR", "1") != "1" and options["COMPRESS"] not in ("NONE", "PACKBITS")
    if structure.get("LAYOUT") == "COG" and layout.photometric != tiff.MINISWHITE:
        options |= {"BLOCKSIZE": block[1], "PREDICTOR": "YES" if has_predictor else "NO"}
        rasterio.shutil.copy(virtual, output, driver="COG", OVERVIEW_RESAMPLING="AVERAGE", **options)
        return
    is_tiled = block[1] < dataset.width or layout.is_tiled
    options |= {"TILED": is_tiled, "BLOCKYSIZE": block[0], "INTERLEAVE": dataset.interleaving.value}
    options |= {"BLOCKXSIZE": block[1]} if is_tiled else {}
    options |= {"PREDICTOR": structure["PREDICTOR"]} if has_predictor else {}
    options |= {"NBITS": layout.bits} if layout.bits not in (8, 16, 32, 64) else {}
    options["PHOTOMETRIC"] = _PHOTOMETRIC.get(layout.photometric, "RGB")
    profile = dataset.tags(ns="COLOR_PROFILE").get("SOURCE_ICC_PROFILE")
    options |= {"SOURCE_ICC_PROFILE": profile} if profile else {}
    rasterio.shutil.copy(virtual, output, driver="GTiff", **options)
    if factors := dataset.overviews(1):
        with rasterio.open(output, "r+") as result:
            result.build_overviews(factors, Resampling.average)


def _check_complete(path, *, name, overviews=()):
    """Raises OutputError unless a TIFF holds all of its blocks. GDAL ignores a disk that is full when it closes a file."""
    import rasterio

    size = path.stat().st_size
    with rasterio.open(path) as dataset, tifffile.TiffFile(path) as file:
        blocks = [block for page in file.pages for block in zip(page.dataoffsets, page.databytecounts, strict=True)]
        is_complete = dataset.overviews(1) == list(overviews)
    if errors := _libtiff_errors():
        raise OutputError(f"{name} cannot be written: {errors[0]}")
    if not is_complete or not all(count and offset + count <= size for offset, count in blocks):
        raise OutputError(f"{name} cannot be written: it is incomplete; check that the disk is not full")


def _replace_bands(virtual, bands, restored):
    """Makes a VRT read bands from another file, and removes their statistics, which are those of the hazy bands."""
    tree = ElementTree.parse(virtual)
    for element in tree.getroot().findall("VRTRasterBand"):
        band = int(element.get("band")) - 1
        if band not in bands:
            continue
        for source in element:
            if source.find("SourceFilename") is not None:
                name = source.find("SourceFilename")
                name.text = str(restored)
                name.set("relativeToVRT", "0")
                source.find("SourceBand").text = str(bands.index(band) + 1)
                properties = source.find("SourceProperties")
                if properties is not None:  # of the blocks of the source
                    source.remove(properties)
        for metadata in element.findall("Metadata"):
            for item in list(metadata):
                if item.get("key", "").startswith("STATISTICS_"):
                    metadata.remove(item)
        for histograms in element.findall("Histograms"):
            element.remove(histograms)
    tree.write(virtual)


def _compare(dataset, scene, restored, output):
    """Writes the hazy and the restored image side by side, reduced, with 8 bits."""
    import rasterio

    scale = min(1, COMPARED / max(scene.height, scene.width))
    size = max(1, round(scene.height * scale)), max(1, round(scene.width * scale))
    sides = []
    with rasterio.open(restored) as result:
        for source, bands in ((dataset, scene.bands), (result, range(len(scene.bands)))):
            samples = source.read([band + 1 for band in bands], out_shape=(len(bands), *size))
            image = WideImage(np.moveaxis(samples, 0, 2), scene.white, scene.inverted).to_uint8()
            sides.append(np.moveaxis(image, 2, 0))
    both = np.concatenate(sides, axis=2)
    shape = {"height": both.shape[1], "width": both.shape[2], "count": 3, "dtype": "uint8"}
    with rasterio.open(output, "w", driver="GTiff", compress="deflate", photometric="RGB", **shape) as file:
        file.write(both)
