"""Measures how long a checkpoint pauses the training, and how long it takes to write.

    python benchmarks/checkpoint_pause.py [--width=64 --depth=5] [--saves=10] [--directory=DIR]

The pause is the time that the training loop waits: for the copy of every variable from the device, and for the handover to
the writer thread. The writing itself (TensorFlow's format, hashes, fsync, rename) runs in parallel with the next steps. Only a
save that starts before the previous one is on the disk waits for it. Prints a table with the median and the longest save, and
JSON as the last line.
"""

import argparse
import json
import logging
import pathlib
import statistics
import sys
import tempfile
import time


def main(argv=None) -> int:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--width", type=int, default=64)
    parse.add_argument("--depth", type=int, default=5)
    parse.add_argument("--saves", type=int, default=10)
    parse.add_argument("--directory", help="for the checkpoints (default: the temporary directory)")
    flags = parse.parse_args(argv)

    from hazeheal import config as configs
    from hazeheal.models.networks import build_networks
    from hazeheal.runs.checkpoint_manager import CheckpointManager
    from hazeheal.training.step.train_state import TrainState

    fields = {
        "model.width": flags.width,
        "model.disc_width": flags.width,
        "model.depth": flags.depth,
        "loss.perceptual_weight": 0.0,
    }
    config = configs.load(["--config=default", *(f"--config.{k}={v}" for k, v in fields.items())])
    state = TrainState(build_networks(config), use_ema=True)
    pauses, copies, writes = [], [], []
    with tempfile.TemporaryDirectory(dir=flags.directory) as folder:
        checkpoints = CheckpointManager(folder, keep=1, log=logging.getLogger("benchmark"))
        for step in range(flags.saves):
            begin = time.perf_counter()
            snapshot = state.snapshot()
            copied = time.perf_counter()
            checkpoints.save(snapshot, step=step)
            saved = time.perf_counter()
            if not checkpoints.wait():
                raise SystemExit(f"{folder}: a checkpoint could not be written; is the disk full?")
            written = time.perf_counter()
            copies.append(copied - begin)
            pauses.append(saved - begin)
            writes.append(written - saved)
        checkpoints.close()
        size = max(sum(f.stat().st_size for f in p.iterdir()) for p in pathlib.Path(folder).iterdir() if p.is_dir())
    rows = {"copy from the device": copies, "pause of the training": pauses, "writing in parallel": writes}
    print(f"| {size / 2**20:.0f} MiB per checkpoint, {len(pauses)} saves | median | longest |\n|---|---|---|")
    for name, seconds in rows.items():
        print(f"| {name} | {statistics.median(seconds):.3f} s | {max(seconds):.3f} s |")
    figures = {n.replace(" ", "_"): {"median": statistics.median(s), "longest": max(s)} for n, s in rows.items()}
    print(json.dumps({"bytes": size, "seconds": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
