"""Makes the measurements of a plan, and one result of them.

Each is a process of its own. A pass takes them in turn, and the next pass takes them again, so that a machine
that slows down slows all of them; within a process there are rounds.
"""

import pathlib
import tempfile

from hazeheal.benchmark import child, convert, pairs, plan
from hazeheal.benchmark.timing import merged
from hazeheal.utils.console import progress_bar


def run(config, options: plan.Options) -> dict:
    """Measures; shows what it is at where stderr is a terminal.

    Args:
        config: A configuration, as `hazeheal.config.load` returns it.
        options: What to measure.

    Returns:
        {`device`: of `device.measure`; `left_out`: {what: why}; and for each kind of measurement a list of
        rows: what tells them apart, and what was measured}.

    Raises:
        HazeHealError: Something cannot be measured as asked; nothing is left behind.
    """
    timing = {"seconds": options.seconds, "rounds": options.rounds}
    with (
        tempfile.TemporaryDirectory(prefix="hazeheal-benchmark-") as folder,
        progress_bar(leave=False, ncols=100) as bar,
    ):
        folder = pathlib.Path(folder)
        bar.set_description("device")
        peak = bool({"step", "restore"} & set(options.what))
        device = child.run("device", timing | {"cpu": options.cpu, "peak": peak})
        made = {encoding: str(folder / encoding) for encoding in encodings(options)}
        data_sets = {"data_dir": options.data_dir} if options.data_dir else made
        tasks, left_out = plan.make(config, options, device=device, data_sets=data_sets)
        bar.reset(total=len(made) + options.passes * len(tasks))
        for encoding, data_dir in made.items():
            bar.set_description(f"images encoding={encoding}")
            pairs.write_pairs(folder / "pairs", pairs=pairs.DRAWN, size=options.size)
            pairs.convert(folder / "pairs", data_dir, encoding=encoding)
            bar.update()
        found = [[] for _ in tasks]
        for _ in range(options.passes):
            for task, results in zip(tasks, found, strict=True):
                bar.set_description(str(task))
                if task.kind == "convert":  # runs what it measures as a process already
                    results.append(convert.measure(folder, **task.of))
                else:
                    results.append(child.run(task.kind, timing | task.of | task.spec))
                bar.update()
    result = {"device": device, "left_out": left_out}
    for task, results in zip(tasks, found, strict=True):
        result.setdefault(task.kind, []).append(task.of | combined(results))
    return result


def encodings(options) -> tuple:
    """Encodings of the data sets that must be made by rule."""
    if options.data_dir is not None:
        return ()
    return plan.ENCODINGS if "input" in options.what else plan.ENCODINGS[: "step" in options.what]


def combined(results) -> dict:
    """One result of those of several passes: spreads are merged; what else there is is the first one's."""
    spreads = {
        name: merged(result[name] for result in results if name in result)
        for name, value in results[0].items()
        if isinstance(value, dict)
    }
    return results[0] | spreads
