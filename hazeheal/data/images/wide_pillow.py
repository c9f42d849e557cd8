"""The samples of images of 16 bits or more in formats that Pillow decodes: PNG, PNM and JPEG 2000.

Of 16-bit colors Pillow returns the upper bytes. For PNG and PNM, and for JPEG 2000 with imagecodecs (`jpeg_2000`), the lower
ones are read too. Otherwise they are lost, so only the white level is checked.
"""

import io

import numpy as np
from PIL import Image

from hazeheal.data.images import jpeg_2000
from hazeheal.data.images.passthrough import PNG_SIGNATURE
from hazeheal.data.images.to_rgb import UnknownSamplesError
from hazeheal.data.images.wide import WideImage, from_samples

# Color types of a PNG, and for those of several samples the raw mode that returns the lower byte of each. The raw mode
# of gray with alpha returns both bytes of both.
_PNG_GRAY, _PNG_GRAY_ALPHA = 0, 4
_LOWER_BYTES = {2: "RGB;16L", _PNG_GRAY_ALPHA: "RGBA", 6: "RGBA;16L"}


def read_wide(image: Image.Image, data: bytes, *, white: float | str | None) -> WideImage | None:
    """Returns the samples of a file with more than 8 bits per sample, or None if it has fewer bits.

    Args:
        image: The image as Pillow has decoded it.
        data: The bytes of its file.
        white: `PixelOptions.white`.

    Raises:
        UnknownSamplesError: The white level is unknown.
    """
    if data.startswith(PNG_SIGNATURE):
        return _read_png(image, data, white) if data[24] == 16 else None
    if image.format == "PPM" and data[:2] in (b"P5", b"P6"):
        return _read_pnm(image, data, white)
    bits = jpeg_2000.bits_per_sample(data)
    if image.mode.startswith("I") or image.mode == "F":
        samples, full = np.asarray(image)[..., None], None
        # Pillow scales JPEG 2000 of 9 to 15 bits, and plain PNM of any maximum, to 16 bits.
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            stored = bits or 16
            samples, full = samples.astype(np.uint16) >> (16 - stored), 2**stored - 1
        return from_samples(samples, full=full, white=white)
    if bits > 8 and (wide := _read_jpeg_2000(data, bits, white)) is not None:
        return wide
    is_sgi_of_16_bits = data.startswith(b"\x01\xda") and data[3:4] == b"\x02"
    if is_sgi_of_16_bits or bits > 8:
        _check_upper_bytes(image, white)
    return None


def _read_png(image, data, white):
    color, alpha = data[25], None
    if color == _PNG_GRAY:
        samples = np.asarray(image)[..., None]
    else:
        with Image.open(io.BytesIO(data)) as lower:
            lower.tile = [tile._replace(args=_LOWER_BYTES[color]) for tile in lower.tile]
            low = np.asarray(lower).astype(np.uint16)
        if color == _PNG_GRAY_ALPHA:
            samples = low[..., 0::2] << 8 | low[..., 1::2]
        else:
            samples = np.asarray(image).astype(np.uint16) << 8 | low
        if color != 2:
            samples, alpha = samples[..., :-1], samples[..., -1]
    transparent = image.info.get("transparency")
    if transparent is not None:
        alpha = np.where((samples == transparent).all(axis=2), 0, 65535).astype(np.uint16)
    return from_samples(samples, full=65535, white=white, alpha=alpha, valid=visible(alpha))


def visible(alpha: np.ndarray | None) -> np.ndarray | None:
    """Returns where alpha is not 0, or None if it is so everywhere."""
    return None if alpha is None or alpha.all() else alpha > 0


def _read_pnm(image, data, white):
    with Image.open(io.BytesIO(data)) as header:
        decoder, _, offset, args = header.tile[0]
    full = args[1] if decoder == "ppm" else 65535 if str(args).startswith("I;16") else 255
    if full <= 255:
        return None
    shape = image.height, image.width, 3 if data[:2] == b"P6" else 1
    samples = np.frombuffer(data, ">u2", count=np.prod(shape), offset=offset).reshape(shape).astype(np.uint16)
    return from_samples(samples, full=full, white=white)


def _read_jpeg_2000(data, bits, white):
    samples, alpha = jpeg_2000.decode(data), None
    if samples is None:
        return None
    if samples.shape[2] in (2, 4):
        samples, alpha = samples[..., :-1], samples[..., -1]
        alpha = alpha << (16 - bits) | alpha >> (2 * bits - 16) if bits < 16 else alpha
    return from_samples(samples, full=2**bits - 1, white=white, alpha=alpha, valid=visible(alpha))


def _check_upper_bytes(image, white):
    """Raises UnknownSamplesError unless white is 65535."""
    try:
        if white not in (None, 65535):
            raise UnknownSamplesError(f"--white={white} cannot be applied to 16-bit {image.format}")
        samples = np.asarray(image.convert("RGB")).astype(np.uint16) * 257
        from_samples(samples, full=65535, white=white)
    except UnknownSamplesError as error:
        raise UnknownSamplesError(
            f"{str(error).partition(';')[0]}; save it as TIFF or PNG, to which --white applies, or give --white=65535 if "
            "the image is this dark"
        ) from None
