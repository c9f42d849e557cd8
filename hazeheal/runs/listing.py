"""Finds the runs below a directory and describes each one from its status.json.

Does not import TensorFlow and does not change or block a run that is training.
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any

from hazeheal.runs.status import RATES, read_status

# The facts that describe a run. A fact that is not known is None.
FACTS = (
    *("state", "reason", "exit_code", "alive", "step", "steps", "epoch", "eta_seconds", *RATES),
    *("best_psnr", "best_step", "checkpoint_step", "data_dir", "groups", "replicas", "precision"),
    *("host", "pid", "started", "updated", "age_seconds"),
)
_RUN_FILES = {"status.json", "config.json", "result.json"}


def find_runs(
    directory: str | pathlib.Path, *, on_error: Callable[[OSError], object] | None = None
) -> list[pathlib.Path]:
    """Returns the run directories among `directory` and everything below it. Symbolic links are not followed.

    `on_error` is called with the error for each directory that cannot be read.
    """
    runs = []
    for path, folders, files in os.walk(directory, onerror=on_error):
        if "group_00" in folders and not _RUN_FILES.isdisjoint(files):
            runs.append(pathlib.Path(path))
        folders[:] = sorted(name for name in folders if not name.startswith((".", "group_")))
    return runs


def describe(run: str | pathlib.Path) -> dict[str, Any]:
    """Returns the facts about a run: {name: value or None} with the names in `FACTS`.

    `state` is as `read_status` returns it, or `unknown` if the run has no readable status.json.
    """
    status = read_status(run) or {"state": "unknown"}
    return {name: status.get(name) for name in FACTS}
