"""Groups that wait for each other: missing groups are reported, and signals are handled meanwhile."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from hazeheal.distributed import placement, rendezvous, tf_config
from hazeheal.errors import HazeHealError

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATIENCE = 60


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(rendezvous, "PAUSE_SECONDS", 0.02)


@pytest.fixture
def addresses():
    return [f"127.0.0.1:{port}" for port in placement.free_ports(3)]


class Waiting(threading.Thread):
    """A group that waits for the others in a thread, and then listens, as TensorFlow does.

    Attributes:
        lines: The reported lines.
        is_through: Whether all groups were found.
    """

    def __init__(self, addresses, group):
        super().__init__(daemon=True)
        self.cluster = tf_config.Cluster(tuple(addresses), group=group)
        self.lines, self.is_through = [], False
        self.start()

    def run(self):
        rendezvous.wait_for_groups(self.cluster, report=self.lines.append)
        self.server = listening(self.cluster.addresses[self.cluster.group])
        self.is_through = True

    def met(self):
        self.join(PATIENCE)
        return self.is_through


def listening(address):
    return socket.create_server(("", int(address.rpartition(":")[2])))


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)


def answers(address):
    return rendezvous.connection_problem(address) is None


def test_all_wait_for_the_last_group_and_report_it(addresses, monkeypatch):
    monkeypatch.setattr(rendezvous, "REMIND_SECONDS", 0.1)
    two = [Waiting(addresses, group) for group in (0, 1)]
    for one in two:
        wait_for(lambda one=one: any(addresses[2] in line and addresses[0] not in line[20:] for line in one.lines))
    for group, one in enumerate(two):
        assert not one.is_through
        assert one.lines[-1] == (
            f"group {group} at {addresses[group]}: still waiting for {addresses[2]} (Connection refused)"
        )
    last = Waiting(addresses, 2)
    assert all(one.met() for one in (*two, last))
    assert last.lines == []


def test_a_restarted_group_finds_the_others(addresses):
    """TensorFlow of the other groups listens at the same addresses."""
    servers = [listening(address) for address in addresses[1:]]
    try:
        assert Waiting(addresses, 0).met()
    finally:
        for server in servers:
            server.close()


def test_a_group_that_answered_once_is_not_awaited_again(addresses):
    """It has continued, and its TensorFlow does not listen yet."""
    first = Waiting(addresses, 0)
    wait_for(lambda: answers(addresses[0]))
    with listening(addresses[1]) as second:
        second.accept()[0].close()
    wait_for(lambda: not answers(addresses[1]))
    assert not first.is_through
    with listening(addresses[2]):
        assert first.met()


def test_many_connections_do_not_fill_the_queue(addresses):
    """More than the system's queue holds, as when the others are restarted many times."""
    Waiting(addresses, 0)
    wait_for(lambda: answers(addresses[0]))
    for _ in range(600):
        assert answers(addresses[0])


def test_many_missing_groups_are_counted(monkeypatch):
    monkeypatch.setattr(rendezvous, "REMIND_SECONDS", 0.05)
    one = Waiting([f"127.0.0.1:{port}" for port in placement.free_ports(6)], 2)
    wait_for(lambda: one.lines)
    assert one.lines[0].count("Connection refused") == 3
    assert one.lines[0].endswith(", ...")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("no-such-host.invalid:7000", "ame"),  # "Name or service not known", depending on the system
        (f"{'a' * 70}.example:7000", "invalid host name"),
        ("[::1]:1", ""),
    ],
)
def test_connection_problems(address, words):
    assert words in rendezvous.connection_problem(address)


def test_a_connection_that_times_out(monkeypatch):
    def late(*_, **__):
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", late)
    assert rendezvous.connection_problem("10.255.255.1:7000") == "no answer"


def test_a_port_in_use_is_reported(addresses, monkeypatch):
    monkeypatch.setattr(rendezvous, "PORT_SECONDS", 0.1)
    port = int(addresses[0].rpartition(":")[2])
    with listening(addresses[0]), pytest.raises(HazeHealError) as caught:
        rendezvous.wait_for_groups(tf_config.Cluster(tuple(addresses), group=0))
    assert str(caught.value) == (
        f"{addresses[0]}, the address of this group: port {port} cannot be used: Address already in use; stop the "
        "program that uses it, or set another port with --hosts"
    )


def test_a_busy_port_is_retried(addresses):
    with listening(addresses[0]):
        one = Waiting(addresses[:2], 0)
        time.sleep(0.1)
        assert one.is_alive()
    other = Waiting(addresses[:2], 1)
    assert one.met() and other.met()


@pytest.mark.slow
def test_signals_are_handled_while_a_training_waits(addresses, tmp_path):
    """Two of three groups get SIGTERM and SIGINT: they exit at once, with one line, and write nothing."""
    processes = []
    for group in (0, 1):
        variables = {"TF_CONFIG": tf_config.to_json(addresses, group=group), "CUDA_VISIBLE_DEVICES": "-1"}
        flags = [f"--data_dir={tmp_path}", f"--workdir={tmp_path / 'run'}", "--cpu_replicas=1"]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "hazeheal", "train", "--config=quickstart", *flags],
                cwd=ROOT,
                env=os.environ | variables | {"TF_CPP_MIN_LOG_LEVEL": "3"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    wanted = [("SIGTERM", 75), ("SIGINT", 130)]
    try:
        for address, process in zip(addresses, processes, strict=False):
            wait_for(lambda a=address, p=process: answers(a) or p.poll() is not None)
        for process, (name, code) in zip(processes, wanted, strict=True):
            process.send_signal(signal.Signals[name])
            out, err = process.communicate(timeout=20)
            assert (process.returncode, out) == (code, ""), err
            assert err.splitlines()[-1] == (
                f"hazeheal train: stopped by {name} with nothing to save; rerun the command to resume"
            )
            assert "waiting for the other groups" in err
            assert "Traceback" not in err
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert not (tmp_path / "run").exists()
