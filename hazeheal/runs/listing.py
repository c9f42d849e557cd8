"""The runs below a folder, each in a few facts: from status.json, and for older runs from what else they left.

No TensorFlow, and nothing is changed: a run that trains goes on meanwhile.
"""

import csv
import datetime
import json
import math
import os
import pathlib
import re

from hazeheal.runs import checkpoints, status
from hazeheal.runs.run_dir import RunDirectory

# What is told of each run; None where it is not known.
FACTS = (
    *("state", "reason", "exit_code", "alive", "step", "steps", "epoch", "eta_seconds", "images_per_second"),
    *("best_psnr", "best_step", "checkpoint_step", "data_dir", "groups", "replicas", "precision"),
    *("host", "pid", "started", "updated", "age_seconds"),
)
# Lines of log.txt (training/trainer.py writes them), behind their time.
_LINES = {
    "start": re.compile(r"devices   "),
    "data_dir": re.compile(r"data      (.+): [0-9]+ training, "),
    "steps": re.compile(r"training  ([0-9]+) steps of "),
    "signal": re.compile(r"stopped by (SIGTERM|SIGINT) at step "),
}
_TIME = len("2026-01-01 00:00:00.000 ")


def find_runs(folder, *, on_error=None) -> list[pathlib.Path]:
    """Directories of runs: `folder` itself, and all below it; links are not followed.

    Args:
        folder: Where to begin.
        on_error: Called with the `OSError` of a folder that cannot be read.
    """
    found = []
    for path, folders, names in os.walk(folder, onerror=on_error):
        if "group_00" in folders and _is_run(pathlib.Path(path), names):
            found.append(pathlib.Path(path))
        folders[:] = sorted(n for n in folders if not n.startswith((".", "group_")))
    return found


def _is_run(path, names):
    ours = {"status.json", "config.json", "result.json"}
    return bool(ours & set(names)) or (path / "group_00/training_log.csv").is_file()


def describe(run) -> dict:
    """Returns {name: value or None} of a run, the names of FACTS.

    `state` is one of status.json, `killed` or `silent` (see `status.read`), or for a run that has none `unfinished`:
    it is not complete, nobody holds it, and nothing tells why.
    """
    facts = status.read_status(run) or _from_files(RunDirectory(run))
    return {name: facts.get(name) for name in FACTS}


def _from_files(directory):
    result, config, log = directory.load_result(), _json(directory.config), _log(directory.log)
    rows = [row for row in _rows(directory.training_log) if row.get("step", "").isdecimal()]
    folder = directory.checkpoints
    saved = {step: checkpoints.checkpoint_path(folder, step) for step in checkpoints.list_steps(folder)}
    scores = [(checkpoints.validation_psnr(path), step) for step, path in saved.items()]
    scores += [(_number(row.get("val_psnr")), int(row["step"])) for row in rows]
    best, best_step = max((s for s in scores if math.isfinite(s[0])), default=(None, None))
    step = max([0, *saved, *(int(row["step"]) for row in rows), result.get("steps") or 0])
    training = config.get("train", {})
    steps = int(log["steps"]) if log.get("steps") else training.get("steps") or result.get("steps")
    alive = status.is_locked(directory.path)
    if alive:
        state = "training"
    elif result.get("steps") and result["steps"] >= (steps or 0):
        state = "complete"
    else:
        state = status.STOPPED_BY[log["signal"]][0] if log.get("signal") else "unfinished"
    newest = max(saved, default=None)
    rate = result.get("images_per_second")
    if rate is None and newest is not None:
        clock = checkpoints.read_progress(saved[newest]).get("clock", {})
        if clock.get("seconds") and training.get("batch_size"):
            rate = clock["steps"] * training["batch_size"] / clock["seconds"]
    moment = _changed([directory.log, directory.training_log, directory.result, *saved.values()])
    return {
        "state": state,
        "alive": alive,
        "step": step,
        "steps": steps,
        "epoch": int(rows[-1]["epoch"]) + 1 if rows and rows[-1].get("epoch", "").isdecimal() else None,
        "images_per_second": rate,
        "best_psnr": best,
        "best_step": best_step,
        "checkpoint_step": newest,
        "data_dir": log.get("data_dir"),
        "groups": len(list(directory.path.glob("group_[0-9][0-9]*"))),
        "replicas": result.get("replicas"),
        "precision": result.get("precision"),
        "updated": moment and moment.isoformat(timespec="seconds"),
        "age_seconds": moment and round(max(0.0, (_now() - moment).total_seconds()), 1),
    }


def _log(path):
    """{'data_dir', 'steps', 'signal': text} of the last process that wrote log.txt, as far as it came."""
    found = {}
    for line in _text(path).splitlines():
        for name, pattern in _LINES.items():
            if match := pattern.match(line, _TIME):
                found = {} if name == "start" else found | {name: match[1]}
    return found


def _rows(path):
    # A last line that is being written may be short of cells.
    return [row for row in csv.DictReader(_text(path).splitlines()) if None not in row.values()]


def _text(path):
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _json(path):
    try:
        value = json.loads(_text(path))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _changed(paths):
    """When the newest of them was written; None where none is there."""
    times = [path.stat().st_mtime for path in paths if path.exists()]
    return datetime.datetime.fromtimestamp(max(times)).astimezone() if times else None


def _now():
    return datetime.datetime.now().astimezone()
