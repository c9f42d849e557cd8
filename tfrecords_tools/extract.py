"""`hazeheal-tfrecords extract`: the pairs become files again, `hazy/` and `GT/`.

An image whose bytes were kept comes back byte for byte under its own name. One that was re-encoded has the
suffix of what it is now, and one that is only a part of its source is named after its record.
"""

import contextlib
import os
import pathlib
import re
import shutil

from hazeheal.data import records
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.utils.console import one_line
from tfrecords_tools.convert import output_dir as output_dirs
from tfrecords_tools.convert import shard

SUFFIX = {"jpeg": ".jpg", "png": ".png"}
NAME_BYTES = 255  # of a file name, in most file systems
WINDOWS = os.name == "nt"  # where `a\\b` leads into a folder, and `C:a` to another disk
_SAME_SUFFIX = {"jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "png": (".png",)}


def extract(directory, *, output_dir, split: str | None = None) -> int:
    """Writes the images of a data set to `output_dir`, which must be new or empty.

    Args:
        directory: The data set.
        output_dir: Gets `hazy/` and `GT/`; appears only when everything is written.
        split: One split; by default all.

    Returns:
        Exit code 0.

    Raises:
        UsageError: `output_dir` is not empty, or there is no such split.
        DataError: Records are damaged; all others were written.
    """
    if not os.fspath(output_dir):
        raise UsageError("--output_dir is empty; name a directory (. is the current one)")
    manifest = records.load_manifest(directory)
    names = list(manifest["splits"]) if split is None else [split]
    if split is not None and split not in manifest["splits"]:
        raise UsageError(f"--split={split} is not in {directory}; it has {', '.join(manifest['splits'])}")
    splits = [(records.open_split(directory, name), manifest["splits"][name]) for name in names]
    writer = _Writer(tiled=bool(manifest["options"].get("tile_size")))
    for _, entry in splits:
        for source in shard.read_sources(directory, entry):
            writer.reserve(source)
    problems, count = [], 0
    with _written_aside(pathlib.Path(output_dir)) as writer.folder:
        for opened, entry in splits:
            for pair, source in _read(opened, shard.read_sources(directory, entry), problems):
                writer.write(pair, source)
                count += 1
    print(f"wrote {count} pairs as {len(writer.written)} files to {output_dir}/hazy and {output_dir}/GT")
    for problem in problems:
        print(f"left out: {one_line(problem)}")
    if problems:
        raise DataError(f"{len(problems)} records are damaged, listed above; all others were written")
    return 0


@contextlib.contextmanager
def _written_aside(output_dir: pathlib.Path):
    """Gives a directory with `hazy/` and `GT/` that becomes `output_dir` at the end, or, after an error, nothing.

    It lies within a directory that is there already, which may be the current one or a mounted disk and cannot be
    replaced, else beside the new one.
    """
    there = os.path.lexists(output_dir)
    left = re.compile(r"\.extract\.tmp-\d+")  # by one that was killed
    if there and (
        not output_dir.is_dir() or not all(left.fullmatch(name) for name in os.listdir(output_dir))
    ):
        raise UsageError(f"--output_dir={output_dir} is not an empty directory; choose another one")
    for name in os.listdir(output_dir) if there else ():
        shutil.rmtree(output_dir / name)
    made = [] if there else output_dirs.make_directories(output_dir.parent)
    aside = (output_dir if there else output_dir.parent) / f".extract.tmp-{os.getpid()}"
    try:
        for folder in shard.FOLDERS.values():
            (aside / folder).mkdir(parents=True)
        yield aside
        if there:
            for folder in shard.FOLDERS.values():
                os.replace(aside / folder, output_dir / folder)
        else:
            os.replace(aside, output_dir)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        output_dirs.remove_empty(made)


def _read(split: records.Split, sources, problems: list):
    """Yields (pair, its source) of every record that is whole."""
    opened = (-1, None)
    try:
        for number, (row, source) in enumerate(zip(split.index, sources, strict=True)):
            if opened[0] != row["shard"]:
                if opened[1]:
                    opened[1].close()
                opened = (row["shard"], open(split.shards[row["shard"]], "rb"))  # noqa: SIM115
            opened[1].seek(int(row["offset"]))
            payload = opened[1].read(int(row["length"]))
            try:
                records.check_payload(payload, split=split, record=number)
                pair = records.parse(payload)
            except DataError as error:
                problems.append(str(error))
            else:
                yield pair, source
    except ValueError as error:  # of zip: not as many sources as records
        raise DataError(f"{split.sources} does not fit its index ({error}); convert again") from error
    finally:
        if opened[1]:
            opened[1].close()


class _Writer:
    """Gives every image a name in `folder`, and writes those that several records share once."""

    def __init__(self, *, tiled: bool):
        self.folder = None
        self.tiled = tiled
        self.written = {}  # file -> SHA-256
        self.reserved = set()  # files that belong to a source of this name, and folders

    def reserve(self, source: dict) -> None:
        """Keeps the name of a source for its own image: another one that was re-encoded may become the same name."""
        for side, folder in shard.FOLDERS.items():
            if not self.tiled:
                self.reserved.add(f"{folder}/{source[side]}")
            for parent in pathlib.PurePosixPath(source[side]).parents:
                self.reserved.add(f"{folder}/{parent}")

    def write(self, pair: records.Pair, source: dict) -> None:
        for side, folder in shard.FOLDERS.items():
            data, own = getattr(pair, side), getattr(pair, f"{side}_source")
            digest = records.sha256(data)
            kept = digest == source.get(f"{side}_sha256")
            for name in self._names(pair.key, own, data, kept):
                relative = f"{folder}/{name}"
                if relative in self.reserved and name != own:
                    continue
                known = self.written.get(relative)
                if known is None:
                    path = self.folder / relative
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
                    self.written[relative] = digest
                if known in (None, digest):
                    break
            else:
                raise HazeHealError(f"no name is left for the {side} image of {pair.key!r}")

    def _names(self, key: str, source: str, data: bytes, kept: bool):
        """The names to try, best first. The later ones serve sources that became the same name."""
        kind = "jpeg" if data.startswith(b"\xff\xd8") else "png"
        suffix = SUFFIX[kind]
        if not self.tiled:
            stem, dot, old = source.rpartition(".")
            fits = f".{old.lower()}" in _SAME_SUFFIX[kind] and dot
            yield safe_name(source if kept or fits else stem + suffix)
            yield safe_name(source + suffix)
        yield safe_name(key + suffix)
        yield safe_name(f"{key}.{records.sha256(data)[:12]}{suffix}")


def safe_name(name: str) -> str:
    """Returns a relative name with `/` that stays inside its folder, shortened where a file system would refuse it.

    Raises:
        DataError: It would not stay there.
    """
    *folders, base = name.split("/")
    if (
        any(part in ("", ".", "..") for part in (*folders, base))
        or "\0" in name
        or (WINDOWS and ("\\" in name or re.match(r"[A-Za-z]:", name)))
    ):
        raise DataError(f"a record names its source {name!r}, which leads out of the folder; not extracted")
    if (
        len(base.encode()) > NAME_BYTES
    ):  # a suffix, or a tile's place, came behind a name that was just short enough
        stem, suffix = os.path.splitext(base)
        end = f"~{records.sha256(base.encode())[:12]}{suffix}"
        base = stem.encode()[: NAME_BYTES - len(end.encode())].decode("utf-8", "ignore") + end
    return "/".join((*folders, base))
