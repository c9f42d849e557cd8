"""The samples of both images of a pair, with one value of white."""

import dataclasses
import os

from hazeheal.data.images import image_io
from hazeheal.data.images.decoder import Decoded
from hazeheal.data.images.pixel_options import PixelOptions


def load_pair(hazy: str | os.PathLike, clear: str | os.PathLike, pixels: PixelOptions) -> tuple[Decoded, Decoded]:
    """Loads two image files; raises DataError if one cannot be read."""
    image = image_io.decode(hazy, options=pixels)
    return image, image_io.decode(clear, options=options_of_clear(pixels, image.white))


def options_of_clear(pixels: PixelOptions, white: float | None) -> PixelOptions:
    """Returns the options of the clear image. A percentile is that of the hazy image.

    Args:
        pixels: The options of the pair.
        white: `Decoded.white` of the hazy image: None if it has 8 bits.
    """
    if isinstance(pixels.white, str) and white is not None:
        return dataclasses.replace(pixels, white=white)
    return pixels
