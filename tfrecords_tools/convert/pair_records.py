"""Makes the records of one pair: loads both images, brings them to size, cuts tiles, encodes, measures."""

import dataclasses
import io
import pathlib

import numpy as np
from PIL import Image

from hazeheal.data import records
from hazeheal.data.images import image_io, image_ops
from hazeheal.errors import DataError


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
    """A pair before it is read: names relative to the folders, and (bytes, mtime_ns) of each file."""

    key: str
    scene: str
    hazy: str
    clear: str
    hazy_state: tuple
    clear_state: tuple


@dataclasses.dataclass(frozen=True)
class _Image:
    """One loaded source: the RGB image, the file's own bytes, and whether these may be kept.

    It stays Pillow's from file to record: each way to an array and back costs a fifth of decoding.
    """

    image: Image.Image
    data: bytes
    sha256: str
    kept: image_io.Passthrough

    @property
    def array(self) -> np.ndarray:
        """uint8 [H, W, 3]."""
        return np.asarray(self.image)


def load_source(folder: str, name: str) -> _Image:
    try:
        data = (pathlib.Path(folder) / name).read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error
    image, kept = image_io.load_image(data, name=name)
    return _Image(image=image, data=data, sha256=records.sha256(data), kept=kept)


def _resize(image: Image.Image, size: tuple) -> Image.Image:
    """Lanczos. The reducing gap averages whole blocks first: near the same result at a third of the time."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _same_size(hazy: Image.Image, clear: Image.Image, *, size_mismatch: str) -> tuple:
    if hazy.size == clear.size:
        return hazy, clear
    if size_mismatch == "resize":
        return hazy, _resize(clear, hazy.size)
    if size_mismatch == "center_crop":
        common = tuple(map(min, hazy.size, clear.size))
        return tuple(_center(image, *common) for image in (hazy, clear))
    raise DataError(
        f"the hazy image is {hazy.width}x{hazy.height} and the clear one {clear.width}x{clear.height}"
    )


def _center(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle, as `images.center_crop` cuts it; an image of this size is returned itself."""
    if image.size == (width, height):
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def output_size(height: int, width: int, options: RecordOptions) -> tuple:
    """(height, width) of an image after `--image_size` or `--max_side`, before it is cut in tiles."""
    if options.image_size:
        return options.image_size, options.image_size
    longest = max(height, width)
    if not options.max_side or longest <= options.max_side:
        return height, width
    # Integers, so that the size never depends on how a platform rounds.
    return tuple(max(1, (2 * side * options.max_side + longest) // (2 * longest)) for side in (height, width))


def tile_starts(length: int, tile: int, overlap: int) -> list:
    """Where tiles begin along a side: every `tile - overlap`, the last one shifted inwards to the edge."""
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def _tiles(height: int, width: int, options: RecordOptions):
    """Yields (key suffix, (left, top, right, bottom)); without tiles, the whole image once."""
    if not options.tile_size:
        yield "", None
        return
    size = options.tile_size
    for top in tile_starts(height, size, options.tile_overlap):
        for left in tile_starts(width, size, options.tile_overlap):
            box = (left, top, min(left + size, width), min(top + size, height))
            yield f"@{top:05d}_{left:05d}", box


def _encoded(image: Image.Image, source: _Image, options: RecordOptions) -> tuple:
    """Returns (bytes, format, '' where the file's own bytes were kept, else why they were not)."""
    if options.encoding == "keep":
        unchanged = image is source.image
        if unchanged and source.kept.reusable:
            return source.data, source.kept.format, ""
        why = source.kept.reason if unchanged else f"size changed by --size_mismatch={options.size_mismatch}"
        return image_io.encode_image(image, format="png"), "png", why
    data = image_io.encode_image(image, format=options.encoding, quality=options.quality or 95)
    return data, options.encoding, f"--encoding={options.encoding}"


@dataclasses.dataclass(frozen=True)
class Made:
    """One record with what is written beside it; `hashes` of images that are their source files, byte for byte."""

    pair: records.Pair
    psnr: float
    source: dict
    hashes: dict
    formats: dict
    reencoded: dict


def make_records(pair: SourcePair, *, hazy_dir, gt_dir, options: RecordOptions, load_clear=None):
    """Yields the records (`Made`) of one pair: one, or one a tile. To be called within `images.strict()`.

    Args:
        pair: Which files.
        hazy_dir, gt_dir: The folders their names are relative to.
        options: What is done to them.
        load_clear: Loader of clear images; `write_shard` gives one that remembers the last, because many
            hazy images often share a clear one.

    Raises:
        DataError: An image cannot be read, or the sizes differ and must not; the message gives the reason.
    """
    sides = {
        "hazy": load_source(hazy_dir, pair.hazy),
        "clear": (load_clear or load_source)(gt_dir, pair.clear),
    }
    hazy, clear = _same_size(sides["hazy"].image, sides["clear"].image, size_mismatch=options.size_mismatch)
    height, width = output_size(hazy.height, hazy.width, options)
    whole = {"hazy": _resize(hazy, (width, height)), "clear": _resize(clear, (width, height))}
    for suffix, box in _tiles(height, width, options):
        # Cropping makes a new image even where it takes everything; `is` must stay true for whole ones.
        tile = {side: image if box is None else image.crop(box) for side, image in whole.items()}
        data, formats, reencoded = {}, {}, {}
        for side, image in tile.items():
            data[side], formats[side], reencoded[side] = _encoded(image, sides[side], options)
            if options.encoding == "jpeg":  # the PSNR belongs to what the record holds
                tile[side] = Image.open(io.BytesIO(data[side]))
        key = pair.key + suffix
        yield Made(
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
                "hazy_sha256": sides["hazy"].sha256,
                "clear_sha256": sides["clear"].sha256,
            },
            hashes={side: sides[side].sha256 for side in data if data[side] is sides[side].data},
            formats=formats,
            reencoded=reencoded,
        )
