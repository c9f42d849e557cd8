"""Conversions that are killed, interrupted or run out of disk space resume and give the same bytes."""

import os
import pathlib
import resource
import signal
import sys
import time

import processes
import pytest
from converting import arguments, contents, convert, write_pairs

from hazeheal.errors import HazeHealError
from tfrecords_tools import pool
from tfrecords_tools.convert import output_dir

TESTS = pathlib.Path(__file__).parent


def start(source, output, *more, **options):
    command = [sys.executable, "-m", "tfrecords_tools", *arguments(source, output, *more)]
    return processes.start(*command, start_new_session=True, **options)


def wait_for_a_finished_shard(process, output):
    processes.wait_for(lambda: list(output.glob(".*.done.json")), process)


def alive(session):
    """Returns the running processes of a session, without zombies."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = path.parent.name, path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(rest[3]) == session and rest[0] not in "ZX":
            found.append(int(pid))
    return found


@pytest.fixture(scope="module")
def big_source(tmp_path_factory):
    """Pairs that take seconds to re-encode, so that a run can be stopped in the middle."""
    return write_pairs(tmp_path_factory.mktemp("big") / "set", scenes=12, versions=1, height=240, width=400)


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_killed_conversion_resumes_and_gives_the_same_bytes(big_source, tmp_path):
    flags = ("--num_shards=6", "--encoding=png")
    output, expected = tmp_path / "killed", tmp_path / "expected"
    process = start(big_source, output, *flags, "--workers=2")
    wait_for_a_finished_shard(process, output)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while alive(process.pid):
        assert time.monotonic() < deadline, f"workers outlive the conversion: {alive(process.pid)}"
        time.sleep(0.05)
    state = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    assert "manifest.json" not in state
    finished = [name[1 : -len(".done.json")] for name in state if name.endswith(".done.json")]
    assert 0 < len(finished) < 7
    (output / ".1-0a1b2c.part.tfrecord-00003-of-00006").write_bytes(b"half a shard")
    assert convert(big_source, output, *flags) == 0
    for name in finished:
        assert (output / name).stat().st_mtime_ns == state[name], f"{name} was written again"
    assert convert(big_source, expected, *flags) == 0
    assert contents(output) == contents(expected)


def test_an_interrupt_ends_the_conversion_quickly_with_exit_code_130(big_source, tmp_path):
    process = start(big_source, tmp_path / "out", "--num_shards=6", "--encoding=png", "--workers=2")
    wait_for_a_finished_shard(process, tmp_path / "out")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers receive it too
    begin = time.monotonic()
    assert process.wait(20) == 130
    assert time.monotonic() - begin < 5
    error = process.stderr.read()
    assert "interrupted" in error and "Traceback" not in error
    assert not list((tmp_path / "out").glob("*.part*"))


def test_a_full_disk_gives_one_line_and_leaves_no_incomplete_shard(big_source, tmp_path):
    def limit():  # files of more than 300 KB cannot be written
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    process = start(big_source, tmp_path / "out", "--workers=1", "--encoding=png", preexec_fn=limit)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in error and "cannot be written" in error.splitlines()[-1]
    assert not list((tmp_path / "out").glob("*tfrecord*"))


def _die(task, progress):
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return task


def test_a_killed_worker_is_reported():
    with pytest.raises(HazeHealError, match=r"worker process was killed.*--workers=2"):
        pool.run_tasks(_die, range(6), workers=2, total=6, unit="task")


def _die_last(task, progress):
    """Task 0 is killed when the other worker is idle (task 1) or still at work (task 2)."""
    if task == 0:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    while task == 2:
        time.sleep(0.1)
        progress(1)
    return task


@pytest.mark.parametrize("other", [1, 2])
def test_a_killed_worker_ends_the_others_whatever_they_do(other):
    code = (
        f"import sys, pytest; sys.path.insert(0, {str(TESTS)!r})\n"
        "from test_convert_resume import HazeHealError, _die_last, pool\n"
        "with pytest.raises(HazeHealError, match='worker process was killed'):\n"
        f"    pool.run_tasks(_die_last, [0, {other}], workers=2, total=6, unit='task')\n"
    )
    ended, _, err = processes.run_python(code)
    assert ended == 0, err


def _slow(task, progress):
    for _ in range(task * 1200):
        time.sleep(0.1)
        progress(1)
    return task


def test_the_first_error_stops_running_tasks():
    def interrupt(result):
        raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pool.run_tasks(_slow, range(3), workers=2, total=3600, unit="task", stop_after=interrupt)
    assert time.monotonic() - begin < 100  # the tasks sleep for at least 120 s


def test_only_the_shard_of_a_repaired_source_is_written_again(tmp_path, capsys):
    source = write_pairs(tmp_path / "in", scenes=12, versions=1, kind="png")
    last = sorted((source / "hazy").iterdir())[-1]
    whole = last.read_bytes()
    data = bytearray(whole)
    data[len(data) // 2] ^= 255
    last.write_bytes(data)
    flags = ("--num_shards=4", "--val_fraction=0")
    assert convert(source, tmp_path / "out", *flags) == 1
    assert last.stem in capsys.readouterr().err
    first = (tmp_path / "out/set-train.tfrecord-00000-of-00004").stat().st_mtime_ns
    last.write_bytes(whole)
    assert convert(source, tmp_path / "out", *flags) == 0
    assert "resuming: 3 of 4 shards already finished" in capsys.readouterr().out
    assert (tmp_path / "out/set-train.tfrecord-00000-of-00004").stat().st_mtime_ns == first
    assert not (tmp_path / "out/skipped.txt").exists()


NOTE = ".set-val.tfrecord-00000-of-00001.done.json"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        *((output_dir.STATE, content, 2) for content in (b"3", b"[" * 100_000, "pipe")),
        *((NOTE, content, 0) for content in (b"[]", b'{"note": 3}', b"[" * 100_000, "pipe", "flip")),
    ],
)
def test_a_damaged_unfinished_conversion_is_repaired_or_refused(
    name, content, code, source, converted, tmp_path, capsys, monkeypatch
):
    def stop(**_):
        raise KeyboardInterrupt

    output, flags = tmp_path / "out", ("--num_shards=3", "--val_fraction=0.25")
    with monkeypatch.context() as patch:
        patch.setattr("tfrecords_tools.convert.finalize.assemble", stop)
        assert convert(source, output, *flags) == 130
    data = (output / name).read_bytes()
    (output / name).unlink()
    if content == "pipe":
        os.mkfifo(output / name)
    else:  # valid JSON with another key
        (output / name).write_bytes(data.replace(b"skipped", b"skippee") if content == "flip" else content)
    assert convert(source, output, *flags) == code
    if code == 0:
        assert contents(output) == contents(converted)
    else:
        assert "cannot be read" in capsys.readouterr().err


def test_a_complete_data_set_with_a_damaged_list_of_sources_is_refused(source, tmp_path, capsys):
    assert convert(source, tmp_path / "out") == 0
    (tmp_path / "out/set-train.sources.jsonl").write_text("{\n")
    for path in (source / "hazy").iterdir():
        os.utime(path)
    assert convert(source, tmp_path / "out") == 1
    assert "sources.jsonl: its SHA-256 is not that of the manifest" in capsys.readouterr().err


def test_an_unfinished_conversion_with_other_options_is_refused(source, tmp_path, capsys, monkeypatch):
    def stop(spec, progress=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tfrecords_tools.convert.command.write_shard", stop)
        assert convert(source, tmp_path / "out") == 130
    assert convert(source, tmp_path / "out", "--seed=5") == 2
    assert "seed=0 there, 5 now" in capsys.readouterr().err
    assert convert(source, tmp_path / "out") == 0


def test_sigterm_ends_the_conversion_and_leaves_nothing_incomplete(big_source, tmp_path):
    flags = ("--num_shards=6", "--encoding=png")
    process = start(big_source, tmp_path / "out", *flags, "--workers=2")
    wait_for_a_finished_shard(process, tmp_path / "out")
    os.killpg(process.pid, signal.SIGTERM)  # as a job scheduler does
    assert process.wait(20) == 143
    assert process.stderr.read() == "hazeheal-tfrecords: stopped by SIGTERM; rerun the command to resume\n"
    assert not list((tmp_path / "out").glob("*.part*"))
    assert list((tmp_path / "out").glob(".*.done.json"))
