"""Runs an exported training step with JAX: compares its losses with TensorFlow's, then times it.

    python benchmarks/gpu/run_jax.py STEP [--steps=20]

STEP is a directory written by `benchmarks/gpu/export_step.py`. The script needs only jax and numpy. If the losses differ from
those of the TensorFlow step, it exits with code 1 and prints no figures. The last line is JSON: images/s, peak memory, the share
of the device's peak (a large bfloat16 matrix product, measured in this process), and the share of the roofline that peak and
memory bandwidth give.
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

jax.config.update("jax_enable_x64", True)  # the counters of the step are int64
# Relative tolerance of each loss; the losses of later steps depend on the updates of earlier ones.
TOLERANCES = {"float32": 5e-3, "mixed_bfloat16": 5e-2, "mixed_float16": 2e-2}


class Executable:
    """A serialized HLO module, compiled for the first device.

    Attributes:
        flops: FLOPs of one run, counted before optimization, which replaces convolutions by library calls.
        bytes: Bytes that one run of the compiled module reads and writes, each value once per fused kernel.
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
        return [parts[0] for parts in self._compiled.execute_sharded(arrays).disassemble_into_single_device_arrays()]


class Step:
    """The two functions and their state on the device."""

    def __init__(self, folder):
        self.description = json.loads((folder / "step.json").read_text(encoding="utf-8"))
        with np.load(folder / "state.npz", allow_pickle=False) as arrays:
            arrays = dict(arrays)
        self.images = {name: arrays.pop(name) for name in ("hazy", "clear")}
        self.initial = arrays
        self.forward, self.update = (Executable(folder / f"{name}.hlo") for name in ("forward", "update"))
        self.reset()

    def reset(self):
        self.variables = {}  # frees the old variables first, because peak memory is measured
        self.variables = {name: jax.device_put(v) for name, v in self.initial.items()}

    def run(self):
        """Runs one step; returns the metrics on the device."""
        # Copied from the host, as from an input pipeline.
        images = {name: jax.device_put(v) for name, v in self.images.items()}
        outputs = self._call("forward", self.forward, self.variables | images)
        outputs = self._call("update", self.update, self.variables | outputs)
        metrics = outputs.pop("metrics")
        self.variables |= outputs
        return metrics

    def _call(self, name, function, values):
        names = self.description[name]
        outputs = function([values[parameter] for parameter in names["parameters"]])
        return dict(zip(names["outputs"], outputs, strict=True))


def check(step):
    """Exits if the losses of the first steps differ from TensorFlow's; returns the largest relative difference."""
    expected = step.description["losses"]
    rows = [np.asarray(step.run()) for _ in next(iter(expected.values()))]
    tolerance = TOLERANCES[step.description["settings"]["precision"]]
    worst = 0.0
    for i, (name, values) in enumerate(expected.items()):
        for number, (row, value) in enumerate(zip(rows, values, strict=True), start=1):
            error = abs(float(row[i]) - value) / max(abs(value), 1e-6) if value else abs(float(row[i]))
            worst = max(worst, error)
            if not error <= tolerance:
                raise SystemExit(
                    f"{name} at step {number} is {row[i]:.6g} with JAX and {value:.6g} with TensorFlow: "
                    f"the relative difference {error:.1e} is larger than {tolerance:.0e}; nothing was timed"
                )
    print(
        f"the losses of {len(rows)} steps equal TensorFlow's: relative difference at most {worst:.1e}",
        file=sys.stderr,
    )
    return worst


def seconds_of(function, *, repeats):
    """Median time of `function`, which returns an array to wait for, in seconds."""
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
        raise SystemExit("the losses are not finite after the timed steps; no figures are reported")
    memory = device.memory_stats() or {}  # before `peaks` allocates memory
    peak, bandwidth = peaks(device)
    flops = step.forward.flops + step.update.flops
    moved = step.forward.bytes + step.update.bytes
    figures = {
        "images_per_second": step.description["settings"]["batch_size"] / seconds,
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
