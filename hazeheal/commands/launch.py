"""Starts a training and keeps it running; converts the images first where needed.

A process that is killed, hangs, or loses a device or the other processes is restarted and resumes from the last
checkpoint.

Examples:
  hazeheal launch
  hazeheal launch --config=rice1 --hazy_dir=RICE1/cloud --gt_dir=RICE1/label --workdir=runs/rice1
  hazeheal launch --config=rice1 --data_dir=records/rice1 --workdir=runs/rice1 --gpus=0,1 --dry_run
  hazeheal launch --groups=2 --config=rice1 --data_dir=records/rice1 --workdir=runs/rice1
  hazeheal launch --hosts=node1,node2 --index=0 --config=rice1 --data_dir=records/rice1 --workdir=runs/rice1

Without a configuration and a data set, the quickstart runs: it makes synthetic pairs in data/quickstart, trains
configs/quickstart.py on them and leaves the run in runs/quickstart. Without GPUs it uses 2 CPU replicas.

All other arguments go to `hazeheal train`: --config=NAME, --config.x.y=VALUE, --restore_from=RUN, ...; see
`hazeheal train --help`.

Rerun the same command to resume a run from its last checkpoint.

exit codes: 0 done, 1 error or too many restarts, 2 bad usage, 71 a device failed again and again, 75 stopped by
SIGTERM after saving, 130 stopped by SIGINT after saving
"""

import os
import shlex
import sys
from collections.abc import Sequence

from hazeheal import config as configs
from hazeheal.commands import prepare_data
from hazeheal.commands.parsing import CommandParser, command_parser, count, natural, numbers, seconds
from hazeheal.distributed import error_notes, placement, supervisor, tf_config
from hazeheal.errors import UsageError

# For the training processes, unless the user sets them.
VARIABLES = {
    "PYTHONUNBUFFERED": "1",  # lines appear when they are printed
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # shares a GPU with other programs
    "NCCL_DEBUG": "WARN",  # a failed collective reports its cause
}
QUICKSTART_CPU_REPLICAS = 2


