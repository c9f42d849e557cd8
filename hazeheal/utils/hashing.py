"""SHA-256 hashes of files."""

import hashlib
import pathlib

_BLOCK_BYTES = 1 << 20


def sha256_of_file(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file's contents as 64 hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
