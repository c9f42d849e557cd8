"""`hazeheal train`: trains a generator on a data set, or goes on with a run."""

import gc
import sys

from hazeheal import config as configs
from hazeheal.commands.parsing import CommandParser, count, numbers, port
from hazeheal.distributed import tf_config, xla_cache
from hazeheal.distributed.preemption import exit_immediately_on_signals
from hazeheal.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RESTART, UsageError
from hazeheal.runs import prometheus
from hazeheal.utils import quiet_import

EPILOG = """\
examples:
  hazeheal train --config=rice1 --data_dir=records/rice1 --workdir=runs/rice1
  hazeheal train --config=default --data_dir=records/mine --workdir=runs/mine --dry_run
  hazeheal train --config=default --data_dir=records/mine --workdir=runs/finer --restore_from=runs/rice1

configuration:
  --config=NAME        a file, or a name in ./configs or among those that
                       ship (default, quickstart, rice1, ...)
  --config.x.y=VALUE   overrides one field: --config.train.batch_size=8;
                       --dry_run shows all fields

several processes as one job: TF_CONFIG names them (`hazeheal launch --groups=N` sets it)

exit codes: 0 done, 1 error, 2 bad usage, 69 another group is gone: start all again, 75 saved after SIGTERM: the
same command goes on, 130 after SIGINT
"""

FROM = (
    "a run, a checkpoint, an .npz of weights, best or fast (which ship): a new run starts with its networks"
)


def parser() -> CommandParser:
    parse = CommandParser(
        prog="hazeheal train",
        description="Trains a GAN that removes haze, on all GPUs of this machine or on CPUs. A run that is "
        "already in --workdir goes on where its last checkpoint stands; nothing is overwritten.",
        epilog=EPILOG,
    )
    parse.add_argument("--data_dir", help="data set made by `hazeheal-tfrecords convert`")
    parse.add_argument("--workdir", help="the run's directory, made if it is missing")
    parse.add_argument("--gpus", type=numbers, help="numbers of the GPUs to use, as in 0,1 (default: all)")
    parse.add_argument("--cpu_replicas", type=count, help="train on this many logical CPU devices instead")
    parse.add_argument("--restore_from", help=FROM)
    parse.add_argument(
        "--on_bad_record",
        choices=("fail", "skip"),
        default="fail",
        help="a damaged record ends the run (default), or the next whole one takes its place; it is named either way",
    )
    parse.add_argument(
        "--metrics_port",
        type=port,
        metavar="PORT",
        help="serve what status.json tells for Prometheus, at http://127.0.0.1:PORT/metrics (group 0 does)",
    )
    parse.add_argument(
        "--metrics_host", default="127.0.0.1", help="listen there (default: 127.0.0.1); 0.0.0.0 for all"
    )
    parse.add_argument(
        "--xla_cache",
        metavar="DIR",
        help="keep the programs that XLA compiles there: the next start of the same training need not wait for them",
    )
    parse.add_argument(
        "--dry_run", action="store_true", help="show the configuration and what would run, and end"
    )
    parse.add_argument(
        "--preview",
        metavar="FILE",
        help="write the first training pairs, hazy beside clear, as an image, and end",
    )
    parse.add_argument(
        "--plot_models",
        action="store_true",
        help="write generator_model.png and discriminator_model.png into --workdir, and end",
    )
    return parse


def main(argv) -> int:
    """Runs the command; `argv` is what stands behind `hazeheal train`.

    Raises:
        HazeHealError: What is wrong, which value, what to do; `hazeheal.__main__` prints it.
    """
    ours, rest = configs.split_argv(argv)
    flags = parser().parse_args(rest)
    config = configs.load(ours)
    if flags.gpus is not None and flags.cpu_replicas is not None:
        raise UsageError("--gpus and --cpu_replicas exclude each other; give one of them")
    if flags.metrics_port is not None:
        prometheus.require_prometheus_client()
    if flags.preview is not None:
        return preview(config, flags)
    if not flags.workdir:
        raise UsageError("--workdir=DIR is needed: where the run's checkpoints and summaries go")
    if flags.plot_models:
        quiet_import.import_tensorflow()
        from hazeheal.training.preflight.plot_models import plot_models

        for path in plot_models(config, directory=flags.workdir):
            print(path)
        return EXIT_OK
    # What can be checked before the data set is made is worth to be known then.
    if not flags.data_dir and not (flags.dry_run and flags.data_dir is None):
        raise UsageError("--data_dir=DIR is needed: a data set made by `hazeheal-tfrecords convert`")
    if flags.dry_run:
        from hazeheal.training.preflight.dry_run import check

        print(configs.to_json(config), end="")
        print(check(config, flags, group=tf_config.from_environment()))
        return EXIT_OK
    with exit_immediately_on_signals("hazeheal train"):
        result = train(config, flags)
    gc.freeze()  # the process ends: nothing is gained by collecting what its end frees anyway
    if not result["complete"]:
        return EXIT_INTERRUPTED if result["signal"] == "SIGINT" else EXIT_RESTART
    if result["group"]:  # group 0 tells
        return EXIT_OK
    from hazeheal.training.reports.reporter import final_summary

    print(final_summary(result, workdir=flags.workdir))
    return EXIT_OK


def preview(config, flags) -> int:
    if not flags.data_dir:
        raise UsageError("--preview needs --data_dir=DIR: a data set made by `hazeheal-tfrecords convert`")
    quiet_import.import_tensorflow()
    from hazeheal.training.preflight.preview import write_preview

    print(write_preview(config, flags.preview, data_dir=flags.data_dir, on_bad_record=flags.on_bad_record))
    return EXIT_OK


def train(config, flags) -> dict:
    group = tf_config.from_environment()
    with xla_cache.use_cache(flags.xla_cache, group=0 if group is None else group.group):
        return train_in(group, config, flags)


def train_in(group, config, flags) -> dict:
    quiet_import.import_tensorflow()
    from hazeheal.distributed import failures
    from hazeheal.distributed.runtime import choose_runtime
    from hazeheal.training.trainer import DehazeTrainer

    num_groups = 1 if group is None else group.num_groups
    if num_groups > 1:
        where = group.addresses[group.group]
        print(f"group {group.group} of {num_groups} at {where}: waiting for the others", file=sys.stderr)
    asked = flags.metrics_port if group is None or group.group == 0 else None
    with (
        failures.translate_lost_groups(num_groups),
        failures.report_error_to_groups(group),
        prometheus.serve_metrics(flags.workdir, port=asked, host=flags.metrics_host),
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
