"""The schema of a data set, shared by the writer (`tfrecords_tools`) and the reader (`hazeheal.data.pipeline`).

A data set is a directory:

    manifest.json                          its contents, with sizes, hashes and a fingerprint
    NAME-SPLIT.tfrecord-00000-of-00004     records, one `tf.train.Example` per pair
    NAME-SPLIT.index.npy                   one row per record: its position, CRC and image size
    NAME-SPLIT.sources.jsonl               one line per record: its key and its source files
    dataset_info.json, features.json       TFDS metadata (`tfds.builder_from_directory(DIR)`)

The index makes every record accessible in O(1), which a global shuffle and an exact resume require. The sources are
outside the records, so that a damaged record can be named.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import zlib

import numpy as np
from google.protobuf.message import DecodeError

from hazeheal.data.example_proto import Example
from hazeheal.errors import DataError, UsageError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

_INTEGERS = ("height", "width")
_TEXTS = ("key", "hazy_source", "clear_source")
_IMAGES = ("hazy", "clear")
_FEATURES = (*_TEXTS, *_IMAGES, "hazy_sha256", "clear_sha256", *_INTEGERS)

INDEX_DTYPE = np.dtype(
    [
        ("shard", "<u4"),  # number of the shard in the split
        ("offset", "<u8"),  # start of the payload (not of the frame) in the shard
        ("length", "<u4"),  # length of the payload in bytes
        ("crc32", "<u4"),  # zlib.crc32 of the payload, checked at every read
        ("height", "<u4"),
        ("width", "<u4"),
        ("psnr", "<f4"),  # PSNR of the hazy image against the clear one in dB, inf if they are equal
    ]
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """One record: two encoded images of the same size, and their sources.

    Attributes:
        key: The pair key, unique in a data set.
        hazy, clear: JPEG or PNG bytes of an upright 8-bit RGB or gray image.
        height, width: Size of both images in pixels.
        hazy_source, clear_source: Names of the source files, relative to their folders.
    """

    key: str
    hazy: bytes
    clear: bytes
    height: int
    width: int
    hazy_source: str
    clear_source: str


def serialize(pair: Pair, *, hashes: dict | None = None) -> bytes:
    """Returns a record as the bytes of a `tf.train.Example`; equal pairs give equal bytes.

    `hashes` has the SHA-256 of the bytes of `hazy` and `clear`, if they are known.
    """
    message = Example()
    feature = message.features.feature
    for name in _INTEGERS:
        feature[name].int64_list.value.append(getattr(pair, name))
    for name in _TEXTS:
        feature[name].bytes_list.value.append(getattr(pair, name).encode())
    for name in _IMAGES:
        image = getattr(pair, name)
        feature[name].bytes_list.value.append(image)
        digest = (hashes or {}).get(name) or sha256(image)
        feature[f"{name}_sha256"].bytes_list.value.append(digest.encode())
    return message.SerializeToString(deterministic=True)


def parse(payload: bytes) -> Pair:
    """Inverse of `serialize`, in Python.

    Raises:
        DataError: The bytes are not a record of this schema, or the SHA-256 of an image does not match.
    """
    try:
        feature = Example.FromString(payload).features.feature
        values = {
            name: (feature[name].int64_list if name in _INTEGERS else feature[name].bytes_list).value[0]
            for name in _FEATURES
        }
        texts = {name: values[name].decode() for name in _TEXTS}
    except (DecodeError, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"not a HazeHeal record ({len(payload)} bytes): {error}") from error
    for name in _IMAGES:
        if sha256(values[name]).encode() != values[f"{name}_sha256"]:
            raise DataError(f"the SHA-256 of the {name} image does not match")
    return Pair(**texts, **{name: values[name] for name in (*_IMAGES, *_INTEGERS)})


def sha256(data: bytes) -> str:
    """Returns the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def shard_name(name: str, split: str, shard: int, num_shards: int) -> str:
    """Returns `NAME-SPLIT.tfrecord-00000-of-00004`, the name that TFDS expects."""
    return f"{name}-{split}.tfrecord-{shard:05d}-of-{num_shards:05d}"


