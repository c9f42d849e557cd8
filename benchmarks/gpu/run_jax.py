"""Runs an exported training step with JAX: compares its losses with TensorFlow's, then times it.

    python benchmarks/gpu/run_jax.py STEP [--steps=20]

STEP is a directory written by `benchmarks/gpu/export_step.py`. The script needs only jax and numpy. First it trains three steps of
STEP/check in float32. If the losses or gradient norms differ from those that TensorFlow computed, it exits with code 1 and
prints no figures. The last line is JSON: images/s, memory, and the operations and bytes of a step.
"""

import argparse
import json
import os
import pathlib
import sys
import time

# Several processes share the device, and a process takes most of its memory by default.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks.gpu import jax_step, workers

TOLERANCE = 5e-3  # relative; measured on a CPU: 1e-6
WARM_UP = 2  # untimed steps


class Timed:
    """Prepares a step and times it.

    Args:
        folder: Directory of the step.
    """

    def __init__(self, folder):
        self._folder, self._step, self._seconds, self._peak_before = folder, None, None, 0

    def prepare(self):
        """Compiles the step. Nothing stays on the device."""
        begin = time.perf_counter()
        self._step = jax_step.JaxStep(self._folder)
        self._step.compile()
        self._start = jax_step.start(self._step)
        return {"start": time.perf_counter() - begin}

    def measure(self, seconds):
        """Times steps for about this long; the first call also runs untimed ones."""
        if self._seconds is None:
            self._peak_before = peak_bytes()
            self._step.reset(*self._start)
            del self._start
            self._run(WARM_UP)
            self._seconds = self._run(WARM_UP)
        return self.time(max(1, round(float(seconds) / self._seconds)))

    def time(self, steps):
        """Times a number of steps."""
        self._seconds = self._run(steps)
        figures = {
            "images_per_second": self._step.description["settings"]["batch_size"] / self._seconds,
            "step_seconds": self._seconds,
            "flops": self._step.flops,
            "kernels": self._step.kernels,
            "bytes": self._step.bytes,
            "peak_memory_bytes": self._step.memory_bytes(),
        }
        if peak_bytes() > self._peak_before:  # otherwise compilation needed more memory than the step
            figures["peak_memory_bytes"] = peak_bytes()
        return figures

    def _run(self, steps):
        """Returns the seconds per step."""
        begin = time.perf_counter()
        for _ in range(steps):
            metrics = self._step.run()
        metrics.block_until_ready()
        seconds = (time.perf_counter() - begin) / steps
        if not np.isfinite(np.asarray(metrics)).all():
            raise ValueError(f"the metrics are not finite: {np.asarray(metrics).tolist()}")
        return seconds


def peak_bytes():
    """Returns the most memory that this process used on the device; 0 where it is not known, as on CPUs."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)


def check(folder):
    """Trains the steps of a check; returns the largest relative difference from TensorFlow's losses and gradient norms.

    Raises:
        ValueError: A value differs by more than `TOLERANCE`.
    """
    step = jax_step.JaxStep(folder, exact=True)
    step.compile()
    step.reset(*jax_step.start(step))
    expected = step.description["metrics"]
    rows = [np.asarray(step.run()) for _ in next(iter(expected.values()))]
    worst = 0.0
    for i, (name, values) in enumerate(expected.items()):
        for number, (row, value) in enumerate(zip(rows, values, strict=True), start=1):
            difference = abs(float(row[i]) - value) / (abs(value) or 1.0)
            worst = max(worst, difference)
            if not difference <= TOLERANCE:
                raise ValueError(
                    f"{name} at step {number} is {row[i]:.6g} with JAX and {value:.6g} with TensorFlow: "
                    f"the relative difference {difference:.1e} is larger than {TOLERANCE:.0e}"
                )
    return {"steps": len(rows), "relative_difference": worst}


def describe():
    """Returns the device and the versions."""
    device = jax.devices()[0]
    return {"device": device.device_kind, "platform": device.platform, "jax": jax.__version__}


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("step", type=pathlib.Path, metavar="STEP")
    parse.add_argument("--steps", type=int, default=20, help="timed steps (default: %(default)s)")
    parse.add_argument("--worker", action="store_true", help="take commands from first_minutes.py")
    flags = parse.parse_args(argv)
    timed = Timed(flags.step)
    if flags.worker:
        handlers = {"check": lambda: check(flags.step), "prepare": timed.prepare, "measure": timed.measure}
        workers.serve(handlers | {"describe": describe})
        return 0
    if (flags.step / "check").is_dir():
        try:
            checked = check(flags.step / "check")
        except ValueError as error:
            raise SystemExit(f"{error}; nothing was timed") from None
        text = "the losses of {steps} steps equal TensorFlow's: relative difference at most {relative_difference:.1e}"
        print(text.format(**checked), file=sys.stderr)
    figures = timed.prepare()
    timed.measure(0)
    print(json.dumps(figures | timed.time(flags.steps) | describe()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
