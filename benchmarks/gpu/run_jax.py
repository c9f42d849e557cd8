"""Runs an exported training step with JAX: compares its losses with TensorFlow's, then times it.

    python benchmarks/gpu/run_jax.py STEP [--steps=20]

STEP is a directory written by `benchmarks/gpu/export_step.py`. The script needs only jax and numpy. First it trains three steps of
STEP/check in float32. If the losses or gradient norms differ from those that TensorFlow computed, it exits with code 1 and
prints no figures. The last line is JSON: images/s, memory, and the operations and bytes of a step.
"""

import argparse
import os
import pathlib
import sys
import time

# Several processes share the device, and a process takes most of its memory by default.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks.gpu import hlo, jax_step, timed_step, workers


class Timed(timed_step.TimedStep):
    """The exported step.

    Args:
        folder: Directory of the step.
    """

    def __init__(self, folder):
        self._folder, self._peak_before = folder, 0

    def prepare(self):
        """Compiles the step. Nothing stays on the device."""
        begin = time.perf_counter()
        self._step = jax_step.JaxStep(self._folder)
        self.batch_size = self._step.description["settings"]["batch_size"]
        self._step.compile()
        self._start = jax_step.start(self._step)
        return {"start": time.perf_counter() - begin}

    def warm_up(self):
        """Copies the initial values to the device and runs untimed steps."""
        self._peak_before = peak_bytes()
        self._step.reset(*self._start)
        del self._start
        self.run(timed_step.WARM_UP)

    def train(self, steps):
        """Runs steps; returns the metrics of the last one."""
        for _ in range(steps):
            metrics = self._step.run()
        return np.asarray(metrics)  # waits for the device

    def figures(self):
        """Returns the operations, kernels, bytes and memory of a step."""
        # Where compilation needed more memory than the step, only the compiler's count is known.
        peak = peak_bytes() if peak_bytes() > self._peak_before else self._step.memory_bytes()
        counts = {name: getattr(self._step, name) for name in ("flops", "kernels", "bytes")}
        return counts | {"peak_memory_bytes": peak}


def peak_bytes():
    """Returns the most memory that this process used on the device; 0 where it is not known, as on CPUs."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)


def check(folder):
    """Trains the steps of a check; returns the largest relative difference from TensorFlow's losses and gradient norms.

    Raises:
        ValueError: A value differs by more than `timed_step.TOLERANCE`.
    """
    step = jax_step.JaxStep(folder, exact=True)
    step.compile()
    step.reset(*jax_step.start(step))
    expected = step.description["metrics"]
    rows = [np.asarray(step.run()) for _ in next(iter(expected.values()))]
    worst = max(
        timed_step.relative_difference(f"{name} at step {number}", float(row[i]), value, framework="JAX")
        for i, (name, values) in enumerate(expected.items())
        for number, (row, value) in enumerate(zip(rows, values, strict=True), start=1)
    )
    return {"steps": len(rows), "relative_difference": worst}


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("step", type=pathlib.Path, metavar="STEP")
    parse.add_argument("--steps", type=int, default=20, help="timed steps (default: %(default)s)")
    parse.add_argument("--worker", action="store_true", help="take commands from first_minutes.py")
    flags = parse.parse_args(argv)
    timed = Timed(flags.step)
    if flags.worker:
        workers.serve({"check": lambda: check(flags.step), "prepare": timed.prepare, "measure": timed.measure})
        return 0
    if (flags.step / "check").is_dir():
        try:
            checked = check(flags.step / "check")
        except ValueError as error:
            raise SystemExit(f"{error}; nothing was timed") from None
        text = "the losses of {steps} steps equal TensorFlow's: relative difference at most {relative_difference:.1e}"
        print(text.format(**checked), file=sys.stderr)
    timed.print_figures(flags.steps, hlo.describe_device())
    return 0


if __name__ == "__main__":
    sys.exit(main())
