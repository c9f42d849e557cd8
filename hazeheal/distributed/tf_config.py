"""TF_CONFIG: which processes train together. Read and checked before TensorFlow starts.

    TF_CONFIG='{"cluster": {"worker": ["h1:7000", "h2:7000"]}, "task": {"type": "worker", "index": 0}}'

`hazeheal launch` sets it, as do Kubernetes operators and schedulers. Every process gets the same `cluster` and
its own `task`. One process is one replica group.
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence

from hazeheal.errors import UsageError

VARIABLE = "TF_CONFIG"
# Groups are numbered in this order, because TensorFlow makes the chief, if there is one, the leader.
JOBS = ("chief", "worker")
# A host is a name, an IPv4 address, or an IPv6 address in brackets.
_ADDRESS = re.compile(r"(?:[^\s:/,\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The replica groups of one job.

    Attributes:
        addresses: `host:port` of every group, in the order of their numbers.
        group: Number of this process's group, from 0.
    """

    addresses: tuple[str, ...]
    group: int

    @property
    def num_groups(self) -> int:
        """The number of replica groups."""
        return len(self.addresses)

    @property
    def groups_on_host(self) -> int:
        """The number of replica groups on the host of this process."""
        hosts = [address.rpartition(":")[0] for address in self.addresses]
        return hosts.count(hosts[self.group])


def from_environment(environ: Mapping[str, str] = os.environ) -> Cluster | None:
    """Reads TF_CONFIG from environment variables.

    Returns:
        The cluster, or None if this process trains alone: TF_CONFIG is not set, or lists one process.

    Raises:
        UsageError: TF_CONFIG is invalid.
    """
    text = environ.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
        cluster = {job: list(addresses) for job, addresses in (config.get("cluster") or {}).items()}
        task = dict(config.get("task") or {})
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"{VARIABLE}={text!r} must be a JSON object with the objects `cluster` and `task`; unset it to train in one "
            "process"
        ) from None
    if not cluster:
        return None
    unknown = sorted(cluster.keys() - set(JOBS))
    if unknown:
        raise UsageError(
            f"{VARIABLE} has processes of type {', '.join(unknown)}; synchronous training uses only worker and chief"
        )
    addresses = [address for job in JOBS for address in cluster.get(job, [])]
    check_addresses(addresses, source=VARIABLE)
    num_chiefs = len(cluster.get("chief", []))
    if num_chiefs > 1:
        raise UsageError(f"{VARIABLE} has {num_chiefs} chiefs; list at most one, and the others as worker")
    job, index = task.get("type"), task.get("index")
    count = len(cluster.get(job, [])) if job in JOBS else 0
    if str(index) not in map(str, range(count)):  # some operators write the index as text
        raise UsageError(
            f"{VARIABLE}: task={task!r} is not in the cluster "
            f"({', '.join(f'{len(cluster[j])} {j}' for j in JOBS if j in cluster)}); give its type and index"
        )
    if len(addresses) == 1:
        return None
    return Cluster(tuple(addresses), group=int(index) + (num_chiefs if job == "worker" else 0))


def check_addresses(addresses: Sequence[str], *, source: str) -> None:
    """Checks that every address is a valid `host:port`, and that they differ.

    Args:
        addresses: Those of all groups.
        source: The flag or variable that lists them, for the error.

    Raises:
        UsageError: An address is invalid or listed twice.
    """
    for address in addresses:
        match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
        if match is None or not 1 <= int(match[1]) <= 65535:
            raise UsageError(f"{source}: {address!r} is not a valid host:port, as in 10.0.0.1:7000")
    if len(set(addresses)) != len(addresses):
        duplicate = next(a for a in addresses if addresses.count(a) > 1)
        raise UsageError(f"{source}: {duplicate} is used by two groups; give every group its own port")


def to_json(addresses: Sequence[str], *, group: int) -> str:
    """Returns the TF_CONFIG of one group of a job with these `host:port`, in which all processes are workers."""
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": group}})
