"""The images of an evaluation: small ones for its report, and the files at full resolution beside it.

pictures = Pictures(["input", "mine"], small=True, folder="scores")
picture = pictures.keep(pair, "mine", image)        # writes scores/images/mine/KEY.png
"""

import dataclasses
import io
import os
import pathlib
import re
from collections.abc import Iterable

import numpy as np
from PIL import Image

from hazeheal.errors import DataError
from hazeheal.evaluation.pairs import EvaluationPair
from hazeheal.evaluation.results import CLEAR
from hazeheal.utils.atomic import atomic_path

FOLDER = "images"  # in the folder of the results
MAX_SIDE = 640
QUALITY = 85


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image of a method, or the ground truth.

    Attributes:
        small: JPEG of at most 640 pixels a side; empty if it is not needed.
        file: Name of the PNG at full resolution, relative to the folder of the results, with `/`; None if there is none.
    """

    small: bytes
    file: str | None = None


class Pictures:
    """Makes the pictures of an evaluation."""

    def __init__(
        self,
        methods: Iterable[str],
        *,
        small: bool,
        folder: str | os.PathLike | None = None,
        overwrite: bool = False,
    ) -> None:
        """Writes nothing yet.

        Args:
            methods: Names of all methods.
            small: Whether to encode the images of a report.
            folder: The folder of the results, for images at full resolution; None to write none.
            overwrite: Whether existing images may be replaced.
        """
        self._small = small
        self._folder = None if folder is None else pathlib.Path(folder)
        self._overwrite = overwrite
        self.folders = folder_names([*methods, CLEAR])

    def keep(self, pair: EvaluationPair, name: str, image: np.ndarray) -> Picture:
        """Returns the picture of an image, uint8 `[H, W, 3]`, of the method `name` or `CLEAR`; writes its file.

        Raises:
            DataError: The key of the pair is not a file name.
            OutputError: The file cannot be written, or exists and may not be replaced.
        """
        file = None
        if self._folder is not None:
            check_key(pair.key)
            file = f"{FOLDER}/{self.folders[name]}/{pair.key}.png"
            with atomic_path(self._folder / file, overwrite=self._overwrite) as temporary:
                # 4 times as fast as Pillow's default, for files that are a tenth larger
                Image.fromarray(np.ascontiguousarray(image)).save(temporary, "PNG", compress_level=1)
        return Picture(encode_jpeg(image) if self._small else b"", file)


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encodes a uint8 `[H, W, 3]` RGB image as JPEG; its longer side is reduced to at most 640 pixels."""
    small, buffer = Image.fromarray(np.ascontiguousarray(image)), io.BytesIO()
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    small.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def folder_names(methods: Iterable[str]) -> dict[str, str]:
    """Returns {method: name of its folder}. A method may be named by a path, or by characters that a folder cannot have."""
    names = {}
    for method in methods:
        name = plain = re.sub(r"[^\w+-]+", "_", method).strip("_") or "model"
        number = 2
        while name.lower() in {other.lower() for other in names.values()}:
            name, number = f"{plain}_{number}", number + 1
        names[method] = name
    return names


def check_key(key: str) -> None:
    """Raises DataError if the key of a pair, which becomes a file name, leads out of its folder."""
    if any(part in ("", ".", "..") for part in key.split("/")) or "\0" in key:
        raise DataError(f"the pair {key!r} cannot become a file name; leave out --save_images, or rename its files")
