"""`hazeheal-tfrecords extract`: the pairs become files again, `hazy/` and `GT/`.

A picture whose bytes were kept comes back byte for byte under its own name. One that was re-encoded has the
suffix of what it is now, and one that is only a part of its source is named after its record.
"""

import json
import os
import pathlib
import re
import shutil

from hazeheal import records
from hazeheal.errors import DataError, HazeHealError, UsageError
from tfrecords_tools import quiet, shard

SUFFIX = {"jpeg": ".jpg", "png": ".png"}
_SAME_SUFFIX = {"jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "png": (".png",)}


def extract(directory, *, output_dir, split: str | None = None) -> int:
    """Writes the pictures of a data set to `output_dir`, which must be new or empty.

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
    manifest = records.load_manifest(directory)
    names = list(manifest["splits"]) if split is None else [split]
    if split is not None and split not in manifest["splits"]:
        raise UsageError(f"--split={split} is not in {directory}; it has {', '.join(manifest['splits'])}")
    splits = [records.open_split(directory, name) for name in names]
    output_dir = pathlib.Path(output_dir)
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise UsageError(f"--output_dir={output_dir} is not an empty directory; choose another one")
    quiet.tensorflow()
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    aside = output_dir.with_name(f".{output_dir.name}.tmp-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    writer = _Writer(aside, tiled=bool(manifest["options"].get("tile_size")))
    problems, count = [], 0
    try:
        for folder in shard.FOLDERS.values():
            (aside / folder).mkdir(parents=True)
        for opened in splits:
            for pair, source in _read(opened, problems):
                writer.write(pair, source)
                count += 1
        if output_dir.exists():
            output_dir.rmdir()
        os.replace(aside, output_dir)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    print(f"wrote {count} pairs as {len(writer.written)} files to {output_dir}/hazy and {output_dir}/GT")
    for problem in problems:
        print(f"left out: {problem}")
    if problems:
        raise DataError(f"{len(problems)} records are damaged, listed above; all others were written")
    return 0


def _read(split: records.Split, problems: list):
    """Yields (pair, its line of the sources) of every record that is whole."""
    with open(split.sources, encoding="utf-8") as lines:
        opened = (-1, None)
        try:
            for number, (row, line) in enumerate(zip(split.index, lines, strict=True)):
                if opened[0] != row["shard"]:
                    if opened[1]:
                        opened[1].close()
                    opened = (row["shard"], open(split.shards[row["shard"]], "rb"))  # noqa: SIM115
                opened[1].seek(int(row["offset"]))
                payload = opened[1].read(int(row["length"]))
                try:
                    records.check_payload(payload, split=split, record=number)
                    yield records.parse(payload), json.loads(line)
                except DataError as error:
                    problems.append(str(error))
        except ValueError as error:  # zip: not as many lines as records; json
            raise DataError(f"{split.sources} does not fit its index ({error}); convert again") from error
        finally:
            if opened[1]:
                opened[1].close()


class _Writer:
    """Gives every picture a name in `folder`, and writes those that several records share once."""

    def __init__(self, folder: pathlib.Path, *, tiled: bool):
        self.folder = folder
        self.tiled = tiled
        self.written = {}  # file -> SHA-256

    def write(self, pair: records.Pair, source: dict) -> None:
        for side, folder in shard.FOLDERS.items():
            data = getattr(pair, side)
            digest = records.sha256(data)
            kept = digest == source.get(f"{side}_sha256")
            for name in self._names(pair.key, getattr(pair, f"{side}_source"), data, kept):
                relative = f"{folder}/{name}"
                known = self.written.get(relative)
                if known is None:
                    path = self.folder / relative
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
                    self.written[relative] = digest
                if known in (None, digest):
                    break
            else:
                raise HazeHealError(f"no name is left for the {side} picture of {pair.key!r}")

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
    """Returns a relative name with `/` that stays inside its folder.

    Raises:
        DataError: It would not, or no file can be called so.
    """
    parts = name.split("/")
    if (
        any(part in ("", ".", "..") for part in parts)
        or re.match(r"[A-Za-z]:", name)
        or any(character in name for character in "\\\0")
    ):
        raise DataError(f"a record names its source {name!r}, which leads out of the folder; not extracted")
    return name
