"""Checks of this machine and of a run's directory that do not need TensorFlow.

Modules that import NumPy are imported inside the checks, because NumPy may be what is missing.
"""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import shutil
import sys
import tempfile

import hazeheal
from hazeheal.utils.console import one_line
from hazeheal.utils.cpu import describe_cpu, usable_cores
from hazeheal.utils.file_lock import try_lock
from hazeheal.utils.gpus import query_gpus

OK, NOTE, PROBLEM = "ok", "note", "problem"
# Requirements of setup.py; `tensorflow_probe` reports TensorFlow and Keras.
PACKAGES = (
    *("numpy", "pillow", "scikit-image", "ml-collections", "absl-py", "tqdm"),
    *("tensorboard", "tensorflow-datasets"),
)
VGG19 = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"  # the file name of keras.applications
CPU_FLAGS = ("avx", "avx2", "avx512f", "avx512_bf16", "amx_bf16")
MIB = 2**20
GIB = 2**30
MIN_MEMORY = 2 * GIB
# A checkpoint of the default networks takes 540 MB. A run keeps three and the best one.
MIN_DISK, ENOUGH_DISK = 256 * MIB, 4 * GIB


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: What was checked; stable between versions.
        state: `ok`; `note`: works, but may be slower or lack a feature; `problem`: training will not work.
        text: What the check found.
        advice: What to do; empty where nothing needs to be done.
    """

    name: str
    state: str
    text: str
    advice: str = ""

    def line(self) -> str:
        """Returns the finding as one line of the command's output."""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.state:7}  {self.name:15}  {self.text}{advice}"


def check_machine() -> list[Finding]:
    """Runs all checks of this module except that of the working directory."""
    return [
        Finding("python", OK, f"{platform.python_version()} ({sys.executable}), {platform.platform()}"),
        check_packages(),
        *check_driver(),
        check_cpu(),
        check_memory(),
        check_ffmpeg(),
        check_keras(),
        check_vgg19(),
    ]


def check_packages() -> Finding:
    """Checks that the required packages are installed."""
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        text = f"missing: {', '.join(missing)}"
        return Finding("packages", PROBLEM, text, "run `pip install .` in HazeHeal's repository")
    return Finding("packages", OK, ", ".join(found))


def check_driver() -> list[Finding]:
    """Checks NVIDIA's driver; adds one finding for each GPU."""
    gpus = query_gpus()
    if gpus is None:
        text = "no NVIDIA driver (nvidia-smi not found): training runs on the CPU"
        return [Finding("driver", NOTE, text)]
    if not gpus:
        advice = "run `nvidia-smi` to see its message; after a driver update, restart the machine"
        return [Finding("driver", PROBLEM, "nvidia-smi is installed but lists no GPU", advice)]
    driver = Finding("driver", OK, f"NVIDIA {gpus[0]['driver_version']}, {len(gpus)} GPU(s)")
    return [
        driver,
        *(Finding(f"GPU {gpu['index']}", OK, f"{gpu['name']}, {gpu['memory.total']} MiB") for gpu in gpus),
    ]


def check_cpu() -> Finding:
    """Checks that the processor has AVX."""
    name, flags = describe_cpu()
    text = f"{name}, {usable_cores()} core(s)"
    if flags is None:
        return Finding("CPU", OK, text)
    if "avx" not in flags:
        advice = "TensorFlow's packages require it: use another machine"
        return Finding("CPU", PROBLEM, f"{text}; no AVX", advice)
    text += f"; {' '.join(flag for flag in CPU_FLAGS if flag in flags)}"
    return Finding("CPU", OK, text)


def check_memory(meminfo: str | os.PathLike = "/proc/meminfo") -> Finding:
    """Checks the available memory, which Linux reports in the file `meminfo`."""
    try:
        lines = pathlib.Path(meminfo).read_text(encoding="utf-8")
    except OSError:
        return Finding("memory", OK, "unknown on this system")
    free = 1024 * int(re.search(r"^MemAvailable:\s*(\d+) kB", lines, re.MULTILINE)[1])
    text, advice = f"{free / GIB:.1f} GiB free", ""
    if free < MIN_MEMORY:
        advice = "close other programs, or train with a smaller --config.train.batch_size and --config.model.width"
    return Finding("memory", NOTE if advice else OK, text, advice)


