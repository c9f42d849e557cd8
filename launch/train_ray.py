#!/usr/bin/env python3
r"""Trains on the workers of a Ray cluster, as one job, through Ray Train.

Each worker runs one `hazeheal train`, which is one replica group. Ray places the workers, and replaces all of them if
one is lost; they resume from the last checkpoint in --workdir. Losses and validation figures are metrics of Ray, in
WORKDIR/ray.

Start it on a node of the cluster, or with `ray job submit`. HazeHeal and Ray are installed on every node. All other
arguments go to `hazeheal train`: --config=NAME, --config.x.y=VALUE, --restore_from=RUN, ...; see `hazeheal train
--help`. Rerun the same command to resume a run from its last checkpoint.

Examples:
  python launch/train_ray.py --workers=4 --config=rice1 --data_dir=/shared/records/rice1 --workdir=/shared/runs/rice1
  python launch/train_ray.py --workers=2 --gpus_per_worker=4 --cpus_per_worker=32 --config=rice1 \
      --data_dir=/shared/records/rice1 --workdir=/shared/runs/rice1

exit codes: 0 done, 1 error or too many restarts, 2 bad usage, 75 stopped by SIGTERM after saving, 130 stopped by
SIGINT after saving
"""

import argparse
import os
import shlex
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hazeheal import config as configs
from hazeheal.commands import launch
from hazeheal.commands.parsing import count, natural, seconds
from hazeheal.distributed import placement, ray_worker
from hazeheal.distributed.ray_board import Board
from hazeheal.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_RESTART, HazeHealError, UsageError
from hazeheal.utils import quiet_import
from hazeheal.utils.console import CommandParser, escape_unencodable_output, one_line
from hazeheal.utils.signals import handle_signals

if TYPE_CHECKING:
    from ray.train.tensorflow import TensorflowTrainer

PROGRAM = "train_ray"
# Flags of `hazeheal train` that do not belong to a job of Ray, and what to use.
REFUSED = {
    "gpus": "use --gpus_per_worker",
    "cpu_replicas": "use --gpus_per_worker=0, which trains on one CPU replica per worker",
    "preview": "use hazeheal train",
    "plot_models": "use hazeheal train",
}


