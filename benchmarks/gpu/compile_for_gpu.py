"""Compiles an exported step for a GPU that this machine does not have, up to XLA's optimized program.

    JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1 XLA_FLAGS='--xla_dump_to=DUMP --xla_dump_hlo_as_text' \\
        python benchmarks/gpu/compile_for_gpu.py STEP forward h200

`program.py` runs this script as a process, and stops it as soon as XLA has written the optimized program: the machine code,
which takes longer, is not needed. JAX needs its CUDA plugin, but neither a GPU nor a driver. XLA chooses algorithms by rules,
since it cannot time them.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

BANDWIDTH = {"h100": 3.352e12, "h200": 4.8e12}  # bytes/s, from the data sheets
_MEMORY = {"h100": 84978434048, "h200": 150754820096}
_DESCRIPTIONS = {"h100": "NVIDIA H100 80GB HBM3", "h200": "NVIDIA H200"}
_TARGET = """
platform_name: "CUDA"
device_description_str: "{description}"
dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
runtime_version {{ major: 12 minor: 8 }}
gpu_device_info {{
  cuda_compute_capability {{ major: 9 minor: 0 }}
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: {memory}
  memory_bandwidth: {bandwidth}
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}}
"""
LIMIT = 900.0  # seconds that the optimization may take


def target(gpu):
    """Returns the description of a GPU, a GpuTargetConfigProto as text."""
    return _TARGET.format(description=_DESCRIPTIONS[gpu], memory=_MEMORY[gpu], bandwidth=int(BANDWIDTH[gpu]))


def optimized(folder, function, gpu):
    """Returns {`program`, `buffers`: text} that XLA writes for one function of a step; `buffers` may be None.

    Args:
        folder: Directory of the step.
        function: `forward` or `update`.
        gpu: A key of `BANDWIDTH`.
    """
    with tempfile.TemporaryDirectory() as dump, open(f"{dump}/log", "w+", encoding="utf-8") as log:
        flags = f"--xla_dump_to={dump} --xla_dump_hlo_as_text --xla_gpu_autotune_level=0"
        environment = os.environ | {
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip(),
            "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
        }
        command = [sys.executable, __file__, str(folder), function, gpu]
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            program = _wait_for(pathlib.Path(dump), child)
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            child.wait()
        if program is None:
            log.seek(0)
            raise SystemExit(f"{folder}/{function}.hlo could not be compiled for {gpu}:\n{log.read()[-2000:]}")
        buffers = program.with_name(program.stem + "-buffer-assignment.txt")
        return {
            "program": program.read_text(encoding="utf-8"),
            "buffers": buffers.read_text(encoding="utf-8") if buffers.is_file() else None,
        }


def _wait_for(dump, child):
    """Returns the file of the optimized program once it is complete, or None if the process ended without it."""
    end, sizes = time.monotonic() + LIMIT, None
    while time.monotonic() < end:
        ended = child.poll() is not None
        found = sorted(dump.glob("*after_optimizations*.txt"))
        programs = [path for path in found if path.name.endswith("after_optimizations.txt")]
        new = [path.stat().st_size for path in found]
        if programs and (new == sizes or ended):  # the files beside it are written right after it
            return programs[-1]
        if ended:
            return None
        sizes = new
        time.sleep(1.0)
    return None


def main():
    folder, function, gpu = sys.argv[1:]
    import jax
    from jax.experimental import topologies

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
    from benchmarks.gpu.jax_step import JaxStep

    described = topologies.get_topology_desc("gpu", "cuda", target_config=target(gpu), topology="1x1x1")
    sharding = jax.sharding.SingleDeviceSharding(described.devices[0])
    JaxStep(pathlib.Path(folder)).lower_module(function, sharding=sharding).compile()


if __name__ == "__main__":
    main()
