"""Runs contestants in alternating rounds, each measurement in its own process, and compares them round by round.

A machine that slows down slows all contestants, and no contestant uses the caches, threads or devices of another. The
results are medians over the rounds, and medians of the ratios of each round.
"""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

EXIT_UNSUPPORTED = 2  # exit code of a contestant that this device does not support


class Unsupported(Exception):
    """This device does not support a contestant; the text says why."""


def process(command):
    """Returns a contestant that runs a command; the last line of its output is its figures as JSON.

    The contestant is a function without arguments. It raises `Unsupported` if the command ends with exit code 2, and
    SystemExit if the command fails.
    """

    def run():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == EXIT_UNSUPPORTED:
            raise Unsupported(last_line(done.stderr))
        if done.returncode:
            text = f"exit code {done.returncode}:\n{done.stderr[-3000:]}"
            raise SystemExit(f"{' '.join(map(str, command))}\nfailed with {text}")
        return json.loads(last_line(done.stdout))

    return run


def conversion(folder, output):
    """Command that converts the pairs of `folder` to `output`, without a validation split."""
    return [
        *(sys.executable, "-m", "tfrecords_tools", "convert", "--val_fraction=0", f"--output_dir={output}"),
        *(f"--hazy_dir={folder / 'hazy'}", f"--gt_dir={folder / 'GT'}"),
    ]


def alternate(contestants, *, rounds, unit):
    """Runs all contestants in turn; every second round is in reverse order.

    Args:
        contestants: {name: function without arguments that returns {figure: value}}, see `process`.
        rounds: Number of rounds.
        unit: The figure that is printed during the run.

    Returns:
        ({name: [figures of each round]}, {name: why it was left out}).
    """
    results, left_out = {name: [] for name in contestants}, {}
    for turn in range(rounds):
        for name in list(results) if turn % 2 == 0 else list(reversed(results)):
            try:
                figures = contestants[name]()
            except Unsupported as error:
                left_out[name] = str(error)
                del results[name]
                print(f"{name}: left out, {error}", file=sys.stderr, flush=True)
                continue
            results[name].append(figures)
            text = f"round {turn + 1}/{rounds}  {name:<36} {figures[unit]:10.3f} {unit}"
            print(text, file=sys.stderr, flush=True)
    return results, left_out


def last_line(text):
    return (text.strip().splitlines() or [""])[-1]


def ratios(results, *, unit, base):
    """{name: {'median', 'ratio', 'lowest', 'highest'}} of `unit`; ratios to contestant `base` in the same round."""
    table = {}
    for name, rounds in results.items():
        round_ratios = [
            figures[unit] / base_figures[unit] for figures, base_figures in zip(rounds, results[base], strict=True)
        ]
        table[name] = {
            "median": statistics.median(figures[unit] for figures in rounds),
            "ratio": statistics.median(round_ratios),
            "lowest": min(round_ratios),
            "highest": max(round_ratios),
        }
    return table


def best(results, *, unit, prefix):
    """The contestant with the highest median of `unit` among names with this prefix; None if there is none."""
    names = [name for name in results if name.startswith(prefix)]
    return max(names, key=lambda n: statistics.median(f[unit] for f in results[n]), default=None)


def markdown(table, *, unit, base):
    """The table as Markdown."""
    lines = [f"| contestant | {unit} | times {base} | lowest | highest |", "|---|---|---|---|---|"]
    for name, row in table.items():
        lines.append(
            f"| {name} | {row['median']:.3g} | {row['ratio']:.2f} | {row['lowest']:.2f} | {row['highest']:.2f} |"
        )
    return "\n".join(lines)


def machine():
    """Describes this machine."""
    name = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.open() if line.startswith("model name")]
        name = models[0] if models else name
    return {"cpu": name, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def write(path, result):
    """Writes `result` as JSON if a path is given."""
    if path:
        pathlib.Path(path).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
