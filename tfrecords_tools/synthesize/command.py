"""`hazeheal-tfrecords synthesize`: a directory of clear images becomes a directory of pairs.

    plan         names, depth maps, the haze of each hazy image   (synthesize/plan.py)
    apply haze   one function per clear image, in processes       (synthesize/apply_haze.py)
    finish       haze.json, which marks the output as complete

The command can be killed at any time. Every file is written atomically, and the settings are stored in the same
directory. The same command writes the missing files and never overwrites existing ones.
"""

import concurrent.futures
import dataclasses
import json
import pathlib
import time

from hazeheal.data.images import image_io
from hazeheal.data.synthesis import scattering
from hazeheal.errors import DataError, HazeHealError, UsageError
from hazeheal.utils.atomic import atomic_write, is_temporary
from hazeheal.utils.console import first_few, one_line
from hazeheal.utils.cpu import usable_cores
from tfrecords_tools import pool
from tfrecords_tools.convert.pair_records import FOLDERS
from tfrecords_tools.convert.shard import DAMAGED_JSON
from tfrecords_tools.output_lock import LOCK, lock_output_dir
from tfrecords_tools.synthesize.apply_haze import Task, run_task, shape_problem
from tfrecords_tools.synthesize.options import Options
from tfrecords_tools.synthesize.plan import plan
from tfrecords_tools.text import describe_differences, plural, print_list

MANIFEST = "haze.json"
STARTED = ".haze.json.started"
_PAIRS_PER_WORKER = 16  # clear images that justify the start of one more process


def synthesize(options: Options) -> int:
    """Writes the pairs, resumes an interrupted run, or reports that the output is complete.

    Returns:
        Exit code 0.

    Raises:
        HazeHealError: The input, the options or the output directory are not valid, or the disk is full.
    """
    output_dir = pathlib.Path(options.output_dir)
    tasks, notes = plan(options)
    manifest = _make_manifest(options, tasks)
    with lock_output_dir(output_dir):
        _refuse_other_output(output_dir, manifest, tasks)
        missing = [task for task in tasks if task.missing() or not task.copy.exists()]
        if (output_dir / MANIFEST).exists() and not missing:
            print(f"{output_dir} is complete; nothing to do")
            return 0
        for note in notes:
            print(one_line(note))
        _check_headers(missing)
        start = time.monotonic()
        _remove_leftovers(output_dir)
        atomic_write(output_dir / STARTED, json.dumps(manifest))
        _apply_haze(options, tasks, missing)
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        atomic_write(output_dir / MANIFEST, text, durable=True)
        (output_dir / STARTED).unlink(missing_ok=True)
    hazy, clear = (output_dir / folder for folder in FOLDERS.values())
    print(
        f"wrote {plural(len(manifest['images']), 'pair')} of {plural(len(tasks), 'clear image')} to {hazy} and {clear} in "
        f"{time.monotonic() - start:.0f} s"
    )
    print(f"{output_dir / MANIFEST} describes the haze of each image. Convert the pairs with:")
    print(f"  hazeheal-tfrecords convert --hazy_dir={hazy} --gt_dir={clear} --output_dir=RECORDS")
    return 0


def _make_manifest(options: Options, tasks: list[Task]) -> dict:
    images = [
        {"hazy": name, "clear": task.clear, **({"depth": task.depth} if task.depth else {})}
        | dataclasses.asdict(haze)
        for task in tasks
        for name, haze in task.hazes
    ]
    manifest = {"settings": options.settings(), "images": images}
    return json.loads(json.dumps(manifest))  # tuples become lists, as in a manifest that is read


def _refuse_other_output(output_dir: pathlib.Path, manifest: dict, tasks: list[Task]) -> None:
    """Raises UsageError if the directory holds anything but this output, finished or not."""
    present = {path.name for path in output_dir.iterdir() if not is_temporary(path.name)} - {LOCK}
    if not present:
        return
    problem = f"--output_dir={output_dir} is not empty and holds"
    name = next((name for name in (STARTED, MANIFEST) if name in present), None)
    if name is None:
        raise UsageError(f"{problem} other files ({first_few(sorted(present))}); choose another directory")
    try:
        written = json.loads((output_dir / name).read_text(encoding="utf-8"))
        differences = describe_differences(manifest["settings"], written["settings"])
        images = written["images"] if "images" in written else written["pictures"]  # in 0.1
        rows = {row["hazy"]: (row["clear"], row) for row in images}
    except DAMAGED_JSON as error:
        raise UsageError(f"{output_dir / name} cannot be read ({error}); remove the directory") from error
    if differences:
        raise UsageError(f"{problem} pairs with other settings ({differences}); choose another directory")
    rows_now = {row["hazy"]: row for row in manifest["images"]}
    removed = {clear for hazy, (clear, row) in rows.items() if rows_now.get(hazy) != row}
    removed = [clear for clear in sorted(removed) if (output_dir / FOLDERS["clear"] / clear).exists()]
    changed = removed or [task.clear for task in tasks if task.is_stale()]
    if changed:
        reason = "were removed or renamed" if removed else "have changed"
        raise UsageError(
            f"{problem} pairs whose clear images {reason} ({first_few(changed)}); choose another directory"
        )


def _remove_leftovers(output_dir: pathlib.Path) -> None:
    """Removes incomplete files of a run that was killed."""
    for path in list(output_dir.rglob(".*")):
        if is_temporary(path.name):
            path.unlink()


def _check_headers(tasks: list[Task]) -> None:
    """Refuses images whose headers cannot be read, and depth maps of another shape, before anything is written."""

    def check(task: Task) -> str | None:
        try:
            size = image_io.read_size(task.source, name=task.clear)
            if task.depth and not scattering.depth_fits(depth := image_io.read_size(task.depth_path), size):
                return f"{task.depth_path}: {shape_problem(depth, size, image_name=task.clear)}"
        except HazeHealError as error:
            return str(error)
        return None

    with concurrent.futures.ThreadPoolExecutor(8) as threads:  # network file systems answer slowly
        _refuse_problems(threads.map(check, tasks), "nothing was written")


def _apply_haze(options: Options, tasks: list[Task], missing: list[Task]) -> None:
    total = sum(len(task.hazes) for task in tasks)
    todo = sum(len(task.missing()) for task in missing)
    workers = options.workers or min(usable_cores(), 1 + len(missing) // _PAIRS_PER_WORKER)
    workers = max(1, min(workers, len(missing)))
    print(
        f"{plural(total, 'hazy image')} of {plural(len(tasks), 'clear image')}"
        + (f", {total - todo} already finished" if todo < total else "")
        + f", with {plural(workers, 'worker')}",
        flush=True,
    )
    problems = pool.run_tasks(
        run_task, missing, workers=workers, total=total, already=total - todo, unit="image"
    )
    _refuse_problems(problems, "all others are finished")


def _refuse_problems(results, state: str) -> None:
    problems = [problem for problem in results if problem]
    print_list(problems)
    if problems:
        raise DataError(
            f"{plural(len(problems), 'clear image')} cannot be used, listed above ({state}); replace or remove them and "
            "rerun the command"
        )
