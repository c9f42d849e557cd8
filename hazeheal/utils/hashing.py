"""SHA-256 hashes of files."""

import hashlib
import pathlib


def sha256_of_file(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file's contents as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
