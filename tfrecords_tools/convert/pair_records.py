"""Turns one pair of image files into records: loads, resizes, cuts tiles, encodes, measures."""

import dataclasses
import io
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from hazeheal.data import records
from hazeheal.data.images import image_io, image_ops
from hazeheal.data.images.passthrough import Passthrough
from hazeheal.errors import DataError

FOLDERS = {"hazy": "hazy", "clear": "GT"}  # where each image of a pair is stored as a file
JPEG_QUALITY = 95

Box = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class RecordOptions:
    """What is done to a pair of images; see `hazeheal-tfrecords convert --help`."""

    encoding: str = "keep"
    quality: int | None = None
    image_size: int | None = None
    max_side: int | None = None
    tile_size: int | None = None
    tile_overlap: int = 0
    size_mismatch: str = "error"


@dataclasses.dataclass(frozen=True, slots=True)
class SourcePair:
    """A pair that is not read yet.

    Attributes:
        key: The pair key, unique within the data set.
        scene: Name of the scene: hazy images of one scene share a clear image.
        hazy: Name of the hazy file, relative to its directory.
        clear: Name of the clear file, relative to its directory.
        hazy_state: Size in bytes and modification time in nanoseconds of the hazy file.
        clear_state: The same of the clear file.
    """

    key: str
    scene: str
    hazy: str
    clear: str
    hazy_state: tuple[int, int]
    clear_state: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class SourceImage:
    """A loaded image file.

    The image stays a Pillow image from the file to the record: each conversion to an array and back takes a fifth of
    the decoding time.

    Attributes:
        image: The upright RGB image.
        data: The file's bytes.
        sha256: Their SHA-256.
        passthrough: Whether the bytes can be stored as they are.
    """

    image: Image.Image
    data: bytes
    sha256: str
    passthrough: Passthrough


def load_source(folder: str, name: str) -> SourceImage:
    """Loads the image file `folder/name`.

    Raises:
        DataError: The file cannot be read or decoded.
    """
    try:
        data = (pathlib.Path(folder) / name).read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error
    image, passthrough = image_io.load_image(data, name=name)
    return SourceImage(image=image, data=data, sha256=records.sha256(data), passthrough=passthrough)


@dataclasses.dataclass(frozen=True)
class PairRecord:
    """One record, and what the shard's index, sources and note say about it.

    Attributes:
        pair: The record.
        psnr: PSNR of the hazy image in dB.
        source: The record's line in the list of sources.
        hashes: SHA-256 of each image that is its source file byte for byte, by side (`hazy`, `clear`).
        formats: Format of each image, by side.
        reencoded: Why each image is not its source file byte for byte, by side; empty if it is.
    """

    pair: records.Pair
    psnr: float
    source: dict[str, str]
    hashes: dict[str, str]
    formats: dict[str, str]
    reencoded: dict[str, str]


