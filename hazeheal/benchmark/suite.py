"""Runs the measurements of a plan and combines their results.

Each measurement is a process. A pass runs all of them once, and the next pass repeats them, so that a machine that slows
down slows all of them. Each process measures several rounds.
"""

import argparse
import pathlib
import tempfile

from ml_collections import ConfigDict

from hazeheal.benchmark import child, convert, plan
from hazeheal.benchmark.timing import spread
from hazeheal.utils.console import progress_bar


def run(config: ConfigDict, flags: argparse.Namespace) -> dict:
    """Runs all measurements.

    Args:
        config: The configuration.
        flags: The parsed flags of `hazeheal benchmark`.

    Returns:
        {`device`: result of `device.measure`; `left_out`: {what: why}; and for each kind of measurement a list of rows
        with the distinguishing fields and the results}. Repeated measurements are spreads.

    Raises:
        HazeHealError: A measurement failed or is not possible. Temporary files are removed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="hazeheal-benchmark-") as temporary,
        progress_bar(leave=False, ncols=100) as bar,
    ):
        folder = pathlib.Path(temporary)
        bar.set_description("device")
        timing = {"seconds": flags.seconds, "rounds": flags.rounds}
        device = child.run("device", timing | {"cpu": flags.cpu})
        device["peak"] = _to_spreads(device["peak"])
        synthetic = {}
        if flags.data_dir is None and {"input", "step", "loop"} & set(flags.what):
            synthetic = {encoding: str(folder / encoding) for encoding in plan.ENCODINGS}
        data_sets = synthetic or {"data_dir": flags.data_dir}
        tasks, left_out = plan.make_tasks(config, flags, device=device, data_sets=data_sets)
        bar.reset(total=len(synthetic) + flags.passes * len(tasks))
        if synthetic or "convert" in flags.what:
            convert.write_pairs(folder / "images", pairs=flags.pairs, size=flags.size)
        for encoding, data_dir in synthetic.items():
            bar.set_description(f"records encoding={encoding}")
            # Only a whole training validates.
            options = ["--val_fraction=0.1"] if "loop" in flags.what else []
            convert.run_conversion(folder / "images", data_dir, encoding=encoding, options=options)
            bar.update()
        results = [{} for _ in tasks]
        for _ in range(flags.passes):
            for task, result in zip(tasks, results, strict=True):
                bar.set_description(str(task))
                if task.kind == "convert":  # it starts its own processes
                    encoding = task.of["encoding"]
                    _merge(result, convert.measure(folder / "images", encoding=encoding, pairs=flags.pairs))
                else:
                    _merge(result, child.run(task.kind, task.spec))
                bar.update()
    rows = {"device": device, "left_out": left_out}
    for task, result in zip(tasks, results, strict=True):
        rows.setdefault(task.kind, []).append(task.of | _to_spreads(result))
    return rows


def _merge(result, new):
    """Appends the repeated measurements of another pass to `result`; other values do not change between passes."""
    for name, value in new.items():
        result[name] = result.get(name, []) + value if isinstance(value, list) else value


def _to_spreads(result):
    return {name: spread(value) if isinstance(value, list) else value for name, value in result.items()}
