"""Reads text files of other programs: Unicode with or without a byte order mark, or the Windows code page."""

import codecs
import os
import pathlib

# UTF-32 before UTF-16: the mark of UTF-16-LE is the start of that of UTF-32-LE.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: str | os.PathLike) -> str:
    """Returns the text of a file, with its line ends.

    The encoding is that of its byte order mark; without one it is UTF-16 if the file has NUL bytes, or else UTF-8, or
    else Windows-1252, which Excel writes as `CSV`. The caller compares the text with names that it knows, so that a
    wrong guess is an unknown name.

    Raises:
        OSError: The file cannot be read.
        UnicodeDecodeError: The file is not in the encoding of its mark, or is no text.
    """
    data = pathlib.Path(path).read_bytes()
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding)
    if b"\0" in data:  # as the upper byte of the ASCII characters
        return data.decode("utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def split_lines(text: str) -> list[str]:
    r"""Splits at `\n`, `\r\n`, or at `\r` if there is no `\n`.

    Not at the other characters of `str.splitlines`, which file names may contain.
    """
    if "\n" not in text:
        return text.split("\r")
    return [line.removesuffix("\r") for line in text.split("\n")]
