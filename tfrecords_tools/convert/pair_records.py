"""Turns one pair of image files into records: loads, resizes, cuts tiles, encodes, measures."""

import dataclasses
import io
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from hazeheal.data import records
from hazeheal.data.images import image_io, image_ops, tiff
from hazeheal.data.images.pair_pixels import options_of_clear
from hazeheal.data.images.passthrough import Passthrough
from hazeheal.data.images.pixel_options import TO_SRGB, PixelOptions
from hazeheal.data.pairing.pairing import PairName
from hazeheal.errors import DataError
from hazeheal.utils.hashing import sha256_of_file

FOLDERS = {"hazy": "hazy", "clear": "GT"}  # where each image of a pair is stored as a file
JPEG_QUALITY = 95


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
    pixels: PixelOptions = TO_SRGB

    def described(self) -> dict:
        """Returns the options as JSON types. Those of `pixels` are included if they are not the defaults."""
        found = dataclasses.asdict(self)
        del found["pixels"]
        return found | self.pixels.described()


@dataclasses.dataclass(frozen=True)
class SourcePair(PairName):
    """A pair that is not read yet: its names, and the path, size in bytes and modification time in ns of each file."""

    hazy_path: str
    clear_path: str
    hazy_state: tuple[int, int]
    clear_state: tuple[int, int]

    @property
    def source_bytes(self) -> int:
        """Size of both files."""
        return self.hazy_state[0] + self.clear_state[0]

    def describe_problem(self, reason: str) -> dict[str, str]:
        """Returns the entry of a pair that cannot be converted, for the list of skipped pairs."""
        return {"key": self.key, "hazy": self.hazy, "clear": self.clear, "reason": reason}


@dataclasses.dataclass(frozen=True)
class SourceImage:
    """A loaded image file.

    The image stays a Pillow image from the file to the record: each conversion to an array and back takes a fifth of
    the decoding time.

    Attributes:
        image: The upright RGB image.
        data: The bytes of the file; b"" for a TIFF, which is never stored as it is and may be large.
        sha256: Their SHA-256.
        passthrough: Whether they can be stored as they are.
        profile: Name of the color profile by which the image was converted to sRGB, or "".
        white: The value of white of an image with more than 8 bits per sample, or None.
    """

    image: Image.Image
    data: bytes
    sha256: str
    passthrough: Passthrough
    profile: str = ""
    white: float | None = None


def load_source(path: str | pathlib.Path, name: str, pixels: PixelOptions) -> SourceImage:
    """Loads an image file; raises DataError, which starts with `name`, if it cannot be read or decoded."""
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            data = b"" if tiff.is_tiff(head) else head + file.read()
        sha256 = records.sha256(data) if data else sha256_of_file(path)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error
    decoded = image_io.decode(data or path, name=name, options=pixels)
    return SourceImage(
        image=decoded.image,
        data=data,
        sha256=sha256,
        passthrough=decoded.passthrough,
        profile=decoded.profile,
        white=decoded.white,
    )


class EncodedImage(NamedTuple):
    """An image as it is stored.

    Attributes:
        data: Its bytes.
        format: `jpeg` or `png`.
        reencoded: Why these are not the bytes of the source file; empty if they are. The manifest counts these reasons,
            so that a data set's fingerprint depends on their wording.
    """

    data: bytes
    format: str
    reencoded: str


class PairRecord(NamedTuple):
    """One record.

    Attributes:
        pair: Its contents.
        source: Its line in the list of sources.
        images: Its images by side.
        psnr: PSNR of the hazy image in dB.
        is_darker: Whether the hazy image is darker than the clear one, by more than a level.
        profiles: Names of the color profiles by which its images were converted to sRGB.
    """

    pair: records.Pair
    source: dict[str, str | float]
    images: dict[str, EncodedImage]
    psnr: float
    is_darker: bool
    profiles: tuple[str, ...]


