"""The images of `hazeheal demo`, without its page: reads uploads, restores them, makes previews and results.

    images = DemoImages({"best": open_best}, folder="temporary", max_pixels=50_000_000)
    image = images.add("upload/photo.jpg", session="a")
    preview = images.preview(image.key, model="best", strength=0.8)     # preview.hazy, preview.restored
    name, data = images.result(image.key, model="best", strength=0.8)   # as a file
    images.close("a")

An upload stays in `folder` until its session closes. Restored images stay in memory, the least recently used ones only as
long as there is room, so that another strength takes no run of the network.
"""

import collections
import contextlib
import dataclasses
import functools
import os
import pathlib
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hazeheal.data.images import image_io
from hazeheal.data.images.pixel_options import AS_STORED, PixelOptions
from hazeheal.data.images.wide import luma
from hazeheal.errors import DataError, HazeHealError, OutputError
from hazeheal.inference import image_metadata
from hazeheal.inference.encode_image import encode
from hazeheal.inference.jobs import FORMATS, find_jobs
from hazeheal.inference.strength import blend
from hazeheal.utils.console import error_text, one_line

if TYPE_CHECKING:
    from hazeheal.inference.restorer import Restorer

PREVIEW_SIDE = 1600  # longer side of a preview, in pixels
MAX_PREVIEWS = 8
MAX_IMAGES = 20  # of a session
# Of memory while one image is read, restored and encoded: 60 for a PNG of 16 bits with alpha, 21 for a JPEG.
BYTES_PER_PIXEL = 64


@dataclasses.dataclass(frozen=True)
class DemoImage:
    """An upload.

    Attributes:
        key: A secret name for the addresses of the page.
        session: The session that it belongs to.
        path: The file, in a folder of its own.
        result: Name of the restored file, as `hazeheal dehaze` names it.
        height, width: Its upright size.
    """

    key: str
    session: str
    path: pathlib.Path
    result: str
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Preview:
    """A hazy and a restored image, uint8 `[h, w, 3]` of at most `PREVIEW_SIDE` pixels a side, and the bits of the file."""

    hazy: np.ndarray
    restored: np.ndarray
    bits: int