def fingerprint(manifest: dict) -> str:
    """Returns the hash of all entries of a manifest that describe data: all but provenance and fingerprint."""
    described = {k: v for k, v in manifest.items() if k not in ("provenance", "fingerprint")}
    return sha256(json.dumps(described, sort_keys=True).encode())


def split_fingerprint(entry: dict) -> str:
    """Returns the hash of the manifest's entry of a split."""
    return sha256(json.dumps(entry, sort_keys=True).encode())


def load_manifest(directory: str | os.PathLike) -> dict:
    """Reads and checks the manifest of a data set.

    It has `schema`, `name`, `options` (of the conversion), `splits` ({split: {`records`, `shards`: [{`file`, `records`,
    `bytes`, `sha256`}], `index`, `index_sha256`, `sources`, `sources_sha256`}}), `fingerprint`, and `provenance`
    (command, versions, time). `added` has {split: {`options`, `inputs`}} of splits that were added to a data set.

    Raises:
        DataError: It is missing, unreadable, of another schema, or was modified.
    """
    path = pathlib.Path(directory) / MANIFEST
    try:
        manifest = json.loads(read_file(path).decode())
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist; create the data set with `hazeheal-tfrecords convert "
            f"--hazy_dir=... --gt_dir=... --output_dir={directory}`"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); convert the data set again") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA_VERSION:
        raise DataError(f"{path} has schema {schema}, but this version reads {SCHEMA_VERSION}; convert again")
    if manifest.get("fingerprint") != fingerprint(manifest):
        raise DataError(f"{path} does not match its fingerprint; it was modified after the conversion")
    if not _is_well_formed(manifest):
        raise DataError(f"{path} has a missing or invalid entry; it was modified after the conversion")
    return manifest


def _is_well_formed(manifest: dict) -> bool:
    """Whether all entries that readers use exist and have the right type, which the fingerprint does not show."""
    try:
        provenance, entries = manifest.get("provenance", {}), [*manifest["splits"].values()]
        shards = [shard for entry in entries for shard in entry["shards"]]
        maps = [manifest["options"], manifest["splits"], manifest.get("reencoded", {}), provenance]
        maps += [provenance.get(name, {}) for name in ("versions", "tfds_sha256", "next_tfds_sha256", "scenes")]
        added, sources = manifest.get("added", {}), [provenance, *provenance.get("added", {}).values()]
        maps += [added, *sources, *added.values(), *(one["options"] for one in added.values())]
        formats = [entry.get("formats", {}) for entry in entries]
        maps += [*formats, *(counts for sides in formats for counts in sides.values())]
        counts = [part["records"] for part in [*entries, *shards]] + [shard["bytes"] for shard in shards]
        files = [entry[name] for entry in entries for name in ("index", "sources")]
        files += [shard["file"] for shard in shards] + [*provenance.get("tfds_sha256", {})]
        hashes = [entry[name] for entry in entries for name in ("index_sha256", "sources_sha256")]
        hashes += [shard["sha256"] for shard in shards] + [*provenance.get("tfds_sha256", {}).values()]
        lists = [source.get("state_blocks", []) for source in sources]
    except (KeyError, TypeError, AttributeError):
        return False
    return (
        all(isinstance(value, dict) for value in maps)
        and all(isinstance(value, list) for value in lists)
        and added.keys() <= manifest["splits"].keys()
        and all(type(count) is int and count >= 0 for count in counts)
        and all(isinstance(text, str) for text in [manifest.get("name"), *files, *hashes])
        and all(name == pathlib.PurePath(name).name for name in files)  # within the data set's directory
    )


def refuse_special(path: pathlib.Path) -> None:
    """Raises OSError if `path` is a folder, a pipe or a device, which could be read forever."""
    if path.exists() and not path.is_file():
        raise OSError("it is not a regular file")


def read_file(path: pathlib.Path) -> bytes:
    """Reads a regular file of a data set; raises OSError if it is not one or cannot be read."""
    refuse_special(path)
    return path.read_bytes()


