"""Two launchers as two hosts, with real trainings: an error that the user must act on ends both."""

import shutil
import socket

import jobs
import processes
import pytest

from hazeheal.distributed import rendezvous


@pytest.fixture
def host():
    """Returns host(index, data, run, *more), which starts the launcher of one of two hosts."""
    addresses = [f"127.0.0.1:{port}" for port in jobs.placement.free_ports(2)]

    def start(index, data, run, *more):
        flags = [f"--hosts={','.join(addresses)}", f"--index={index}", *more]
        process = jobs.launch(data, run, *flags, groups=1)
        process.waits = lambda: rendezvous.connection_problem(addresses[index]) is None
        return process

    return start


def ended(process, code):
    """Waits for a launcher, which must exit with `code`; returns the lines of its stderr."""
    got, _, err = processes.finish(process)
    assert got == code, err
    assert "Traceback" not in err
    assert "; restarting " not in err
    return err.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_an_error_on_one_host_is_reported_by_the_other(data, tmp_path, host, index):
    """A shard is missing on its disk, and no directory is shared. Group 0 is TensorFlow's leader."""
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    (shard,) = copy.glob("*-train.tfrecord-*")
    shard.unlink()
    failing, other = host(index, copy, tmp_path / "a"), host(1 - index, data, tmp_path / "b")
    own = ended(failing, 1)[-1]
    assert own.startswith("hazeheal train: error: ") and str(shard) in own
    words = own.removeprefix("hazeheal train: error: ")
    assert ended(other, 1)[-1] == f"hazeheal train: error: group {index} ended with an error: {words}"


@pytest.mark.slow
def test_an_error_before_the_groups_are_connected_ends_both(data, tmp_path, host):
    """It cannot be reported over the network yet; the launchers write notes to the workdir."""
    first = host(0, data, tmp_path / "run")
    processes.wait_for(first.waits, first)
    second = host(1, data, tmp_path / "run", "--config.train.steps=x")
    assert ended(second, 2) == ["hazeheal train: error: --config.train.steps=x is not an integer"]
    assert ended(first, 2)[-1] == (
        f"launcher: group_01 on {socket.gethostname()} ended with an error (code 2), which its host reports; "
        "stopping the job"
    )
