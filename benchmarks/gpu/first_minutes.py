"""The first minutes on a GPU: checks the training step, and times it beside PyTorch's.

    cd KIT && python benchmarks/gpu/first_minutes.py --output=first_minutes.json      # 280 s at most

KIT is a directory written by `prepare.py`. The machine needs jax, torch and numpy. The script

1. compares the losses of a small step in float32 with those that TensorFlow computed, for JAX and for PyTorch;
2. measures the device's peak in bfloat16 and its memory bandwidth;
3. times the step at each batch size: HazeHeal's, PyTorch's eager one, and PyTorch's with torch.compile, in alternating rounds;
4. times two depthwise convolutions, by the library and in the form that HazeHeal uses.

Every part runs in a process of its own. Processes compile side by side and are timed one at a time. A part that fails is
reported and does not stop the others; KIT/logs has what it printed. A part that does not fit into the budget is left out and
listed. The last lines are the tables in Markdown; --output has all figures.

Exit codes: 0, or 1 if a check failed or nothing was timed.
"""

import argparse
import json
import pathlib
import shutil
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402
from benchmarks.gpu import report, workers  # noqa: E402

UNIT = "images_per_second"
CONTESTANTS = ("hazeheal", "pytorch eager", "pytorch compile")
OVERHEAD = 3.0  # seconds that a contestant needs besides the timed rounds: initial values, untimed steps
CORES_PER_SIZE = 4  # that the compilers of one batch size use


