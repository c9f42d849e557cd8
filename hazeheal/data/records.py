"""The one schema that the writer (`tfrecords_tools`) and the reader (`hazeheal.data.pipeline.processor`) share.

A data set is a directory:

    manifest.json                          what is in it, with sizes, hashes and a fingerprint
    NAME-SPLIT.tfrecord-00000-of-00004     records: one `tf.train.Example` a pair
    NAME-SPLIT.index.npy                   one row a record: where it lies, its CRC, its size
    NAME-SPLIT.sources.jsonl               one line a record: its key and the files it was made of
    dataset_info.json, features.json       TFDS metadata (`tfds.builder_from_directory(DIR)`)

The index makes every record reachable in O(1), which a global shuffle and an exact resume need; the
sources stand beside the records so that a damaged record can still be named.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import zlib

import numpy as np
from google.protobuf.message import DecodeError

from hazeheal.data.example_proto import Example
from hazeheal.errors import DataError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

# A TFRecord frame: uint64 length, uint32 masked CRC of it, the payload, uint32 masked CRC of that.
FRAME_HEADER_BYTES = 12
FRAME_FOOTER_BYTES = 4

_INTEGERS = ("height", "width")
_FEATURES = ("key", "hazy", "clear", "hazy_source", "clear_source", "hazy_sha256", "clear_sha256", *_INTEGERS)

INDEX_DTYPE = np.dtype(
    [
        ("shard", "<u4"),  # number of the shard within the split
        ("offset", "<u8"),  # of the payload (not of the frame) within the shard
        ("length", "<u4"),  # of the payload in bytes
        ("crc32", "<u4"),  # zlib.crc32 of the payload, checked at every read
        ("height", "<u4"),
        ("width", "<u4"),
        ("psnr", "<f4"),  # of the hazy image against the clear one, in dB; inf where they are equal
    ]
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """One record: two encoded images of one size, and where they came from.

    Attributes:
        key: The pair key; unique within a data set.
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
    """Returns `pair` as the bytes of a `tf.train.Example`; equal pairs give equal bytes.

    Args:
        pair: The record.
        hashes: {`hazy`, `clear`: SHA-256 of the image's bytes} where somebody has them already, both or one.
    """
    known = hashes or {}
    message = Example()
    feature = message.features.feature
    for name in _INTEGERS:
        feature[name].int64_list.value.append(getattr(pair, name))
    for name in ("key", "hazy_source", "clear_source"):
        feature[name].bytes_list.value.append(getattr(pair, name).encode())
    for name in ("hazy", "clear"):
        feature[name].bytes_list.value.append(getattr(pair, name))
        feature[f"{name}_sha256"].bytes_list.value.append(
            (known.get(name) or sha256(getattr(pair, name))).encode()
        )
    return message.SerializeToString(deterministic=True)


def parse(payload: bytes) -> Pair:
    """Inverse of `serialize`, in Python.

    Raises:
        DataError: The bytes are no record of this schema, or an image's SHA-256 does not match.
    """
    try:
        feature = Example.FromString(payload).features.feature
        value = {
            name: (feature[name].int64_list if name in _INTEGERS else feature[name].bytes_list).value[0]
            for name in _FEATURES
        }
        pair = Pair(
            key=value["key"].decode(),
            hazy=value["hazy"],
            clear=value["clear"],
            height=value["height"],
            width=value["width"],
            hazy_source=value["hazy_source"].decode(),
            clear_source=value["clear_source"].decode(),
        )
    except (DecodeError, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"not a hazeheal record ({len(payload)} bytes): {error}") from error
    for name in ("hazy", "clear"):
        if sha256(value[name]).encode() != value[f"{name}_sha256"]:
            raise DataError(f"the SHA-256 of the {name} image does not match")
    return pair


def feature_spec() -> dict:
    """The parsing spec of a record for `tf.io.parse_example` and `tf.io.parse_single_example`."""
    import tensorflow as tf

    return {
        name: tf.io.FixedLenFeature([], tf.int64 if name in _INTEGERS else tf.string) for name in _FEATURES
    }


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def shard_name(name: str, split: str, shard: int, num_shards: int) -> str:
    """`NAME-SPLIT.tfrecord-00000-of-00004`, the form that TFDS reads."""
    return f"{name}-{split}.tfrecord-{shard:05d}-of-{num_shards:05d}"


def index_name(name: str, split: str) -> str:
    return f"{name}-{split}.index.npy"


def sources_name(name: str, split: str) -> str:
    return f"{name}-{split}.sources.jsonl"


def fingerprint(manifest: dict) -> str:
    """Hash of everything in a manifest that describes data: all but provenance and itself."""
    described = {k: v for k, v in manifest.items() if k not in ("provenance", "fingerprint")}
    return sha256(json.dumps(described, sort_keys=True).encode())


