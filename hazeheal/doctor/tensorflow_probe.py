"""What TensorFlow says of itself and of this machine, as findings, or why it says nothing."""

import ctypes
import importlib.metadata
import json
import os
import pathlib
import signal
import subprocess
import sys

from hazeheal.doctor.finding import NOTE, OK, PROBLEM, Finding
from hazeheal.utils.console import one_line

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 300  # seconds: the first import from a cold network disk
LEAST_TENSORFLOW = (2, 20)
MARK = "hazeheal-doctor:"  # libraries write to stdout too
CUDA = "pip install '.[cuda]' in HazeHeal's repository"


def ask(*, python=sys.executable) -> tuple[dict | None, str]:
    """Returns (the facts of `tensorflow_facts`, "") or (None, why there are none)."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [python, "-m", "hazeheal.doctor.tensorflow_facts"]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"its import did not end within {PATIENCE} seconds"
    said = done.stdout.decode(errors="replace").splitlines()
    for line in reversed(said):
        if line.startswith(MARK) and not done.returncode:
            return json.loads(line.removeprefix(MARK)), ""
    if done.returncode < 0:
        return None, f"its import ended the process ({signal.Signals(-done.returncode).name})"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return None, one_line(lines[-1]) if lines else f"its process ended with {done.returncode}"


def look(facts, reason, *, gpus) -> list[Finding]:
    """What `ask` has given, as findings.

    Args:
        facts, reason: As `ask` returns them.
        gpus: Those of nvidia-smi, as `query_gpus` returns them.
    """
    if facts is None:
        advice = "run `pip install .` in HazeHeal's repository, and see whether `python -c 'import tensorflow'` works"
        return [Finding("tensorflow", PROBLEM, f"cannot be imported: {reason}", advice)]
    return [_versions(facts), *_devices(facts, gpus), _nccl(facts), *_choices(facts)]


def _versions(facts):
    build = (
        f"built for CUDA {facts['cuda']} and cuDNN {facts['cudnn']}"
        if facts["cuda"]
        else "built without CUDA"
    )
    text = f"{facts['tensorflow']}, keras {facts['keras']}; {build}"
    if tuple(int(part) for part in facts["tensorflow"].split(".")[:2]) < LEAST_TENSORFLOW:
        return Finding("tensorflow", PROBLEM, text, "pip install 'tensorflow>=2.20'")
    return Finding("tensorflow", OK, text)


def _devices(facts, gpus):
    if facts["gpus"]:
        shown = [f"{g['name']} (compute capability {g['compute_capability']})" for g in facts["gpus"]]
        found = [Finding("devices", OK, f"{len(shown)} GPU(s): {', '.join(shown)}")]
        if gpus and len(gpus) > len(shown):
            text = f"TensorFlow sees {len(shown)} of {len(gpus)} GPUs"
            found.append(Finding("hidden GPUs", NOTE, text, _hidden()))
        return found
    if not gpus:
        return [Finding("devices", OK, "the CPU alone")]
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        return [
            Finding("devices", NOTE, f"the CPU alone, though nvidia-smi shows {len(gpus)} GPU(s)", _hidden())
        ]
    text = f"TensorFlow sees none of the {len(gpus)} GPU(s) that nvidia-smi shows"
    return [Finding("devices", PROBLEM, text, CUDA if not facts["cuda"] else f"{CUDA}, or a newer driver")]


def _hidden():
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if value is None else f"CUDA_VISIBLE_DEVICES={one_line(value)} hides them; unset it to use them"


def _nccl(facts):
    version = _nccl_version()
    if version:
        return Finding("NCCL", OK, version)
    if len(facts["gpus"]) > 1:
        return Finding("NCCL", PROBLEM, "not found; gradients of several GPUs are added up by it", CUDA)
    return Finding("NCCL", OK, "not found, and not needed: it adds up the gradients of several GPUs")


def _nccl_version():
    for cuda in ("cu13", "cu12"):
        try:
            return f"{importlib.metadata.version(f'nvidia-nccl-{cuda}')} (package nvidia-nccl-{cuda})"
        except importlib.metadata.PackageNotFoundError:
            continue
    try:
        library, number = ctypes.CDLL("libnccl.so.2"), ctypes.c_int()
        library.ncclGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return f"libnccl.so.2, version {number.value}"


def _choices(facts):
    (precision, why), (xla, why_xla) = facts["precision"], facts["xla"]
    return [
        Finding("precision", OK, f"auto is {precision} here ({why})"),
        Finding("XLA", OK, f"auto is {'on' if xla else 'off'} here ({why_xla})"),
    ]
