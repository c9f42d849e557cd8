"""Two conversions into one directory: the second waits, names the first, and uses its data set."""

import errno
import fcntl
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from hazeheal.data.synthesis import synthetic_pairs
from tfrecords_tools import output_lock
from tfrecords_tools.__main__ import main
from tfrecords_tools.convert import command as conversion

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATIENCE = 60
ME = f"process {os.getpid()} on {socket.gethostname()}"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    synthetic_pairs.write_dataset(folder, pairs=4, size=20, progress=False)
    return folder


def arguments(images, output, *more):
    folders = [f"--hazy_dir={images}/hazy", f"--gt_dir={images}/GT", f"--output_dir={output}"]
    return ["convert", *folders, "--name=set", "--workers=1", "--num_shards=1", *more]


class Conversion(threading.Thread):
    """`hazeheal-tfrecords convert` in a thread; `code` is its exit code after it has ended."""

    def __init__(self, argv):
        super().__init__(daemon=True)
        self.argv, self.code = argv, None
        self.start()

    def run(self):
        self.code = main(self.argv)

    def end(self):
        self.join(PATIENCE)
        return self.code


@pytest.fixture
def blocked(monkeypatch):
    """Blocks the first shard. Yields (event: it has started, event that releases it, exceptions for it to raise)."""
    started, release, raises, write = threading.Event(), threading.Event(), [], conversion.write_shard

    def slowly(spec, progress=None):
        if not started.is_set():
            started.set()
            assert release.wait(PATIENCE)
            for error in raises:
                raise error
        return write(spec, progress)

    monkeypatch.setattr(conversion, "write_shard", slowly)
    yield started, release, raises
    release.set()


@pytest.fixture
def reported(monkeypatch):
    """The reported lines about the lock."""
    lines = []
    monkeypatch.setattr(output_lock, "_report", lines.append)
    return lines


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_second_waits_and_finds_the_data_set_complete(images, tmp_path, blocked, reported, capsys):
    started, release, _ = blocked
    output = tmp_path / "new" / "out"
    first = Conversion(arguments(images, output))
    assert started.wait(PATIENCE)
    second = Conversion(arguments(images, output))
    wait_for(lambda: reported)
    assert reported == [f"{output} is being written by {ME}: waiting for it to finish"]
    assert second.is_alive()
    release.set()
    assert (first.end(), second.end()) == (0, 0)
    out = capsys.readouterr().out
    assert out.count("wrote 4 records") == 1
    assert out.count(f"{output} is complete; nothing to do") == 1
    assert not [name for name in names(output) if name.startswith(".")]


def test_the_second_resumes_if_the_first_is_interrupted(images, tmp_path, blocked, reported):
    started, release, raises = blocked
    raises.append(KeyboardInterrupt())
    first = Conversion(arguments(images, tmp_path / "out"))
    assert started.wait(PATIENCE)
    second, third = (Conversion(arguments(images, tmp_path / "out")) for _ in range(2))
    wait_for(lambda: len(reported) == 2)
    release.set()
    assert (first.end(), second.end(), third.end()) == (130, 0, 0)
    assert output_lock.LOCK not in names(tmp_path / "out")


def test_a_second_with_other_options_is_refused_when_the_first_has_finished(
    images, tmp_path, blocked, reported, capsys
):
    started, release, _ = blocked
    first = Conversion(arguments(images, tmp_path / "out"))
    assert started.wait(PATIENCE)
    second = Conversion(arguments(images, tmp_path / "out", "--seed=5"))
    wait_for(lambda: reported)
    release.set()
    assert (first.end(), second.end()) == (0, 2)
    assert "a data set with other options (seed=0 there, 5 now)" in capsys.readouterr().err


HOLDER = """
import pathlib, sys, time
from tfrecords_tools import output_lock
with output_lock.lock_output_dir(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path/out."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "out")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_lock_of_a_dead_process_blocks_nobody(images, tmp_path, holder, reported):
    second = Conversion(arguments(images, tmp_path / "out"))
    wait_for(lambda: reported)
    assert f"process {holder.pid} on {socket.gethostname()}:" in reported[0]
    holder.kill()
    assert second.end() == 0
    (tmp_path / "out" / output_lock.LOCK).write_text("process 1 on a host that crashed")
    assert main(arguments(images, tmp_path / "out")) == 0
    assert len(reported) == 1
    assert output_lock.LOCK not in names(tmp_path / "out")


def test_ctrl_c_ends_only_the_waiting_conversion(images, tmp_path, holder):
    process = subprocess.Popen(
        [sys.executable, "-m", "tfrecords_tools", *arguments(images, tmp_path / "out")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert f"is being written by process {holder.pid} on" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err == "hazeheal-tfrecords: interrupted; rerun the command to resume\n"
    assert holder.poll() is None
    assert names(tmp_path / "out") == [output_lock.LOCK]


def test_a_file_system_without_locks_gives_a_warning(images, tmp_path, reported, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    assert main(arguments(images, tmp_path / "out")) == 0
    (line,) = reported
    assert line.startswith(f"{tmp_path / 'out'} cannot be locked (")
    assert line.endswith("); do not start a second conversion into it")
    assert output_lock.LOCK not in names(tmp_path / "out")
