"""What can be found out of this machine without TensorFlow, in a moment.

Each check is a function that returns a `Finding`, or several; none raises for what it is there to find. What needs
NumPy is imported where it is used, as that may be what is missing.
"""

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import resource
import shutil
import sys

from hazeheal.doctor.finding import NOTE, OK, PROBLEM, Finding
from hazeheal.errors import HazeHealError
from hazeheal.utils.cpu import describe_cpu, usable_cores
from hazeheal.utils.gpus import query_gpus

PYTHONS = ((3, 10), (3, 13))
# Names of distributions that setup.py asks for; TensorFlow and Keras tell their versions themselves.
PACKAGES = (
    "numpy",
    "pillow",
    "ml-collections",
    "absl-py",
    "tqdm",
    "tensorboard",
    "tensorflow-datasets",
    "scikit-image",
)
VGG19 = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"  # as keras.applications names it
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
MIB = 2**20


def look() -> list[Finding]:
    """Everything here."""
    return [
        python(),
        packages(),
        *driver(),
        cpu(),
        memory(),
        open_files(),
        shared_memory(),
        ffmpeg(),
        vgg19(),
    ]


def python() -> Finding:
    text = f"{platform.python_version()} ({sys.executable}), {platform.platform()}"
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Finding("python", PROBLEM, text, "use Python 3.10 to 3.13, which TensorFlow has packages for")
    return Finding("python", OK, text)


def packages() -> Finding:
    found = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        return Finding(
            "packages",
            PROBLEM,
            f"missing: {', '.join(missing)}",
            "run `pip install .` in HazeHeal's repository",
        )
    return Finding("packages", OK, ", ".join(f"{name} {version}" for name, version in found.items()))


def driver() -> list[Finding]:
    if shutil.which("nvidia-smi") is None:
        return [
            Finding("driver", NOTE, "no NVIDIA driver (nvidia-smi is not there): training runs on the CPU")
        ]
    found = query_gpus()
    if not found:
        advice = "look at what `nvidia-smi` says; after an update of the driver, restart the machine"
        return [Finding("driver", PROBLEM, "nvidia-smi is there, and shows no GPU", advice)]
    lines = [Finding("driver", OK, f"NVIDIA {found[0]['driver_version']}, {len(found)} GPU(s)")]
    for gpu in found:
        lines.append(Finding(f"GPU {gpu['index']}", OK, f"{gpu['name']}, {gpu['memory.total']} MiB"))
    return lines


def cpu() -> Finding:
    name, flags = describe_cpu()
    text = f"{name}, {usable_cores()} core(s)"
    if flags is None:
        return Finding("CPU", OK, text)
    text += f"; {' '.join(flag for flag in CPU_FLAGS if flag in flags) or 'none of ' + ' '.join(CPU_FLAGS)}"
    if "avx" not in flags:
        return Finding(
            "CPU", PROBLEM, f"{text}; no AVX", "TensorFlow's packages need it: use another machine"
        )
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") in ("0", "false"):
        return Finding(
            "CPU", NOTE, f"{text}; oneDNN is off", "unset TF_ENABLE_ONEDNN_OPTS for speed on the CPU"
        )
    return Finding("CPU", OK, f"{text}; oneDNN is on")


def memory() -> Finding:
    lines = _lines("/proc/meminfo")
    free = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:")), None)
    if free is None:
        return Finding("memory", OK, "not known on this system")
    if free < 2048:
        advice = (
            "end other programs, or train with a smaller --config.train.batch_size and --config.model.width"
        )
        return Finding("memory", NOTE, f"{free:.0f} MiB are free", advice)
    return Finding("memory", OK, f"{free / 1024:.1f} GiB are free")


def open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} at once in one process"
    if soft != resource.RLIM_INFINITY and soft < 1024:
        # Every shard of a data set stays open, beside what TensorFlow opens.
        most = "4096" if hard == resource.RLIM_INFINITY or hard >= 4096 else hard
        return Finding("open files", NOTE if soft >= 256 else PROBLEM, text, f"run `ulimit -n {most}` before")
    return Finding("open files", OK, text)


def shared_memory(path="/dev/shm") -> Finding:
    try:
        size = shutil.disk_usage(path).total
    except OSError:
        return Finding("shared memory", OK, f"{path} is not there")
    text = f"{size / MIB:.0f} MiB in {path}"
    if size < 512 * MIB and len(query_gpus() or ()) > 1:
        advice = "NCCL wants more between GPUs; in Docker, --shm-size=1g"
        return Finding("shared memory", NOTE, text, advice)
    return Finding("shared memory", OK, text)


def ffmpeg() -> Finding:
    try:
        from hazeheal.inference.video import find_ffmpeg
    except ImportError as error:
        return Finding("ffmpeg", NOTE, f"cannot be looked for: {error}")
    found = find_ffmpeg()
    if found is None:
        return Finding(
            "ffmpeg", NOTE, "none: videos cannot be restored", "install it, or pip install '.[video]'"
        )
    return Finding("ffmpeg", OK, found)


def vgg19(home=None) -> Finding:
    """The weights of the perceptual loss in Keras's cache; `home` is its directory."""
    home = home or os.environ.get("KERAS_HOME") or pathlib.Path("~/.keras").expanduser()
    path = pathlib.Path(home, "models", VGG19)
    if not path.is_file():
        return Finding(
            "VGG19 weights",
            NOTE,
            f"not in {path.parent}: the first training downloads them (80 MB)",
            "without a network give --config.loss.perceptual_weights=PATH, or --config.loss.perceptual_weight=0",
        )
    try:
        from hazeheal.models.perceptual import check_perceptual_weights

        check_perceptual_weights(path)
    except HazeHealError as error:
        reason = str(error).partition(": give ")[0]
        return Finding(
            "VGG19 weights", PROBLEM, reason, "remove the file: the next training downloads it again"
        )
    except ImportError as error:
        return Finding("VGG19 weights", NOTE, f"{path}, which cannot be checked: {error}")
    return Finding("VGG19 weights", OK, str(path))


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _lines(path):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
