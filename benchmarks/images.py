"""Folders of images for measurements: synthetic, or enlarged from the images of a folder.

A synthetic image has the spectrum of a photograph (amplitude 1/f^1.5, correlated planes). Pure noise would make PNG and JPEG
slower than they are on photographs.
"""

import pathlib
import shutil
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from hazeheal.data.synthesis.scattering import add_haze


def synthetic_image(index, *, height, width):
    """float32 [H, W, 3] in [0, 1] with a photograph's spectrum; the pixels are a function of `index`."""
    rng = np.random.default_rng(index)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1

    def field(power):
        spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / frequency**power
        values = np.fft.irfft2(spectrum, s=(height, width))
        return values / values.std()

    shared = field(1.5)
    planes = [0.46 + 0.18 * shared + 0.05 * field(1.9) for _ in range(3)]
    return np.clip(np.stack(planes, -1), 0, 1).astype(np.float32)


def source_images(folder):
    """Paths of the images below `folder`, sorted."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not paths:
        sys.exit(f"--source={folder} contains no PNG or JPEG images; name a folder that does")
    return paths


def write_folder(directory, *, pairs, height, width, source=None, suffix=".png", distinct=None):
    """Writes directory/hazy/NNNNN.SUFFIX and directory/GT/NNNNN.SUFFIX.

    Args:
        directory: The folder.
        pairs: Number of pairs.
        height, width: Size of each image in pixels.
        source: A folder of images to enlarge; None for synthetic images.
        suffix: .png, or .jpg (quality 95, common for cameras and data sets).
        distinct: Number of different pairs, which are copied until there are `pairs`; None if all differ.
    """
    sources = source_images(source) if source else None
    rows = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    for index in range(min(pairs, distinct or pairs)):
        if sources:
            with Image.open(sources[index % len(sources)]) as image:
                enlarged = image.convert("RGB").resize((width, height), Image.LANCZOS)
            clear = np.asarray(enlarged, np.float32) / 255
        else:
            clear = synthetic_image(index, height=height, width=width)
        hazy = add_haze(clear, depth=np.broadcast_to(rows, (height, width)), beta=1.0)
        for name, values in (("hazy", hazy), ("GT", clear)):
            path = directory / name / f"{index:05d}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            options = {"quality": 95} if suffix == ".jpg" else {}
            Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(path, **options)
            for copy in range(index + distinct, pairs, distinct) if distinct else ():
                shutil.copyfile(path, path.with_name(f"{copy:05d}{suffix}"))
