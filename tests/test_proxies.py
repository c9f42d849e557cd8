"""The hosts of a job are reached without the environment's HTTP proxy; `test_groups.py` trains behind one."""

import pytest

from hazeheal.distributed.proxies import bypass_proxies
from hazeheal.distributed.tf_config import Cluster

CLUSTER = Cluster(("node1:7710", "node1:7711", "10.0.0.2:7710", "[fe80::1]:7710"), group=0)
HOSTS = "node1,10.0.0.2,fe80::1"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, HOSTS),
        ({"no_proxy": "localhost, .cluster"}, f"localhost,.cluster,{HOSTS}"),
        # gRPC ignores no_proxy if no_grpc_proxy is set, even to nothing.
        ({"no_proxy": "localhost", "no_grpc_proxy": "other"}, f"other,{HOSTS}"),
        ({"no_proxy": "localhost", "no_grpc_proxy": ""}, HOSTS),
        ({"no_grpc_proxy": "node1"}, HOSTS),
    ],
)
def test_hosts_are_added_to_those_without_proxy(before, after):
    environ = dict(before)
    bypass_proxies(CLUSTER, environ)
    assert environ == before | {"no_grpc_proxy": after}


def test_a_second_call_changes_nothing():
    environ = {"http_proxy": "http://proxy:3128"}
    bypass_proxies(CLUSTER, environ)
    once = dict(environ)
    bypass_proxies(CLUSTER, environ)
    assert environ == once