def parser() -> CommandParser:
    """Returns the parser of the program's own flags; the others belong to `hazeheal train`."""
    description, _, examples = __doc__.partition("\n\nExamples:")
    parse = CommandParser(prog="python launch/train_ray.py", description=description, epilog=f"examples:{examples}")
    add = parse.add_argument_group("cluster").add_argument
    address_help = (
        "Ray cluster: HOST:PORT, auto for the one of this machine, local for a new one on this machine that ends with "
        "the job (default: RAY_ADDRESS, else auto, else local)"
    )
    add("--address", metavar="ADDRESS", help=address_help)
    add("--workers", type=count, default=1, metavar="N", help="replica groups, one per worker (default: 1)")
    gpus_help = "GPUs of each worker, all of one node; 0: train on CPUs (default: 1)"
    add("--gpus_per_worker", type=natural, default=1, metavar="N", help=gpus_help)
    add("--cpus_per_worker", type=count, default=1, metavar="N", help="CPU cores of each worker (default: 1)")
    restarts_help = "give up after Ray has replaced lost workers N times (default: 10)"
    add("--max_restarts", type=natural, default=10, metavar="N", help=restarts_help)
    hang_help = (
        "restart if a worker's training shows no progress for this long, three times this long before its first step; "
        "0: never (default: 600)"
    )
    add("--hang_timeout", type=seconds, default=600.0, metavar="SECONDS", help=hang_help)
    add = parse.add_argument_group("run", "Both are absolute paths, on storage that all nodes share.").add_argument
    add("--data_dir", metavar="DIR", help="data set of `hazeheal-tfrecords convert`")
    add("--workdir", metavar="DIR", help="directory of the run; created if it does not exist")
    add("--dry_run", action="store_true", help="check the training, print what each worker would run, and exit")
    return parse


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program with these arguments, by default those of the process; returns the exit code."""
    escape_unencodable_output()
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except SystemExit as end:  # --help
        return end.code or EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (HazeHealError, OSError) as error:
        print(f"{PROGRAM}: error: {one_line(error)}", file=sys.stderr)
        return error.exit_code if isinstance(error, HazeHealError) else EXIT_ERROR


def _main(argv):
    config_flags, rest = configs.split_argv(argv)
    flags, train_flags = parser().parse_known_args(rest)
    for name in ("data_dir", "workdir"):
        path = getattr(flags, name)
        if not path or not os.path.isabs(path):
            given = f"--{name}={path}" if path else f"--{name}"
            raise UsageError(f"{given} must be an absolute path, on storage that all nodes share")
    places = [f"--data_dir={flags.data_dir}", f"--workdir={flags.workdir}"]
    plan = check(config_flags, [*train_flags, *places], replicas=flags.workers * max(1, flags.gpus_per_worker))
    arguments = [*config_flags, *train_flags, *device_flags(flags.gpus_per_worker), *places]
    variables, defaults = environment(gpus=flags.gpus_per_worker, cpus=flags.cpus_per_worker)
    if flags.dry_run:
        assignments = [f"{key}={shlex.quote(value)}" for key, value in {**defaults, **variables}.items()]
        print(plan)
        print(f"workers   {flags.workers}, each with {resources_text(resources(flags))}:")
        print(f"          {' '.join(assignments)} python -m hazeheal train {shlex.join(arguments)}")
        return EXIT_OK
    ray = require_ray()
    if ray_worker.is_locked(flags.workdir):
        raise HazeHealError(f"--workdir={flags.workdir} is in use by another run; wait until it ends, or use another")
    connect(flags)
    board = ray.remote(num_cpus=0)(Board).remote()
    job = ray_worker.Job(
        arguments=tuple(arguments),
        workdir=flags.workdir,
        cwd=os.getcwd(),
        variables=variables,
        defaults=defaults,
        hang_timeout=flags.hang_timeout,
        id=ray_worker.mark(flags.workdir),
        board=board,
    )
    return run(make_trainer(flags, job), board)


def check(config_flags: Sequence[str], train_flags: Sequence[str], *, replicas: int) -> str:
    """Checks a training as `hazeheal train --dry_run` does, except for the devices, which other machines have.

    Args:
        config_flags, train_flags: The arguments of `hazeheal train`.
        replicas: Their number in all workers.

    Returns:
        The data set and the state of the run, in two lines.

    Raises:
        HazeHealError: Invalid input: what is wrong, which value, what to do.
    """
    from hazeheal.commands import train
    from hazeheal.training.preflight import checks

    flags = train.parser().parse_args(train_flags)
    for name, instead in REFUSED.items():
        if getattr(flags, name):
            raise UsageError(f"--{name} cannot be used here; {instead}")
    config = configs.load(config_flags)
    configs.check_batch(config, replicas=replicas)
    return checks.dry_run(config, flags)


def device_flags(gpus: int) -> list[str]:
    """Returns the flags of `hazeheal train` for a worker with this number of GPUs."""
    # GPUs are named, so that the training fails if TensorFlow does not find them, instead of using the CPU. They count
    # among those that Ray makes visible to the worker.
    return [f"--gpus={','.join(map(str, range(gpus)))}"] if gpus else ["--cpu_replicas=1"]


def environment(*, gpus: int, cpus: int) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the environment variables of the training of a worker with these resources, and those by default."""
    variables, defaults = {"TF_USE_LEGACY_KERAS": "0"}, dict(launch.VARIABLES)  # Ray sets it to 1, for Keras 2
    if gpus:
        return variables, defaults | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # in which Ray numbers GPUs
    return variables | {placement.VISIBLE_DEVICES: "-1"}, defaults | {"TF_NUM_INTRAOP_THREADS": str(cpus)}


def resources(flags: argparse.Namespace) -> dict[str, int]:
    """Returns what Ray reserves for each worker."""
    return {"CPU": flags.cpus_per_worker} | ({"GPU": flags.gpus_per_worker} if flags.gpus_per_worker else {})


def resources_text(needed: Mapping[str, int]) -> str:
    """Returns `{"CPU": 8, "GPU": 1}` as `8 CPU and 1 GPU`."""
    return " and ".join(f"{number} {name}" for name, number in needed.items())