def check_ffmpeg() -> Finding:
    """Checks that PyAV, which brings FFmpeg, can decode and encode videos."""
    try:
        import av
    except ImportError as error:
        advice = "run `pip install 'hazeheal[video]'`"
        return Finding("ffmpeg", NOTE, f"PyAV cannot be imported ({error}): videos cannot be restored", advice)
    try:
        from hazeheal.inference.video import encoders
    except ImportError as error:
        return Finding("ffmpeg", NOTE, f"cannot be checked: {error}")
    there = encoders.available_encoders()
    libraries = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
    text = f"{libraries}; encoders: {', '.join(there.values())}"
    if "h264" in there:
        return Finding("ffmpeg", OK, text)
    default = next((there[codec] for codec in encoders.DEFAULTS if codec in there), None)
    if default is None:
        return Finding("ffmpeg", NOTE, f"{text}: videos cannot be restored", "reinstall PyAV: `pip install av`")
    return Finding("ffmpeg", NOTE, f"{text}; no libx264: MP4, MOV and MKV files get {default}")


def check_keras(home: str | os.PathLike | None = None, *, backend: str | None = hazeheal.KERAS_BACKEND) -> Finding:
    """Checks whether the user has chosen another backend or image format for Keras, which HazeHeal then overrides.

    Args:
        home: As for `check_vgg19`.
        backend: The user's KERAS_BACKEND, None if it is not set.
    """
    path = _keras_home(home) / "keras.json"
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        stored = {}
    if backend:  # which takes precedence over the file
        stored.pop("backend", None)
    others = [] if backend in (None, "", "tensorflow") else [f"KERAS_BACKEND={one_line(backend)}"]
    for name, needed in (("backend", "tensorflow"), ("image_data_format", "channels_last")):
        if stored.get(name, needed) != needed:
            others.append(f"{name}={one_line(stored[name])} in {path}")
    if others:
        advice = "HazeHeal uses tensorflow and channels_last; import it before keras in your own programs"
        return Finding("Keras", NOTE, " and ".join(others), advice)
    return Finding("Keras", OK, "no setting of another backend or image format")


def _keras_home(home):
    return pathlib.Path(home or os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def check_vgg19(home: str | os.PathLike | None = None) -> Finding:
    """Checks that the weights of the perceptual loss are in Keras's cache.

    Args:
        home: Keras's directory; by default KERAS_HOME or ~/.keras.
    """
    path = _keras_home(home) / "models" / VGG19
    if not path.is_file():
        text = f"not in {path.parent}: the first training downloads them (80 MB)"
        advice = (
            "without a network connection, set --config.loss.perceptual_weights=PATH or "
            "--config.loss.perceptual_weight=0"
        )
        return Finding("VGG19 weights", NOTE, text, advice)
    return Finding("VGG19 weights", OK, str(path))


def check_workdir(directory: str | os.PathLike) -> list[Finding]:
    """Checks that a run's directory can be written, has free space, and supports file locks.

    Args:
        directory: The run's directory. If it does not exist, its nearest existing parent is checked. No file remains.
    """
    path = pathlib.Path(directory).absolute()
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    title = str(directory) if existing == path else f"{directory} (in {existing})"
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".hazeheal-doctor-") as file:
            file.write(bytes(MIB))
            file.flush()
            os.fsync(file.fileno())
            lock = _check_lock(file)
    except OSError as error:
        text = f"{title} cannot be written: {error.strerror or error}"
        return [Finding("workdir", PROBLEM, text, "name another --workdir")]
    return [Finding("workdir", OK, f"{title} can be written"), _check_disk(existing), *lock]


def _check_lock(file):
    try:
        try_lock(file.fileno())
        return []
    except OSError:
        advice = "do not start two runs in the same directory there"
        return [Finding("locks", NOTE, "the file system does not support file locks", advice)]


def _check_disk(directory):
    free = shutil.disk_usage(directory).free
    text = f"{free / GIB:.1f} GiB free"
    if free < MIN_DISK:
        return Finding("disk", PROBLEM, text, "free some space, or name a --workdir on another disk")
    if free < ENOUGH_DISK:
        advice = "checkpoints of large networks take 540 MB each; keep fewer (train.keep)"
        return Finding("disk", NOTE, text, advice)
    return Finding("disk", OK, text)
