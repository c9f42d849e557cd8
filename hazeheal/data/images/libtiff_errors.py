"""Collects what libtiff reports of a damaged file or a full disk, instead of letting it write to stderr.

libtiff, inside Pillow, decodes damaged fax and JPEG data to garbage, and inside GDAL it loses what a full disk does not take.
In both cases it only prints a line, without the name of the file.

    with collect() as errors:              # of Pillow, in this thread
        image.load()
    errors = collect_from(rasterio._base.__file__)      # of GDAL, in all threads
"""

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator

from PIL import Image

_MOST = 10  # errors that are collected: a damaged image may have one in every row
_of_thread = threading.local()
_handlers = {}  # {path of a library: (its handler, which must not be freed, and its errors)}


@contextlib.contextmanager
def collect() -> Iterator[list[str]]:
    """Yields a list that receives the errors of Pillow's libtiff in this thread."""
    _of_thread.errors = errors = []
    try:
        yield errors
    finally:
        _of_thread.errors = None


def collect_from(library: str) -> list[str]:
    """Returns the list that receives the errors of the libtiff that is linked to a library.

    It stays empty where this is not possible: on Windows, and if libtiff is a part of the library.
    """
    if library not in _handlers:
        errors = []
        _handlers[library] = _install(library, lambda: errors), errors
    return _handlers[library][1]


def _install(library: str, errors: Callable[[], list[str] | None]):
    """Makes the libtiff of a library append its errors to the list that `errors` returns, if any."""

    def receive(module, form, arguments):
        found = errors()
        if found is not None and len(found) < _MOST:
            text = ctypes.create_string_buffer(500)
            vsnprintf(text, len(text), form, arguments)
            found.append(text.value.decode("utf-8", "replace"))

    try:
        linked = ctypes.CDLL(library)
        vsnprintf = ctypes.CDLL(None).vsnprintf
        vsnprintf.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p)
        # The last argument is a va_list, which the common ABIs pass as a pointer.
        handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)(receive)
        linked.TIFFSetErrorHandler.argtypes = (ctypes.c_void_p,)
        linked.TIFFSetErrorHandler(ctypes.cast(handler, ctypes.c_void_p))
        return handler
    except (AttributeError, OSError, TypeError):
        return None


_handlers[Image.core.__file__] = _install(Image.core.__file__, lambda: getattr(_of_thread, "errors", None)), []
