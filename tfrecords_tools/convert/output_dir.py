"""The output directory of a conversion: new, unfinished, complete, or in use for something else."""

import contextlib
import json
import pathlib
import re
from typing import TYPE_CHECKING

from hazeheal.data import records
from hazeheal.errors import UsageError
from hazeheal.utils.atomic import atomic_write, is_temporary
from hazeheal.utils.console import first_few
from tfrecords_tools.convert.shard import DAMAGED_JSON, ShardSpec, hash_file, read_sources
from tfrecords_tools.output_lock import LOCK
from tfrecords_tools.text import describe_differences

if TYPE_CHECKING:
    from tfrecords_tools.convert.plan import Sources

STATE = ".convert.json"


def write_state(output_dir: pathlib.Path, state: dict) -> None:
    """Marks the directory as an unfinished conversion with this name, options and input directories."""
    atomic_write(output_dir / STATE, json.dumps(state, indent=1), durable=True)


def is_complete(output_dir: pathlib.Path, state: dict, sources: "Sources") -> bool:
    """Returns whether the directory already holds the data set that this conversion would write.

    Args:
        output_dir: The directory.
        state: `name`, `options`, `hazy_dir` and `gt_dir` of this conversion.
        sources: Its input files.

    Raises:
        UsageError: The directory holds something else.
    """
    present = {path.name for path in output_dir.iterdir() if not is_temporary(path.name)} - {LOCK}
    if not present:
        return False
    problem = f"--output_dir={output_dir} is not empty and holds"
    if records.MANIFEST in present:
        manifest = records.load_manifest(output_dir)
        _refuse_difference(
            f"{problem} a data set with other options",
            expected={"name": state["name"], **state["options"]},
            actual={"name": manifest["name"], **manifest["options"]},
        )
        if manifest.get("inputs") != sources.inputs:
            raise UsageError(f"{problem} a data set of other source files; choose another directory")
        for split in manifest["splits"]:
            records.open_split(output_dir, split)
        if manifest.get("provenance", {}).get("state") != sources.state:
            _compare_contents(output_dir, manifest, {"hazy": state["hazy_dir"], "clear": state["gt_dir"]})
        remove_notes(output_dir)
        return True
    if STATE not in present:
        raise UsageError(f"{problem} other files ({first_few(sorted(present))}); choose another directory")
    try:
        _refuse_other_conversion(output_dir, state)
    except DAMAGED_JSON as error:
        raise UsageError(
            f"{problem} a conversion whose {STATE} cannot be read ({error}); remove the directory"
        ) from error
    return False


def refuse_to_wait(output_dir: pathlib.Path, state: dict) -> None:
    """Raises UsageError if another process writes a data set with another name or other options.

    Waiting for it would be useless. The input directories are not compared, because another host may see the same
    directory under another path.
    """
    with contextlib.suppress(*DAMAGED_JSON):  # it has not started to write, or has just finished
        _refuse_other_conversion(output_dir, {name: state[name] for name in ("name", "options")})


def remove_leftovers(output_dir: pathlib.Path, name: str, specs: list[ShardSpec]) -> None:
    """Removes incomplete files of a killed conversion, and shards of a plan that changed with its input."""
    planned = {spec.file for spec in specs} | {spec.done_path.name for spec in specs}
    shards = re.compile(rf"\.?{re.escape(name)}-(train|val)\.tfrecord-\d+-of-\d+(\.done\.json)?")
    for path in list(output_dir.iterdir()):
        if is_temporary(path.name) or (shards.fullmatch(path.name) and path.name not in planned):
            path.unlink()


def remove_notes(output_dir: pathlib.Path) -> None:
    """Removes what only an unfinished conversion needs."""
    for path in list(output_dir.glob(".*.done.json")):
        path.unlink()
    (output_dir / STATE).unlink(missing_ok=True)


def _refuse_other_conversion(output_dir: pathlib.Path, state: dict) -> None:
    """Compares the unfinished conversion in the directory with the entries of `state`."""
    written = json.loads(records.read_file(output_dir / STATE))
    _refuse_difference(
        f"--output_dir={output_dir} is not empty and holds an unfinished conversion with other options",
        expected=_flatten(state),
        actual=_flatten({name: written[name] for name in state}),
    )


def _flatten(state: dict) -> dict:
    return {**state["options"], **{name: value for name, value in state.items() if name != "options"}}


def _refuse_difference(problem: str, *, expected: dict, actual: dict) -> None:
    differences = describe_differences(expected, actual)
    if differences:
        raise UsageError(f"{problem} ({differences}); choose another directory, or remove that one")


def _compare_contents(output_dir: pathlib.Path, manifest: dict, folders: dict[str, str]) -> None:
    """Raises UsageError if a source file has changed. Files that are only newer (copied) are accepted."""
    hashes = {}
    for entry in manifest["splits"].values():
        for source in read_sources(output_dir, entry):
            for side, folder in folders.items():
                path = pathlib.Path(folder) / source[side]
                if path not in hashes:
                    hashes[path] = hash_file(path)
                if hashes[path] != source[f"{side}_sha256"]:
                    raise UsageError(
                        f"--output_dir={output_dir} was written before {path} changed; choose another directory, or "
                        "remove that one"
                    )
