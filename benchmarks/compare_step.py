"""Compares the training step with PyTorch's: images/s in alternating rounds, each mode in its own process.

    python benchmarks/compare_step.py --perceptual_weights=vgg19.npz     # width 64, 128x128, batch 4

First the script checks that both compute the same output, losses and gradients at equal weights. If they do not, nothing is
timed. Then every mode runs `--rounds` times: HazeHeal by precision and XLA, PyTorch by precision, eager and with
torch.compile. Modes that the device does not support are left out and listed. The last lines are the ratio of HazeHeal's best
mode to PyTorch's best mode, each selected by its median.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402

UNIT = "images_per_second"
HAZEHEAL = {
    "hazeheal float32": "float32,off",
    "hazeheal float32 XLA": "float32,on",
    "hazeheal bfloat16": "mixed_bfloat16,off",
    "hazeheal bfloat16 XLA": "mixed_bfloat16,on",
}


def contestants(flags):
    """{name: contestant} of all modes."""

    def script(name, *arguments):
        return rounds.process([sys.executable, str(ROOT / "benchmarks" / name), *arguments])

    sizes = [f"--width={flags.width}", f"--crop_size={flags.crop_size}", f"--batch_size={flags.batch_size}"]
    sizes += [f"--norm={flags.norm}"]
    sizes += [f"--perceptual_weights={flags.perceptual_weights}"] * bool(flags.perceptual_weights)
    sizes += [f"--steps={flags.steps}"]
    modes = {name: script("training_step.py", *sizes, f"--mode={mode}") for name, mode in HAZEHEAL.items()}
    for precision in ("float32", "bfloat16"):
        for mode in ("eager", "compile"):
            arguments = [*sizes, f"--precision={precision}", f"--mode={mode}"]
            modes[f"pytorch {precision} {mode}"] = script("peers/pytorch_step.py", *arguments)
    return modes


def check_equality(flags):
    """Exits unless the peer is the same network with the same losses."""
    command = [sys.executable, str(ROOT / "benchmarks/peers/pytorch_equality.py")]
    command += [f"--norm={flags.norm}"]
    command += [f"--perceptual_weights={flags.perceptual_weights}"] * bool(flags.perceptual_weights)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, end="", file=sys.stderr, flush=True)
    if done.returncode:
        raise SystemExit(f"nothing was timed: {done.stderr.strip()}")


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--width", type=int, default=64)
    parse.add_argument("--crop_size", type=int, default=128)
    parse.add_argument("--batch_size", type=int, default=4)
    parse.add_argument("--perceptual_weights", help=".npz of VGG19; without it both leave the term out")
    parse.add_argument("--steps", type=int, default=10, help="timed steps per round (default: %(default)s)")
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--norm", choices=("none", "layer"), default="layer")
    parse.add_argument("--only", nargs="+", metavar="NAME", help="only modes with these names or prefixes")
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    flags = parse.parse_args(argv)
    chosen = contestants(flags)
    if flags.only:
        exact, prefixes = set(flags.only) & set(chosen), tuple(set(flags.only) - set(chosen))
        chosen = {name: c for name, c in chosen.items() if name in exact or name.startswith(prefixes)}
        if not chosen:
            parse.error(f"--only={' '.join(flags.only)}: the modes are {', '.join(contestants(flags))}")
    check_equality(flags)
    results, left_out = rounds.alternate(chosen, rounds=flags.rounds, unit=UNIT)
    if not results:
        raise SystemExit("this device supports none of the modes")
    mode, peer = (rounds.best(results, unit=UNIT, prefix=prefix) for prefix in ("hazeheal", "pytorch"))
    base = peer or next(iter(results))
    table = rounds.ratios(results, unit=UNIT, base=base)
    print(rounds.markdown(table, unit=UNIT, base=base))
    for name, reason in left_out.items():
        print(f"not measured: {name} ({reason})")
    result = {
        "machine": rounds.machine(),
        "settings": {k: v for k, v in vars(flags).items() if k not in ("json", "only")},
        "table": table,
        "left_out": left_out,
        "rounds": results,
    }
    if mode and peer:
        print(f"best of HazeHeal ({mode}) relative to best of PyTorch ({peer}): {table[mode]['ratio']:.2f}")
        result["best"] = {"ours": mode, "peer": peer, "ratio": table[mode]["ratio"]}
        starts = {name: statistics.median(f["start"] for f in results[name]) for name in (mode, peer)}
        print(", ".join(f"{name}: {seconds:.0f} s to the first steps" for name, seconds in starts.items()))
    rounds.write(flags.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
