"""Contestants take turns: every measurement is a process of its own, and ratios are taken round by round.

So a machine that slows down slows all of them, and none finds the other's caches, threads or devices. What is
reported are medians over the rounds, and the medians of each round's ratio.
"""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

EXIT_LACKING = 2  # of a contestant: this device cannot do it


class Lacking(Exception):
    """This device cannot do it; the text says why."""


def process(command):
    """A contestant that is a command, the last line of whose output is its figures as JSON.

    Returns:
        A function without arguments that runs it once and returns the figures.

    Raises (when called):
        Lacking: It ended with exit code 2.
        SystemExit: It failed.
    """

    def run():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == EXIT_LACKING:
            raise Lacking(last_line(done.stderr))
        if done.returncode:
            text = f"exit code {done.returncode}:\n{done.stderr[-3000:]}"
            raise SystemExit(f"{' '.join(map(str, command))}\nfailed with {text}")
        return json.loads(last_line(done.stdout))

    return run


def alternate(contestants, *, rounds, unit):
    """Runs all contestants in turn, every other round backwards.

    Args:
        contestants: {name: function without arguments that returns {figure: value}}, see `process`.
        rounds: How often.
        unit: The figure shown while it runs.

    Returns:
        ({name: [figures of each round]}, {name: why it was left out}).
    """
    found, left_out = {name: [] for name in contestants}, {}
    for turn in range(rounds):
        for name in list(found) if turn % 2 == 0 else list(reversed(found)):
            try:
                figures = contestants[name]()
            except Lacking as lacking:
                left_out[name] = str(lacking)
                del found[name]
                print(f"{name}: left out, {lacking}", file=sys.stderr, flush=True)
                continue
            found[name].append(figures)
            text = f"round {turn + 1}/{rounds}  {name:<36} {figures[unit]:10.3f} {unit}"
            print(text, file=sys.stderr, flush=True)
    return found, left_out


def last_line(text):
    return (text.strip().splitlines() or [""])[-1]


def ratios(found, *, unit, base):
    """{name: {'median', 'ratio', 'lowest', 'highest'}} of `unit`, ratios to contestant `base` in the same round."""
    table = {}
    for name, rounds in found.items():
        each = [mine[unit] / other[unit] for mine, other in zip(rounds, found[base], strict=True)]
        table[name] = {
            "median": statistics.median(figures[unit] for figures in rounds),
            "ratio": statistics.median(each),
            "lowest": min(each),
            "highest": max(each),
        }
    return table


def best(found, *, unit, prefix):
    """The name, among those that begin with `prefix`, with the highest median of `unit`; None if there is none."""
    names = [name for name in found if name.startswith(prefix)]
    return max(names, key=lambda n: statistics.median(f[unit] for f in found[n]), default=None)


def markdown(table, *, unit, base):
    """The table as Markdown."""
    lines = [f"| contestant | {unit} | times {base} | lowest | highest |", "|---|---|---|---|---|"]
    for name, row in table.items():
        lines.append(
            f"| {name} | {row['median']:.3g} | {row['ratio']:.2f} | {row['lowest']:.2f} | {row['highest']:.2f} |"
        )
    return "\n".join(lines)


def machine():
    """What the figures were taken on."""
    name = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.open() if line.startswith("model name")]
        name = models[0] if models else name
    return {"cpu": name, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def write(path, result):
    """Writes `result` as JSON, where a path was given."""
    if path:
        pathlib.Path(path).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
