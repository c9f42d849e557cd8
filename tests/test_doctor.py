"""`hazeheal doctor`: each fault of a machine is found and named, with advice."""

import collections
import errno
import fcntl
import json
import os
import shutil
import stat
import sys

import processes
import pytest
from disks import full_disk

from hazeheal.__main__ import main
from hazeheal.doctor import checks, tensorflow_probe
from hazeheal.doctor.checks import Finding
from hazeheal.utils.gpus import query_gpus

FACTS = {
    "tensorflow": "2.21.0",
    "keras": "3.15.1",
    "cuda": "12.5.1",
    "cudnn": "9",
    "gpus": [],
    "precision": ["float32", "CPU without avx512_bf16"],
    "xla": [False, "slower on CPUs"],
}
H100 = "NVIDIA H100 (compute capability 9.0)"
SMI = {"index": "0", "name": "NVIDIA H100", "driver_version": "550.1", "memory.total": "81559"}


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def states(findings):
    return {finding.name: finding.state for finding in findings}


def named(findings, name):
    return next(finding for finding in findings if finding.name == name)


def of_tensorflow(gpus=None, **facts):
    return tensorflow_probe.check_tensorflow(FACTS | facts, "", gpus=gpus)


@pytest.fixture
def fine(monkeypatch):
    """A machine without faults, with a stand-in for TensorFlow's answer."""
    monkeypatch.setattr(tensorflow_probe, "probe", lambda: (FACTS, ""))
    monkeypatch.setattr(checks, "check_vgg19", lambda: Finding("VGG19 weights", "ok", "there"))


