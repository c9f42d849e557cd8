"""The output directory of a conversion: new, taken up, complete, or somebody else's."""

import contextlib
import json
import pathlib
import re
import shutil

from hazeheal.data import records
from hazeheal.errors import UsageError
from tfrecords_tools.convert import shard

STATE = ".convert.json"
LOCK = ".convert.lock"


def write_state(output_dir: pathlib.Path, state: dict) -> None:
    """Marks the directory as an unfinished conversion of this kind."""
    shard.atomic_write(output_dir / STATE, json.dumps(state, indent=1).encode())


def make_directories(path: pathlib.Path) -> list:
    """Makes a directory and those above it; returns the ones that were missing, the innermost first.

    Raises:
        OSError: It cannot be made; then nothing was made.
    """
    missing = []
    for directory in (path, *path.parents):
        if directory.exists():
            break
        missing.append(directory)
    made = []
    try:
        for directory in reversed(missing):
            directory.mkdir(exist_ok=True)
            made.insert(0, directory)
        path.mkdir(exist_ok=True)  # says so where it is no directory
    except OSError:
        remove_empty(made)
        raise
    return made


def remove_empty(directories) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):  # it is not empty
            directory.rmdir()


def is_complete(output_dir, state, described, sources, folders) -> bool:
    """Whether this very data set is there already.

    Raises:
        UsageError: The directory holds something else.
    """
    leftover = _leftovers(state["name"])
    present = {path.name for path in output_dir.iterdir() if not leftover.fullmatch(path.name)} - {LOCK}
    if not present:
        return False
    other = f"--output_dir={output_dir} is not empty and holds"
    if records.MANIFEST in present:
        manifest = records.load_manifest(output_dir)
        mine = {"name": state["name"], **described["options"]}
        theirs = {"name": manifest["name"], **manifest["options"]}
        _refuse_difference(f"{other} a data set made otherwise", mine, theirs)
        if manifest.get("inputs") != described["inputs"]:
            raise UsageError(f"{other} a data set of other source files; choose another directory")
        for split in manifest["splits"]:
            records.open_split(output_dir, split)
        if manifest.get("provenance", {}).get("state") != sources.state:
            _compare_contents(output_dir, manifest, folders)
        remove_notes(output_dir)
        return True
    if STATE not in present:
        raise UsageError(f"{other} other files ({', '.join(sorted(present)[:3])}); choose another directory")
    try:
        _refuse_other_kind(output_dir, state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{other} a conversion whose {STATE} cannot be read ({error}); remove the directory"
        ) from error
    return False


def refuse_to_wait_in_vain(output_dir, state) -> None:
    """Where another conversion is at work: one of another kind would be refused once that is done.

    Raises:
        UsageError: It is of another kind; from where its images come is not compared, as another host may have
            another path to the same.
    """
    # It may be about to begin, or done just now.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        _refuse_other_kind(output_dir, {name: state[name] for name in ("name", "options")})


def _refuse_other_kind(output_dir, state):
    """Compares with the unfinished conversion there what `state` holds."""
    there = json.loads(records.read_file(output_dir / STATE))
    mine, theirs = ({**s["options"], **s} for s in (state, {name: there[name] for name in state}))
    del mine["options"], theirs["options"]
    what = f"--output_dir={output_dir} is not empty and holds an unfinished conversion of another kind"
    _refuse_difference(what, mine, theirs)


def _refuse_difference(what: str, mine: dict, theirs: dict) -> None:
    differing = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
    if differing:
        text = ", ".join(f"{key}={theirs.get(key)} there, {mine.get(key)} now" for key in differing)
        raise UsageError(f"{what} ({text}); choose another directory, or remove that one")


def _compare_contents(output_dir, manifest, folders) -> None:
    """Files that are only newer (copied, checked out again) are the same data set; changed ones are not."""
    hashes = {}
    for entry in manifest["splits"].values():
        for source in shard.read_sources(output_dir, entry):
            for side, flag in (("hazy", "hazy_dir"), ("clear", "gt_dir")):
                path = pathlib.Path(folders[flag]) / source[side]
                if path not in hashes:
                    hashes[path] = shard.hash_file(path)
                if hashes[path] != source[f"{side}_sha256"]:
                    raise UsageError(
                        f"--output_dir={output_dir} was made before {path} was changed; choose another directory, or "
                        "remove that one"
                    )


def _leftovers(name: str) -> re.Pattern:
    """Fits the names of files that a killed conversion was writing, and no others: what fits is removed."""
    files = r"manifest\.json|convert\.json|skipped\.txt|dataset_info\.json|features\.json|tfds"
    return re.compile(rf"\.({re.escape(name)}-(train|val)\.[\w.-]+|{files})\.tmp-\d+")


def remove_leftovers(output_dir, name, specs) -> None:
    """Removes half files of a killed run, and shards of a plan that changed with its sources."""
    planned = {spec.file for spec in specs} | {spec.done_path.name for spec in specs}
    shards = re.compile(rf"\.?{re.escape(name)}-(train|val)\.tfrecord-\d+-of-\d+(\.done\.json)?")
    leftover = _leftovers(name)
    for path in list(output_dir.iterdir()):
        if leftover.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif shards.fullmatch(path.name) and path.name not in planned:
            path.unlink()


def remove_notes(output_dir) -> None:
    for path in list(output_dir.glob(".*.done.json")):
        path.unlink()
    (output_dir / STATE).unlink(missing_ok=True)
