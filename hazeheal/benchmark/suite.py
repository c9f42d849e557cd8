"""Runs the measurements of a plan and combines their results.

Each measurement is a process. A pass runs all of them once, and the next pass repeats them, so that a machine that slows
down slows all of them. Each process measures several rounds.
"""

import pathlib
import tempfile

from ml_collections import ConfigDict

from hazeheal.benchmark import child, convert, plan
from hazeheal.benchmark.timing import merge_spreads
from hazeheal.utils.console import progress_bar


def run(config: ConfigDict, options: plan.Options) -> dict:
    """Runs all measurements; shows a progress bar if stderr is a terminal.

    Args:
        config: A configuration as `hazeheal.config.load` returns it.
        options: What to measure.

    Returns:
        {`device`: result of `device.measure`; `left_out`: {what: why}; and for each kind of measurement a list of rows
        with the distinguishing fields and the results}.

    Raises:
        HazeHealError: A measurement failed or is not possible. Temporary files are removed.
    """
    timing = {"seconds": options.seconds, "rounds": options.rounds}
    with (
        tempfile.TemporaryDirectory(prefix="hazeheal-benchmark-") as temporary,
        progress_bar(leave=False, ncols=100) as bar,
    ):
        folder = pathlib.Path(temporary)
        bar.set_description("device")
        peak = bool({"step", "restore"} & set(options.what))
        device = child.run("device", timing | {"cpu": options.cpu, "peak": peak})
        synthetic = {encoding: str(folder / encoding) for encoding in _synthetic_encodings(options)}
        data_sets = {"data_dir": options.data_dir} if options.data_dir else synthetic
        tasks, left_out = plan.make_tasks(config, options, device=device, data_sets=data_sets)
        bar.reset(total=len(synthetic) + options.passes * len(tasks))
        for encoding, data_dir in synthetic.items():
            bar.set_description(f"images encoding={encoding}")
            convert.write_pairs(folder / "pairs", pairs=convert.DISTINCT_PAIRS, size=options.size)
            convert.run_conversion(folder / "pairs", data_dir, encoding=encoding)
            bar.update()
        results = [[] for _ in tasks]
        for _ in range(options.passes):
            for task, task_results in zip(tasks, results, strict=True):
                bar.set_description(str(task))
                if task.kind == "convert":  # it starts its own processes
                    task_results.append(convert.measure(folder, **task.of))
                else:
                    task_results.append(child.run(task.kind, timing | task.of | task.spec))
                bar.update()
    rows = {"device": device, "left_out": left_out}
    for task, task_results in zip(tasks, results, strict=True):
        rows.setdefault(task.kind, []).append(task.of | _combine(task_results))
    return rows


def _synthetic_encodings(options):
    """The encodings of the synthetic data sets that the measurements need."""
    if options.data_dir is not None:
        return ()
    if "input" in options.what:
        return plan.ENCODINGS
    return plan.ENCODINGS[:1] if "step" in options.what else ()


def _combine(results):
    """Merges the spreads of several passes; other values are those of the first pass."""
    spreads = {
        name: merge_spreads(result[name] for result in results if name in result)
        for name, value in results[0].items()
        if isinstance(value, dict)
    }
    return results[0] | spreads
