"""What TensorFlow reports about itself and this machine, as findings.

TensorFlow is imported in a separate process, `python -m hazeheal.doctor.tensorflow_probe`, because the import may kill
the process where TensorFlow does not fit the machine.
"""

import ctypes
import importlib.metadata
import json
import os
import pathlib
import signal
import subprocess
import sys

from hazeheal.doctor.checks import NOTE, OK, PROBLEM, Finding
from hazeheal.utils.console import one_line

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT = 300  # seconds; the first import from a cold network disk is slow
MIN_TENSORFLOW = (2, 20)
MARK = "hazeheal-doctor:"  # marks the answer, because libraries write to stdout too
INSTALL_CUDA = "pip install '.[cuda]' in HazeHeal's repository"


def probe(*, python: str = sys.executable) -> tuple[dict | None, str]:
    """Imports TensorFlow in a separate process.

    Args:
        python: The interpreter.

    Returns:
        (the result of `facts`, "") or (None, why there is no result).
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [python, "-m", "hazeheal.doctor.tensorflow_probe"]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"the import did not finish within {TIMEOUT} seconds"
    for line in reversed(done.stdout.decode(errors="replace").splitlines()):
        if line.startswith(MARK) and not done.returncode:
            return json.loads(line.removeprefix(MARK)), ""
    if done.returncode < 0:
        return None, f"the import killed the process ({signal.Signals(-done.returncode).name})"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return None, one_line(lines[-1]) if lines else f"the process exited with code {done.returncode}"


def facts() -> dict:
    """Returns versions, GPUs with compute capability, and what `auto` selects with the reason; imports TensorFlow."""
    import keras
    import tensorflow as tf

    from hazeheal.distributed import runtime

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    build = tf.sysconfig.get_build_info()
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "cuda": build.get("cuda_version"),
        "cudnn": build.get("cudnn_version"),
        "gpus": [
            {
                "name": d.get("device_name", "GPU"),
                "compute_capability": ".".join(map(str, d.get("compute_capability", ()))) or None,
            }
            for d in details
        ],
        "precision": runtime.choose_precision("auto", gpus=gpus),
        "xla": runtime.choose_xla("auto", on_gpu=bool(gpus)),
    }


def check_tensorflow(facts: dict | None, reason: str, *, gpus: list[dict[str, str]] | None) -> list[Finding]:
    """Turns the result of `probe` into findings.

    Args:
        facts: As `probe` returns it.
        reason: As `probe` returns it.
        gpus: GPUs as `query_gpus` returns them.
    """
    if facts is None:
        advice = "run `pip install .` in HazeHeal's repository, then try `python -c 'import tensorflow'`"
        return [Finding("tensorflow", PROBLEM, f"cannot be imported: {reason}", advice)]
    return [_versions(facts), *_devices(facts, gpus), _nccl(facts), *_automatic_choices(facts)]


def _versions(facts):
    build = "built without CUDA"
    if facts["cuda"]:
        build = f"built for CUDA {facts['cuda']} and cuDNN {facts['cudnn']}"
    text = f"{facts['tensorflow']}, keras {facts['keras']}; {build}"
    if tuple(int(part) for part in facts["tensorflow"].split(".")[:2]) < MIN_TENSORFLOW:
        return Finding("tensorflow", PROBLEM, text, "pip install 'tensorflow>=2.20'")
    return Finding("tensorflow", OK, text)


def _devices(facts, gpus):
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = ""
    if visible is not None:
        hidden = f"CUDA_VISIBLE_DEVICES={one_line(visible)} hides them; unset it to use them"
    if facts["gpus"]:
        titles = [f"{g['name']} (compute capability {g['compute_capability']})" for g in facts["gpus"]]
        findings = [Finding("devices", OK, f"{len(titles)} GPU(s): {', '.join(titles)}")]
        if gpus and len(gpus) > len(titles):
            text = f"TensorFlow sees {len(titles)} of {len(gpus)} GPUs"
            findings.append(Finding("hidden GPUs", NOTE, text, hidden))
        return findings
    if not gpus:
        return [Finding("devices", OK, "only the CPU")]
    if visible is not None:
        text = f"only the CPU, although nvidia-smi lists {len(gpus)} GPU(s)"
        return [Finding("devices", NOTE, text, hidden)]
    text = f"TensorFlow sees none of the {len(gpus)} GPU(s) that nvidia-smi lists"
    advice = f"{INSTALL_CUDA}, or update the driver" if facts["cuda"] else INSTALL_CUDA
    return [Finding("devices", PROBLEM, text, advice)]


def _nccl(facts):
    version = _nccl_version()
    if version:
        return Finding("NCCL", OK, version)
    if len(facts["gpus"]) > 1:
        text = "not found; it is needed to sum the gradients of several GPUs"
        return Finding("NCCL", PROBLEM, text, INSTALL_CUDA)
    return Finding("NCCL", OK, "not found, and not needed without several GPUs")


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


def _automatic_choices(facts):
    (precision, why), (xla, why_xla) = facts["precision"], facts["xla"]
    return [
        Finding("precision", OK, f"auto selects {precision} ({why})"),
        Finding("XLA", OK, f"auto selects {'on' if xla else 'off'} ({why_xla})"),
    ]


if __name__ == "__main__":
    print(MARK + json.dumps(facts()))
