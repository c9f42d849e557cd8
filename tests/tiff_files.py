"""TIFF files of every layout, written by tifffile, for tests that read or restore them."""

import io

import numpy as np
import tifffile

WHITE = {"uint8": 255, "uint16": 65535}


def colors(bands=3, *, height=50, width=70, dtype="uint16", white=None):
    """Returns `[height, width, bands]` whose values go up to white, and differ between rows, columns and bands."""
    white = WHITE[dtype] if white is None else white
    y, x, band = np.mgrid[:height, :width, :bands]
    waves = 0.5 + 0.45 * np.sin(x / 6 + y / 11 + 1.3 * band)
    waves[0, 0] = 1
    values = waves * white
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(values).astype(dtype)


def written(samples, *, planar=False, photometric="rgb", **options):
    """Returns the bytes of a TIFF of samples `[H, W, bands]`; `options` are those of `tifffile.imwrite`."""
    buffer = io.BytesIO()
    if samples.shape[2] > 1:
        options["planarconfig"] = "separate" if planar else "contig"
        samples = np.moveaxis(samples, 2, 0) if planar else samples
    else:
        samples = samples[..., 0]
    tifffile.imwrite(buffer, samples, photometric=photometric, metadata=None, software=False, **options)
    return buffer.getvalue()


def to_uint8(samples, white):
    """Returns samples scaled so that white becomes 255, as `[H, W, 3]`."""
    scaled = np.floor(np.clip(samples.astype(np.float64), 0, white) * 255 / white + 0.5).astype(np.uint8)
    return np.repeat(scaled, 3, axis=2) if scaled.shape[2] == 1 else scaled


def extra_samples(count):
    return {"extrasamples": (0,) * count}
