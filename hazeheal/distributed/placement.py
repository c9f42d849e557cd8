"""Who trains where: this host's devices and addresses, divided over its replica groups."""

import dataclasses
import itertools
import os
import re
import socket

from hazeheal.distributed import tf_config
from hazeheal.errors import UsageError
from hazeheal.utils.cpu import usable_cores
from hazeheal.utils.gpus import query_gpus

DEFAULT_PORT = 7710
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclasses.dataclass(frozen=True)
class Placement:
    """The groups that this launcher starts.

    Attributes:
        groups: Numbers of the groups on this host, of all in the job.
        hosts: ((host, first port), ...) of all hosts; empty: this one alone, with ports taken as they are free.
        per_host: Groups on each host.
        gpus: One tuple of GPU names for each group on this host; empty: CPUs.
        cpu_replicas: For the only group of a job on CPUs; None where GPUs or several groups are used.
    """

    groups: tuple
    hosts: tuple = ()
    per_host: int = 1
    gpus: tuple = ()
    cpu_replicas: int | None = None

    @property
    def is_single(self) -> bool:
        return len(self.hosts) < 2 and self.per_host == 1

    def addresses(self) -> list:
        """`host:port` of every group of the job; those of a job on one host are new ones each time."""
        if self.hosts:
            return [f"{host}:{port + i}" for host, port in self.hosts for i in range(self.per_host)]
        return [f"127.0.0.1:{port}" for port in free_ports(self.per_host)]

    def environment(self, place: int, addresses) -> dict:
        """What is set for the group at `place` of this host, beside what is set already."""
        set_for = {}
        if not self.is_single:
            set_for[tf_config.VARIABLE] = tf_config.to_json(addresses, group=self.groups[place])
            if not self.gpus and "TF_NUM_INTRAOP_THREADS" not in os.environ:
                # Left alone each group would start as many threads as there are cores.
                set_for["TF_NUM_INTRAOP_THREADS"] = str(max(1, usable_cores() // self.per_host))
        if self.gpus:
            set_for[VISIBLE] = ",".join(self.gpus[place])
            if VISIBLE not in os.environ and "CUDA_DEVICE_ORDER" not in os.environ:
                # Left alone CUDA puts the fastest first: number 0 would not be that of nvidia-smi.
                set_for["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        elif not self.is_single:
            set_for[VISIBLE] = "-1"
        return set_for

    def flags(self) -> list:
        """What is added to the flags of `hazeheal train`."""
        if self.gpus:
            # Those that the process sees: where TensorFlow does not find them it must not go on with a CPU.
            return [f"--gpus={','.join(map(str, range(len(self.gpus[0]))))}"]
        if self.is_single and self.cpu_replicas is None:
            return []
        return [f"--cpu_replicas={self.cpu_replicas or 1}"]


def choose_placement(*, groups=1, hosts=None, index=None, gpus=None, cpu_replicas=None) -> Placement:
    """Divides what there is.

    Args:
        groups: Replica groups on this host.
        hosts: `h1:7710,h2:7710`: all hosts of the job, each with the port of its first group; None: this one.
        index: Number of this host among them.
        gpus: Numbers of the GPUs to use, among those that are visible; `all`: all of these, and there must be
            some; None: all of these, if there are any.
        cpu_replicas: Use CPUs: so many replicas on this host.

    Raises:
        UsageError: It does not divide, or an argument cannot be meant.
    """
    parsed = _hosts(hosts) if hosts is not None else ()
    if (hosts is None) != (index is None):
        raise UsageError("--hosts and --index belong together; one is missing")
    if parsed and not 0 <= index < len(parsed):
        raise UsageError(f"--index={index} is none of the {len(parsed)} hosts; use 0 to {len(parsed) - 1}")
    mine = tuple(range((index or 0) * groups, ((index or 0) + 1) * groups))
    _check_ports(parsed, groups)
    single = groups == 1 and len(parsed) < 2
    if cpu_replicas is None:
        # Named one by one for one group too: left to itself TensorFlow without CUDA would go on with a CPU.
        gpus = visible_gpus() if gpus is None else _chosen(gpus)
        if gpus:
            if len(gpus) % groups:
                fitting = [n for n in range(1, len(gpus) + 1) if len(gpus) % n == 0]
                raise UsageError(
                    f"--groups={groups}: {len(gpus)} GPUs do not divide over {groups} groups; use "
                    f"{' or '.join(map(str, fitting))}"
                )
            share = len(gpus) // groups
            split = tuple(tuple(gpus[i * share : (i + 1) * share]) for i in range(groups))
            return Placement(mine, hosts=parsed, per_host=groups, gpus=split)
    elif cpu_replicas != groups and not single:
        raise UsageError(
            f"--cpu_replicas={cpu_replicas} and --groups={groups}: of several groups each drives one CPU replica; "
            f"use --groups={cpu_replicas}"
        )
    return Placement(mine, hosts=parsed, per_host=groups, cpu_replicas=cpu_replicas if single else None)


def visible_gpus() -> list:
    """Names of the GPUs that a process started here would see, in order."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        # As CUDA does: the first name that is none, such as -1 or SLURM's NoDevFiles, ends the list.
        names = (name.strip() for name in visible.split(","))
        return list(itertools.takewhile(re.compile(r"[0-9]+$|GPU-|MIG-").match, names))
    gpus = query_gpus()
    if gpus is None:  # a container may have the devices without the tool
        devices = [name for name in os.listdir("/dev") if re.fullmatch(r"nvidia[0-9]+", name)]
        return [str(number) for number in range(len(devices))]
    return [gpu["index"] for gpu in gpus]


def free_ports(count: int) -> list:
    """Ports of this host that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("", 0))  # on all addresses, as TensorFlow listens
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _chosen(numbers):
    """Names of the GPUs with these numbers, or of all."""
    if numbers == "all":
        visible = visible_gpus()
        if not visible:
            why = (
                f"{VISIBLE}={os.environ[VISIBLE]} hides them"
                if VISIBLE in os.environ
                else "nvidia-smi shows none"
            )
            raise UsageError(
                f"--gpus=all: there is no GPU ({why}); leave --gpus out, or use --cpu_replicas=N"
            )
        return visible
    asked = f"--gpus={','.join(map(str, numbers))}"
    if len(set(numbers)) != len(numbers):
        raise UsageError(f"{asked} names a GPU twice; name each once")
    visible = visible_gpus()
    if VISIBLE in os.environ:
        absent = [number for number in numbers if number >= len(visible)]
        if absent:
            raise UsageError(
                f"{asked}: there is no GPU {absent[0]} among the {len(visible)} that "
                f"{VISIBLE}={os.environ[VISIBLE]} leaves; they count from 0"
            )
        return [visible[number] for number in numbers]
    absent = [number for number in numbers if str(number) not in visible]
    if absent and visible:
        raise UsageError(f"{asked}: there is no GPU {absent[0]} (there are {' '.join(visible)})")
    # Where nvidia-smi shows none or is not there, the training process finds out.
    return [str(number) for number in numbers]


def _hosts(text):
    found = []
    for entry in text.split(","):
        match = re.fullmatch(r"([^\s:/,\[\]]+|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?", entry.strip())
        if match is None:
            raise UsageError(f"--hosts: {entry!r} is no host or host:port, as in node1:{DEFAULT_PORT}")
        found.append((match[1], int(match[2] or DEFAULT_PORT)))
    return tuple(found)


def _check_ports(hosts, groups):
    taken = {}
    for host, port in hosts:
        for number in range(port, port + groups):
            if not 1 <= number <= 65535:
                raise UsageError(f"--hosts: {host}:{number} is no port; use 1 to {65536 - groups}")
            if (host, number) in taken:
                raise UsageError(
                    f"--hosts: {host}:{number} would serve two groups; give ports that are {groups} apart"
                )
            taken[host, number] = True
