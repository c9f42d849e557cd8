"""Placement: devices and addresses of the groups of a host, and invalid arguments."""

import json
import os
import re
import socket
import stat

import pytest

from hazeheal.distributed import placement, tf_config
from hazeheal.errors import UsageError


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine with 8 cores and no GPU; returns a function that sets the output of nvidia-smi."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "TF_NUM_INTRAOP_THREADS", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def say(text, code=0):
        tool = tmp_path / "nvidia-smi"
        rest = ", NVIDIA H100, 550.1, 81559"
        text = "\n".join(f"{line}{rest if line.strip().isdecimal() else ''}" for line in text.splitlines())
        tool.write_text(f"#!/bin/sh\ncat <<'TEXT'\n{text}\nTEXT\nexit {code}\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)

    say("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", code=9)
    return say


def refusal(**arguments):
    with pytest.raises(UsageError) as caught:
        placement.choose_placement(**arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def environments(found):
    """The environment variables of each of this host's groups."""
    addresses = found.addresses()
    return [found.environment(i, addresses) for i in range(len(found.groups))]


def configs_of(environments):
    return [json.loads(e["TF_CONFIG"]) for e in environments]


def test_one_group_needs_no_settings():
    found = placement.choose_placement()
    assert found.is_single
    assert found.groups == (0,)
    assert found.flags() == []
    assert environments(found) == [{}]


def test_one_group_gets_all_gpus_explicitly(machine):
    """Otherwise TensorFlow without CUDA would silently use the CPU."""
    machine("0\n1")
    found = placement.choose_placement()
    assert found.flags() == ["--gpus=0,1"]
    assert environments(found) == [{"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}]


@pytest.mark.parametrize("groups", [1, 2])
def test_all_gpus_are_the_visible_ones(monkeypatch, machine, groups):
    machine("0\n1\n2\n3")
    assert placement.choose_placement(groups=groups, gpus="all") == placement.choose_placement(
        groups=groups, gpus=[0, 1, 2, 3]
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert placement.choose_placement(groups=groups, gpus="all") == placement.choose_placement(
        groups=groups, gpus=[0, 1]
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "NoDevFiles")
    assert refusal(groups=groups, gpus="all").startswith(
        "--gpus=all: CUDA_VISIBLE_DEVICES=NoDevFiles lists no GPU; check the driver"
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    machine("")
    assert "nvidia-smi lists no GPU" in refusal(groups=groups, gpus="all")


def test_one_group_may_use_several_cpu_replicas(machine):
    machine("0\n1")
    found = placement.choose_placement(cpu_replicas=4)
    assert found.flags() == ["--cpu_replicas=4"]
    assert environments(found) == [{}]


def test_one_host_with_one_group_is_a_single_group():
    found = placement.choose_placement(hosts="h1:7000", index=0)
    assert found.is_single
    assert (found.flags(), environments(found)) == ([], [{}])


@pytest.mark.parametrize("cpu_replicas", [None, 2])
def test_groups_without_gpus_use_one_cpu_replica_each(cpu_replicas):
    found = placement.choose_placement(groups=2, cpu_replicas=cpu_replicas)
    assert not found.is_single
    assert found.groups == (0, 1)
    assert found.flags() == ["--cpu_replicas=1"]
    set_for = environments(found)
    for one in set_for:
        assert sorted(one) == ["CUDA_VISIBLE_DEVICES", "TF_CONFIG", "TF_NUM_INTRAOP_THREADS"]
        assert (one["CUDA_VISIBLE_DEVICES"], one["TF_NUM_INTRAOP_THREADS"]) == ("-1", "4")
    configs = configs_of(set_for)
    assert [c["task"] for c in configs] == [{"type": "worker", "index": 0}, {"type": "worker", "index": 1}]
    assert configs[0]["cluster"] == configs[1]["cluster"]
    found = [tf_config.from_environment(one) for one in set_for]
    assert [c.group for c in found] == [0, 1]
    assert all(a.startswith("127.0.0.1:") for c in found for a in c.addresses)


def test_cpu_groups_do_not_use_gpus(machine):
    machine("0\n1")
    found = placement.choose_placement(groups=2, cpu_replicas=2)
    assert found.gpus == ()
    assert [e["CUDA_VISIBLE_DEVICES"] for e in environments(found)] == ["-1", "-1"]


def test_more_groups_than_cores_get_one_thread_each():
    assert environments(placement.choose_placement(groups=9))[8]["TF_NUM_INTRAOP_THREADS"] == "1"


def test_without_cpu_affinity_all_cores_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert environments(placement.choose_placement(groups=2))[0]["TF_NUM_INTRAOP_THREADS"] == "3"


def test_the_users_thread_setting_is_kept(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    assert "TF_NUM_INTRAOP_THREADS" not in environments(placement.choose_placement(groups=2))[0]


@pytest.mark.parametrize(("groups", "shares"), [(1, ["3,1,2,0"]), (2, ["3,1", "2,0"]), (4, ["3", "1", "2", "0"])])
def test_visible_gpus_are_divided_in_order(monkeypatch, groups, shares):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1, 2,0")
    found = placement.choose_placement(groups=groups, hosts="a,b", index=1)
    set_for = environments(found)
    assert [e["CUDA_VISIBLE_DEVICES"] for e in set_for] == shares
    # TensorFlow counts the visible GPUs.
    assert found.flags() == [f"--gpus={','.join(map(str, range(4 // groups)))}"]
    assert all(sorted(e) == ["CUDA_VISIBLE_DEVICES", "TF_CONFIG"] for e in set_for)


def test_gpus_may_be_given_by_uuid(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937-d72c,MIG-1f2e-3,GPU-1,GPU-2")
    shares = [e["CUDA_VISIBLE_DEVICES"] for e in environments(placement.choose_placement(groups=2))]
    assert shares == ["GPU-8932f937-d72c,MIG-1f2e-3", "GPU-1,GPU-2"]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        *[("", []), ("-1", []), ("NoDevFiles", []), ("void", []), (" ", [])],
        *[("0", ["0"]), ("2,0", ["2", "0"]), ("0,-1,1", ["0"]), ("0,1,x,2", ["0", "1"]), ("0,,1", ["0"])],
    ],
)
def test_visible_gpus_follow_cudas_rules(monkeypatch, machine, visible, names):
    machine("0\n1\n2\n3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert placement.visible_gpus() == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0\n1\n10", ["0", "1", "10"]),
        (" 0 \n1 ", ["0", "1"]),
        ("", []),
        ("No devices were found", []),
        ("Unable to determine the device handle for GPU 0 : Unknown Error 999\n1", ["1"]),
    ],
)
def test_nvidia_smi_lists_the_gpus(machine, text, names):
    machine(text, code=9)
    assert placement.visible_gpus() == names


def test_without_nvidia_smi_device_files_are_counted(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    listed = ["nvidia1", "null", "nvidia-uvm", "nvidiactl", "nvidia0", "nvidia-caps", "xnvidia2"]
    monkeypatch.setattr(os, "listdir", lambda path: listed if path == "/dev" else [])
    assert placement.visible_gpus() == ["0", "1"]
    listed.clear()
    assert placement.visible_gpus() == []


def test_gpus_keep_the_numbers_of_nvidia_smi(machine):
    machine("0\n1\n2\n3")
    set_for = environments(placement.choose_placement(groups=2))
    assert [e["CUDA_VISIBLE_DEVICES"] for e in set_for] == ["0,1", "2,3"]
    assert [e["CUDA_DEVICE_ORDER"] for e in set_for] == ["PCI_BUS_ID"] * 2


@pytest.mark.parametrize("name", ["CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"])
def test_the_users_gpu_order_is_kept(monkeypatch, machine, name):
    machine("0\n1")
    monkeypatch.setenv(name, "0,1" if name == "CUDA_VISIBLE_DEVICES" else "FASTEST_FIRST")
    assert all("CUDA_DEVICE_ORDER" not in e for e in environments(placement.choose_placement(groups=2)))


def test_selected_gpus_are_divided(machine):
    machine("0\n1\n2\n3")
    set_for = environments(placement.choose_placement(groups=2, gpus=[3, 1]))
    assert [e["CUDA_VISIBLE_DEVICES"] for e in set_for] == ["3", "1"]


def test_one_group_gets_the_selected_gpus_explicitly(machine):
    machine("0\n1\n2\n3")
    found = placement.choose_placement(gpus=[3, 1])
    assert found.flags() == ["--gpus=0,1"]
    assert environments(found) == [{"CUDA_VISIBLE_DEVICES": "3,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}]


def test_gpu_numbers_count_within_the_visible_ones(monkeypatch):
    """If a scheduler assigns GPUs 4 and 6, number 1 is GPU 6 and not GPU 1 of the machine."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert placement.choose_placement(gpus=[1]).gpus == (("6",),)
    assert refusal(gpus=[0, 4]) == "--gpus=0,4: GPU 4 does not exist; CUDA_VISIBLE_DEVICES=4,6 has 0, 1"


def test_missing_gpus_are_refused(machine):
    machine("0\n1")
    assert refusal(gpus=[0, 7]) == "--gpus=0,7: GPU 7 does not exist; nvidia-smi has 0, 1"
    assert refusal(gpus=[1, 1]) == "--gpus=1,1 lists a GPU twice; list each GPU once"


def test_unknown_gpus_are_checked_by_the_training():
    found = placement.choose_placement(gpus=[0, 1])
    assert environments(found)[0]["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert found.flags() == ["--gpus=0,1"]


@pytest.mark.parametrize(("groups", "use"), [(4, "1 or 2 or 3 or 6"), (12, "1 or 2 or 3 or 6")])
def test_gpus_that_do_not_divide_evenly_are_refused(machine, groups, use):
    machine("0\n1\n2\n3\n4\n5")
    assert refusal(groups=groups) == (f"--groups={groups}: 6 GPUs cannot be divided evenly; use {use}")


def test_a_gpu_is_not_shared(machine):
    machine("0\n1")
    assert refusal(groups=2, gpus=[1]) == "--groups=2: 1 GPUs cannot be divided evenly; use 1"


@pytest.mark.parametrize("count", [1, 3])
def test_cpu_replicas_must_equal_the_number_of_groups(count):
    message = refusal(groups=2, cpu_replicas=count)
    assert message.startswith(f"--cpu_replicas={count} and --groups=2: ")
    assert message.endswith(f"use --cpu_replicas=2, the number in all groups, or --groups={count}")
    assert "--cpu_replicas=3 and --groups=1" in refusal(groups=1, cpu_replicas=3, hosts="a,b", index=0)


@pytest.mark.parametrize(("index", "expected"), [(0, (0, 1)), (1, (2, 3)), (2, (4, 5))])
def test_groups_are_numbered_over_all_hosts(index, expected):
    found = placement.choose_placement(groups=2, hosts="h1:7000,h2,[fe80::1]:9000", index=index)
    assert found.groups == expected
    addresses = [
        *("h1:7000", "h1:7001", "h2:7710", "h2:7711"),
        *("[fe80::1]:9000", "[fe80::1]:9001"),
    ]
    assert found.addresses() == addresses
    clusters = [tf_config.from_environment(e) for e in environments(found)]
    assert [c.group for c in clusters] == list(expected)
    assert all(c.addresses == tuple(addresses) for c in clusters)


def test_every_host_computes_the_same_addresses():
    found = [placement.choose_placement(hosts="h1, h2", index=i) for i in (0, 1)]
    assert found[0].addresses() == found[1].addresses() == found[0].addresses() == ["h1:7710", "h2:7710"]
    assert found[0].flags() == ["--cpu_replicas=1"]


def test_one_host_may_be_listed_with_several_ports():
    assert placement.choose_placement(groups=2, hosts="h:7000,h:7002", index=1).groups == (2, 3)


@pytest.mark.parametrize(
    ("groups", "hosts", "message"),
    [
        (1, "h,h", "h:7710 is used by two groups; give every group its own port"),
        (2, "h:7000,h:7001", "h:7001 is used by two groups; give every group its own port"),
        (4, "h:7003,g,h:7000", "h:7003 is used by two groups; give every group its own port"),
        (1, "h:0,g", "'h:0' is not a valid host:port, as in 10.0.0.1:7000"),
        (1, "h:65536,g", "'h:65536' is not a valid host:port, as in 10.0.0.1:7000"),
        (3, "g,h:65534", "'h:65536' is not a valid host:port, as in 10.0.0.1:7000"),
    ],
)
def test_invalid_ports_are_refused(groups, hosts, message):
    assert refusal(groups=groups, hosts=hosts, index=0) == f"--hosts: {message}"


@pytest.mark.parametrize(
    ("hosts", "entry"),
    [
        *[("", ""), ("h1,", ""), ("h1,,h2", ""), ("h1:", "h1:"), (":7000,h", ":7000"), ("h1 h2", "h1 h2")],
        *[("h:x,g", "h:x"), ("ssh://h,g", "ssh://h"), ("fe80::1,g", "fe80::1"), ("h:７,g", "h:７")],
        *[("h:123456,g", "h:123456"), ("h:-1,g", "h:-1"), ("[h],g", "[h]")],
    ],
)
def test_an_invalid_host_is_refused(hosts, entry):
    address = entry if re.search(":[0-9]{1,5}$", entry) else f"{entry}:7710"
    assert refusal(hosts=hosts, index=0) == f"--hosts: {address!r} is not a valid host:port, as in 10.0.0.1:7000"


@pytest.mark.parametrize("index", [2, 5, -1])
def test_an_index_outside_the_hosts_is_refused(index):
    assert refusal(hosts="a,b", index=index) == f"--index={index} must be 0 to 1, as there are 2 hosts"


@pytest.mark.parametrize("arguments", [{"hosts": "a,b"}, {"index": 0}])
def test_hosts_and_index_must_be_given_together(arguments):
    assert refusal(**arguments) == "--hosts and --index must be given together; one is missing"


def test_free_ports_are_distinct_and_free():
    ports = placement.free_ports(50)
    assert len(set(ports)) == 50
    for port in ports:
        with socket.socket() as one:
            one.bind(("", port))  # on all addresses, as TensorFlow listens
            one.listen()


def test_a_port_in_use_at_any_address_is_not_free(monkeypatch):
    """Many ports are requested; none may be in use at another address."""
    taken = [socket.socket() for _ in range(20)]
    try:
        for one in taken:
            one.bind(("127.0.0.2", 0))
            one.listen()
        assert not {one.getsockname()[1] for one in taken} & set(placement.free_ports(500))
    finally:
        for one in taken:
            one.close()


def test_a_job_on_one_host_gets_new_ports_each_time():
    """The previous processes may still hold theirs."""
    found = placement.choose_placement(groups=2)
    first = found.addresses()
    held = []
    try:
        for address in first:
            held.append(socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))))
        assert not set(first) & set(found.addresses())
    finally:
        for one in held:
            one.close()