def test_lines_and_exit_code(fine, tmp_path, capsys):
    assert main(["doctor", f"--workdir={tmp_path}"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == "" and lines[-1].startswith("no problem") and lines[-2] == ""
    assert {line.split()[0] for line in lines[:-2]} <= {"ok", "note"}
    names = [line[9:24].strip() for line in lines[:-2]]
    for name in (
        "python",
        "packages",
        "CPU",
        "memory",
        "workdir",
        "disk",
        "precision",
        "XLA",
    ):
        assert names.count(name) == 1, name
    assert "ok       precision        auto selects float32 (CPU without avx512_bf16)" in lines


def test_json(fine, tmp_path, capsys):
    assert main(["doctor", f"--workdir={tmp_path}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(list(row) == ["name", "state", "text", "advice"] for row in found)
    assert main(["doctor", "--workdir=/dev/null/run", "--json"]) == 1
    out, err = capsys.readouterr()
    assert named([Finding(**row) for row in json.loads(out)], "workdir").state == "problem"
    assert err == "hazeheal doctor: error: 1 problem: workdir; see above\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "echo 'Traceback' >&2; echo 'ImportError: libcudart is missing' >&2; exit 1",
            "ImportError: libcudart is missing",
        ),
        ("kill -ILL $$", "killed by SIGILL"),
        ("exit 3", "exit code 3"),
        ("echo hello", "exit code 0"),
    ],
)
def test_a_tensorflow_that_cannot_be_imported(tmp_path, monkeypatch, capsys, text, said):
    probe = tensorflow_probe.probe
    stand_in = program(tmp_path, "python", text)
    monkeypatch.setattr(tensorflow_probe, "probe", lambda: probe(python=stand_in))
    assert main(["doctor", f"--workdir={tmp_path}"]) == 1
    out, err = capsys.readouterr()
    assert f"problem  tensorflow       cannot be imported: {said}; run `pip install .`" in out
    assert "problem" in err and "tensorflow" in err


def test_an_environment_without_packages(tmp_path):
    """Without NumPy and TensorFlow the command reports both, and all other findings."""
    for name in ("numpy", "tensorflow", "keras"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('no such package here')")
    command = [sys.executable, "-m", "hazeheal", "doctor", f"--workdir={tmp_path}"]
    code, out, err = processes.run(*command, variables={"PYTHONPATH": str(tmp_path)})
    assert code == 1 and "Traceback" not in out + err
    lines = {line[9:24].strip(): line for line in out.splitlines()}
    assert lines["tensorflow"].startswith("problem") and "no such package here" in lines["tensorflow"]
    assert lines["ffmpeg"].startswith("note") and lines["disk"] and lines["CPU"]


def test_the_answer_is_found_among_other_output(tmp_path):
    answer = f"echo noise; echo '{tensorflow_probe.MARK}{json.dumps(FACTS)}'; echo more"
    assert tensorflow_probe.probe(python=program(tmp_path, "python", answer)) == (FACTS, "")


def test_an_old_tensorflow():
    found = named(of_tensorflow(tensorflow="2.9.1"), "tensorflow")
    assert found.state == "problem" and "2.20" in found.advice
    assert named(of_tensorflow(cuda=None), "tensorflow").text.endswith("built without CUDA")


def test_gpus_that_tensorflow_does_not_see(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert states(of_tensorflow())["devices"] == "ok"
    found = named(of_tensorflow(gpus=[SMI]), "devices")
    assert found.state == "problem" and "nvidia-smi lists 1 GPU(s)" in found.text and ".[cuda]" in found.advice
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = of_tensorflow(gpus=[SMI])
    assert named(found, "devices").state == "note" and "CUDA_VISIBLE_DEVICES=1" in named(found, "devices").advice
    found = tensorflow_probe.check_tensorflow(FACTS | {"gpus": [H100]}, "", gpus=[SMI, SMI])
    assert named(found, "devices").state == "note"
    assert "compute capability 9.0" in named(found, "devices").text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("echo '0, NVIDIA H100, 550.1, 81559'; echo '1, NVIDIA H100, 550.1, 81559'", ["ok", "ok", "ok"]),
        ("echo 'NVIDIA-SMI has failed'; exit 9", ["problem"]),
        ("true", ["problem"]),
    ],
)
def test_the_driver(tmp_path, monkeypatch, text, wanted):
    program(tmp_path, "nvidia-smi", text)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = checks.check_driver()
    assert [finding.state for finding in found] == wanted
    assert wanted[0] == "problem" or found[2].text == "NVIDIA H100, 81559 MiB"


def test_no_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [finding.state for finding in checks.check_driver()] == ["note"]
    assert query_gpus() is None


def test_packages(monkeypatch):
    assert checks.check_packages().state == "ok"
    monkeypatch.setattr(checks, "PACKAGES", ("numpy", "surely-not-there"))
    assert checks.check_packages().text == "missing: surely-not-there"


def test_the_cpu(monkeypatch):
    flags = []
    monkeypatch.setattr(checks, "describe_cpu", lambda: ("A CPU", frozenset(flags)))
    assert checks.check_cpu().state == "problem" and "no AVX" in checks.check_cpu().text
    flags += ["avx", "avx2", "avx512_bf16"]
    assert checks.check_cpu().state == "ok" and checks.check_cpu().text.endswith("avx avx2 avx512_bf16")
    monkeypatch.setattr(checks, "describe_cpu", lambda: ("A CPU", None))
    assert checks.check_cpu().state == "ok"


def test_memory(tmp_path):
    assert checks.check_memory(tmp_path / "absent").state == "ok"
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000000 kB\nMemAvailable:  1048576 kB\n")
    found = checks.check_memory(meminfo)
    assert (found.state, found.text) == ("note", "1.0 GiB free")


@pytest.mark.parametrize(
    ("backend", "stored", "said"),
    [
        (None, None, None),
        ("tensorflow", {"backend": "jax", "image_data_format": "channels_last"}, None),
        ("", {"backend": "tensorflow"}, None),
        (None, "not an object", None),
        ("torch", {"backend": "tensorflow"}, "KERAS_BACKEND=torch"),
        (None, {"backend": "jax"}, "backend=jax in {file}"),
        ("torch", {"image_data_format": "x\n"}, r"KERAS_BACKEND=torch and image_data_format=x\n in {file}"),
    ],
)
def test_settings_of_keras(tmp_path, backend, stored, said):
    file = tmp_path / "keras.json"
    if stored is not None:
        file.write_text(json.dumps(stored))
    found = checks.check_keras(tmp_path, backend=backend)
    assert found.state == ("ok" if said is None else "note")
    assert said is None or found.text == said.format(file=file)


def test_a_keras_backend_of_the_environment_is_a_note(tmp_path):
    command = [sys.executable, "-m", "hazeheal", "doctor", f"--workdir={tmp_path}"]
    _, out, _ = processes.run(*command, variables={"KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path)})
    lines = {line[9:24].strip(): line for line in out.splitlines()}
    assert lines["Keras"].startswith("note     Keras            KERAS_BACKEND=torch; HazeHeal uses tensorflow")
    assert lines["tensorflow"].startswith("ok")


def test_vgg19_weights(tmp_path):
    assert checks.check_vgg19(tmp_path).state == "note"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / checks.VGG19).touch()
    assert checks.check_vgg19(tmp_path).state == "ok"


def test_a_writable_directory_is_left_unchanged(tmp_path):
    assert set(states(checks.check_workdir(tmp_path)).values()) <= {"ok", "note"}
    found = checks.check_workdir(tmp_path / "new/run")
    assert found[0].text == f"{tmp_path}/new/run (in {tmp_path}) can be written"
    assert list(tmp_path.iterdir()) == []


def test_unusable_directories(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert states(checks.check_workdir(tmp_path / "file")) == {"workdir": "problem"}
    with full_disk(1000):
        assert states(checks.check_workdir(tmp_path)) == {"workdir": "problem"}
    usage = collections.namedtuple("usage", "total used free")
    for free, state in ((100 * 2**20, "problem"), (2**30, "note"), (2**40, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage(0, 0, free))
        assert states(checks.check_workdir(tmp_path))["disk"] == state

    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert states(checks.check_workdir(tmp_path))["locks"] == "note"


def test_help_and_bad_usage(capsys):
    assert main(["doctor", "--help"]) == 0
    out = capsys.readouterr().out
    assert "examples:" in out and "exit codes:" in out
    assert main(["doctor", "--nonsense"]) == 2


def test_the_real_tensorflow_answers(tmp_path):
    code, out, err = processes.run(sys.executable, "-m", "hazeheal", "doctor", f"--workdir={tmp_path}", "--json")
    found = [Finding(**row) for row in json.loads(out)]
    import tensorflow as tf

    from hazeheal.distributed import runtime

    assert named(found, "tensorflow").text.startswith(f"{tf.__version__}, keras ")
    precision, why = runtime.choose_precision("auto", gpus=[])
    assert named(found, "precision").text == f"auto selects {precision} ({why})"
    assert named(found, "XLA").text == "auto selects off (slower on CPUs)"
    assert (code == 0) == ("problem" not in states(found).values()), err
