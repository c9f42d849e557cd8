"""Shows what XLA makes of the training step for an H100 or H200, on a machine without a GPU.

    pip install 'jax[cuda12]'       # in an environment of its own; about 3 GB
    python benchmarks/gpu/program.py STEP [STEP ...] [--torch_python=TORCH/bin/python] [--top=20]
    python benchmarks/gpu/program.py --export_python=TENSORFLOW/bin/python --perceptual_weights=vgg19.npz [--norm none layer]

STEP is a directory written by `benchmarks/gpu/export_step.py`; the second form exports the steps first. For each function the
script counts the kernels of the optimized program and the bytes that they read and write, and reads the temporary memory from
XLA's buffer assignment. With --torch_python it counts the operations and bytes of the PyTorch peer beside it. A step takes
about 20 s.

The time in the table is the least that the memory's bandwidth allows. It does not include arithmetic or the gaps between
kernels, and it says nothing about how fast a kernel is.
"""

import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu import compile_for_gpu, hlo_text, kernels  # noqa: E402

SETTINGS = ("width", "crop_size", "batch_size", "norm")


def analyze(folder, function, *, gpu):
    """Compiles one function of a step; returns (figures, kernels, the optimized program as text)."""
    texts = compile_for_gpu.optimized(folder, function, gpu)
    computations, entry = hlo_text.parse(texts["program"])
    found = kernels.count(computations, entry)
    from_buffers = texts["buffers"] is not None
    figures = {
        "kernels": len(found),
        "bytes": sum(k.bytes for k in found),
        "whole_bytes": sum(k.whole_bytes for k in found),
        "temporary_bytes": (
            hlo_text.temporary_bytes(texts["buffers"]) if from_buffers else hlo_text.live_bytes(computations, entry)
        ),
        "temporary_from": "buffer assignment" if from_buffers else "estimate",
        "kinds": kinds(found),
    }
    return figures, found, texts["program"]


def kinds(found):
    """Returns {kind: [number, bytes]}, the most bytes first."""
    count, moved = collections.Counter(), collections.Counter()
    for kernel in found:
        count[kernel.kind] += 1
        moved[kernel.kind] += kernel.bytes
    return {kind: [count[kind], moved[kind]] for kind, _ in moved.most_common()}


def print_kernels(title, figures, found, *, top):
    print(f"\n{title}: {figures['kernels']} kernels, {figures['bytes'] / 1e9:.2f} GB", end="")
    if figures["whole_bytes"] - figures["bytes"] > 5e6:
        print(f" ({figures['whole_bytes'] / 1e9:.2f} GB if sliced operands count as a whole)", end="")
    print(f", {figures['temporary_bytes'] / 1e9:.2f} GB temporary memory ({figures['temporary_from']})")
    for kind, (number, moved) in figures["kinds"].items():
        print(f"  {number:5d}  {moved / 1e9:8.3f} GB  {kind}")
    for kernel in sorted(found, key=lambda k: -k.bytes)[:top]:
        name = re.search(r'op_name="([^"]*)"', kernel.instruction.line)
        where = name.group(1).split("/", 2)[-1] if name else ""
        print(f"  {kernel.bytes / 1e6:8.1f} MB  {kernel.kind}  {kernel.instruction.shape[:60]}  {where[-70:]}")


def count_peer(python, settings):
    """Returns the figures of `peer_program.py` for the settings of a step."""
    command = [python, str(ROOT / "benchmarks/gpu/peer_program.py")]
    command += [f"--{name}={settings[name]}" for name in SETTINGS] + ["--perceptual"] * settings["perceptual"]
    return json.loads(run(command).splitlines()[-1])


def export(flags, folder):
    """Exports a step for each norm; returns their folders."""
    folders = []
    for norm in flags.norm:
        folders.append(folder / f"norm_{norm}")
        command = [flags.export_python, str(ROOT / "benchmarks/gpu/export_step.py"), f"--output={folders[-1]}"]
        command += [f"--{name}={getattr(flags, name)}" for name in ("width", "crop_size", "batch_size")]
        command += [f"--norm={norm}", "--no_check"]
        command += [f"--perceptual_weights={flags.perceptual_weights}"] * bool(flags.perceptual_weights)
        run(command)
    return folders


