"""What a TIFF contains, by its header: size, type and meaning of its samples, and which bands are red, green and blue.

Pillow decodes the common kinds of 8 bits (`Layout.is_plain`), and `tiff_bands` all others.
"""

import dataclasses
import importlib.util
import io
import os
import re

import numpy as np
import tifffile

from hazeheal.data.images.to_rgb import (
    MASK,
    REDUCED_COPY,
    UnknownSamplesError,
    UnsupportedImageError,
    refuse_camera_raw,
)

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
MINISWHITE, MINISBLACK, RGB, PALETTE, SEPARATED, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8
PLANAR = 2
ASSOCIATED, UNASSOCIATED = 1, 2  # kinds of alpha among the extra samples; the former multiplies the colors
PHOTOMETRICS = {MINISWHITE: "MINISWHITE", MINISBLACK: "MINISBLACK", RGB: "RGB", SEPARATED: "CMYK"}
_ORIENTATION, _ICC_PROFILE, _GDAL_METADATA, _NO_DATA = 274, 34675, 42112, 42113
_GEO_TAGS = {33550, 33922, 34264, 34735, _GDAL_METADATA, _NO_DATA}
_RGB_NAMES = ("red", "green", "blue")
_EXIF_TAGS = {34665, 34853}

Source = str | os.PathLike | bytes


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the header of a TIFF says of its image.

    Attributes:
        height, width: Size in pixels, as stored.
        bands: Samples per pixel, alpha included.
        dtype: Type of the samples; None if none fits them.
        bits: Bits per sample.
        photometric, planar, orientation: Values of the tags.
        is_tiled: Whether it has tiles instead of strips.
        alpha: Number of the alpha band, from 0, or None.
        premultiplied: Whether the colors are multiplied by alpha.
        compression: Its name.
        can_decode: Whether the installed codecs of tifffile can decode it.
        extra: Kinds of the extra samples.
        colors: Numbers, from 0, of the bands that GDAL's metadata calls red, green and blue; None if it does not.
        no_data: The value of samples without data, or None.
        icc: The ICC profile, or b"".
        has_mask: Whether a further page is a mask of this one.
        is_geo, has_exif: Whether there are tags of GeoTIFF or GDAL, and of EXIF.
    """

    height: int
    width: int
    bands: int
    dtype: np.dtype | None
    bits: int
    photometric: int
    planar: int
    orientation: int
    is_tiled: bool
    alpha: int | None
    premultiplied: bool
    compression: str
    can_decode: bool
    extra: tuple[int, ...]
    colors: tuple[int, int, int] | None
    no_data: float | None
    icc: bytes
    has_mask: bool
    is_geo: bool
    has_exif: bool

    @property
    def is_plain(self) -> bool:
        """Whether the samples are colors of 8 bits or fewer, and alpha, as Pillow decodes them."""
        if self.dtype is not None and self.dtype.kind not in "ub":
            return False
        if self.bits > 8 or (self.planar == PLANAR and self.bands > 1):
            return False
        colors = self.bands - (self.alpha is not None)
        expected = {MINISWHITE: 1, MINISBLACK: 1, RGB: 3, PALETTE: 1, SEPARATED: 4, CIELAB: 3}
        if self.photometric == RGB and self.bits != 8:
            return False
        return self.photometric == YCBCR or colors == expected.get(self.photometric)

    @property
    def is_for_pillow(self) -> bool:
        """Whether Pillow decodes the image. It knows nothing of pixels without data, which gray and RGB may have."""
        return self.is_plain and (self.no_data is None or self.photometric not in (MINISBLACK, RGB))

    @property
    def full(self) -> int | None:
        """The largest value of unsigned samples of up to 16 bits, or None (`white_level.find_white`)."""
        return 2**self.bits - 1 if self.dtype.kind == "u" and self.bits <= 16 else None

    @property
    def bytes(self) -> int:
        """Size of the decoded samples of all bands."""
        return self.height * self.width * self.bands * (self.dtype.itemsize if self.dtype is not None else 1)

    def __str__(self) -> str:
        kind = PHOTOMETRICS.get(self.photometric, f"photometric {self.photometric}")
        bands = "1 band" if self.bands == 1 else f"{self.bands} bands"
        return f"{'GeoTIFF' if self.is_geo else 'TIFF'} of {bands} of {self.dtype}, {kind}"

    def has_choice(self, wanted: tuple[int, ...] | None) -> bool:
        """Whether `PixelOptions.bands` applies: the TIFF has these bands, and they are samples of gray or colors."""
        return bool(wanted) and max(wanted) <= self.bands and self.photometric in (MINISWHITE, MINISBLACK, RGB)

    def choose_bands(self, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
        """Returns the numbers, from 0, of the bands to read: one gray band, or red, green and blue.

        `wanted` is `PixelOptions.bands`. It does not apply to a TIFF with fewer bands that declares its colors.

        Raises:
            UnknownSamplesError: They are not known, or a band does not exist.
        """
        count = self.bands - (self.alpha is not None)
        if self.has_choice(wanted):
            return tuple(number - 1 for number in wanted)
        if self.photometric in (RGB, YCBCR) and count >= 3:
            return self.colors or (0, 1, 2)
        if self.photometric == SEPARATED and count == 4:
            return (0, 1, 2, 3)
        if wanted:
            flag = f"--bands={','.join(map(str, wanted))}"
            raise UnknownSamplesError(f"{flag} names a band that this {self} does not have")
        if self.colors:
            return self.colors
        if count in (1, 3) and self.photometric in (MINISWHITE, MINISBLACK):
            return tuple(band for band in range(self.bands) if band != self.alpha)
        raise UnknownSamplesError(
            f"{self}: name the bands of red, green and blue, such as --bands=4,3,2, or one gray band, such as --bands=1"
        )


def is_tiff(head: bytes) -> bool:
    """Returns whether a file begins as a TIFF."""
    return head[:4] in SIGNATURES


def read_layout(source: Source) -> Layout:
    """Reads the header of a TIFF.

    Raises:
        UnsupportedImageError: It has several pages, or is of a kind that is not supported.
        Exception: It is damaged.
    """
    with tifffile.TiffFile(opened(source)) as tiff:
        kinds = [page.subfiletype for page in tiff.pages]
        page = tiff.pages[0]
        tiff.filehandle.seek(0)
        refuse_camera_raw(page.tags.valueof, tiff.filehandle.read(16))
        pages = sum(not kind & (REDUCED_COPY | MASK) for kind in kinds)
        if pages > 1:
            raise UnsupportedImageError(f"animated or multi-page ({pages} frames); save one frame as an image")
        extra = [int(kind) for kind in page.extrasamples]
        alpha = next((i for i, kind in enumerate(extra) if kind in (ASSOCIATED, UNASSOCIATED)), None)
        bits = page.bitspersample
        has_one_type = isinstance(bits, int) and page.sampleformat in (1, 2, 3)  # tuples if the bands differ
        return Layout(
            height=page.imagelength,
            width=page.imagewidth,
            bands=page.samplesperpixel,
            dtype=page.dtype if has_one_type else None,
            bits=bits if isinstance(bits, int) else max(bits),
            photometric=int(page.photometric),
            planar=int(page.planarconfig),
            orientation=_integer(page.tags.valueof(_ORIENTATION), 1),
            is_tiled=page.is_tiled,
            alpha=None if alpha is None else page.samplesperpixel - len(extra) + alpha,
            premultiplied=alpha is not None and extra[alpha] == ASSOCIATED,
            compression=getattr(page.compression, "name", str(page.compression)),
            can_decode=_can_decode(page),
            extra=tuple(extra),
            colors=_colors(page),
            no_data=_no_data(page),
            icc=_bytes(page.tags.valueof(_ICC_PROFILE)),
            has_mask=any(kind & MASK for kind in kinds),
            is_geo=any(tag in page.tags for tag in _GEO_TAGS),
            has_exif=any(tag in page.tags for tag in _EXIF_TAGS),
        )


def opened(source: Source) -> io.BytesIO | str:
    """Returns what tifffile and Pillow open of a source."""
    return io.BytesIO(source) if isinstance(source, bytes) else os.fspath(source)


def _integer(value, default):
    return value if isinstance(value, int) else default


def _bytes(value):
    return value if isinstance(value, bytes) else b""


def _can_decode(page):
    codecs = tifffile.TIFF
    return (
        page.compression in codecs.DECOMPRESSORS
        and page.predictor in codecs.UNPREDICTORS
        and (page.bitspersample in (1, 8, 16, 32, 64) or importlib.util.find_spec("imagecodecs") is not None)
    )


def _colors(page):
    """The bands that GDAL's metadata calls red, green and blue, or None."""
    items = re.findall(r'<Item name="COLORINTERP" sample="(\d+)"[^>]*>(\w+)<', str(page.tags.valueof(_GDAL_METADATA)))
    bands = {color.lower(): int(sample) for sample, color in items if int(sample) < page.samplesperpixel}
    return tuple(bands[color] for color in _RGB_NAMES) if bands.keys() >= set(_RGB_NAMES) else None


def _no_data(page):
    """The value of GDAL's tag, if a sample can have it."""
    try:
        value = float(page.tags.valueof(_NO_DATA).strip("\0 "))
        # A value such as -9999 of unsigned samples means nothing.
        return value if page.dtype.kind == "f" or page.dtype.type(value) == value else None
    except (AttributeError, ValueError, OverflowError):
        return None