def max_pixels(memory: int) -> int:
    """Returns the most pixels of an image for which half of `memory` bytes suffices."""
    return min(image_io.MAX_PIXELS, memory // 2 // BYTES_PER_PIXEL)


class DemoImages:
    """All uploads of all sessions, and what was computed from them. Safe to call from several threads.

    Args:
        models: {name: open(), which loads the network}. Each is loaded at its first image.
        folder: For the uploads. It must be private: their names are not secret.
        max_pixels: Larger images are refused.
        max_cached_bytes: Of restored images in memory. The last one stays, whatever its size.
        options: The white level and the bands of the uploads.
    """

    def __init__(
        self,
        models: "Mapping[str, Callable[[], Restorer]]",
        *,
        folder: str | pathlib.Path,
        max_pixels: int,
        max_cached_bytes: int = 1 << 30,
        options: PixelOptions = AS_STORED,
    ):
        self.models = {name: functools.cache(load) for name, load in models.items()}
        self._folder = pathlib.Path(folder)
        self._max_pixels = max_pixels
        self._max_cached_bytes = max_cached_bytes
        self._options = options
        self._images: dict[str, DemoImage] = {}
        self._restored: collections.OrderedDict[tuple[str, str], np.ndarray] = collections.OrderedDict()
        self._previews: collections.OrderedDict[tuple[str, str], Preview] = collections.OrderedDict()
        self._lock = threading.RLock()  # one image at a time: each may need half of the memory

    def add(self, path: str | pathlib.Path, *, session: str, name: str | None = None) -> DemoImage:
        """Takes over an uploaded file. It is read once, so that a damaged one is refused now.

        Args:
            path: The file, which is moved.
            session: The session that it belongs to.
            name: The name that the user knows; by default that of `path`.

        Raises:
            DataError: It is not an image that can be restored. The file is removed, and the message names it by its name.
        """
        key = secrets.token_urlsafe(16)
        place = self._folder / key
        place.mkdir(parents=True)
        moved = place / _safe_name(name or os.fspath(path))
        try:
            with _named(moved), self._lock:
                try:
                    shutil.move(path, moved)
                except (OSError, ValueError) as error:
                    raise DataError(f"{moved}: cannot be stored ({error_text(error)})") from error
                image = self._checked(moved, key=key, session=session)
                if len(self.of_session(session)) >= MAX_IMAGES:
                    raise DataError(f"{moved}: the page holds {MAX_IMAGES} images; reload it to begin anew")
                self._read(image)
                self._images[key] = image
        except BaseException:
            shutil.rmtree(place)
            raise
        return image

    def _checked(self, path, *, key, session):
        (job,) = find_jobs([path], output=path.parent / "restored").jobs
        if job.is_video:
            raise DataError(f"{path}: a video; `hazeheal dehaze` restores it")
        height, width = image_io.read_size(path, options=self._options)
        if height * width > self._max_pixels:
            raise DataError(
                f"{path}: {width} x {height} are {height * width / 1e6:.3g} megapixels, and this page restores up to "
                f"{self._max_pixels / 1e6:.3g}; `hazeheal dehaze` restores it in parts"
            )
        return DemoImage(key, session, path, job.output.name, height, width)

    def get(self, key: str) -> DemoImage:
        """Returns an upload.

        Raises:
            DataError: There is none: its session has closed.
        """
        if key not in self._images:
            raise DataError("this image was removed when its page was closed; drop it again")
        return self._images[key]

    def of_session(self, session: str) -> list[DemoImage]:
        """Returns the uploads of a session, the oldest first."""
        with self._lock:
            return [image for image in self._images.values() if image.session == session]

    def preview(self, key: str, *, model: str, strength: float) -> Preview:
        """Returns what the page shows of an upload.

        Raises:
            HazeHealError: The image cannot be read or restored.
        """
        image = self.get(key)
        with self._lock, _named(image.path):
            if (key, model) not in self._previews:
                read = self._read(image)
                restored = self._restore(image, read, model)
                small = _small(read.rgb, read), _small(restored, read)
                self._previews[key, model] = Preview(*small, bits=8 * read.rgb.itemsize)
            preview = _use(self._previews, (key, model))
            while len(self._previews) > MAX_PREVIEWS:
                self._previews.popitem(last=False)
        return dataclasses.replace(preview, restored=blend(preview.hazy, preview.restored, strength))

    def result(self, key: str, *, model: str, strength: float) -> tuple[str, bytes]:
        """Returns the name and the content of the restored file, with the metadata of the upload.

        At a strength of 1 it is the file that `hazeheal dehaze` writes.

        Raises:
            HazeHealError: The image cannot be read, restored or encoded.
        """
        image = self.get(key)
        with self._lock, _named(image.path):
            read = self._read(image)
            pixels = blend(read.rgb, self._restore(image, read, model), strength)
            format = FORMATS[pathlib.PurePath(image.result).suffix.lower()]
            try:
                return image.result, encode(pixels, read, format=format)
            except (OSError, ValueError, MemoryError) as error:
                raise OutputError(f"{image.path} cannot be written as {format}: {error_text(error)}") from error

    def close(self, session: str) -> None:
        """Removes the uploads of a session and all that was computed from them."""
        with self._lock:
            for image in self.of_session(session):
                del self._images[image.key]
                for cache in (self._restored, self._previews):
                    for place in [place for place in cache if place[0] == image.key]:
                        del cache[place]
                shutil.rmtree(image.path.parent, ignore_errors=True)

    def _read(self, image):
        return image_metadata.read(image.path, self._options)

    def _restore(self, image, read, model):
        """The restored pixels, from the cache if they are there."""
        place = (image.key, model)
        if place not in self._restored:
            restorer = self.models[model]()
            self._restored[place] = restorer.restore(read.for_network())
        restored = _use(self._restored, place)
        while len(self._restored) > 1 and sum(a.nbytes for a in self._restored.values()) > self._max_cached_bytes:
            self._restored.popitem(last=False)
        return restored


def _safe_name(name):
    """The last part of a file name that a browser has sent."""
    last = pathlib.PurePath(name.replace("\\", "/")).name
    return last if last not in ("", "..") else "image"


@contextlib.contextmanager
def _named(path):
    """Replaces the path of an upload in errors by its name, which is all that the user knows."""
    try:
        yield
    except HazeHealError as error:
        raise type(error)(one_line(str(error).replace(str(path), path.name))) from error


def _use(cache, place):
    """An entry of a cache, which becomes its newest."""
    cache.move_to_end(place)
    return cache[place]


def _small(pixels, read):
    """The preview of an image: 8 bits, gray if the file is gray."""
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / np.float32(257)).astype(np.uint8)
    if read.gray:
        pixels = np.repeat(np.rint(luma(pixels)).astype(np.uint8), 3, axis=2)
    image = Image.fromarray(pixels)
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return np.asarray(image)
