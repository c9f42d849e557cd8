"""`hazeheal launch`: starts `hazeheal train` once for each replica group, watches it, starts it again."""

import os
import shlex
import sys

from hazeheal import config as configs
from hazeheal.commands.parsing import CommandParser, count, natural, numbers, seconds
from hazeheal.distributed import error_notes, placement, supervisor, tf_config
from hazeheal.errors import UsageError

EPILOG = """\
examples:
  hazeheal launch --config=rice1 --data_dir=records/rice1 --workdir=runs/rice1
  hazeheal launch --groups=2 --gpus=0,1,2,3 --config=rice1 --data_dir=records/rice1 --workdir=runs/rice1
  hazeheal launch --hosts=node1,node2 --index=0 --config=rice1 --data_dir=records/rice1 --workdir=runs/rice1

Everything else goes to `hazeheal train`: --config=NAME, --data_dir, --workdir, ...; see its --help.

One process is one replica group. --groups=N divides this host's GPUs (or N CPU replicas) over N processes that
train as one synchronous job; --hosts joins several hosts, on each of which the same command is started with its
own --index. Where TF_CONFIG is set it is taken as it is, for one process here.

exit codes: 0 done, 1 error or given up, 2 bad usage, 75 saved after SIGTERM: the same command goes on, 130 after
SIGINT
"""


def parser() -> CommandParser:
    parse = CommandParser(
        prog="hazeheal launch",
        description="Starts a training and keeps it going: a process that is killed, hangs, or loses the others\n"
        "is started again, and goes on from the last checkpoint.",
        epilog=EPILOG,
    )
    parse.add_argument("--groups", type=count, default=1, help="processes on this host (default: 1)")
    parse.add_argument(
        "--hosts", help=f"all hosts of the job, as in h1:{placement.DEFAULT_PORT},h2:{placement.DEFAULT_PORT}"
    )
    parse.add_argument("--index", type=natural, help="number of this host among them, from 0")
    parse.add_argument(
        "--gpus", type=gpus, help="numbers of the GPUs to use, as in 0,1, or all (default: all there are)"
    )
    parse.add_argument(
        "--cpu_replicas", type=count, help="train on this many CPU replicas of this host instead"
    )
    parse.add_argument(
        "--max_restarts",
        type=natural,
        default=10,
        metavar="N",
        help="give up after N restarts in a row that brought no new step (default: 10)",
    )
    parse.add_argument(
        "--hang_timeout",
        type=seconds,
        default=600.0,
        metavar="SECONDS",
        help="a process that shows no sign of life for so long, three times as long before its first step, hangs and "
        "is started again; 0: never (default: 600)",
    )
    parse.add_argument("--dry_run", action="store_true", help="show what would run, check it, and end")
    return parse


def gpus(text):
    """`0,1` as [0, 1], or `all`."""
    return text if text == "all" else numbers(text)


def main(argv) -> int:
    """Runs the command; `argv` is what stands behind `hazeheal launch`.

    Raises:
        HazeHealError: What is wrong, which value, what to do; `hazeheal.__main__` prints it.
    """
    ours, rest = configs.split_argv(argv)
    flags, rest = parser().parse_known_args(rest)
    if flags.gpus is not None and flags.cpu_replicas is not None:
        raise UsageError("--gpus and --cpu_replicas exclude each other; give one of them")
    job = tf_config.from_environment()
    if job is not None and (flags.groups > 1 or flags.hosts is not None):
        raise UsageError(
            f"{tf_config.VARIABLE} is set, and says already which processes train together; unset it, or leave out "
            "--groups and --hosts"
        )
    where = placement.place(
        groups=flags.groups,
        hosts=flags.hosts,
        index=flags.index,
        gpus=flags.gpus,
        cpu_replicas=flags.cpu_replicas,
    )
    names = [f"group_{group:02d}" for group in (where.groups if job is None else [job.group])]
    command = [sys.executable, "-m", "hazeheal", "train", *ours, *rest, *where.flags()]

    def start():
        addresses = where.addresses()
        return [(name, command, where.environment(place, addresses)) for place, name in enumerate(names)]

    if flags.dry_run:
        return dry_run(start())
    workdir = workdir_in(rest)
    alone = workdir is None or (len(where.hosts) < 2 and job is None)
    watched = supervisor.Supervisor(
        start,
        max_restarts=flags.max_restarts,
        hang_timeout=flags.hang_timeout,
        notes=None if alone else error_notes.Notes(workdir, own=names[0]),
    )
    return watched.run()


def workdir_in(arguments) -> str | None:
    """The --workdir among the arguments of `hazeheal train`, to which they go as they are."""
    parse = CommandParser(prog="hazeheal train", add_help=False)
    parse.add_argument("--workdir")
    return parse.parse_known_args(arguments)[0].workdir


def dry_run(processes) -> int:
    """Prints each process, one of `Supervisor`'s, with what is set for it, then what it would do."""
    for name, command, variables in processes:
        shown = [f"{key}={shlex.quote(value)}" for key, value in variables.items()]
        print(f"{name}: {' '.join([*shown, shlex.join(command)])}")
    sys.stdout.flush()
    _, command, variables = processes[0]
    os.environ.update(variables)
    from hazeheal.commands import train

    return train.main([*command[4:], "--dry_run"])