class FirstMinutes:
    """All parts, and their results.

    Args:
        flags: The command line's.
        settings: Of the exported steps.

    Attributes:
        result: What --output contains.
    """

    def __init__(self, flags, settings):
        self.begin = time.monotonic()
        self._flags = flags
        self._end = self.begin + flags.budget
        self.result = {
            "machine": rounds.machine(),
            "settings": settings,
            "budget": flags.budget,
            "checks": {},
            "depthwise": [],
            "batches": {},
            "left_out": {},
        }

    def run(self):
        """Runs all parts: first those of the first batch size, then the other sizes."""
        first, *others = self._flags.batch_sizes
        steps = self._flags.steps
        started = time.monotonic()
        single = {
            "check of hazeheal": self._start("run_jax.py", steps / "check", command="check"),
            "check of pytorch": self._start("run_peer.py", steps / "check", command="check"),
            "peaks": self._start("run_device.py", steps / "depthwise", "--worker=peaks"),
            "depthwise": self._start("run_device.py", steps / "depthwise", "--worker=depthwise"),
        }
        prepared = self._prepare([first], single)
        preparation = time.monotonic() - started
        self._finish_single(prepared)
        self._time_batch(first, prepared)
        chosen = self._fitting(others, preparation)
        if chosen:
            prepared = self._prepare(chosen, {})
            for size in chosen:
                self._time_batch(size, prepared)
        self.save()

    def _fitting(self, sizes, preparation):
        """Returns the batch sizes that fit into the rest of the budget: all, the largest alone, or none."""
        left = self._end - time.monotonic()
        chosen = []
        for candidates in (sizes[-1:], sizes):
            slower = max(1.0, CORES_PER_SIZE * len(candidates) / rounds.machine()["cores"])
            if left >= slower * preparation + self._reserve(candidates):
                chosen = candidates
        for size in sorted(set(sizes) - set(chosen)):
            reason = f"{left:.0f} s were left, and the preparation of one batch size took {preparation:.0f} s"
            self._leave_out(f"batch {size}", reason)
        return chosen

    def _reserve(self, sizes):
        """Seconds that the timed rounds of these batch sizes take."""
        return len(sizes) * len(CONTESTANTS) * (self._flags.rounds * 1.2 * self._flags.seconds + OVERHEAD)

    def _start(self, script, folder, *arguments, command="prepare"):
        """Starts a worker on its first command."""
        python = self._flags.torch_python if script == "run_peer.py" else self._flags.jax_python
        path = pathlib.Path(__file__).with_name(script)
        arguments = arguments if any("--worker" in a for a in arguments) else [*arguments, "--worker"]
        name = "_".join([script.removesuffix(".py"), folder.name, *(a.partition("=")[2] for a in arguments)])
        worker = workers.Worker([python, path, folder, *arguments], log=self._flags.logs / f"{name.strip('_')}.log")
        worker.send(command)
        return worker

    def _prepare(self, sizes, others):
        """Starts the contestants for these batch sizes, and waits for them and the others.

        Returns:
            {name: (worker, its first answer)} of those that are ready in time.
        """
        started = dict(others)
        for size in sizes:
            folder = self._flags.steps / f"batch_{size}"
            for name in CONTESTANTS:
                mode = name.partition(" ")[2]
                script, arguments = ("run_peer.py", [f"--mode={mode}"]) if mode else ("run_jax.py", [])
                started[f"batch {size}, {name}"] = self._start(script, folder, *arguments)
        until, ready = self._end - self._reserve(sizes), {}
        for name, worker in started.items():
            try:
                ready[name] = worker, worker.receive(until=until)
            except workers.WorkerFailed as error:
                self._failed(name, worker, error)
            else:
                self._say(f"{name}: ready")
        return ready

    def _finish_single(self, prepared):
        """Records the checks and measures the device."""
        for name in ("check of hazeheal", "check of pytorch"):
            if name in prepared:
                worker, answer = prepared.pop(name)
                worker.stop()
                self.result["checks"][name] = answer
            else:
                self.result["checks"][name] = {"failed": self.result["left_out"].get(name)}
        for name in ("peaks", "depthwise"):
            if name not in prepared:
                continue
            worker, _ = prepared.pop(name)
            try:
                self.result["device"] = worker.call("describe", until=self._end)
                self.result[name] = worker.call("measure", until=self._end)
            except workers.WorkerFailed as error:
                self._failed(name, worker, error)
            worker.stop()

    def _time_batch(self, size, prepared):
        """Times the contestants of one batch size that are ready, and ends their processes."""
        chosen = {name: prepared.pop(f"batch {size}, {name}", None) for name in CONTESTANTS}
        chosen = {name: pair for name, pair in chosen.items() if pair is not None}

        def contestant(name):
            worker, _ = chosen[name]

            def measure():
                try:
                    return worker.call("measure", self._flags.seconds, until=self._end)
                except workers.WorkerFailed as error:
                    self._failed(f"batch {size}, {name}", worker, error)
                    raise rounds.Unsupported(str(error)) from None

            return measure

        contestants = {name: contestant(name) for name in chosen}
        measured, _ = rounds.alternate(contestants, rounds=self._flags.rounds, unit=UNIT)
        entry = {}
        for name, figures in measured.items():
            if figures:
                entry[name] = {"start": chosen[name][1]["start"], "rounds": figures}
        for worker, _ in chosen.values():
            worker.stop()
        if entry:
            self.result["batches"][str(size)] = entry
        self.save()

    def _failed(self, name, worker, error):
        worker.stop()
        self._leave_out(name, str(error))

    def _leave_out(self, name, reason):
        self.result["left_out"][name] = reason
        self._say(f"{name}: left out, {reason}")

    def _say(self, text):
        print(f"{time.monotonic() - self.begin:6.1f} s  {text}", file=sys.stderr, flush=True)

    def save(self):
        """Writes what is known so far."""
        self.result["seconds"] = time.monotonic() - self.begin
        rounds.write(self._flags.output, self.result)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--steps", type=pathlib.Path, default=ROOT / "steps", metavar="DIR", help="(default: KIT/steps)")
    parse.add_argument("--output", type=pathlib.Path, metavar="FILE", help="JSON file with all figures")
    parse.add_argument("--budget", type=float, default=280.0, help="seconds for everything (default: %(default)s)")
    parse.add_argument("--rounds", type=int, default=3, help="alternating rounds (default: %(default)s)")
    parse.add_argument("--seconds", type=float, default=1.0, help="of each step in a round (default: %(default)s)")
    parse.add_argument("--batch_sizes", type=int, nargs="+", metavar="N", help="(default: all in DIR)")
    parse.add_argument("--jax_python", default=sys.executable, metavar="FILE", help="with jax (default: this one)")
    parse.add_argument("--torch_python", default=sys.executable, metavar="FILE", help="with torch (default: this one)")
    parse.add_argument("--logs", type=pathlib.Path, metavar="DIR", help="(default: KIT/logs)")
    flags = parse.parse_args(argv)
    sizes = sorted(int(path.name.removeprefix("batch_")) for path in flags.steps.glob("batch_*"))
    if not sizes:
        parse.error(f"--steps={flags.steps} contains no batch_N: give the steps/ of a directory written by prepare.py")
    missing = [size for size in flags.batch_sizes or sizes if size not in sizes]
    if missing:
        parse.error(f"--batch_sizes: {missing[0]} is not in {flags.steps}, which has {', '.join(map(str, sizes))}")
    flags.batch_sizes = flags.batch_sizes or sizes
    for name in ("jax_python", "torch_python"):
        if shutil.which(getattr(flags, name)) is None:
            parse.error(f"--{name}={getattr(flags, name)} is not a program: give the path of a Python")
    description = json.loads((flags.steps / f"batch_{flags.batch_sizes[0]}" / "step.json").read_text(encoding="utf-8"))
    flags.logs = flags.logs or flags.steps.parent / "logs"
    flags.logs.mkdir(parents=True, exist_ok=True)
    session = FirstMinutes(flags, description["settings"])
    session.run()
    print(report.markdown(session.result))
    failed = any("failed" in answer for answer in session.result["checks"].values())
    return 1 if failed or not session.result["batches"] else 0


if __name__ == "__main__":
    sys.exit(main())
