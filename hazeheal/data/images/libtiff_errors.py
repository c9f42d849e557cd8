"""Collects what libtiff, inside Pillow, reports of a damaged TIFF, instead of letting it write to stderr.

libtiff decodes damaged fax and JPEG data to garbage and only prints a line, without the name of the file. `collect` returns
these lines to the thread that decodes, which refuses the image.
"""

import contextlib
import ctypes
import threading
from collections.abc import Iterator

from PIL import Image

_collected = threading.local()


@contextlib.contextmanager
def collect() -> Iterator[list[str]]:
    """Yields a list that receives the errors of libtiff in this thread."""
    _collected.lines = lines = []
    try:
        yield lines
    finally:
        _collected.lines = None


def silence(library: str) -> None:
    """Makes another libtiff, which is linked to the library at this path, write nothing to stderr."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(library).TIFFSetErrorHandler(None)


def _receive(module, form, arguments):
    lines = getattr(_collected, "lines", None)
    if lines is not None and len(lines) < 10:  # a damaged image may have an error in every row
        text = ctypes.create_string_buffer(500)
        _vsnprintf(text, len(text), form, arguments)
        lines.append(text.value.decode("utf-8", "replace"))


try:
    # The library of Pillow that has libtiff linked to it. On Windows it does not export libtiff's functions.
    _library = ctypes.CDLL(Image.core.__file__)
    _vsnprintf = ctypes.CDLL(None).vsnprintf
    _vsnprintf.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p)
    # The last argument is a va_list, which the common ABIs pass as a pointer.
    _handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)(_receive)
    _library.TIFFSetErrorHandler.argtypes = (ctypes.c_void_p,)
    _library.TIFFSetErrorHandler(ctypes.cast(_handler, ctypes.c_void_p))
except (AttributeError, OSError, TypeError):
    pass
