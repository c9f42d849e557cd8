"""`hazeheal-tfrecords synthesize`: a folder of clear images becomes a folder of pairs.

    plan    names, depth maps, a haze for each hazy image     (tfrecords_tools.synthesize.plan)
    lay     one function a clear image, in processes          (tfrecords_tools.synthesize.apply_haze)
    finish  haze.json, whose presence says that all is there

It can be killed at any moment: every file is written aside and renamed, the settings are kept beside them, and the
same command makes what is missing. Files that are there are never written again.
"""

import concurrent.futures
import dataclasses
import json
import pathlib
import re
import sys
import time

from hazeheal.data.images import image_io
from hazeheal.data.synthesis import scattering
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.utils.atomic import atomic_write
from hazeheal.utils.console import first_few, one_line
from tfrecords_tools import pool
from tfrecords_tools.convert.output_dir import LOCK
from tfrecords_tools.output_lock import claimed
from tfrecords_tools.synthesize import apply_haze
from tfrecords_tools.synthesize.plan import Options, plan

__all__ = ["Options", "synthesize"]

MANIFEST = "haze.json"
STARTED = ".haze.json.started"
SHOWN = 20
PRELOAD = "tfrecords_tools.synthesize.apply_haze"
_LEFTOVER = re.compile(r"\.\d+-\d+\.part(\.\w+)?")  # of `atomic_path`, by a run that was killed


def synthesize(options: Options) -> int:
    """Makes the pairs, goes on with an interrupted run, or finds that all is done.

    Returns:
        Exit code 0.

    Raises:
        HazeHealError: The message says what, which value, and what to do.
    """
    output_dir = pathlib.Path(options.output_dir)
    tasks, notes = plan(options)
    manifest = _manifest(options, tasks)
    with claimed(output_dir, before_waiting=lambda: None):
        _refuse_other(output_dir, manifest, tasks)
        missing = [task for task in tasks if task.missing() or not task.copy.exists()]
        if (output_dir / MANIFEST).exists() and not missing:
            print(f"{output_dir} is complete; nothing to do")
            return 0
        for note in notes:
            print(one_line(note))
        _look_at_headers(missing)
        start = time.monotonic()
        _remove_leftovers(output_dir)
        atomic_write(output_dir / STARTED, json.dumps(manifest))
        _lay(options, tasks, missing)
        atomic_write(output_dir / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        (output_dir / STARTED).unlink(missing_ok=True)
    hazy, gt = (output_dir / folder for folder in apply_haze.FOLDERS)
    print(
        f"{len(manifest['images'])} pairs of {len(tasks)} clear images are in {hazy} and {gt}, what was laid on them"
    )
    print(f"in {output_dir / MANIFEST} ({time.monotonic() - start:.0f} s). Convert them with:")
    print(f"  hazeheal-tfrecords convert --hazy_dir={hazy} --gt_dir={gt} --output_dir=RECORDS")
    return 0


def _manifest(options, tasks) -> dict:
    listed = [
        {"hazy": name, "clear": task.clear, **({"depth": task.depth} if task.depth else {})}
        | dataclasses.asdict(laid)
        for task in tasks
        for name, laid in task.hazes
    ]
    made = {"settings": options.settings(), "images": listed}
    return json.loads(json.dumps(made))  # tuples as lists, to be compared with one that is read


def _refuse_other(output_dir, manifest, tasks) -> None:
    """Refuses a directory that holds anything but this very set, finished or not."""
    present = {path.name for path in output_dir.iterdir() if not _LEFTOVER.fullmatch(path.name)} - {LOCK}
    if not present:
        return
    other = f"--output_dir={output_dir} is not empty and holds"
    name = next((name for name in (STARTED, MANIFEST) if name in present), None)
    if name is None:
        raise UsageError(f"{other} other files ({first_few(sorted(present))}); choose another directory")
    try:
        there = json.loads((output_dir / name).read_text(encoding="utf-8"))
        theirs, mine = there["settings"], manifest["settings"]
        differing = [key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)]
        rows = {row["hazy"]: (row["clear"], row) for row in there["images"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{output_dir / name} cannot be read ({error}); remove the directory") from error
    if differing:
        text = ", ".join(f"{key}={theirs.get(key)} there, {mine.get(key)} now" for key in sorted(differing))
        raise UsageError(f"{other} pairs of other settings ({text}); choose another directory")
    rows_now = {row["hazy"]: row for row in manifest["images"]}
    gone = {clear for hazy, (clear, row) in rows.items() if rows_now.get(hazy) != row}
    gone = [clear for clear in sorted(gone) if (output_dir / apply_haze.FOLDERS[1] / clear).exists()]
    changed = gone or [task.clear for task in tasks if task.is_stale()]
    if changed:
        raise UsageError(
            f"{other} pairs of {len(changed)} images that are {'gone or named otherwise' if gone else 'changed'} since "
            f"({first_few(changed)}); choose another directory"
        )


def _remove_leftovers(output_dir) -> None:
    for folder in apply_haze.FOLDERS:
        for path in (output_dir / folder).rglob(".*"):
            if _LEFTOVER.fullmatch(path.name):
                path.unlink()


def _look_at_headers(tasks) -> None:
    """Refuses what headers show to be unreadable, or of a depth map's wrong shape, before anything is written."""

    def look(task):
        try:
            size = image_io.read_size(task.source, name=task.clear)
            if task.depth and not scattering.depth_fits(depth := image_io.read_size(task.depth_path), size):
                return f"{task.depth_path}: {apply_haze.shape_problem(depth, size, of=task.clear)}"
        except HazeHealError as error:
            return str(error)
        return None

    with concurrent.futures.ThreadPoolExecutor(8) as threads:  # network file systems answer slowly
        _refuse([problem for problem in threads.map(look, tasks) if problem], "nothing was written")


def _lay(options, tasks, missing) -> None:
    total = sum(len(task.hazes) for task in tasks)
    todo = sum(len(task.missing()) for task in missing)
    workers = min(options.workers or min(pool.cores(), 1 + len(missing) // 16), len(missing))
    print(
        f"{total} hazy images of {len(tasks)} clear ones"
        + (f", {total - todo} of them finished already" if todo < total else "")
        + f", with {max(workers, 1)} worker{'s' * (workers > 1)}",
        flush=True,
    )
    problems = pool.run_tasks(
        apply_haze.lay_task,
        missing,
        workers=workers,
        total=total,
        already=total - todo,
        unit="image",
        preload=PRELOAD,
    )
    _refuse([problem for problem in problems if problem], "all others are finished")


def _refuse(problems, done: str) -> None:
    for problem in problems[:SHOWN]:
        print(f"  {one_line(problem)}", file=sys.stderr)
    if len(problems) > SHOWN:
        print(f"  ... and {len(problems) - SHOWN} more", file=sys.stderr)
    if problems:
        raise DataError(
            f"{len(problems)} clear images cannot get haze, listed above ({done}); replace or remove them, and run the same "
            "command again"
        )
