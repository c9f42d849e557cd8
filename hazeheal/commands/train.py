"""Trains a GAN that removes haze, on all GPUs of this machine or on CPUs.

If --workdir holds a run, it resumes from the last checkpoint; nothing is overwritten.

configuration:
  --config=NAME        a Python file, a name in ./configs, or a name below
  --config.x.y=VALUE   sets one field, as in --config.train.batch_size=8;
                       --dry_run prints all fields

Examples:
  hazeheal train --config=rice1 --data_dir=records/rice1 --workdir=runs/rice1
  hazeheal train --config=default --data_dir=records/mine --workdir=runs/mine --dry_run
  hazeheal train --config=default --data_dir=records/mine --workdir=runs/finer --restore_from=runs/rice1

To train in several processes, use `hazeheal launch --groups=N`; it sets TF_CONFIG for each of them.

exit codes: 0 done, 1 error, 2 bad usage, 69 another replica group was lost (restart all of them), 71 a device failed,
75 stopped by SIGTERM after saving, 130 stopped by SIGINT after saving; after 71, 75 and 130 the same command resumes
the run
"""

import argparse
import contextlib
import gc
import pathlib
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal.commands.parsing import PRETRAINED, CommandParser, command_parser, count, number, numbers
from hazeheal.distributed import tf_config, xla_cache
from hazeheal.distributed.preemption import exit_immediately_on_signals
from hazeheal.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RESTART, UsageError
from hazeheal.runs import prometheus
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.utils import quiet_import

PORT = number("a port number from 1 to 65535", int, 1, 65535)


