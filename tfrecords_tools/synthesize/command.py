"""`hazeheal-tfrecords synthesize`: a directory of clear images becomes a directory of pairs.

    plan         names, depth maps, the haze of each hazy image   (synthesize/plan.py)
    apply haze   one function per clear image, in processes       (synthesize/apply_haze.py)

The headers of all images are checked before anything is written. The command can be killed at any time: it first
writes haze.json, which holds the settings and the haze of every image, and then each image atomically. The same command
writes the missing images and never overwrites existing ones.
"""

import concurrent.futures
import dataclasses
import json
import pathlib
import time
from collections.abc import Iterable

from hazeheal.errors import DataError, UsageError
from hazeheal.utils.atomic import atomic_write, is_temporary
from hazeheal.utils.console import first_few, one_line, plural
from hazeheal.utils.cpu import usable_cores
from tfrecords_tools import pool
from tfrecords_tools.convert.pair_records import FOLDERS
from tfrecords_tools.output_lock import LOCK, lock_output_dir
from tfrecords_tools.synthesize.apply_haze import Task, check_headers, check_samples, run_task
from tfrecords_tools.synthesize.options import Options
from tfrecords_tools.synthesize.plan import plan
from tfrecords_tools.text import describe_differences, print_list

MANIFEST = "haze.json"
_PAIRS_PER_WORKER = 16  # clear images that justify the start of one more process


def synthesize(options: Options) -> int:
    """Writes the pairs, resumes an interrupted run, or reports that the output is complete; returns exit code 0.

    Raises:
        HazeHealError: The input, the options or the output directory are not valid, or the disk is full.
    """
    output_dir = pathlib.Path(options.output_dir)
    tasks, notes = plan(options)
    manifest = _make_manifest(options, tasks)
    with lock_output_dir(output_dir):
        _refuse_other_output(output_dir, manifest, tasks)
        missing = [task for task in tasks if task.missing() or not task.copy.exists()]
        with concurrent.futures.ThreadPoolExecutor(8) as threads:  # network file systems answer slowly
            _refuse_problems(threads.map(check_headers, missing), "nothing was written")
        check_samples(missing)
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        atomic_write(output_dir / MANIFEST, text, durable=True)
        if not missing:
            print(f"{output_dir} is complete; nothing to do")
            return 0
        for note in notes:
            print(one_line(note))
        start = time.monotonic()
        for path in list(output_dir.rglob(".*")):
            if is_temporary(path.name):  # left by a run that was killed
                path.unlink()
        _apply_haze(options, tasks, missing)
    hazy, clear = (output_dir / folder for folder in FOLDERS.values())
    print(
        f"wrote {plural(len(manifest['images']), 'pair')} of {plural(len(tasks), 'clear image')} to {hazy} and {clear} in "
        f"{time.monotonic() - start:.0f} s"
    )
    print(f"{output_dir / MANIFEST} describes the haze of each image. Convert the pairs with:")
    pixels = options.pixels.flags()
    print(f"  hazeheal-tfrecords convert --hazy_dir={hazy} --gt_dir={clear} --output_dir=RECORDS{pixels}")
    return 0


def _make_manifest(options: Options, tasks: list[Task]) -> dict:
    images = [
        {"hazy": name, "clear": task.clear, **({"depth": task.depth} if task.depth else {})} | dataclasses.asdict(haze)
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
    if MANIFEST not in present:
        raise UsageError(f"{problem} other files ({first_few(sorted(present))}); choose another directory")
    try:
        written = json.loads((output_dir / MANIFEST).read_text(encoding="utf-8"))
        differences = describe_differences(manifest["settings"], written["settings"])
        rows = written["images"] if "images" in written else written["pictures"]  # in 0.1
        clear_of = {json.dumps(row, sort_keys=True): row["clear"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{output_dir / MANIFEST} cannot be read ({error}); remove the directory") from error
    if differences:
        raise UsageError(f"{problem} pairs with other settings ({differences}); choose another directory")
    expected = {json.dumps(row, sort_keys=True) for row in manifest["images"]}
    changed = {clear_of[row] for row in clear_of.keys() - expected}
    changed = {clear for clear in changed if (output_dir / FOLDERS["clear"] / clear).exists()}
    changed |= {task.clear for task in tasks if task.is_stale()}
    if changed:
        raise UsageError(
            f"{problem} pairs whose clear images have changed, or were removed or renamed "
            f"({first_few(sorted(changed))}); choose another directory"
        )


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
    results = pool.run_tasks(run_task, missing, workers=workers, total=total, already=total - todo, unit="image")
    _refuse_problems(results, "all others are finished")


def _refuse_problems(results: Iterable[str | None], state: str) -> None:
    problems = [problem for problem in results if problem]
    print_list(problems)
    if problems:
        raise DataError(
            f"{plural(len(problems), 'clear image')} cannot be used, listed above; {state}; replace or remove them and "
            "rerun the command"
        )