def parser() -> CommandParser:
    """Returns the parser of the command's own flags; the others belong to `hazeheal train`."""
    parse = command_parser("launch", __doc__)
    add = parse.add_argument_group(
        "data",
        "With --hazy_dir and --gt_dir, the images are converted to WORKDIR/tfrecords first. --convert.FLAG=VALUE passes "
        "--FLAG=VALUE to that conversion, as in --convert.tile_size=256.",
    ).add_argument
    add("--hazy_dir", metavar="DIR", help="folder of hazy images")
    add("--gt_dir", metavar="DIR", help="folder of clear images")
    add("--data_dir", metavar="DIR", help="existing data set of `hazeheal-tfrecords convert`")
    add = parse.add_argument_group("devices").add_mutually_exclusive_group().add_argument
    gpus_help = (
        "GPUs to use, or all (default: all). Numbers are those of nvidia-smi; where CUDA_VISIBLE_DEVICES is set, "
        "positions in its list, from 0"
    )
    add("--gpus", type=lambda x: x if x == "all" else numbers(x), metavar="0,1", help=gpus_help)
    add("--cpu_replicas", type=count, metavar="N", help="use no GPU, and N replicas on the CPU")
    add = parse.add_argument_group(
        "processes",
        "One process is one replica group. --hosts joins several hosts: start the same command on each, with its own "
        "--index. Data set and, if possible, workdir are on a file system that all hosts share. If TF_CONFIG is set, "
        "it defines the processes, and one of them starts here.",
    ).add_argument
    groups_help = "divide the devices of this host over N processes that train as one job (default: 1)"
    add("--groups", type=count, default=1, metavar="N", help=groups_help)
    port = placement.DEFAULT_PORT
    add("--hosts", metavar="HOST:PORT,...", help=f"all hosts of the job, as in h1:{port},h2:{port}")
    add("--index", type=natural, metavar="I", help="position of this host in --hosts, from 0")
    restarts_help = "give up after N restarts in a row without a new step, or 3 because of failed devices (default: 10)"
    add("--max_restarts", type=natural, default=10, metavar="N", help=restarts_help)
    hang_help = (
        "restart a process that shows no progress for this long, three times this long before its first step; "
        "0: never (default: 600)"
    )
    add("--hang_timeout", type=seconds, default=600.0, metavar="SECONDS", help=hang_help)
    add = parse.add_argument_group("run").add_argument
    add("--workdir", metavar="DIR", help="directory of the run")
    add("--dry_run", action="store_true", help="print the commands, check the training, and exit")
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal launch` with these arguments; returns the exit code or raises `HazeHealError`."""
    config_flags, rest = configs.split_argv(argv)
    flags, rest = parser().parse_known_args(rest)
    convert_flags = [flag for flag in rest if flag.startswith(prepare_data.CONVERT_PREFIX)]
    train_flags = [flag for flag in rest if flag not in convert_flags]
    job = tf_config.from_environment()
    if job is not None and (flags.groups > 1 or flags.hosts is not None):
        raise UsageError(f"{tf_config.VARIABLE} defines the processes; unset it, or omit --groups and --hosts")
    data = prepare_data.plan(flags, convert_flags, has_config=configs.is_named(config_flags))
    if data.quickstart:
        config_flags = ["--config=quickstart", *config_flags]
    where, variables = _place(flags, job=job, quickstart=data.quickstart)
    names = [f"group_{group:02d}" for group in (where.groups if job is None else [job.group])]
    command = [sys.executable, "-m", "hazeheal", "train", *config_flags, *train_flags, *where.flags()]
    command += [] if data.workdir is None else [f"--workdir={data.workdir}"]
    data_flags = [] if data.data_dir is None else [f"--data_dir={data.data_dir}"]
    checked = [*command, *([] if data.is_missing else data_flags), "--dry_run"]
    command += data_flags

    def start():
        addresses = where.addresses()
        environments = [variables | where.environment(place, addresses) for place in range(len(names))]
        return [(name, command, environment) for name, environment in zip(names, environments, strict=True)]

    if flags.dry_run:
        return dry_run(data.steps, start(), check=checked)
    if data.steps:
        _, _, environment = start()[0]
        if code := prepare_data.prepare(data, check=checked, environment=environment):
            return code
    is_alone = data.workdir is None or (where.is_one_host and job is None)
    watched = supervisor.Supervisor(
        start,
        max_restarts=flags.max_restarts,
        hang_timeout=flags.hang_timeout,
        notes=None if is_alone else error_notes.ErrorNotes(data.workdir, group_name=names[0]),
    )
    return watched.run()


def _place(flags, *, job, quickstart):
    """Returns the devices and addresses of this host's processes, and the variables that all of them get."""
    cpu_replicas = flags.cpu_replicas
    is_single = flags.groups == 1 and flags.hosts is None and job is None
    is_free = cpu_replicas is None and flags.gpus is None
    if quickstart and is_single and is_free and not placement.visible_gpus():
        cpu_replicas = QUICKSTART_CPU_REPLICAS
    named = {name: getattr(flags, name) for name in ("groups", "hosts", "index", "gpus")}
    where = placement.choose_placement(cpu_replicas=cpu_replicas, **named)
    variables = {name: value for name, value in VARIABLES.items() if name not in os.environ}
    if cpu_replicas is not None:
        variables[placement.VISIBLE_DEVICES] = "-1"
    return where, variables


def dry_run(steps: Sequence[Sequence[str]], processes: Sequence[tuple], *, check: Sequence[str]) -> int:
    """Prints the commands of a job, then checks its training in this process, and returns the exit code.

    `processes` are those of `Supervisor`; `check` is a command `python -m hazeheal train ... --dry_run`.
    """
    for step in steps:
        print(f"data: {shlex.join(step)}")
    for name, command, variables in processes:
        assignments = [f"{key}={shlex.quote(value)}" for key, value in variables.items()]
        print(f"{name}: {' '.join([*assignments, shlex.join(command)])}")
    sys.stdout.flush()
    os.environ.update(processes[0][2])
    from hazeheal.commands import train

    return train.main(check[4:])
