"""Checks the model of `scaling_model.py` with two replicas, and two groups, of one CPU core each.

    python benchmarks/scaling_check.py [--width=32 --depth=4 --crop_size=128 --batch=2 --steps=30]
    python benchmarks/scaling_check.py --reduce_dtype=float16          # half the bytes

Each replica has a batch of `batch` images. The prediction is compute + reduction. Compute is measured on one replica on one core
while an independent training uses the other core, so that they share the memory bandwidth as two replicas do. Reduction is the
sum of the same vector without other work, within a process and between two processes. It is compared with ordinary
trainings. Prints a table of medians over --rounds.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402
from hazeheal.benchmark.convert import run_conversion, write_pairs  # noqa: E402

HAZEHEAL = [sys.executable, "-m", "hazeheal"]


def config_flags(flags, *, batch):
    """Flags of the configuration of all measurements."""
    fields = {
        "model.width": flags.width,
        "model.depth": flags.depth,
        "model.disc_width": flags.width,
        "data.crop_size": flags.crop_size,
        "train.batch_size": batch,
        "loss.perceptual_weight": 0.0,
        "optimizer.reduce_dtype": flags.reduce_dtype,
        "train.epochs": 0.0,
        "train.steps": flags.steps,
        "train.xla": "off",
    }
    fields |= dict.fromkeys(("train.validate_every", "train.sample_every"), "never") | {"data.val_split": ""}
    return ["--config=default", *(f"--config.{name}={value}" for name, value in fields.items())]


def train(flags, folder, name, *, replicas, groups=1, cores=None, concurrent=0):
    """Seconds per step, the mean of this training and `concurrent` others at the same time."""
    running = []
    for number in range(concurrent + 1):
        run = folder / f"{name}_{number}"
        batch = flags.batch * replicas
        command = [*HAZEHEAL, "launch", f"--groups={groups}", f"--cpu_replicas={replicas}"]
        command += [f"--data_dir={folder / 'records'}", f"--workdir={run}", *config_flags(flags, batch=batch)]
        if cores:
            command = ["taskset", "-c", str(cores[number]), *command]
        running.append((run, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)))
    seconds = []
    for run, process in running:
        _, errors = process.communicate()
        if process.returncode:
            raise SystemExit(f"the training {name} failed:\n{errors.decode()[-2000:]}")
        result = json.loads((run / "result.json").read_text())
        seconds.append(flags.batch * replicas / result["images_per_second"])
    return statistics.mean(seconds)


def reduced_within(flags, folder):
    """Seconds of one reduction between two replicas of one process."""
    path = folder / f"comm{len(list(folder.glob('comm*')))}.json"
    command = [*HAZEHEAL, "benchmark", "--what=comm", "--replicas=2", "--cpu", "--xla=off", f"--json={path}"]
    subprocess.run(
        command + config_flags(flags, batch=2 * flags.batch),
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return json.loads(path.read_text())["comm"][0]["seconds"]["median"]


def reduced_between(flags):
    """Seconds of one reduction between two processes."""
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{free.getsockname()[1]}" for free in (first, second)]
    command = [
        sys.executable,
        __file__,
        "--reduce",
        *(f"--{k}={getattr(flags, k)}" for k in ("width", "depth", "reduce_dtype")),
    ]
    running = []
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(task), "TF_NUM_INTRAOP_THREADS": "1"}
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
    answers = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("the reduction between two processes failed")
    return max(json.loads(answer.splitlines()[-1]) for answer in answers)


def reduce(flags):
    """Runs in each of the two processes: prints the median seconds of a reduction."""
    import tensorflow as tf

    from hazeheal import config as configs
    from hazeheal.benchmark.comm import summand_shape
    from hazeheal.training.step import step

    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.RING
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    shape = summand_shape(configs.load(config_flags(flags, batch=2)))

    @tf.function
    def summed():
        def one():
            context = tf.distribute.get_replica_context()
            summand = tf.fill(shape, tf.random.uniform([]))
            total, sums = step.all_reduce(context, summand, dtype=flags.reduce_dtype)
            return tf.cast(total[0, 0], tf.float32) + sums[0]

        return strategy.run(one)

    summed()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        summed()
        times.append(time.perf_counter() - start)
    print(json.dumps(statistics.median(times)))
    return 0


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--width", type=int, default=32)
    parse.add_argument("--depth", type=int, default=4)
    parse.add_argument("--crop_size", type=int, default=128)
    parse.add_argument("--batch", type=int, default=2, help="images per replica (default: %(default)s)")
    parse.add_argument("--steps", type=int, default=30, help="of each training (default: %(default)s)")
    parse.add_argument("--reduce_dtype", choices=("float32", "float16"), default="float32")
    parse.add_argument("--rounds", type=int, default=2)
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    parse.add_argument("--reduce", action="store_true", help=argparse.SUPPRESS)
    flags = parse.parse_args(argv)
    if flags.reduce:
        return reduce(flags)
    cores = sorted(os.sched_getaffinity(0))[:2]
    results = []
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        write_pairs(folder / "images", pairs=16, size=max(160, flags.crop_size))
        run_conversion(folder / "images", folder / "records", encoding="keep")
        for number in range(flags.rounds):
            results.append(
                {
                    "alone": train(flags, folder, f"alone{number}", replicas=1, cores=cores),
                    "beside": train(flags, folder, f"beside{number}", replicas=1, cores=cores, concurrent=1),
                    "replicas": train(flags, folder, f"replicas{number}", replicas=2),
                    "groups": train(flags, folder, f"groups{number}", replicas=2, groups=2),
                    "reduction_replicas": reduced_within(flags, folder),
                    "reduction_groups": reduced_between(flags),
                }
            )
            print(" ".join(f"{name} {seconds:.3f} s" for name, seconds in results[-1].items()), flush=True)
    medians = {name: statistics.median(times[name] for times in results) for name in results[0]}
    print(
        f"\none replica on a core: {medians['alone']:.3f} s per step; with another training on the other core: {medians['beside']:.3f} s\n"
    )
    print("| two | reduction s | predicted s | measured s | off by |\n|---|---|---|---|---|")
    for name in ("replicas", "groups"):
        reduction, measured = medians[f"reduction_{name}"], medians[name]
        predicted = medians["beside"] + reduction
        print(
            f"| {name} | {reduction:.3f} | {predicted:.3f} | {measured:.3f} | {100 * (predicted / measured - 1):+.0f} % |"
        )
    rounds.write(flags.json, {"machine": rounds.machine(), "settings": vars(flags), "rounds": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