def require_ray() -> ModuleType:
    """Imports Ray and Ray Train and returns Ray.

    Raises:
        UsageError: They are not installed.
    """
    try:
        import ray

        quiet_import.import_tensorflow()  # which the next import does too
        import ray.train.tensorflow
    except ImportError as error:
        raise UsageError(f"launch/train_ray.py needs Ray ({error}): pip install 'hazeheal[ray]'") from error
    return ray


def connect(flags: argparse.Namespace) -> None:
    """Connects to the Ray cluster, or starts Ray on this machine.

    Raises:
        HazeHealError: The cluster cannot be reached, or this machine does not have what the workers need.
    """
    import ray

    address = flags.address or os.environ.get("RAY_ADDRESS")
    try:
        ray.init(address=address or "auto")
    except (ConnectionError, ValueError) as error:
        if address:
            raise HazeHealError(
                f"--address={address}: {one_line(error)}; check the address, and with `ray status` whether the cluster runs"
            ) from error
        address = "local"
        ray.init(address=address)
    needed = resources(flags)
    room = count_places([node["Resources"] for node in ray.nodes() if node["Alive"]], needed)
    if room < flags.workers:
        text = f"the cluster has room for {room} of {flags.workers} workers with {resources_text(needed)} each"
        if address == "local":
            raise UsageError(f"{text}; lower --workers, --cpus_per_worker or --gpus_per_worker (0: train on CPUs)")
        print(f"{PROGRAM}: {text}; the job starts when there is room for all", file=sys.stderr)


def count_places(nodes: Sequence[Mapping[str, float]], needed: Mapping[str, int]) -> int:
    """Returns how many workers that need these resources fit on nodes with those resources."""
    return sum(min(int(node.get(name, 0) // number) for name, number in needed.items()) for node in nodes)


def make_trainer(flags: argparse.Namespace, job: ray_worker.Job) -> "TensorflowTrainer":
    """Returns the trainer of Ray that runs a job."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.tensorflow import TensorflowTrainer

    return TensorflowTrainer(
        ray_worker.run_group,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=flags.workers, use_gpu=flags.gpus_per_worker > 0, resources_per_worker=resources(flags)
        ),
        run_config=RunConfig(
            name=ray_worker.FOLDER,
            storage_path=flags.workdir,
            failure_config=FailureConfig(max_failures=flags.max_restarts),
        ),
    )


def run(trainer: "TensorflowTrainer", board: Any) -> int:
    """Runs a job to its end and returns the exit code; SIGTERM and SIGINT stop it after saving.

    Ray waits in a thread of its own, because Ray's handler of SIGINT would end the workers at once.
    """
    import ray

    signals, outcome = [], {}

    def fit():
        try:
            trainer.fit()
            outcome["code"] = ray.get(board.exit_code.remote())
        except Exception as error:  # a worker may raise anything
            outcome["error"] = error

    def stop(number, frame):
        signals.append(number)
        if signals.count(signal.SIGINT) > 1:
            leave(EXIT_INTERRUPTED)

    with handle_signals(stop, signal.SIGINT, signal.SIGTERM):
        thread = threading.Thread(target=fit, daemon=True)
        thread.start()
        is_asked = False
        while thread.is_alive():
            thread.join(0.5)
            if signals and not is_asked:
                is_asked = True
                ray.get(board.stop.remote())
                if not ray.get(board.has_started.remote()):
                    leave(EXIT_INTERRUPTED if signals[0] == signal.SIGINT else EXIT_RESTART)  # no worker to wait for
    code = outcome.get("code")
    if code is None:
        code = EXIT_RESTART if signals else EXIT_ERROR
    if "error" in outcome and not signals:
        reason = str(outcome["error"]).strip().splitlines() or [type(outcome["error"]).__name__]
        ray.shutdown()  # prints what is left of the workers' output, so that the error is the last line
        print(f"{PROGRAM}: error: the job has failed: {one_line(reason[-1])}", file=sys.stderr)
    return EXIT_INTERRUPTED if code == EXIT_RESTART and signals[:1] == [signal.SIGINT] else code


def leave(code: int) -> None:
    """Ends this process while Ray waits in a thread; a normal exit would make Ray abort the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