@dataclasses.dataclass(frozen=True)
class Split:
    """An open split: its shards and its index, which match the manifest.

    Attributes:
        name: Name of the split.
        shards: The paths of the shards, in order.
        index: `[N]` structured array of `INDEX_DTYPE`.
        sources: Path of the list of sources.
        fingerprint: Hash of everything that the manifest says of this split: 64 hexadecimal digits.
    """

    name: str
    shards: tuple[pathlib.PurePath, ...]
    index: np.ndarray
    sources: pathlib.Path
    fingerprint: str

    def __len__(self):
        return len(self.index)

    def describe(self, record: int) -> str:
        """Returns the name of a record for errors: shard, position, key and source files."""
        row = self.index[record]
        first = int(np.searchsorted(self.index["shard"], row["shard"]))
        text = f"{self.shards[row['shard']]}, record {record - first} (number {record} of split {self.name})"
        try:
            with open(self.sources, encoding="utf-8") as lines:
                source = json.loads(next(line for i, line in enumerate(lines) if i == record))
            return f"{text}, key {source['key']!r}, made of {source['hazy']} and {source['clear']}"
        except (OSError, StopIteration, ValueError, KeyError, TypeError, RecursionError):
            return text

    def read_sources(self) -> list[tuple[str, str, str]]:
        """Returns (key, hazy file, clear file) of all records; raises DataError if their list is damaged."""
        try:
            rows = [json.loads(line) for line in read_file(self.sources).splitlines()]
            rows = [(str(row["key"]), str(row["hazy"]), str(row["clear"])) for row in rows]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{self.sources} cannot be read ({error}); convert the data set again") from error
        if len(rows) != len(self):
            raise DataError(f"{self.sources} lists {len(rows)} records, not {len(self)}; convert the data set again")
        return rows

    def largest_image(self) -> int:
        """Returns the largest number of pixels of an image."""
        return int((self.index["height"].astype(np.int64) * self.index["width"]).max())

    def check_crop(self, crop_size: int, *, setting: str = "crop_size") -> None:
        """Raises UsageError, with the name of the setting, if a crop is larger than an image of the split."""
        sides = np.minimum(self.index["height"], self.index["width"])
        if len(sides) and crop_size > sides.min():
            smallest = int(np.argmin(sides))
            row = self.index[smallest]
            raise UsageError(
                f"{setting}={crop_size} is larger than the smallest image, {row['width']}x{row['height']} pixels: "
                f"{self.describe(smallest)}; use {sides[smallest]} or less"
            )


def open_split(directory: str | os.PathLike, split: str) -> Split:
    """Opens one split after checking that all shards exist and have the size that was written.

    Raises:
        DataError: The split, a shard or the index is missing or damaged; the message names it.
    """
    directory = pathlib.Path(directory)
    manifest = load_manifest(directory)
    if split not in manifest["splits"]:
        raise DataError(f"{directory} has no split {split!r}; it has {', '.join(manifest['splits'])}")
    entry = manifest["splits"][split]
    shards = []
    for shard in entry["shards"]:
        path = directory / shard["file"]
        size = path.stat().st_size if path.is_file() else None
        if size != shard["bytes"]:
            state = "is missing" if size is None else f"has {size} bytes instead of {shard['bytes']}"
            raise DataError(f"shard {path} {state}; run `hazeheal-tfrecords verify {directory}`, then convert again")
        shards.append(path)
    path = directory / entry["index"]
    try:
        data = read_file(path)
    except OSError as error:
        raise DataError(f"index {path} cannot be read ({error}); convert the data set again") from error
    if sha256(data) != entry["index_sha256"]:
        raise DataError(f"index {path} is damaged (its SHA-256 differs from the manifest); convert the data set again")
    index = np.load(io.BytesIO(data), allow_pickle=False)
    if index.dtype != INDEX_DTYPE or len(index) != entry["records"]:
        raise DataError(f"index {path} does not contain the {entry['records']} records of the manifest; convert again")
    return Split(
        name=split,
        shards=tuple(shards),
        index=index,
        sources=directory / entry["sources"],
        fingerprint=split_fingerprint(entry),
    )


def check_payload(payload: bytes, *, split: Split, record: int) -> None:
    """Raises DataError, with the record and its sources, if the bytes are not those that were written."""
    crc = int(split.index["crc32"][record])
    if zlib.crc32(payload) != crc:
        raise DataError(
            f"damaged record: {split.describe(record)}: CRC32 is {zlib.crc32(payload):08x} instead of {crc:08x}; "
            f"run `hazeheal-tfrecords verify {split.sources.parent}` and convert again"
        )
