"""Pillow's global settings while images are decoded: no truncated files, our size limit, no warnings."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

from PIL import Image, ImageFile

MAX_PIXELS = 300_000_000

_lock = threading.Lock()
_active_limits: list[int] = []  # max_pixels of every thread inside `strict`
_saved_settings: tuple = ()  # Pillow's settings and the warning filters before the first thread entered


@contextlib.contextmanager
def strict(max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Makes Pillow refuse truncated files and apply our size limit, whatever the program has set.

    Every function of `image_io` does so itself. Entering the context once around many calls saves most of its cost.

    The settings are module globals of Pillow. So are the filters for its warnings about damaged metadata, which would
    appear in the program's output without a file name. Concurrent threads share the strict settings, and the last
    thread to leave restores the saved ones.

    Args:
        max_pixels: Larger images are refused. With several threads, the largest of their limits applies.
    """
    global _saved_settings
    with _lock:
        if not _active_limits:
            filters = warnings.catch_warnings()
            _saved_settings = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, filters
            filters.__enter__()
            warnings.simplefilter("ignore")
        _active_limits.append(max_pixels)
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, max(_active_limits)
    try:
        yield
    finally:
        with _lock:
            _active_limits.remove(max_pixels)
            if _active_limits:
                Image.MAX_IMAGE_PIXELS = max(_active_limits)
            else:
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, filters = _saved_settings
                filters.__exit__(None, None, None)