def make_records(
    pair: SourcePair,
    *,
    hazy_dir: str | pathlib.Path,
    gt_dir: str | pathlib.Path,
    options: RecordOptions,
    load_clear: Callable[[str, str], SourceImage] = load_source,
) -> Iterator[PairRecord]:
    """Yields the records of one pair: one, or one for each tile. Call it within `image_io.strict()`.

    Args:
        pair: The files.
        hazy_dir: Directory of the hazy file.
        gt_dir: Directory of the clear file.
        options: What is done to the images.
        load_clear: Loads a clear image. `write_shard` passes a loader that caches the last image, because many hazy
            images often share a clear image.

    Raises:
        DataError: An image cannot be read, or the sizes differ and `options` does not allow it.
    """
    sources = {"hazy": load_source(hazy_dir, pair.hazy), "clear": load_clear(gt_dir, pair.clear)}
    hazy, clear = _match_sizes(sources["hazy"].image, sources["clear"].image, options.size_mismatch)
    height, width = output_size(hazy.height, hazy.width, options)
    images = {"hazy": _resize(hazy, (width, height)), "clear": _resize(clear, (width, height))}
    for suffix, box in _tiles(height, width, options):
        # A crop is always a new image, but `_encode` must recognize an unchanged one.
        tile = {side: image if box is None else image.crop(box) for side, image in images.items()}
        data, formats, reencoded = {}, {}, {}
        for side, image in tile.items():
            data[side], formats[side], reencoded[side] = _encode(image, sources[side], options)
            if options.encoding == "jpeg":  # the PSNR is that of the stored images
                tile[side] = Image.open(io.BytesIO(data[side]))
        key = pair.key + suffix
        yield PairRecord(
            pair=records.Pair(
                key=key,
                hazy=data["hazy"],
                clear=data["clear"],
                height=tile["hazy"].height,
                width=tile["hazy"].width,
                hazy_source=pair.hazy,
                clear_source=pair.clear,
            ),
            psnr=image_ops.psnr(*map(np.asarray, tile.values())),
            source={
                "key": key,
                "hazy": pair.hazy,
                "clear": pair.clear,
                "hazy_sha256": sources["hazy"].sha256,
                "clear_sha256": sources["clear"].sha256,
            },
            hashes={side: sources[side].sha256 for side in data if data[side] is sources[side].data},
            formats=formats,
            reencoded=reencoded,
        )


def output_size(height: int, width: int, options: RecordOptions) -> tuple[int, int]:
    """Returns the (height, width) of an image after `--image_size` or `--max_side`, before it is cut into tiles."""
    if options.image_size:
        return options.image_size, options.image_size
    longest = max(height, width)
    if not options.max_side or longest <= options.max_side:
        return height, width
    # Integer arithmetic, so that the size does not depend on a platform's rounding.
    return tuple(max(1, (2 * side * options.max_side + longest) // (2 * longest)) for side in (height, width))


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Returns where tiles begin along a side of `length` pixels. The last tile ends at the edge."""
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def _tiles(height: int, width: int, options: RecordOptions) -> Iterator[tuple[str, Box | None]]:
    """Yields (key suffix, (left, top, right, bottom)); without tiles, one entry without a box."""
    if not options.tile_size:
        yield "", None
        return
    size = options.tile_size
    for top in tile_starts(height, size, options.tile_overlap):
        for left in tile_starts(width, size, options.tile_overlap):
            box = (left, top, min(left + size, width), min(top + size, height))
            yield f"@{top:05d}_{left:05d}", box


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resizes with Lanczos. The reducing gap first averages blocks: a similar result in a third of the time."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _match_sizes(
    hazy: Image.Image, clear: Image.Image, size_mismatch: str
) -> tuple[Image.Image, Image.Image]:
    if hazy.size == clear.size:
        return hazy, clear
    if size_mismatch == "resize":
        return hazy, _resize(clear, hazy.size)
    if size_mismatch == "center_crop":
        width, height = map(min, hazy.size, clear.size)
        return _center_crop(hazy, width, height), _center_crop(clear, width, height)
    raise DataError(
        f"the hazy image is {hazy.width}x{hazy.height}, the clear image is {clear.width}x{clear.height}"
    )


def _center_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _encode(image: Image.Image, source: SourceImage, options: RecordOptions) -> tuple[bytes, str, str]:
    """Encodes an image, or returns its file's bytes.

    Returns:
        The bytes, their format, and why the file's own bytes are not used; empty if they are. The manifest counts these
        reasons, so that a data set's fingerprint depends on their wording.
    """
    if options.encoding == "keep":
        unchanged = image is source.image
        if unchanged and source.passthrough.reusable:
            return source.data, source.passthrough.format, ""
        reason = (
            source.passthrough.reason
            if unchanged
            else f"size changed by --size_mismatch={options.size_mismatch}"
        )
        return image_io.encode_image(image, format="png"), "png", reason
    data = image_io.encode_image(image, format=options.encoding, quality=options.quality or JPEG_QUALITY)
    return data, options.encoding, f"--encoding={options.encoding}"