def make_records(
    pair: SourcePair,
    options: RecordOptions,
    *,
    load_clear: Callable[[str, str, PixelOptions], SourceImage] = load_source,
) -> Iterator[PairRecord]:
    """Yields the records of one pair: one, or one for each tile. Call it within `image_io.strict()`.

    Args:
        pair: The files.
        options: What is done to the images.
        load_clear: Loads a clear image. `write_shard` passes a loader that caches the last image, because many hazy
            images often share a clear image.

    Raises:
        DataError: An image cannot be read, or the sizes differ and `options` does not allow it.
    """
    sources = _load_pair(pair, options.pixels, load_clear)
    profiles = tuple(source.profile for source in sources.values() if source.profile)
    hazy, clear = _match_sizes(sources["hazy"].image, sources["clear"].image, options.size_mismatch)
    height, width = output_size(hazy.height, hazy.width, options)
    images = {"hazy": _resize(hazy, (width, height)), "clear": _resize(clear, (width, height))}
    for suffix, box in _tiles(height, width, options):
        # A crop is always a new image, but `_encode` must recognize an unchanged one.
        tile = {side: image if box is None else image.crop(box) for side, image in images.items()}
        encoded = {}
        for side, image in tile.items():
            encoded[side] = _encode(image, sources[side], options)
            if options.encoding == "jpeg":  # the PSNR is that of the stored images
                tile[side] = Image.open(io.BytesIO(encoded[side].data))
        record = records.Pair(
            key=pair.key + suffix,
            hazy=encoded["hazy"].data,
            clear=encoded["clear"].data,
            height=tile["hazy"].height,
            width=tile["hazy"].width,
            hazy_source=pair.hazy,
            clear_source=pair.clear,
        )
        source = {
            "key": record.key,
            "hazy": pair.hazy,
            "clear": pair.clear,
            "hazy_sha256": sources["hazy"].sha256,
            "clear_sha256": sources["clear"].sha256,
        }
        if pair.scene != pair.clear:
            source["scene"] = pair.scene
        white = sources["hazy"].white or sources["clear"].white
        if isinstance(options.pixels.white, str) and white is not None:
            source["white"] = white
        pixels = [np.asarray(tile[side]) for side in ("hazy", "clear")]
        is_darker = bool(pixels[0].mean() < pixels[1].mean() - 1)
        yield PairRecord(record, source, encoded, image_ops.psnr(*pixels), is_darker, profiles)


def _load_pair(
    pair: SourcePair, pixels: PixelOptions, load_clear: Callable[[str, str, PixelOptions], SourceImage]
) -> dict[str, SourceImage]:
    """Loads both images of a pair, with one value of white."""
    hazy = load_source(pair.hazy_path, pair.hazy, pixels)
    clear = load_clear(pair.clear_path, pair.clear, options_of_clear(pixels, hazy.white))
    return {"hazy": hazy, "clear": clear}


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


def _tiles(height: int, width: int, options: RecordOptions) -> Iterator[tuple[str, tuple | None]]:
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


def _match_sizes(hazy: Image.Image, clear: Image.Image, size_mismatch: str) -> tuple[Image.Image, Image.Image]:
    if hazy.size == clear.size:
        return hazy, clear
    problem = image_ops.size_problem(hazy.size[::-1], clear.size[::-1], mode=size_mismatch)
    sizes = f"the hazy image is {hazy.width}x{hazy.height}, the clear image is {clear.width}x{clear.height}"
    if problem:
        raise DataError(f"{sizes}: {problem}")
    if size_mismatch == "resize":
        return hazy, _resize(clear, hazy.size)
    if size_mismatch == "center_crop":
        width, height = map(min, hazy.size, clear.size)
        return _center_crop(hazy, width, height), _center_crop(clear, width, height)
    raise DataError(sizes)


def _center_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _encode(image: Image.Image, source: SourceImage, options: RecordOptions) -> EncodedImage:
    """Encodes an image, or returns its file's bytes."""
    if options.encoding == "keep":
        reason = source.passthrough.reason
        if image is not source.image:
            reason = f"size changed by --size_mismatch={options.size_mismatch}"
        elif source.passthrough.reusable:
            return EncodedImage(source.data, source.passthrough.format, "")
        return EncodedImage(image_io.encode_image(image, format="png"), "png", reason)
    data = image_io.encode_image(image, format=options.encoding, quality=options.quality or JPEG_QUALITY)
    return EncodedImage(data, options.encoding, f"--encoding={options.encoding}")
