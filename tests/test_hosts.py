"""Two launchers as two hosts, with real trainings: an error that a person must act on ends both."""

import shutil
import socket

import jobs
import pytest
import tiny


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return tiny.data_set(tmp_path_factory.getbasetemp())


@pytest.mark.slow
def test_an_error_on_one_host_ends_the_other(data, tmp_path):
    """The second host's disk has lost a shard: the first one loses it, and is told why instead of waiting for it."""
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    next(copy.glob("*-train.tfrecord-*")).unlink()
    hosts = ",".join(f"127.0.0.1:{port}" for port in jobs.placement.free_ports(2))
    first, second = (
        jobs.launch(where, tmp_path / "run", f"--hosts={hosts}", f"--index={index}", groups=1)
        for index, where in enumerate((data, copy))
    )
    code, _, err = jobs.finish(second)
    assert code == 1, err
    assert "Traceback" not in err
    code, _, err = jobs.finish(first)
    assert code == 1, err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == (
        f"launcher: group_01 on {socket.gethostname()} has ended with an error (code 1), which is told there; the job "
        "ends here too"
    )
    assert err.count(" again in ") <= 1
