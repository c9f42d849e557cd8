"""The output directory of a conversion: new, unfinished, complete, or in use for something else."""

import dataclasses
import itertools
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator

from hazeheal.data import records
from hazeheal.errors import UsageError
from hazeheal.utils.atomic import atomic_write, is_temporary
from hazeheal.utils.console import first_few, progress_bar
from tfrecords_tools.convert.plan import Sources
from tfrecords_tools.convert.scenes import count_scenes, find_shared_images
from tfrecords_tools.convert.shard import ShardSpec, hash_file, read_sources
from tfrecords_tools.output_lock import LOCK
from tfrecords_tools.text import describe_differences

STATE = ".convert.json"
_ADVICE = "choose another directory, or remove that one"


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What a conversion writes, and where.

    Attributes:
        directory, name: The data set.
        options: The options that decide its contents.
        sources: The input files.
        split: The split that all pairs go into (`--split`), which may be added to a data set; None to divide the pairs.
    """

    directory: pathlib.Path
    name: str
    options: dict
    sources: Sources
    split: str | None

    @property
    def settings(self) -> dict:
        """The name and all options."""
        return {"name": self.name, **self.options}

    @property
    def folders(self) -> dict[str, str]:
        """The input directories, as absolute paths."""
        return {name: str(getattr(self.sources, name).resolve()) for name in ("hazy_dir", "gt_dir")}

    def find(self, manifest: dict) -> tuple[dict, dict] | None:
        """Returns the parts of a manifest and of its provenance that describe this conversion; None if there are none."""
        provenance = manifest.get("provenance", {})
        if self.split in (None, manifest["options"].get("split")):
            return manifest, provenance
        if self.split not in manifest.get("added", {}):
            return None
        return manifest["added"][self.split], provenance.get("added", {}).get(self.split, {})


def write_state(conversion: Conversion) -> None:
    """Marks the directory as an unfinished conversion with these settings and input directories."""
    text = json.dumps({**conversion.settings, **conversion.folders}, indent=1)
    atomic_write(conversion.directory / STATE, text, durable=True)


def has_manifest(directory: pathlib.Path) -> bool:
    """Returns whether a data set is complete, though it may lack a split that is to be added."""
    return os.path.exists(directory / records.MANIFEST)


def is_complete(conversion: Conversion) -> bool:
    """Returns whether the directory already holds everything that this conversion would write.

    Raises UsageError if it holds something else.
    """
    directory = conversion.directory
    present = {path.name for path in directory.iterdir() if not is_temporary(path.name)} - {LOCK}
    if not present:
        return False
    problem = f"--output_dir={directory} is not empty and holds"
    if records.MANIFEST not in present:
        if STATE not in present:
            raise UsageError(f"{problem} other files ({first_few(sorted(present))}); choose another directory")
        written = _read_state(directory / STATE)
        if differences := describe_differences({**conversion.settings, **conversion.folders}, written):
            raise UsageError(f"{problem} an unfinished conversion with other options ({differences}); {_ADVICE}")
        return False
    manifest = records.load_manifest(directory)
    if "scenes" not in manifest.get("provenance", {}) and (shared := find_shared_images(directory, manifest)):
        raise UsageError(
            f"{problem} a data set of version 0.1 whose splits share {len(shared)} clear images ({first_few(shared)}); "
            f"{_ADVICE}"
        )
    found = conversion.find(manifest)
    if found is None:
        if conversion.split in manifest["splits"]:
            raise UsageError(
                f"{problem} a data set that has a split {conversion.split} already; convert its other pairs with "
                "--split or --val_fraction=0 into another directory, then add this one"
            )
        return False
    entry, _ = found
    if differences := describe_differences(conversion.settings, {"name": manifest["name"], **entry["options"]}):
        raise UsageError(f"{problem} a data set with other options ({differences}); {_ADVICE}")
    if entry.get("inputs") != conversion.sources.inputs:
        raise UsageError(f"{problem} a data set of other source files; choose another directory")
    for split in manifest["splits"]:
        records.open_split(directory, split)
    # Files that are only newer, because they were copied, are accepted.
    for path in _changed_sources(conversion, manifest):
        raise UsageError(f"--output_dir={directory} was written before {path} changed; {_ADVICE}")
    return True


def _read_state(path: pathlib.Path) -> dict:
    try:
        state = json.loads(records.read_file(path))
        if not isinstance(state, dict):
            raise ValueError("it holds no settings")
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} of an unfinished conversion cannot be read ({error}); remove the directory"
        ) from error
    return state


def _changed_sources(conversion: Conversion, manifest: dict) -> Iterator[pathlib.Path]:
    """Yields the source files that are newer than the data set knows, and whose contents are not those it holds."""
    newer = _newer_files(conversion, manifest)
    if not newer:
        return
    added = manifest.get("added", {})
    own = {conversion.split} & added.keys() or manifest["splits"].keys() - added.keys()
    with progress_bar(lines=True, total=len(newer), desc="comparing newer files", unit="file", leave=False) as bar:
        for split in sorted(own):
            for source in read_sources(conversion.directory, manifest["splits"][split]):
                for side in ("hazy", "clear"):
                    path = newer.pop((side, source[side]), None)
                    if path is None:
                        continue
                    if hash_file(path) != source[f"{side}_sha256"]:
                        yield path
                    bar.update()


def _newer_files(conversion: Conversion, manifest: dict) -> dict[tuple[str, str], pathlib.Path]:
    """Returns {(side, name): path} of the source files of all blocks whose modification times have changed."""
    (_, known), sources = conversion.find(manifest), conversion.sources
    if known.get("state") == sources.state:
        return {}
    newer = {}
    blocks = itertools.zip_longest(sources.state_blocks, known.get("state_blocks", []))
    for number, (block, old) in enumerate(blocks):
        if block != old:
            for pair in sources.block(number):
                newer["hazy", pair.hazy] = pathlib.Path(pair.hazy_path)
                newer["clear", pair.clear] = pathlib.Path(pair.clear_path)
    return newer


def is_untidy(conversion: Conversion) -> bool:
    """Returns whether `tidy` has something to do in a complete data set, and can: not on a read-only disk."""
    directory = conversion.directory
    manifest = records.load_manifest(directory)
    leftovers = [*_notes(directory, manifest), directory / LOCK]
    return (_forgets(conversion, manifest) or any(path.exists() for path in leftovers)) and os.access(
        directory, os.W_OK
    )


def tidy(conversion: Conversion) -> None:
    """Removes what only an unfinished conversion needs, and remembers the modification times of newer, equal files.

    Call it for a complete data set whose lock is held.
    """
    directory, sources = conversion.directory, conversion.sources
    manifest = records.load_manifest(directory)
    if _forgets(conversion, manifest):
        _, known = conversion.find(manifest)
        known |= {"state": sources.state, "state_blocks": sources.state_blocks}
        if "scenes" not in manifest["provenance"]:
            counts = {split: count_scenes(read_sources(directory, one)) for split, one in manifest["splits"].items()}
            manifest["provenance"]["scenes"] = counts
        write_manifest(directory, manifest)
    remove_notes(directory, manifest)


def _forgets(conversion: Conversion, manifest: dict) -> bool:
    """Returns whether the provenance lacks what makes the next look at this data set fast."""
    (_, known), sources = conversion.find(manifest), conversion.sources
    remembers = known.get("state") == sources.state and known.get("state_blocks") == sources.state_blocks
    return "provenance" in manifest and not (remembers and "scenes" in manifest["provenance"])


def write_manifest(directory: pathlib.Path, manifest: dict) -> None:
    """Writes the manifest of a data set, from which on it is complete."""
    atomic_write(directory / records.MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n", durable=True)


def remove_leftovers(conversion: Conversion, splits: Iterable[str], specs: list[ShardSpec]) -> None:
    """Removes incomplete files of a killed conversion, and shards of a plan of these splits that changed with its input."""
    planned = {path.name for spec in specs for path in (spec.path, spec.note_path)}
    shards = re.compile(rf"\.?{re.escape(conversion.name)}-({'|'.join(splits)})\.tfrecord-\d+-of-\d+(\.done\.json)?")
    for path in list(conversion.directory.iterdir()):
        if is_temporary(path.name) or (shards.fullmatch(path.name) and path.name not in planned):
            path.unlink()


def _notes(directory: pathlib.Path, manifest: dict) -> list[pathlib.Path]:
    """Returns the paths of what only an unfinished conversion needs; not what an unfinished addition of a split does."""
    shards = [shard["file"] for entry in manifest["splits"].values() for shard in entry["shards"]]
    notes = [directory / f".{file}.done.json" for file in shards]
    try:
        unfinished = _read_state(directory / STATE).get("split")
    except UsageError:  # it does not exist, or is damaged
        unfinished = None
    return notes if unfinished not in (None, *manifest["splits"]) else [*notes, directory / STATE]


def remove_notes(directory: pathlib.Path, manifest: dict) -> None:
    """Removes the notes of shards that are in the manifest, and the mark of an unfinished conversion."""
    for path in _notes(directory, manifest):
        path.unlink(missing_ok=True)
