"""Times one mode of HazeHeal's training step in this process, for comparisons with other libraries.

    python benchmarks/training_step.py --mode=float32,off [--width=16 --crop_size=128 --batch_size=4]

Prints {"images_per_second", "start"} as JSON; `start` is the time of the first two steps, which compile. Exit code 2: this device
does not support the precision. `hazeheal benchmark --what=step` compares the modes.
"""

import argparse
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from hazeheal import config as configs
from hazeheal.benchmark import step
from hazeheal.benchmark.timing import peak_bytes
from hazeheal.distributed.runtime import choose_runtime
from hazeheal.errors import EXIT_OK, EXIT_USAGE, UsageError


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--mode", required=True, help="PRECISION,XLA, for example mixed_bfloat16,on")
    parse.add_argument("--width", type=int, default=16)
    parse.add_argument("--norm", choices=("none", "layer"), default="layer")
    parse.add_argument("--crop_size", type=int, default=128)
    parse.add_argument("--batch_size", type=int, default=4)
    parse.add_argument("--cpu_replicas", type=int, help="on CPUs (default: all GPUs, else one CPU)")
    parse.add_argument("--perceptual_weights", help=".npz or .h5 of VGG19; the term is off by default")
    parse.add_argument("--steps", type=int, default=20, help="timed steps")
    flags = parse.parse_args(argv)
    precision, _, xla = flags.mode.partition(",")
    perceptual = f"weights={flags.perceptual_weights}" if flags.perceptual_weights else "weight=0.0"
    try:
        config = configs.load(
            [
                "--config=default",
                f"--config.model.width={flags.width}",
                f"--config.model.disc_width={flags.width}",
                f"--config.model.norm={flags.norm}",
                f"--config.data.crop_size={flags.crop_size}",
                f"--config.train.batch_size={flags.batch_size}",
                f"--config.loss.perceptual_{perceptual}",
                f"--config.train.precision={precision}",
                f"--config.train.xla={xla}",
            ]
        )
        runtime = choose_runtime(cpu_replicas=flags.cpu_replicas, precision=precision, xla=xla)
    except UsageError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    _, train = step.open_training(config, runtime=runtime)
    iterator = step.distributed_iterator(runtime, step.batch_in_memory(config, replicas=runtime.replicas))
    begin = time.perf_counter()
    train(iterator, 2)
    compiled = time.perf_counter()
    train(iterator, flags.steps)
    seconds = time.perf_counter() - compiled
    figures = {"images_per_second": flags.steps * flags.batch_size / seconds, "start": compiled - begin}
    if runtime.on_gpu:
        figures["peak_memory_bytes"] = peak_bytes(runtime)
    print(json.dumps(figures))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
