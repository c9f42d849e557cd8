"""Runs an exported training step under JAX: checks its losses against TensorFlow's, then times it.

    python benchmarks/gpu/run_jax.py STEP [--steps=20]

STEP is a directory of `benchmarks/gpu/export_step.py`. Needs jax and numpy alone. Exit code 1, and no figures, where
the losses are not those of the TensorFlow step. The last line is JSON: images/s, peak memory, the share of the
device's own peak (a large bfloat16 matrix product, measured here) and of the bound that peak and memory bandwidth
set together.
"""

import argparse
import json
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.lib import xla_client

jax.config.update("jax_enable_x64", True)  # the step's counters are int64
# Relative, of each loss; the later steps' losses carry the updates of those before.
TOLERANCES = {"float32": 5e-3, "mixed_bfloat16": 5e-2, "mixed_float16": 2e-2}


class Executable:
    """A serialized HLO module, compiled for the first device.

    Attributes:
        flops: Of one run, counted before optimization, which hides convolutions in calls of a library.
        bytes: That one run of the compiled module reads and writes, each value once by each fused kernel.
    """

    def __init__(self, path):
        client = jax.devices()[0].client
        computation = xla_client.XlaComputation(path.read_bytes())
        module = xla_client._xla.mlir.xla_computation_to_mlir_module(computation)
        devices = xla_client.DeviceList(tuple(jax.devices()[:1]))
        self._compiled = client.compile_and_load(module, devices, xla_client.CompileOptions())
        analyze = xla_client._xla.hlo_module_cost_analysis
        self.flops = analyze(client, computation.get_hlo_module()).get("flops", 0.0)
        self.bytes = sum(analyze(client, m).get("bytes accessed", 0.0) for m in self._compiled.hlo_modules())

    def __call__(self, arrays):
        return [
            parts[0]
            for parts in self._compiled.execute_sharded(arrays).disassemble_into_single_device_arrays()
        ]


class Step:
    """The two functions and the state between them, on the device."""

    def __init__(self, folder):
        self.described = json.loads((folder / "step.json").read_text(encoding="utf-8"))
        with np.load(folder / "state.npz", allow_pickle=False) as arrays:
            arrays = dict(arrays)
        self.images = {name: arrays.pop(name) for name in ("hazy", "clear")}
        self.initial = arrays
        self.forward, self.update = (Executable(folder / f"{name}.hlo") for name in ("forward", "update"))
        self.reset()

    def reset(self):
        self.variables = {}  # before the new ones come: peak memory is a figure
        self.variables = {name: jax.device_put(v) for name, v in self.initial.items()}

    def run(self):
        """One step; returns the metrics, on the device."""
        # From the host, as a pipeline gives them.
        images = {name: jax.device_put(v) for name, v in self.images.items()}
        made = self._call("forward", self.forward, self.variables | images)
        made = self._call("update", self.update, self.variables | made)
        metrics = made.pop("metrics")
        self.variables |= made
        return metrics

    def _call(self, name, function, values):
        described = self.described[name]
        made = function([values[parameter] for parameter in described["parameters"]])
        return dict(zip(described["outputs"], made, strict=True))


def check(step):
    """Raises SystemExit where the losses of the first steps are not TensorFlow's."""
    wanted = step.described["losses"]
    rows = [np.asarray(step.run()) for _ in next(iter(wanted.values()))]
    tolerance = TOLERANCES[step.described["settings"]["precision"]]
    worst = 0.0
    for i, (name, values) in enumerate(wanted.items()):
        for number, (row, value) in enumerate(zip(rows, values, strict=True), start=1):
            off = abs(float(row[i]) - value) / max(abs(value), 1e-6) if value else abs(float(row[i]))
            worst = max(worst, off)
            if not off <= tolerance:
                raise SystemExit(
                    f"{name} at step {number} is {row[i]:.6g} here and {value:.6g} in TensorFlow: "
                    f"off by {off:.1e}, at most {tolerance:.0e} would do; nothing was timed"
                )
    print(f"losses of {len(rows)} steps as in TensorFlow: off by {worst:.1e} at most", file=sys.stderr)
    return worst


def seconds_of(function, *, repeats):
    """Median seconds of `function`, which returns an array to wait for."""
    function().block_until_ready()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function().block_until_ready()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def peaks(device):
    """(FLOP/s of a large bfloat16 matrix product, bytes/s of adding 1 to a large array), measured."""
    size, count = (8192, 2**29) if device.platform == "gpu" else (1024, 2**25)
    square = jnp.ones((size, size), jnp.bfloat16)
    product = jax.jit(lambda a: a @ a)
    array = jnp.ones(count, jnp.float32)
    add = jax.jit(lambda a: a + 1.0)
    return (
        2 * size**3 / seconds_of(lambda: product(square), repeats=10),
        2 * array.nbytes / seconds_of(lambda: add(array), repeats=10),
    )


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("step", type=pathlib.Path, metavar="STEP")
    parse.add_argument("--steps", type=int, default=20, help="timed steps (default: %(default)s)")
    flags = parse.parse_args(argv)
    device = jax.devices()[0]
    begin = time.perf_counter()
    step = Step(flags.step)
    step.run().block_until_ready()
    start = time.perf_counter() - begin
    step.reset()
    worst = check(step)
    begin = time.perf_counter()
    for _ in range(flags.steps):
        metrics = step.run()
    metrics.block_until_ready()
    seconds = (time.perf_counter() - begin) / flags.steps
    if not np.isfinite(np.asarray(metrics)).all():
        raise SystemExit("the losses are no longer finite after the timed steps; nothing is reported")
    memory = device.memory_stats() or {}  # before `peaks` uses some
    peak, bandwidth = peaks(device)
    flops = step.forward.flops + step.update.flops
    moved = step.forward.bytes + step.update.bytes
    figures = {
        "images_per_second": step.described["settings"]["batch_size"] / seconds,
        "start": start,
        "step_seconds": seconds,
        "flops": flops,
        "bytes": moved,
        "measured_peak_flops": peak,
        "measured_bandwidth": bandwidth,
        "share_of_peak": flops / seconds / peak,
        "share_of_roofline": max(flops / peak, moved / bandwidth) / seconds,
        "losses_off_by": worst,
        "device": device.device_kind,
        "jax": jax.__version__,
    }
    if "peak_bytes_in_use" in memory:
        figures["peak_memory_bytes"] = memory["peak_bytes_in_use"]
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
