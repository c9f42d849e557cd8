"""Contents of the wheel: every module and data file, found by the installed package and its commands."""

import json
import shutil
import sys

import numpy as np
import processes
import pytest
from places import ROOT

from hazeheal.models import weights

PACKAGES = ("hazeheal", "tfrecords_tools")
USE_INSTALLED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import hazeheal, tfrecords_tools.__main__
from hazeheal import config
from hazeheal.models import pretrained
assert hazeheal.__file__.startswith(sys.argv[1]), hazeheal.__file__
assert tfrecords_tools.__file__.startswith(sys.argv[1]), tfrecords_tools.__file__
steps = {name: pretrained.load(name).metadata["step"] for name in pretrained.names()}
print(json.dumps([steps, str(config.find("rice1"))]))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(sources, build directory) of a copy of the sources with small weights files."""
    folder = tmp_path_factory.mktemp("wheel")
    source, library = folder / "source", folder / "library"
    for name in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for step, name in enumerate(("fast", "best", "gan")):
        weights.write(source / f"hazeheal/pretrained/{name}.npz", {"a": np.ones(3)}, {"step": step})
    command = [sys.executable, "setup.py", "--quiet", "build_py", f"--build-lib={library}"]
    code, out, err = processes.run(*command, cwd=source)
    if "No module named 'setuptools'" in err:
        pytest.skip("setuptools is not installed (pip install '.[test]')")
    assert code == 0, out + err
    return source, library


def contents(folder):
    """{relative path: bytes} of all files."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_every_file_of_a_package(built, package):
    source, library = built
    expected, packed = contents(source / package), contents(library / package)
    assert len(expected) > 20
    missing = sorted(str(path) for path in expected if packed.get(path) != expected[path])
    assert not missing


def test_the_wheel_holds_the_configurations(built):
    source, library = built
    expected, packed = contents(source / "configs"), contents(library / "hazeheal/configs")
    assert {path: data for path, data in expected.items() if path.suffix == ".py"} == packed


def test_installed_files_are_found(built, tmp_path):
    _, library = built
    code, out, err = processes.run_python(USE_INSTALLED, library, cwd=tmp_path)
    assert code == 0, err
    steps, config = json.loads(out)
    assert steps == {"fast": 0, "best": 1, "gan": 2}
    assert config == str(library / "hazeheal/configs/rice1.py")


def test_an_installed_command_runs(built, tmp_path):
    _, library = built
    code = (
        f"import sys; sys.path.insert(0, {str(library)!r}); from tfrecords_tools.__main__ import main; sys.exit(main())"
    )
    ended, out, err = processes.run(sys.executable, "-c", code, "help", "convert", cwd=tmp_path)
    assert ended == 0, err
    assert out.startswith("usage: hazeheal-tfrecords convert")