def run(command):
    """Runs a command and returns its output; exits with its error if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed with exit code {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def markdown(results, *, bandwidth):
    """Returns the table of all steps.

    Args:
        results: [{`name`, `forward`, `update`: figures, `peer`: figures or None}].
        bandwidth: Of the memory, bytes/s.
    """
    lines = [
        "| step | kernels | GB | GB, whole operands | ms at the bandwidth | temporary GB |",
        "|---|---|---|---|---|---|",
    ]

    def row(name, kernels, moved, whole="", temporary=""):
        cells = [name, f"{kernels:,}", f"{moved / 1e9:.2f}", whole, f"{moved / bandwidth * 1e3:.2f}", temporary]
        lines.append(f"| {' | '.join(cells)} |")

    for result in results:
        for function, text in (("forward", "forward and backward"), ("update", "update")):
            figures = result[function]
            whole, temporary = (f"{figures[key] / 1e9:.2f}" for key in ("whole_bytes", "temporary_bytes"))
            row(f"{result['name']}: {text}", figures["kernels"], figures["bytes"], whole, temporary)
        peer = result["peer"]
        if peer:
            row(f"{result['name']}: PyTorch eager, forward and backward", peer["operations"], peer["bytes"])
            ours = result["forward"]
            ratios = [ours["kernels"] / peer["operations"], ours["bytes"] / peer["bytes"]]
            cells = [f"{result['name']}: ours / PyTorch", *(f"{x:.2f}" for x in ratios), "", f"{ratios[1]:.2f}", ""]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("steps", nargs="*", type=pathlib.Path, metavar="STEP", help="directories of exported steps")
    parse.add_argument("--gpu", choices=tuple(compile_for_gpu.BANDWIDTH), default="h200", help="(default: %(default)s)")
    parse.add_argument("--torch_python", metavar="FILE", help="Python with PyTorch, to count the peer's operations")
    parse.add_argument("--top", type=int, default=0, metavar="N", help="also list the N largest kernels")
    parse.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write all figures to this file")
    parse.add_argument("--keep", type=pathlib.Path, metavar="DIR", help="keep the optimized programs in DIR")
    exporting = parse.add_argument_group("exporting the steps first")
    exporting.add_argument("--export_python", metavar="FILE", help="Python with TensorFlow")
    exporting.add_argument("--perceptual_weights", help=".npz or .h5 of VGG19; the term is off by default")
    exporting.add_argument("--norm", nargs="+", choices=("none", "layer"), default=["layer", "none"])
    exporting.add_argument("--width", type=int, default=64)
    exporting.add_argument("--crop_size", type=int, default=256)
    exporting.add_argument("--batch_size", type=int, default=8)
    flags = parse.parse_args(argv)
    if bool(flags.steps) == bool(flags.export_python):
        parse.error("give either directories of exported steps, or --export_python")
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for folder in flags.steps or export(flags, pathlib.Path(temporary)):
            settings = json.loads((folder / "step.json").read_text(encoding="utf-8"))["settings"]
            result = {"name": f"norm={settings['norm']}, batch {settings['batch_size']}", "settings": settings}
            for function in ("forward", "update"):
                figures, found, program = analyze(folder, function, gpu=flags.gpu)
                print_kernels(f"{result['name']}, {function}", figures, found, top=flags.top)
                result[function] = figures
                if flags.keep:
                    flags.keep.mkdir(parents=True, exist_ok=True)
                    (flags.keep / f"{folder.name}_{function}.txt").write_text(program, encoding="utf-8")
            result["peer"] = count_peer(flags.torch_python, settings) if flags.torch_python else None
            results.append(result)
    print(f"\n{flags.gpu}, {compile_for_gpu.BANDWIDTH[flags.gpu] / 1e12:.2f} TB/s\n")
    print(markdown(results, bandwidth=compile_for_gpu.BANDWIDTH[flags.gpu]))
    if flags.json:
        flags.json.write_text(json.dumps({"gpu": flags.gpu, "steps": results}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
