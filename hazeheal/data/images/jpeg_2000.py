"""JPEG 2000 with more than 8 bits per sample, through imagecodecs: of colors, Pillow returns the upper 8 bits only.

Without imagecodecs (extra `tiff`), `decode` returns None, and images have those 8 bits.
"""

import importlib.util

import numpy as np

_BOXES, _CODESTREAM = b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"  # begin a file with boxes, and a bare codestream
_COLOR_BOX, _RGB, _GRAY = b"colr\x01", 16, 17


def bits_per_sample(data: bytes) -> int:
    """Returns the bits per sample, by the size marker of the codestream; 0 for other formats."""
    if not data.startswith((_BOXES, _CODESTREAM)):
        return 0
    start = data.find(_CODESTREAM, 0, 1 << 16)
    # The number of bits minus 1, and a sign, follow the sizes of the image and its tiles.
    return (data[start + 42] & 0x7F) + 1 if 0 <= start < len(data) - 42 else 0


def is_installed() -> bool:
    """Returns whether imagecodecs is installed."""
    return importlib.util.find_spec("imagecodecs") is not None


def decode(data: bytes) -> np.ndarray | None:
    """Decodes an image of gray or RGB samples, with or without alpha.

    Returns:
        `[H, W, C]` uint16, C from 1 to 4, with the bits of the file; None if it has other colors, or imagecodecs is not
        installed.
    """
    if not is_installed() or not _is_rgb_or_gray(data):
        return None
    import imagecodecs

    samples = imagecodecs.jpeg2k_decode(data)
    samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
    return samples if samples.dtype == np.uint16 and samples.shape[2] <= 4 else None


def _is_rgb_or_gray(data):
    """Whether the color space is sRGB or gray, or is not named by a number: of a profile, or of a bare codestream."""
    start = data.find(_COLOR_BOX, 0, 1 << 16)
    return start < 0 or int.from_bytes(data[start + 7 : start + 11], "big") in (_RGB, _GRAY)


def encode(samples: np.ndarray, *, bits: int, boxes: bool = True) -> bytes:
    """Encodes an image without loss.

    Args:
        samples: `[H, W]` or `[H, W, C]` uint16, less than 2^bits.
        bits: Bits per sample, from 9 to 16.
        boxes: Whether to write a file of boxes (.jp2) rather than a bare codestream (.j2k).
    """
    import imagecodecs

    kind = "jp2" if boxes else "j2k"
    return imagecodecs.jpeg2k_encode(samples, level=0, reversible=True, bitspersample=bits, codecformat=kind)
