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


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The replica groups of one job.

    Attributes:
        addresses: `host:port` of every group, in the order of their numbers.
        group: Number of this process's group, from 0.
        job: TensorFlow's name for this kind of process, `worker` or `chief`.
        task: Index of this process among those of its job.
    """

    addresses: tuple[str, ...]
    group: int
    job: str = "worker"
    task: int = 0

    @property
    def num_groups(self) -> int:
        """The number of replica groups."""
        return len(self.addresses)


def from_environment(environ: Mapping[str, str] | None = None) -> Cluster | None:
    """Reads TF_CONFIG.

    Args:
        environ: The environment variables; by default those of this process.

    Returns:
        The cluster, or None if this process trains alone: TF_CONFIG is not set, or lists one process.

    Raises:
        UsageError: TF_CONFIG is invalid.
    """
    text = (os.environ if environ is None else environ).get(VARIABLE, "").strip()
    if not text:
        return None
    cluster, task = _parse(text)
    if not cluster:
        return None
    unknown = sorted(set(cluster) - set(JOBS))
    if unknown:
        raise UsageError(
            f"{VARIABLE} has processes of type {', '.join(unknown)}; synchronous training uses only worker and chief"
        )
    addresses = []
    for job in JOBS:
        job_addresses = cluster.get(job, [])
        if not isinstance(job_addresses, list):
            raise UsageError(f"{VARIABLE}: cluster.{job}={job_addresses!r} must be a list of host:port")
        addresses += [_check_address(address) for address in job_addresses]
    if len(set(addresses)) != len(addresses):
        duplicate = next(a for a in addresses if addresses.count(a) > 1)
        raise UsageError(f"{VARIABLE} lists {duplicate} twice; give every process its own port")
    chiefs = len(cluster.get("chief", []))
    if chiefs > 1:
        raise UsageError(f"{VARIABLE} has {chiefs} chiefs; list at most one, and the others as worker")
    job, index = task.get("type"), task.get("index")
    count = len(cluster.get(job, [])) if isinstance(job, str) else 0
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    if type(index) is not int or not 0 <= index < count:
        raise UsageError(
            f"{VARIABLE}: task={task!r} is not in the cluster "
            f"({', '.join(f'{len(cluster[j])} {j}' for j in JOBS if j in cluster)}); give its type and index"
        )
    if len(addresses) == 1:
        return None
    return Cluster(tuple(addresses), group=index + (chiefs if job == "worker" else 0), job=job, task=index)


def to_json(addresses: Sequence[str], *, group: int) -> str:
    """Returns the TF_CONFIG of one group of a job in which all processes are workers.

    Args:
        addresses: `host:port` of every group, in the order of their numbers.
        group: Number of the group that the text is for.
    """
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": group}})


def _parse(text: str) -> tuple[dict, dict]:
    """Returns the objects `cluster` and `task`."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{VARIABLE}={text!r} is not valid JSON ({error}); unset it to train in one process"
        ) from None
    if not isinstance(config, dict):
        raise UsageError(
            f"{VARIABLE}={text!r} must be an object with `cluster` and `task`; unset it to train in one process"
        )
    cluster, task = config.get("cluster") or {}, config.get("task") or {}
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise UsageError(f"{VARIABLE}: `cluster` and `task` must be objects, got {text!r}")
    return cluster, task


def _check_address(address) -> str:
    match = re.fullmatch(
        r"(?:[^\s:/,\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", address if isinstance(address, str) else ""
    )
    if match is None or not 1 <= int(match[1]) <= 65535:
        raise UsageError(f"{VARIABLE}: {address!r} is not a valid host:port, as in 10.0.0.1:7000")
    return address
