"""`hazeheal train`: trains a generator on a data set, or resumes a run."""

import argparse
import gc
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal.commands.parsing import CommandParser, count, numbers, port
from hazeheal.distributed import tf_config, xla_cache
from hazeheal.distributed.preemption import exit_immediately_on_signals
from hazeheal.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RESTART, UsageError
from hazeheal.runs import prometheus
from hazeheal.utils import quiet_import

if TYPE_CHECKING:
    from ml_collections import ConfigDict

EPILOG = """\
configuration:
  --config=NAME        a Python file, a name in ./configs, or a name below
  --config.x.y=VALUE   sets one field, as in --config.train.batch_size=8;
                       --dry_run prints all fields

included configurations:
{shipped}

examples:
  hazeheal train --config=rice1 --data_dir=records/rice1 --workdir=runs/rice1
  hazeheal train --config=default --data_dir=records/mine --workdir=runs/mine --dry_run
  hazeheal train --config=default --data_dir=records/mine --workdir=runs/finer --restore_from=runs/rice1

To train in several processes, use `hazeheal launch --groups=N`; it sets TF_CONFIG for each of them.

exit codes: 0 done, 1 error, 2 bad usage, 69 another replica group was lost (restart all of them), 75 stopped by
SIGTERM after saving, 130 stopped by SIGINT after saving; after 75 and 130 the same command resumes the run
"""


def parser() -> CommandParser:
    """Returns the parser of the command's flags, without those of the configuration."""
    shipped = [f"  {name:12}  {summary}" for name, summary in configs.summaries().items()]
    parse = CommandParser(
        prog="hazeheal train",
        description="Trains a GAN that removes haze, on all GPUs of this machine or on CPUs. If --workdir holds a run, "
        "it resumes from the last checkpoint; nothing is overwritten.",
        epilog=EPILOG.format(shipped="\n".join(shipped)),
    )
    add = parse.add_argument_group("data").add_argument
    add("--data_dir", metavar="DIR", help="data set of `hazeheal-tfrecords convert`")
    add(
        "--on_bad_record",
        choices=("fail", "skip"),
        default="fail",
        help="fail: a damaged record ends the run; skip: use the next intact record. Both log it (default: fail)",
    )
    add = parse.add_argument_group("run").add_argument
    add("--workdir", metavar="DIR", help="directory of the run; created if it does not exist")
    add(
        "--restore_from",
        metavar="MODEL",
        help="start a new run from these networks: a run, a checkpoint, an .npz weights file, best or fast",
    )
    add = parse.add_argument_group("devices").add_argument
    add("--gpus", type=numbers, metavar="0,1", help="numbers of the GPUs to use (default: all)")
    add("--cpu_replicas", type=count, metavar="N", help="train on N logical CPU devices instead")
    add(
        "--xla_cache",
        metavar="DIR",
        help="save compiled XLA programs there, so that later starts of the same training skip the compilation",
    )
    add = parse.add_argument_group("monitoring").add_argument
    add(
        "--metrics_port",
        type=port,
        metavar="PORT",
        help="serve the values of status.json to Prometheus at http://127.0.0.1:PORT/metrics (replica group 0 only)",
    )
    add(
        "--metrics_host",
        metavar="HOST",
        default="127.0.0.1",
        help="address that --metrics_port listens on; 0.0.0.0: all addresses (default: 127.0.0.1)",
    )
    add = parse.add_argument_group("checks", "Each of these flags runs instead of the training.").add_argument
    add("--dry_run", action="store_true", help="check everything, and print the configuration and the plan")
    add("--preview", metavar="FILE", help="write the first training pairs, hazy beside clear, as an image")
    add(
        "--plot_models",
        action="store_true",
        help="write generator_model.png and discriminator_model.png to --workdir",
    )
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal train` with these arguments; returns the exit code or raises `HazeHealError`."""
    config_flags, rest = configs.split_argv(argv)
    flags = parser().parse_args(rest)
    config = configs.load(config_flags)
    if flags.gpus is not None and flags.cpu_replicas is not None:
        raise UsageError("--gpus and --cpu_replicas exclude each other; give one of them")
    if flags.metrics_port is not None:
        prometheus.require_prometheus_client()
    if flags.preview is not None:
        return preview(config, flags)
    if not flags.workdir:
        raise UsageError("--workdir=DIR is needed: the directory for checkpoints and summaries")
    if flags.plot_models:
        return plot(config, flags)
    # A dry run without --data_dir checks a training before its data set is made.
    if not flags.data_dir and not (flags.dry_run and flags.data_dir is None):
        raise UsageError("--data_dir=DIR is needed: a data set of `hazeheal-tfrecords convert`")
    if flags.dry_run:
        from hazeheal.training.preflight.checks import dry_run

        print(configs.to_json(config), end="")
        print(dry_run(config, flags, group=tf_config.from_environment()))
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


def preview(config: "ConfigDict", flags: argparse.Namespace) -> int:
    """Writes the first training pairs as an image; returns the exit code."""
    if not flags.data_dir:
        raise UsageError("--preview needs --data_dir=DIR: a data set of `hazeheal-tfrecords convert`")
    quiet_import.import_tensorflow()
    from hazeheal.training.preflight.preview import write_preview

    print(write_preview(config, flags.preview, data_dir=flags.data_dir, on_bad_record=flags.on_bad_record))
    return EXIT_OK


def plot(config: "ConfigDict", flags: argparse.Namespace) -> int:
    """Draws the networks into the workdir; returns the exit code."""
    quiet_import.import_tensorflow()
    from hazeheal.training.preflight.plot_models import plot_models

    for path in plot_models(config, directory=flags.workdir):
        print(path)
    return EXIT_OK


def train(config: "ConfigDict", flags: argparse.Namespace) -> dict:
    """Trains in this process.

    Returns:
        The result of `DehazeTrainer.train`, and `group`: the number of this process's replica group.
    """
    group = tf_config.from_environment()
    with xla_cache.use_cache(flags.xla_cache, group=0 if group is None else group.group):
        return _train(group, config, flags)


def _train(group, config, flags):
    quiet_import.import_tensorflow()
    from hazeheal.distributed import failures
    from hazeheal.distributed.runtime import choose_runtime
    from hazeheal.training.trainer import DehazeTrainer

    num_groups = 1 if group is None else group.num_groups
    if num_groups > 1:
        address = group.addresses[group.group]
        print(
            f"group {group.group} of {num_groups} at {address}: waiting for the other groups", file=sys.stderr
        )
    metrics_port = flags.metrics_port if group is None or group.group == 0 else None
    with (
        failures.translate_lost_groups(num_groups),
        failures.report_error_to_groups(group),
        prometheus.serve_metrics(flags.workdir, port=metrics_port, host=flags.metrics_host),
    ):
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
        result = trainer.train()
    return result | {"group": runtime.group}
