"""The output directory of a conversion: new, unfinished, complete, or in use for something else."""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hazeheal.data import records
from hazeheal.errors import UsageError
from hazeheal.utils.atomic import atomic_write, is_temporary
from hazeheal.utils.console import first_few
from tfrecords_tools.convert.shard import ShardSpec, hash_file, read_sources
from tfrecords_tools.output_lock import LOCK
from tfrecords_tools.text import describe_differences

if TYPE_CHECKING:
    from tfrecords_tools.convert.plan import Sources

STATE = ".convert.json"
_ADVICE = "choose another directory, or remove that one"


def write_state(output_dir: pathlib.Path, settings: dict, folders: dict[str, str]) -> None:
    """Marks the directory as an unfinished conversion with these settings and input directories."""
    atomic_write(output_dir / STATE, json.dumps({**settings, **folders}, indent=1), durable=True)


def is_complete(output_dir: pathlib.Path, settings: dict, folders: dict[str, str], sources: "Sources") -> bool:
    """Returns whether the directory already holds the data set that this conversion would write.

    Raises UsageError if it holds something else.

    Args:
        output_dir: The directory.
        settings: The name of the data set and all options of this conversion.
        folders, sources: Its `hazy_dir` and `gt_dir`, as absolute paths, and its input files.
    """
    present = {path.name for path in output_dir.iterdir() if not is_temporary(path.name)} - {LOCK}
    if not present:
        return False
    problem = f"--output_dir={output_dir} is not empty and holds"
    if records.MANIFEST not in present:
        if STATE not in present:
            raise UsageError(f"{problem} other files ({first_few(sorted(present))}); choose another directory")
        written = _read_state(output_dir / STATE)
        if differences := describe_differences({**settings, **folders}, written):
            raise UsageError(f"{problem} an unfinished conversion with other options ({differences}); {_ADVICE}")
        return False
    manifest = records.load_manifest(output_dir)
    if differences := describe_differences(settings, {"name": manifest["name"], **manifest["options"]}):
        raise UsageError(f"{problem} a data set with other options ({differences}); {_ADVICE}")
    if manifest.get("inputs") != sources.inputs:
        raise UsageError(f"{problem} a data set of other source files; choose another directory")
    for split in manifest["splits"]:
        records.open_split(output_dir, split)
    # Files that are only newer, because they were copied, are accepted.
    if manifest.get("provenance", {}).get("state") != sources.state:
        for path in _changed_sources(output_dir, manifest, folders):
            raise UsageError(f"--output_dir={output_dir} was written before {path} changed; {_ADVICE}")
    remove_notes(output_dir)
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


def _changed_sources(output_dir: pathlib.Path, manifest: dict, folders: dict[str, str]) -> Iterator[pathlib.Path]:
    """Yields the source files whose contents are not those of the data set."""
    expected = {}
    for entry in manifest["splits"].values():
        for source in read_sources(output_dir, entry):
            for side, folder in (("hazy", folders["hazy_dir"]), ("clear", folders["gt_dir"])):
                expected[pathlib.Path(folder) / source[side]] = source[f"{side}_sha256"]
    for path, sha256 in expected.items():
        if hash_file(path) != sha256:
            yield path


def remove_leftovers(output_dir: pathlib.Path, name: str, specs: list[ShardSpec]) -> None:
    """Removes incomplete files of a killed conversion, and shards of a plan that changed with its input."""
    planned = {path.name for spec in specs for path in (spec.path, spec.note_path)}
    shards = re.compile(rf"\.?{re.escape(name)}-(train|val)\.tfrecord-\d+-of-\d+(\.done\.json)?")
    for path in list(output_dir.iterdir()):
        if is_temporary(path.name) or (shards.fullmatch(path.name) and path.name not in planned):
            path.unlink()


def remove_notes(output_dir: pathlib.Path) -> None:
    """Removes what only an unfinished conversion needs."""
    for path in [*output_dir.glob(".*.done.json"), output_dir / STATE, output_dir / LOCK]:
        path.unlink(missing_ok=True)
