"""The colors of a video: the matrix and range of its values, its tags, and how they are written.

The numbers are those of ITU-T H.273, which FFmpeg uses.
"""

import dataclasses
from typing import TYPE_CHECKING

from hazeheal.errors import DataError

if TYPE_CHECKING:
    import av

RGB, BT709, UNSPECIFIED, RESERVED, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 0, 1, 2, 3, 4, 5, 6, 7, 9
_MATRICES = {BT709, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020}
LIMITED, FULL = 1, 2
TRANSFERS = {16: "PQ", 18: "HLG"}
# Bicubic chroma, exact rounding, chroma at full resolution on both sides. Without them colors lose up to 2 levels.
CONVERSION = 4 | 0x2000 | 0x4000 | 0x40000


@dataclasses.dataclass(frozen=True)
class Colors:
    """How the values of a video stand for colors.

    Attributes:
        matrix: From RGB to YUV; never unspecified.
        range: `LIMITED` or `FULL`.
        tags: (matrix, primaries, transfer, range) as the file has them, each maybe unspecified.
        bits: 8, or 10 for more.
        chroma: Subsampling of the colors across, down.
        hdr: "PQ", "HLG" or "".
    """

    matrix: int
    range: int
    tags: tuple[int, int, int, int]
    bits: int
    chroma: tuple[int, int]
    hdr: str = ""

    def written(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Returns the tags for a result of this size. The matrix is tagged if players would guess another."""
        matrix = self.tags[0]
        if matrix == UNSPECIFIED and guess_matrix(width, height) != self.matrix:
            matrix = self.matrix
        return (matrix, *self.tags[1:])


def guess_matrix(width: int, height: int) -> int:
    """Returns the matrix that players assume for a video without tags: BT.709 for HD, else BT.601."""
    return BT709 if height > 576 or width > 1024 else SMPTE170M


def colors_of(frame: "av.VideoFrame", *, path: object) -> Colors:
    """Reads the colors from the first decoded frame of a video.

    Raises:
        DataError: The colors cannot be converted to RGB.
    """
    pixels = frame.format
    matrix, range_ = int(frame.colorspace), int(frame.color_range)
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    hdr = TRANSFERS.get(transfer, "")
    if frame.side_data.get("DOVI_METADATA") and not hdr and matrix in (UNSPECIFIED, RESERVED):
        raise DataError(f"{path}: Dolby Vision without a compatible layer (profile 5); convert it to SDR first")
    bits = 10 if max(component.bits for component in pixels.components) > 8 else 8
    guess = guess_matrix(frame.width, frame.height)
    if pixels.is_rgb or pixels.has_palette:
        # YUV is written, of which RGB has no matrix yet.
        return Colors(guess, LIMITED, (guess, primaries, transfer, LIMITED), bits, (1, 1), hdr)
    if matrix == RESERVED:
        matrix = UNSPECIFIED
    if matrix not in _MATRICES | {UNSPECIFIED}:
        raise DataError(f"{path}: colors with matrix {matrix} of ITU-T H.273, which cannot be read; convert it first")
    full = range_ == FULL or (range_ != LIMITED and pixels.name.startswith(("yuvj", "gray")))
    tags = (matrix, primaries, transfer, FULL if full else range_)
    chroma = (1, 1)
    if len(pixels.components) >= 3:
        chroma = (frame.width // pixels.chroma_width(frame.width), frame.height // pixels.chroma_height(frame.height))
    if hdr:
        matrix = matrix if matrix != UNSPECIFIED else BT2020
        return Colors(matrix, FULL if full else LIMITED, tags, bits, chroma, hdr)
    return Colors(guess if matrix == UNSPECIFIED else matrix, FULL if full else LIMITED, tags, bits, chroma)


SDR = Colors(BT709, LIMITED, (BT709, BT709, BT709, LIMITED), 8, (2, 2))  # of a tone-mapped film
