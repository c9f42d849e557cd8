"""Divides this host's devices over its replica groups, and gives every group of the job an address."""

import contextlib
import dataclasses
import itertools
import os
import re
import socket
from collections.abc import Sequence

from hazeheal.distributed import tf_config
from hazeheal.errors import UsageError
from hazeheal.utils.cpu import usable_cores
from hazeheal.utils.gpus import query_gpus

DEFAULT_PORT = 7710
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


@dataclasses.dataclass(frozen=True)
class Placement:
    """The groups that this host's launcher starts.

    Attributes:
        groups: Numbers of this host's groups, counted over all hosts.
        fixed_addresses: `host:port` of every group of the job. Empty: only this host, on free ports.
        gpus: For each group of this host the names of its GPUs. Empty: CPUs.
        cpu_replicas: Number of CPU replicas of the only group of a job; None for GPUs or several groups.
    """

    groups: tuple[int, ...]
    fixed_addresses: tuple[str, ...] = ()
    gpus: tuple[tuple[str, ...], ...] = ()
    cpu_replicas: int | None = None

    @property
    def is_one_host(self) -> bool:
        """Whether all groups of the job are on this host."""
        return len(self.fixed_addresses) <= len(self.groups)

    @property
    def is_single(self) -> bool:
        """Whether the job has one group."""
        return self.is_one_host and len(self.groups) == 1

    def addresses(self) -> list[str]:
        """Returns `host:port` of every group of the job. On a single host the ports are new at each call."""
        return list(self.fixed_addresses) or [f"127.0.0.1:{port}" for port in free_ports(len(self.groups))]

    def environment(self, index: int, addresses: Sequence[str]) -> dict[str, str]:
        """Returns the environment variables to set for one group.

        Args:
            index: Index of the group on this host, from 0.
            addresses: Those of all groups, as `addresses` returns them.
        """
        variables = {}
        if not self.is_single:
            variables[tf_config.VARIABLE] = tf_config.to_json(addresses, group=self.groups[index])
            if not self.gpus and "TF_NUM_INTRAOP_THREADS" not in os.environ:
                # By default each group would start as many threads as there are cores.
                variables["TF_NUM_INTRAOP_THREADS"] = str(max(1, usable_cores() // len(self.groups)))
        if self.gpus:
            variables[VISIBLE_DEVICES] = ",".join(self.gpus[index])
            if VISIBLE_DEVICES not in os.environ and "CUDA_DEVICE_ORDER" not in os.environ:
                # By default CUDA sorts by speed, and its numbers differ from those of nvidia-smi.
                variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        elif not self.is_single:
            variables[VISIBLE_DEVICES] = "-1"
        return variables

    def flags(self) -> list[str]:
        """Returns the device flags for `hazeheal train`."""
        if self.gpus:
            # Explicit, so that training fails if TensorFlow does not find them, instead of using the CPU.
            return [f"--gpus={','.join(map(str, range(len(self.gpus[0]))))}"]
        if self.is_single and self.cpu_replicas is None:
            return []
        return [f"--cpu_replicas={self.cpu_replicas or 1}"]


def choose_placement(
    *,
    groups: int = 1,
    hosts: str | None = None,
    index: int | None = None,
    gpus: Sequence[int] | str | None = None,
    cpu_replicas: int | None = None,
) -> Placement:
    """Divides the devices over the groups.

    Args:
        groups: Number of replica groups on this host.
        hosts: `h1:7710,h2:7710`: all hosts of the job, each with the port of its first group. None: this host.
        index: Index of this host in `hosts`, from 0.
        gpus: Numbers of the GPUs to use, among the visible ones. `all`: all visible GPUs, at least one. None: all
            visible GPUs, or CPUs if there are none.
        cpu_replicas: Number of CPU replicas on this host, instead of GPUs.

    Raises:
        UsageError: An argument is invalid, or the devices cannot be divided evenly.
    """
    if (hosts is None) != (index is None):
        raise UsageError("--hosts and --index must be given together; one is missing")
    addresses = () if hosts is None else _group_addresses(hosts, groups)
    num_hosts = max(1, len(addresses) // groups)
    if index is not None and not 0 <= index < num_hosts:
        raise UsageError(f"--index={index} must be 0 to {num_hosts - 1}, as there are {num_hosts} hosts")
    first_group = (index or 0) * groups
    numbers = tuple(range(first_group, first_group + groups))
    is_single = groups == num_hosts == 1
    if cpu_replicas is None:
        # GPUs are passed explicitly for a single group too: TensorFlow without CUDA would silently use the CPU.
        names = visible_gpus() if gpus is None else _select_gpus(gpus)
        if names:
            return Placement(numbers, fixed_addresses=addresses, gpus=_divide_gpus(names, groups))
    elif cpu_replicas != groups and not is_single:
        raise UsageError(
            f"--cpu_replicas={cpu_replicas} and --groups={groups}: each of several groups uses one CPU replica; use "
            f"--cpu_replicas={groups}, the number in all groups, or --groups={cpu_replicas}"
        )
    return Placement(numbers, fixed_addresses=addresses, cpu_replicas=cpu_replicas if is_single else None)


def visible_gpus() -> list[str]:
    """Returns the names of the GPUs that a process started now would see, in order."""
    visible = os.environ.get(VISIBLE_DEVICES)
    if visible is not None:
        # As in CUDA, the first invalid name, such as -1 or SLURM's NoDevFiles, ends the list.
        names = (name.strip() for name in visible.split(","))
        return list(itertools.takewhile(re.compile(r"[0-9]+$|GPU-|MIG-").match, names))
    gpus = query_gpus()
    if gpus is None:  # a container may have the devices without nvidia-smi
        devices = [name for name in os.listdir("/dev") if re.fullmatch(r"nvidia[0-9]+", name)]
        return [str(number) for number in range(len(devices))]
    return [gpu["index"] for gpu in gpus]


def free_ports(count: int) -> list[int]:
    """Returns distinct ports of this host that no process listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))  # on all addresses, as TensorFlow listens
        return [one.getsockname()[1] for one in sockets]


def _select_gpus(numbers: Sequence[int] | str) -> list[str]:
    """Returns the names of the GPUs with these numbers, or of all for `all`."""
    visible, variable = visible_gpus(), os.environ.get(VISIBLE_DEVICES)
    source = "nvidia-smi" if variable is None else f"{VISIBLE_DEVICES}={variable}"
    if numbers == "all":
        if not visible:
            raise UsageError(
                f"--gpus=all: {source} lists no GPU; check the driver and what the scheduler has allocated, or use "
                "--cpu_replicas=N to train on CPUs"
            )
        return visible
    flag = f"--gpus={','.join(map(str, numbers))}"
    if len(set(numbers)) != len(numbers):
        raise UsageError(f"{flag} lists a GPU twice; list each GPU once")
    if variable is None and not visible:
        return [str(number) for number in numbers]  # the training process checks them
    # Numbers are those of nvidia-smi, or positions in the variable.
    names = dict(enumerate(visible)) if variable is not None else {int(name): name for name in visible}
    missing = [number for number in numbers if number not in names]
    if missing:
        choices = ", ".join(map(str, names)) or "none"
        raise UsageError(f"{flag}: GPU {missing[0]} does not exist; {source} has {choices}")
    return [names[number] for number in numbers]


def _divide_gpus(names: Sequence[str], groups: int) -> tuple[tuple[str, ...], ...]:
    if len(names) % groups:
        divisors = [n for n in range(1, len(names) + 1) if len(names) % n == 0]
        raise UsageError(
            f"--groups={groups}: {len(names)} GPUs cannot be divided evenly; use {' or '.join(map(str, divisors))}"
        )
    share = len(names) // groups
    return tuple(tuple(names[i * share : (i + 1) * share]) for i in range(groups))


def _group_addresses(hosts: str, groups: int) -> tuple[str, ...]:
    """Returns `host:port` of every group of the job; each host's groups use consecutive ports."""
    addresses = []
    for entry in hosts.split(","):
        host, port = re.fullmatch(r"(.*?)(?::([0-9]{1,5}))?", entry.strip(), re.DOTALL).groups()
        addresses += [f"{host}:{int(port or DEFAULT_PORT) + i}" for i in range(groups)]
    tf_config.check_addresses(addresses, source="--hosts")
    return tuple(addresses)
