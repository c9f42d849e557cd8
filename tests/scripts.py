"""Shared by the tests of the launch scripts: a stand-in for Python that records its calls.

Nothing is installed or trained.
"""

import os
import pathlib
import shlex
import shutil
import stat
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
NO_GPU = "exit 9\n"  # nvidia-smi on a machine without a driver
TWO_GPUS = "echo 0\necho 1\n"

# The calls of launch/environment.sh to Python itself go to the real one.
STAND_IN = """#!/usr/bin/env bash
if [[ "$1" == -c || "$1" == - ]]; then exec {python} "$@"; fi
{{ printf '%s\\t' "$@"; printf '\\n'; }} >> {calls}
if [[ "$*" == *"hazeheal launch"* ]]; then env > {calls}.env; {train}; fi
if [[ "$*" == *"pip install"* ]]; then {pip}; fi
exit 0
"""


class Machine:
    """A copy of the scripts, an active environment with the stand-in, and the given nvidia-smi."""

    def __init__(self, folder, *, gpus=NO_GPU, train="true", pip="true", skip_install=True):
        self.folder = folder
        self.root = folder / "a clone"
        for name in ("launch", "hazeheal"):
            (self.root / name).mkdir(parents=True)
        for path in (*ROOT.glob("launch/*.sh"), ROOT / "setup.py", ROOT / "pyproject.toml"):
            shutil.copy(path, self.root / path.relative_to(ROOT))
        shutil.copy(ROOT / "hazeheal/__init__.py", self.root / "hazeheal")
        self.calls_file = folder / "calls.txt"
        fill = {"python": shlex.quote(sys.executable), "calls": shlex.quote(str(self.calls_file))}
        self.script(folder / "env/bin/python", STAND_IN.format(**fill, train=train, pip=pip))
        self.script(folder / "bin/nvidia-smi", f"#!/usr/bin/env bash\n{gpus}")
        inherited = {k: v for k, v in os.environ.items() if k in ("HOME", "LANG", "TMPDIR")}
        self.environ = inherited | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(folder / "env"),
        }
        if skip_install:
            self.environ["HAZEHEAL_SKIP_INSTALL"] = "1"

    @staticmethod
    def script(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def command(self, *arguments, script="train_multigpu.sh"):
        return ["bash", str(self.root / "launch" / script), *map(str, arguments)]

    def run(self, *arguments, script="train_multigpu.sh", cwd=None, **environ):
        return subprocess.run(
            self.command(*arguments, script=script),
            cwd=cwd or self.folder,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self):
        if not self.calls_file.exists():
            return []
        return [line.split("\t")[:-1] for line in self.calls_file.read_text().splitlines()]

    def variables(self):
        lines = pathlib.Path(f"{self.calls_file}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)
