"""Pillow's global settings while images are decoded: no truncated files, our size limit, no warnings."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

from PIL import Image, ImageFile

MAX_PIXELS = 300_000_000

_lock = threading.Lock()
_active = 0  # number of threads inside `strict`
_saved_settings: tuple = ()  # Pillow's settings and the warning filters before the first thread entered


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Makes Pillow refuse truncated files and more than `MAX_PIXELS`, whatever the program has set.

    Every function of `image_io` does so itself. Entering the context once around many calls saves most of its cost.

    The settings are module globals of Pillow. So are the filters for its warnings about damaged metadata, which would
    appear in the program's output without a file name. Concurrent threads share the strict settings, and the last
    thread to leave restores the saved ones.
    """
    global _active, _saved_settings
    with _lock:
        if not _active:
            filters = warnings.catch_warnings()
            _saved_settings = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, filters
            filters.__enter__()
            warnings.simplefilter("ignore")
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, MAX_PIXELS
        _active += 1
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if not _active:
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, filters = _saved_settings
                filters.__exit__(None, None, None)