def load_manifest(directory) -> dict:
    """Reads and checks `directory/manifest.json`.

    Returns:
        The manifest: `schema`, `name`, `options` (of the conversion), `splits` ({split: {`records`,
        `shards`: [{`file`, `records`, `bytes`, `sha256`}], `index`, `index_sha256`, `sources`,
        `sources_sha256`}}), `fingerprint`, and `provenance` (command, versions, time).

    Raises:
        DataError: It is missing, unreadable, of another schema, or was changed by hand.
    """
    path = pathlib.Path(directory) / MANIFEST
    try:
        manifest = json.loads(read_file(path).decode())
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist; make the data set with `hazeheal-tfrecords convert "
            f"--hazy_dir=... --gt_dir=... --output_dir={directory}`"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); convert the data set again") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA_VERSION:
        found = manifest.get("schema") if isinstance(manifest, dict) else None
        raise DataError(f"{path} has schema {found}, this version reads {SCHEMA_VERSION}; convert again")
    if manifest.get("fingerprint") != fingerprint(manifest):
        raise DataError(f"{path} does not match its own fingerprint; it was changed after the conversion")
    if not _is_well_formed(manifest):
        raise DataError(
            f"{path} lacks an entry, or has one of a wrong kind; it was changed after the conversion"
        )
    return manifest


def _is_well_formed(manifest: dict) -> bool:
    """Whether what readers rely on is there and of its kind: a signature tells nothing about what was signed."""
    try:
        provenance, entries = manifest.get("provenance", {}), [*manifest["splits"].values()]
        shards = [shard for entry in entries for shard in entry["shards"]]
        maps = [manifest["options"], manifest["splits"], manifest.get("reencoded", {}), provenance]
        maps += [provenance.get(name, {}) for name in ("versions", "tfds_sha256")]
        formats = [entry.get("formats", {}) for entry in entries]
        maps += [*formats, *(counts for sides in formats for counts in sides.values())]
        counts = [part["records"] for part in [*entries, *shards]] + [shard["bytes"] for shard in shards]
        files = [entry[name] for entry in entries for name in ("index", "sources")]
        files += [shard["file"] for shard in shards] + [*provenance.get("tfds_sha256", {})]
        hashes = [entry[name] for entry in entries for name in ("index_sha256", "sources_sha256")]
        hashes += [shard["sha256"] for shard in shards] + [*provenance.get("tfds_sha256", {}).values()]
    except (KeyError, TypeError, AttributeError):
        return False
    return (
        all(isinstance(value, dict) for value in maps)
        and all(type(count) is int and count >= 0 for count in counts)
        and all(isinstance(text, str) for text in [manifest.get("name"), *files, *hashes])
        and all(name == pathlib.PurePath(name).name for name in files)  # within the data set's directory
    )


def refuse_special(path) -> None:
    """Raises OSError where `path` is a folder, a pipe or a device: reading might never end."""
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():
        raise OSError("it is no file")


def read_file(path) -> bytes:
    """The content of a regular file of a data set; OSError where it is none or cannot be read."""
    refuse_special(path)
    return path.read_bytes()


@dataclasses.dataclass(frozen=True)
class Split:
    """One split, opened: its shards and its index, checked against the manifest.

    Attributes:
        name: `train` or `val`.
        shards: The shards' paths, in order.
        index: [N] structured array of `INDEX_DTYPE`.
        sources: Path of the list of sources.
    """

    name: str
    shards: tuple
    index: np.ndarray
    sources: pathlib.Path

    def __len__(self):
        return len(self.index)

    def describe(self, record: int) -> str:
        """Names record `record` for an error: shard, position, key and source files."""
        row = self.index[record]
        first = int(np.searchsorted(self.index["shard"], row["shard"]))
        text = f"{self.shards[row['shard']]}, record {record - first} (number {record} of split {self.name})"
        try:
            with open(self.sources, encoding="utf-8") as lines:
                source = json.loads(next(line for i, line in enumerate(lines) if i == record))
            return f"{text}, key {source['key']!r}, made of {source['hazy']} and {source['clear']}"
        except (OSError, StopIteration, ValueError, KeyError, TypeError, RecursionError):
            return text


def open_split(directory, split: str) -> Split:
    """Opens one split after checking that every shard is there with the size it was written with.

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
            raise DataError(
                f"shard {path} {state}; run `hazeheal-tfrecords verify {directory}`, then convert again"
            )
        shards.append(path)
    path = directory / entry["index"]
    try:
        data = read_file(path)
    except OSError as error:
        raise DataError(f"index {path} cannot be read ({error}); convert the data set again") from error
    if sha256(data) != entry["index_sha256"]:
        raise DataError(
            f"index {path} is damaged (its SHA-256 is not the manifest's); convert the data set again"
        )
    index = np.load(io.BytesIO(data), allow_pickle=False)
    if index.dtype != INDEX_DTYPE or len(index) != entry["records"]:
        raise DataError(
            f"index {path} does not list the {entry['records']} records of the manifest; convert again"
        )
    return Split(name=split, shards=tuple(shards), index=index, sources=directory / entry["sources"])


def check_payload(payload: bytes, *, split: Split, record: int) -> None:
    """Raises DataError, naming the record and its sources, if the bytes are not those written."""
    crc = int(split.index["crc32"][record])
    if zlib.crc32(payload) != crc:
        raise DataError(
            f"damaged record: {split.describe(record)}: CRC32 is {zlib.crc32(payload):08x}, written was {crc:08x}; "
            f"run `hazeheal-tfrecords verify {split.sources.parent}` and convert again"
        )
