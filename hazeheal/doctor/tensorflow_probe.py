"""What TensorFlow reports about itself and this machine, as findings.

TensorFlow is imported in a separate process, `python -m hazeheal.doctor.tensorflow_probe`, because the import may kill
the process where TensorFlow does not fit the machine.
"""

import json
import os
import subprocess
import sys

from hazeheal.doctor.checks import NOTE, OK, PROBLEM, Finding
from hazeheal.utils.console import one_line
from hazeheal.utils.subprocesses import describe_failure, run_module

TIMEOUT = 300  # seconds; the first import from a cold network disk is slow
MIN_TENSORFLOW = (2, 20)
MARK = "hazeheal-doctor:"  # marks the answer, because libraries write to stdout too
INSTALL_CUDA = "pip install '.[cuda]' in HazeHeal's repository, or update the driver"


def probe(*, python: str = sys.executable) -> tuple[dict | None, str]:
    """Imports TensorFlow in a separate process.

    Returns:
        (the result of `facts`, "") or (None, why there is no result).
    """
    try:
        done = run_module("hazeheal.doctor.tensorflow_probe", timeout=TIMEOUT, python=python)
    except subprocess.TimeoutExpired:
        return None, f"the import did not finish within {TIMEOUT} seconds"
    for line in done.stdout.splitlines():
        if line.startswith(MARK) and not done.returncode:
            return json.loads(line.removeprefix(MARK)), ""
    return None, describe_failure(done)


def facts() -> dict:
    """Returns versions, GPUs with compute capability, and what `auto` selects with the reason; imports TensorFlow."""
    import tensorflow as tf

    from hazeheal.distributed import runtime
    from hazeheal.utils.import_keras import keras

    gpus = tf.config.list_physical_devices("GPU")
    titles = []
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", ())))
        titles.append(f"{details.get('device_name', 'GPU')} (compute capability {capability})")
    build = tf.sysconfig.get_build_info()
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "cuda": build.get("cuda_version"),
        "cudnn": build.get("cudnn_version"),
        "gpus": titles,
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
    (precision, why), (xla, why_xla) = facts["precision"], facts["xla"]
    return [
        _check_version(facts),
        _check_devices(facts, gpus or []),
        Finding("precision", OK, f"auto selects {precision} ({why})"),
        Finding("XLA", OK, f"auto selects {'on' if xla else 'off'} ({why_xla})"),
    ]


def _check_version(facts):
    build = "built without CUDA"
    if facts["cuda"]:
        build = f"built for CUDA {facts['cuda']} and cuDNN {facts['cudnn']}"
    text = f"{facts['tensorflow']}, keras {facts['keras']}; {build}"
    if tuple(int(part) for part in facts["tensorflow"].split(".")[:2]) < MIN_TENSORFLOW:
        return Finding("tensorflow", PROBLEM, text, "pip install 'tensorflow>=2.20'")
    return Finding("tensorflow", OK, text)


def _check_devices(facts, gpus):
    """Compares the GPUs that TensorFlow sees with those that nvidia-smi lists."""
    titles = facts["gpus"]
    text = f"{len(titles)} GPU(s): {', '.join(titles)}" if titles else "only the CPU"
    if len(titles) >= len(gpus):
        return Finding("devices", OK, text)
    text += f", although nvidia-smi lists {len(gpus)} GPU(s)"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        advice = f"CUDA_VISIBLE_DEVICES={one_line(visible)} hides the others; unset it to use them"
        return Finding("devices", NOTE, text, advice)
    return Finding("devices", NOTE if titles else PROBLEM, text, INSTALL_CUDA)


if __name__ == "__main__":
    print(MARK + json.dumps(facts()))
