"""What a wheel is made of: what `pip install` would bring besides the modules, and whether it is found there."""

import json
import shutil
import sys

import numpy as np
import processes
import pytest
from places import ROOT

from hazeheal.models import weights

LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import hazeheal
from hazeheal import config
from hazeheal.models import pretrained
assert hazeheal.__file__.startswith(sys.argv[1]), hazeheal.__file__
found = {name: pretrained.load(name).metadata["step"] for name in pretrained.names()}
print(json.dumps([found, str(config.find("rice1"))]))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Where setuptools has put all that it would pack, of a copy of the sources with two more files of weights."""
    folder = tmp_path_factory.mktemp("wheel")
    source, library = folder / "source", folder / "library"
    for name in ("hazeheal", "configs", "tfrecords_tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for step, name in enumerate(("fast", "best")):
        weights.write(source / f"hazeheal/pretrained/{name}.npz", {"a": np.ones(3)}, {"step": step})
    command = [sys.executable, "setup.py", "--quiet", "build_py", f"--build-lib={library}"]
    ended, out, err = processes.run(*command, cwd=source)
    if "No module named 'setuptools'" in err:
        pytest.skip("setuptools is not installed (pip install '.[test]')")
    assert ended == 0, out + err
    return source, library


def test_all_that_is_no_module_is_there(built):
    source, library = built
    wanted = {p.relative_to(source) for p in (source / "hazeheal").rglob("*") if p.is_file()}
    found = {p.relative_to(library) for p in (library / "hazeheal").rglob("*") if p.is_file()}
    assert {str(p) for p in wanted if p.suffix == ".npz"} == {
        f"hazeheal/pretrained/{n}.npz" for n in ("best", "fast")
    }
    assert not wanted - found
    for path in wanted:
        assert (library / path).read_bytes() == (source / path).read_bytes()
    assert (library / "hazeheal/configs/default.py").is_file()


def test_what_is_installed_is_found(built, tmp_path):
    _, library = built
    ended, out, err = processes.run_python(LOOK, library, cwd=tmp_path)
    assert ended == 0, err
    shipped, config = json.loads(out)
    assert shipped == {"fast": 0, "best": 1}
    assert config == str(library / "hazeheal/configs/rice1.py")