def parser() -> CommandParser:
    """Returns the parser of the command's flags, without those of the configuration."""
    parse = command_parser("train", __doc__)
    shipped = [f"  {name:12}  {summary}" for name, summary in configs.summaries().items()]
    parse.add_argument_group("included configurations", "\n".join(shipped))
    add = parse.add_argument_group("data").add_argument
    add("--data_dir", metavar="DIR", help="data set of `hazeheal-tfrecords convert`")
    record_help = "fail: a damaged record ends the run; skip: use the next intact one (default: fail)"
    add("--on_bad_record", choices=("fail", "skip"), default="fail", help=record_help)
    add = parse.add_argument_group("run").add_argument
    add("--workdir", metavar="DIR", help="directory of the run; created if it does not exist")
    restore_help = f"start from the networks of another run, a checkpoint, an .npz weights file, {PRETRAINED}"
    add("--restore_from", metavar="MODEL", help=restore_help)
    devices = parse.add_argument_group("devices")
    add = devices.add_mutually_exclusive_group().add_argument
    add("--gpus", type=numbers, metavar="0,1", help="numbers of the GPUs to use (default: all)")
    add("--cpu_replicas", type=count, metavar="N", help="train on N logical CPU devices instead")
    cache_help = "compiled XLA programs, so that restarts do not compile (default: WORKDIR/xla_cache; off: none)"
    devices.add_argument("--xla_cache", metavar="DIR", help=cache_help)
    add = parse.add_argument_group("monitoring").add_argument
    port_help = "serve status.json to Prometheus at http://127.0.0.1:PORT/metrics (replica group 0 only)"
    add("--metrics_port", type=PORT, metavar="PORT", help=port_help)
    host_help = "address that --metrics_port listens on; 0.0.0.0: all addresses (default: 127.0.0.1)"
    add("--metrics_host", metavar="HOST", default="127.0.0.1", help=host_help)
    add = parse.add_argument_group("checks", "Each of these flags runs instead of the training.").add_argument
    add("--dry_run", action="store_true", help="check everything, and print the configuration and the plan")
    add("--preview", metavar="FILE", help="write the first training pairs, hazy beside clear, as an image")
    add("--plot_models", action="store_true", help="write diagrams of the networks to --workdir")
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal train` with these arguments; returns the exit code or raises `HazeHealError`."""
    config_flags, rest = configs.split_argv(argv)
    flags = parser().parse_args(rest)
    config = configs.load(config_flags)
    if flags.metrics_port is not None:
        prometheus.require_prometheus_client()
    if not flags.workdir and flags.preview is None:
        raise UsageError("--workdir=DIR is needed: the directory for checkpoints and summaries")
    # A dry run without --data_dir checks a training before its data set is made.
    is_optional = flags.plot_models or (flags.dry_run and flags.data_dir is None)
    if not flags.data_dir and (flags.preview is not None or not is_optional):
        raise UsageError("--data_dir=DIR is needed: a data set of `hazeheal-tfrecords convert`")
    if flags.preview is not None or flags.plot_models or flags.dry_run:
        check(config, flags)
        return EXIT_OK
    with exit_immediately_on_signals("hazeheal train"):
        result = train(config, flags)
    gc.freeze()  # the process ends now: collecting garbage would only delay that
    if not result["complete"]:
        return EXIT_INTERRUPTED if result["signal"] == "SIGINT" else EXIT_RESTART
    if result["group"]:  # group 0 prints the summary
        return EXIT_OK
    from hazeheal.training.result import final_summary

    print(final_summary(result, workdir=flags.workdir))
    return EXIT_OK


def check(config: ConfigDict, flags: argparse.Namespace) -> None:
    """Runs the check that `flags` names instead of the training."""
    if flags.preview is None and not flags.plot_models:
        from hazeheal.training.preflight.checks import dry_run

        print(configs.to_json(config), end="")
        print(dry_run(config, flags, group=tf_config.from_environment()))
        return
    quiet_import.import_tensorflow()
    if flags.preview is None:
        from hazeheal.training.preflight.plot_models import plot_models

        print("\n".join(map(str, plot_models(config, directory=flags.workdir))))
        return
    from hazeheal.training.preflight.preview import write_preview

    print(write_preview(config, flags.preview, data_dir=flags.data_dir, on_bad_record=flags.on_bad_record))


def train(config: ConfigDict, flags: argparse.Namespace) -> dict:
    """Trains in this process.

    Returns:
        The result of `DehazeTrainer.train`, and `group`: the number of this process's replica group.
    """
    group = tf_config.from_environment()
    num_groups, number = (1, 0) if group is None else (group.num_groups, group.group)
    with contextlib.ExitStack() as stack:
        cache = flags.xla_cache or pathlib.Path(flags.workdir) / "xla_cache"
        is_default = flags.xla_cache is None
        stack.enter_context(xla_cache.use_cache(None if cache == "off" else cache, group=number, is_default=is_default))
        quiet_import.import_tensorflow()
        from hazeheal.distributed import failures
        from hazeheal.distributed.runtime import choose_runtime
        from hazeheal.training.trainer import DehazeTrainer

        if num_groups > 1:
            address = f"group {number} of {num_groups} at {group.addresses[number]}"
            print(f"{address}: waiting for the other groups", file=sys.stderr)
        stack.enter_context(failures.report_error_to_groups(group))
        checkpoints = RunDirectory(flags.workdir, group=number).checkpoints
        stack.enter_context(failures.translate_failures(num_groups, checkpoints=checkpoints))
        port = flags.metrics_port if number == 0 else None
        stack.enter_context(prometheus.serve_metrics(flags.workdir, port=port, host=flags.metrics_host))
        runtime = choose_runtime(
            gpus=flags.gpus,
            cpu_replicas=flags.cpu_replicas,
            precision=config.train.precision,
            xla=config.train.xla,
            cluster=group,
        )
        trainer = DehazeTrainer(
            config,
            data_dir=flags.data_dir,
            workdir=flags.workdir,
            runtime=runtime,
            restore_from=flags.restore_from,
            on_bad_record=flags.on_bad_record,
        )
        return trainer.train() | {"group": number}
