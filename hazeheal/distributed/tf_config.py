"""Which processes train together, as TF_CONFIG says it; read and checked before TensorFlow starts.

    TF_CONFIG='{"cluster": {"worker": ["h1:7000", "h2:7000"]}, "task": {"type": "worker", "index": 0}}'

The launcher sets it, as do Kubernetes operators and schedulers; every process gets the same `cluster` and
its own `task`. One process is one replica group.
"""

import dataclasses
import json
import os
import re

from hazeheal.errors import UsageError

VARIABLE = "TF_CONFIG"
# In the order in which they are numbered: TensorFlow makes the first one the leader.
JOBS = ("chief", "worker")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The replica groups of one job.

    Attributes:
        addresses: `host:port` of every group, in the order of their numbers.
        group: Number of this process's group.
        job, task: What TensorFlow calls this process: `worker` and its index.
    """

    addresses: tuple
    group: int
    job: str = "worker"
    task: int = 0

    @property
    def num_groups(self) -> int:
        return len(self.addresses)


def from_environment(environ=None) -> Cluster | None:
    """Reads TF_CONFIG.

    Args:
        environ: The variables; by default those of this process.

    Returns:
        The cluster, or None where this process trains alone: no TF_CONFIG, or one that names one process.

    Raises:
        UsageError: TF_CONFIG cannot be meant; the message says what it must hold.
    """
    text = (os.environ if environ is None else environ).get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{VARIABLE}={text!r} is no JSON ({error}); unset it to train alone") from None
    if not isinstance(config, dict):
        raise UsageError(
            f"{VARIABLE}={text!r} is no object with `cluster` and `task`; unset it to train alone"
        )
    cluster, task = config.get("cluster") or {}, config.get("task") or {}
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise UsageError(f"{VARIABLE}: `cluster` and `task` must be objects, got {text!r}")
    if not cluster:
        return None
    unknown = sorted(set(cluster) - set(JOBS))
    if unknown:
        raise UsageError(
            f"{VARIABLE} has processes of kind {', '.join(unknown)}; synchronous training has only worker"
            " (and chief, the first of them)"
        )
    addresses = []
    for job in JOBS:
        named = cluster.get(job, [])
        if not isinstance(named, list):
            raise UsageError(f"{VARIABLE}: cluster.{job}={named!r} is no list of host:port")
        addresses += [_checked(address) for address in named]
    if len(set(addresses)) != len(addresses):
        twice = next(a for a in addresses if addresses.count(a) > 1)
        raise UsageError(f"{VARIABLE} names {twice} twice; every process needs a port of its own")
    if len(cluster.get("chief", [])) > 1:
        raise UsageError(
            f"{VARIABLE} has {len(cluster['chief'])} chiefs; one is the most, the others are worker"
        )
    job, index = task.get("type"), task.get("index")
    count = len(cluster.get(job, [])) if isinstance(job, str) else 0
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    if type(index) is not int or not 0 <= index < count:
        raise UsageError(
            f"{VARIABLE}: task={task!r} is none of the processes in cluster "
            f"({', '.join(f'{len(cluster[j])} {j}' for j in JOBS if j in cluster)}); give its type and index"
        )
    if len(addresses) == 1:
        return None
    before = len(cluster.get("chief", [])) if job == "worker" else 0
    return Cluster(tuple(addresses), group=before + index, job=job, task=index)


def to_json(addresses, *, group: int) -> str:
    """TF_CONFIG of group number `group`, all of them called worker."""
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": group}})


def _checked(address):
    match = re.fullmatch(
        r"(?:[^\s:/,\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", address if isinstance(address, str) else ""
    )
    if match is None or not 1 <= int(match[1]) <= 65535:
        raise UsageError(f"{VARIABLE}: {address!r} is no host:port, as in 10.0.0.1:7000")
    return address
