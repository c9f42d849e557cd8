"""Keeps HTTP proxies out of the connections between the groups of a job.

gRPC, by which TensorFlow connects them, sends every connection through the proxy in `grpc_proxy`, `https_proxy` or
`http_proxy`, also one to this host. The groups would wait for each other forever. Only hosts in `no_grpc_proxy`, or in
`no_proxy` where that is not set, are reached directly. Nothing else in a job connects by HTTP: the rendezvous and NCCL
use sockets, and downloads keep their proxy.
"""

import os
from collections.abc import MutableMapping

from hazeheal.distributed.tf_config import Cluster

NO_GRPC_PROXY = "no_grpc_proxy"


def bypass_proxies(cluster: Cluster, environ: MutableMapping[str, str] = os.environ) -> None:
    """Adds the hosts of all groups to `no_grpc_proxy`. Call it before TensorFlow connects to them."""
    listed = environ.get(NO_GRPC_PROXY, environ.get("no_proxy", "")).split(",")
    hosts = [address.rpartition(":")[0].strip("[]") for address in cluster.addresses]
    environ[NO_GRPC_PROXY] = ",".join(dict.fromkeys(filter(None, [*map(str.strip, listed), *hosts])))
