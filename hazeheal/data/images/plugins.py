"""Formats that need a further package: HEIC and JPEG XL are images, and the raw data of cameras is not."""

import importlib
from collections.abc import Sequence

from hazeheal.utils.console import first_few, plural

# {format: (package, its import, extra of HazeHeal)}
_PACKAGES = {
    "HEIC": ("pillow-heif", "pillow_heif", "heic"),
    "JPEG XL": ("pillow-jxl-plugin", "pillow_jxl", "jxl"),
}
SUFFIXES = frozenset([".heic", ".heif", ".hif", ".jxl"])
# Suffixes of raw data, which lists of ignored files name.
RAW_SUFFIXES = frozenset(
    [
        ".dng",
        ".cr2",
        ".cr3",
        ".crw",
        ".nef",
        ".nrw",
        ".arw",
        ".srf",
        ".sr2",
        ".orf",
        ".rw2",
        ".raf",
        ".pef",
        ".x3f",
        ".3fr",
        ".iiq",
    ]
)
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
_JXL_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"


def describe_raw(names: Sequence[str]) -> str:
    """Returns a note that names files of raw camera data, which are left out."""
    count = plural(len(names), "camera raw file")
    return f"left out {count} ({first_few(names)}); develop them and save them as TIFF or PNG"


def register(head: bytes) -> str:
    """Registers the Pillow plugin for a file that begins with `head`, if it needs one.

    Returns:
        Why the file cannot be read, if its package is not installed; else "".
    """
    format = None
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head:
        format = "HEIC"
    elif head.startswith((b"\xff\x0a", _JXL_CONTAINER)):
        format = "JPEG XL"
    if format is None:
        return ""
    package, module, extra = _PACKAGES[format]
    try:
        plugin = importlib.import_module(module)
    except ImportError:
        return (
            f"{format} needs the package {package}; pip install 'hazeheal[{extra}]', or save the image as JPEG or PNG"
        )
    if format == "HEIC":
        plugin.register_heif_opener()
    return ""
