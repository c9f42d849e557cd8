"""TF_CONFIG: valid values, and the errors for invalid ones."""

import dataclasses
import json

import pytest

from hazeheal.distributed import tf_config
from hazeheal.errors import UsageError

TWO = {"worker": ["10.0.0.1:7000", "10.0.0.2:7000"]}


def read(config):
    text = config if isinstance(config, str) else json.dumps(config)
    return tf_config.from_environment({"TF_CONFIG": text})


def refusal(config):
    with pytest.raises(UsageError) as caught:
        read(config)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("TF_CONFIG")
    return message


def test_groups_on_one_host_are_counted():
    cluster = tf_config.Cluster(("a:1", "a:2", "b:1", "[::1]:1", "[::1]:2", "a:3"), group=1)
    counts = [dataclasses.replace(cluster, group=group).groups_on_host for group in range(6)]
    assert counts == [3, 3, 1, 2, 2, 3]


@pytest.mark.parametrize("environ", [{}, {"TF_CONFIG": ""}, {"TF_CONFIG": " \n"}, {"TF_CONFIG": "{}"}])
def test_without_a_cluster_a_process_trains_alone(environ):
    assert tf_config.from_environment(environ) is None


@pytest.mark.parametrize("nothing", [{}, None])
def test_an_empty_cluster_is_none(nothing):
    assert read({"cluster": nothing, "task": {"type": "worker", "index": 0}}) is None


@pytest.mark.parametrize("kind", ["worker", "chief"])
def test_one_process_trains_alone(kind):
    assert read({"cluster": {kind: ["h:7000"]}, "task": {"type": kind, "index": 0}}) is None


def test_the_environment_of_the_process_is_the_default(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert tf_config.from_environment() is None
    monkeypatch.setenv("TF_CONFIG", tf_config.to_json(["a:1", "b:2"], group=1))
    assert tf_config.from_environment() == tf_config.Cluster(("a:1", "b:2"), group=1)


@pytest.mark.parametrize("index", [0, 1, "0", "1"])
def test_the_index_of_a_worker_is_its_group(index):
    found = read({"cluster": TWO, "task": {"type": "worker", "index": index}, "environment": "cloud"})
    assert found == tf_config.Cluster(tuple(TWO["worker"]), group=int(index))
    assert found.num_groups == 2


@pytest.mark.parametrize(
    ("kind", "index", "group"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2), ("worker", "1", 2)]
)
def test_the_chief_is_group_0(kind, index, group):
    found = read({"cluster": {"worker": ["w0:1", "w1:1"], "chief": ["c:1"]}, "task": {"type": kind, "index": index}})
    assert found.addresses == ("c:1", "w0:1", "w1:1")
    assert found.group == group


def test_valid_addresses():
    addresses = ["[fe80::1]:7000", "[::1]:1", "10.0.0.1:65535", "node-1.example_x.org:7000", "nöde:7000"]
    found = read({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 4}})
    assert found.addresses == tuple(addresses)


@pytest.mark.parametrize(
    "text",
    [
        *("worker", '{"cluster":\n{"worker": ["a:1", "b:1"]}', "[" * 100_000, "[1, 2]", "null", '"a\\nb"'),
        *('{"cluster": ["a:1", "b:1"]}', '{"cluster": "a:1,b:1"}', '{"cluster": {"worker": null}}'),
        *('{"cluster": {"worker": ["a:1"]}, "task": "worker"}', '{"cluster": {}, "task": [0]}'),
    ],
)
def test_anything_but_an_object_of_objects_is_refused(text):
    assert refusal(text) == (
        f"TF_CONFIG={text!r} must be a JSON object with the objects `cluster` and `task`; unset it to train in one process"
    )


@pytest.mark.parametrize(
    ("cluster_", "part"),
    [
        (TWO | {"ps": ["p:1"], "evaluator": ["e:1"]}, "has processes of type evaluator, ps;"),
        ({"worker": "a:1"}, "'a' is not a valid host:port"),
        ({"worker": {"0": "a:1"}}, "'0' is not a valid host:port"),
        ({"worker": ["a:1", "b:1", "a:1"]}, "a:1 is used by two groups; give every group its own port"),
        ({"chief": ["a:1"], "worker": ["a:1"]}, "a:1 is used by two groups"),
        ({"chief": ["a:1", "b:1"]}, "has 2 chiefs; list at most one"),
    ],
)
def test_an_invalid_cluster_is_refused(cluster_, part):
    assert part in refusal({"cluster": cluster_, "task": {"type": "worker", "index": 0}})


@pytest.mark.parametrize(
    "address",
    [
        *("", "a", "a:", ":7000", "a:b", "a:0", "a:65536", "a:123456", "a:-1", "a:7000:1", "fe80::1:7000"),
        *("a b:7000", "grpc://a:7000", "[g]:7000", "a:7000\n", "a,b:7000", "a:７０００", "a: 7000"),
        *(7000, None, ["a:1"], True),
    ],
)
def test_an_invalid_address_is_refused(address):
    message = refusal({"cluster": {"worker": ["b:1", address]}, "task": {"type": "worker", "index": 0}})
    assert message == f"TF_CONFIG: {address!r} is not a valid host:port, as in 10.0.0.1:7000"


@pytest.mark.parametrize(
    "task",
    [
        *(
            {},
            {"type": "worker"},
            {"index": 0},
            {"type": "chief", "index": 0},
            {"type": ["worker"], "index": 0},
        ),
        *({"type": "worker", "index": index} for index in (2, -1, "2", "-1", "x", "", 0.0, True, None, [0])),
        *({"type": kind, "index": 0} for kind in ("evaluator", "Worker", None, 0)),
    ],
)
def test_a_task_outside_the_cluster_is_refused(task):
    message = refusal({"cluster": TWO, "task": task})
    assert message == (f"TF_CONFIG: task={task!r} is not in the cluster (2 worker); give its type and index")


def test_the_error_counts_the_processes():
    config = {"cluster": {"worker": ["b:1", "c:1"], "chief": ["a:1"]}, "task": {"type": "chief", "index": 1}}
    assert "(1 chief, 2 worker)" in refusal(config)
    assert "(0 worker)" in refusal({"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}})


def test_a_task_is_required_for_one_process_too():
    assert "task={} is not in the cluster" in refusal({"cluster": {"worker": ["a:1"]}})


@pytest.mark.parametrize("count", [2, 3, 12])
def test_round_trip(count):
    addresses = [f"node{i}:7000" for i in range(count - 1)] + ["[::1]:7000"]
    for group in range(count):
        text = tf_config.to_json(addresses, group=group)
        found = read(text)
        assert (found.addresses, found.group, found.num_groups) == (tuple(addresses), group, count)
    # All processes have the same `cluster`.
    assert json.loads(text)["cluster"] == json.loads(tf_config.to_json(addresses, group=0))["cluster"]


def test_addresses_may_be_a_tuple():
    assert tf_config.to_json(("a:1", "b:1"), group=0) == tf_config.to_json(["a:1", "b:1"], group=0)
