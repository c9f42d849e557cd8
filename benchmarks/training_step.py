"""Images/s of the training step by precision and XLA, as ratios in one run.

    python benchmarks/training_step.py [--width=16 --crop_size=128 --batch_size=4] [--cpu_replicas=2]

Each mode (precision, XLA on or off) is a process of its own, since precision and devices are decided
before TensorFlow starts. A precision that the device lacks is left out, and named. The modes run in turn, `--rounds` times, so that a machine that slows down
slows all of them; the figures are medians over the rounds, and ratios to float32 without XLA are taken
round by round. Pictures are uint8 noise on the device's host: the input pipeline has its own benchmark.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

EXIT_USAGE = 2
MODES = (("float32", "off"), ("float32", "on"), ("mixed_bfloat16", "off"), ("mixed_bfloat16", "on"))


def measure(flags):
    """Runs one mode in this process; prints its figures as JSON."""
    import numpy as np
    import tensorflow as tf

    from hazeheal import config as configs
    from hazeheal.errors import UsageError
    from hazeheal.models.gan import DehazeGAN
    from hazeheal.training import distribute
    from hazeheal.training.state import TrainState
    from hazeheal.training.step import make_loop

    precision, xla = flags.mode.split(",")
    try:
        runtime = distribute.choose(cpu_replicas=flags.cpu_replicas, precision=precision, xla=xla)
    except UsageError as lacking:
        print(lacking, file=sys.stderr)
        return EXIT_USAGE
    config = configs.load(
        [
            "--config=default",
            f"--config.model.width={flags.width}",
            f"--config.model.disc_width={flags.width}",
            f"--config.data.crop_size={flags.crop_size}",
            f"--config.train.batch_size={flags.batch_size}",
            f"--config.loss.perceptual_weights={flags.perceptual_weights or 'imagenet'}",
            *([] if flags.perceptual_weights else ["--config.loss.perceptual_weight=0.0"]),
        ]
    )
    with runtime.strategy.scope():
        state = TrainState(DehazeGAN(config, precision=precision), use_ema=True)
    loop = make_loop(state, config=config, runtime=runtime, total_steps=10**6, warmup_steps=0)
    share = flags.batch_size // runtime.replicas
    shape = (share, flags.crop_size, flags.crop_size, 3)
    clear = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    batch = {"hazy": clear // 2 + 100, "clear": clear}
    data = runtime.strategy.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.from_tensors(batch).cache().repeat()
    )
    iterator = iter(data)
    begin = time.perf_counter()
    loop(iterator, tf.constant(2))
    compiled = time.perf_counter()
    loop(iterator, tf.constant(flags.steps))
    seconds = time.perf_counter() - compiled
    figures = {"images_per_second": flags.steps * flags.batch_size / seconds, "start": compiled - begin}
    if runtime.on_gpu:
        figures["peak_memory_bytes"] = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    print(json.dumps(figures))
    return 0


def run_mode(mode):
    arguments = [a for a in sys.argv[1:] if not a.startswith("--rounds")]
    command = [sys.executable, os.path.abspath(__file__), *arguments, f"--mode={','.join(mode)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == EXIT_USAGE:
        return None
    if done.returncode:
        raise SystemExit(f"{' '.join(mode)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--width", type=int, default=16)
    parse.add_argument("--crop_size", type=int, default=128)
    parse.add_argument("--batch_size", type=int, default=4)
    parse.add_argument("--cpu_replicas", type=int, help="on CPUs (default: all GPUs, else one CPU)")
    parse.add_argument("--perceptual_weights", help=".npz or .h5 of VGG19; without it the term is off")
    parse.add_argument("--steps", type=int, default=20, help="timed steps a round")
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--json", help="write the figures here too")
    parse.add_argument("--mode", help=argparse.SUPPRESS)
    flags = parse.parse_args()
    if flags.mode:
        return measure(flags)
    rounds, modes = [], MODES
    for _ in range(flags.rounds):
        found = {mode: run_mode(mode) for mode in modes}
        modes = [mode for mode in modes if found[mode] is not None]
        rounds.append(found)
    for mode in MODES:
        if mode not in modes:
            print(f"{mode[0]}, XLA {mode[1]}: not measured, this device lacks {mode[0]}", file=sys.stderr)
    print(
        "| precision | XLA | images/s | to float32 without XLA | seconds to the first step |\n|---|---|---|---|---|"
    )
    figures = []
    for mode in modes:
        speed = statistics.median(r[mode]["images_per_second"] for r in rounds)
        ratio = statistics.median(
            r[mode]["images_per_second"] / r[MODES[0]]["images_per_second"] for r in rounds
        )
        start = statistics.median(r[mode]["start"] for r in rounds)
        print(f"| {mode[0]} | {mode[1]} | {speed:.2f} | {ratio:.2f} | {start:.0f} |")
        figures.append({"precision": mode[0], "xla": mode[1], "images_per_second": speed, "ratio": ratio})
    if flags.json:
        with open(flags.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
