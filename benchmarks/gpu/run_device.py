"""What the device can do: its peaks, and the depthwise convolution in two forms; for `first_minutes.py`.

    python benchmarks/gpu/run_device.py DEPTHWISE

DEPTHWISE is a directory written by `prepare.py`: the forward and backward passes of single depthwise convolutions, as HLO. Needs
only jax and numpy. The script prints JSON.
"""

import argparse
import functools
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from benchmarks.gpu import hlo, workers

REPEATS = 20
TOLERANCE = 3e-2  # relative difference of both forms in bfloat16


class Peaks:
    """A large matrix product in bfloat16 and a pass over a large array. Random values: products of ones are faster."""

    def __init__(self):
        on_gpu = jax.devices()[0].platform == "gpu"
        self._size, self._count = (8192, 2**29) if on_gpu else (512, 2**22)

    def prepare(self):
        square = jax.ShapeDtypeStruct((self._size, self._size), jnp.bfloat16)
        array = jax.ShapeDtypeStruct((self._count,), jnp.float32)
        self._product = jax.jit(lambda a, b: a @ b).lower(square, square).compile()
        self._add = jax.jit(lambda a: a + 1.0).lower(array).compile()

    def measure(self):
        """Returns the FLOP/s of the product, and the bytes/s of reading and writing the array."""
        keys = jax.random.split(jax.random.key(0), 3)
        a, b = (jax.random.normal(key, (self._size, self._size), jnp.bfloat16) for key in keys[:2])
        product = seconds(lambda: self._product(a, b))
        array = jax.random.normal(keys[2], (self._count,), jnp.float32)
        add = seconds(lambda: self._add(array))
        return {"flops": 2 * self._size**3 / product, "bandwidth": 2 * array.nbytes / add}


class Depthwise:
    """Single depthwise convolutions, forward and backward: by the library and as a sum of shifted products.

    Args:
        folder: Directory with `depthwise.json` and one .hlo file for each form.
    """

    def __init__(self, folder):
        self._folder = folder
        self._cases = json.loads((folder / "depthwise.json").read_text(encoding="utf-8"))

    def prepare(self):
        self._functions = {}
        for case in self._cases:
            for name in case["files"].values():
                module = hlo.load(self._folder / name, outputs=case["outputs"])
                function = jax.jit(lambda *arrays, module=module: module(*arrays))
                self._functions[name] = function.lower(*hlo.shapes(case["parameters"])).compile()

    def measure(self):
        """Returns the milliseconds of both forms of each case.

        Raises:
            ValueError: Both forms do not compute the same.
        """
        random, rows = np.random.RandomState(0), []
        for case in self._cases:
            arrays = [
                jnp.array(random.standard_normal(entry["shape"]).astype(np.float32), entry["dtype"])
                for entry in case["parameters"]
            ]
            row, results = {"input": case["parameters"][0]["shape"], "strides": case["strides"]}, []
            for form, name in case["files"].items():
                function = self._functions[name]
                results.append([np.asarray(r, np.float32) for r in function(*arrays)])
                row[f"{form}_ms"] = 1e3 * seconds(functools.partial(first_output, function, arrays))
            for part, a, b in zip(("output", "input", "kernel"), *results, strict=True):
                difference = float(np.linalg.norm(a - b) / np.linalg.norm(a))
                if not difference <= TOLERANCE:
                    raise ValueError(f"depthwise {row}: both forms of {part} differ by {difference:.1e}")
            entries = hlo.shapes([*case["parameters"], *case["outputs"]])
            row["least_bytes"] = sum(int(np.prod(e.shape)) * e.dtype.itemsize for e in entries)
            rows.append(row)
        return rows


def first_output(function, arrays):
    return function(*arrays)[0]


def seconds(function):
    """Returns the time of a call in a row of calls, the median of three rows; the first call is not timed."""
    function().block_until_ready()
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(REPEATS):
            result = function()
        result.block_until_ready()
        times.append((time.perf_counter() - begin) / REPEATS)
    return float(np.median(times))


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("depthwise", type=pathlib.Path, metavar="DEPTHWISE")
    parse.add_argument("--worker", choices=("peaks", "depthwise"), help="take commands from first_minutes.py")
    flags = parse.parse_args(argv)
    parts = {"peaks": Peaks(), "depthwise": Depthwise(flags.depthwise)}
    if flags.worker:
        part = parts[flags.worker]
        workers.serve({"describe": hlo.describe_device, "prepare": part.prepare, "measure": part.measure})
        return 0
    for part in parts.values():
        part.prepare()
    print(json.dumps(hlo.describe_device() | {name: part.measure() for name, part in parts.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
