"""Four logical CPU devices for all tests, and what tests of several files share.

Fixtures of a session are made once a process. pytest-xdist gives each of its processes whole files, so what takes
long to make is asked for in one file alone, or in files of one group (`TOGETHER`).
"""

import atexit
import functools
import logging
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import types

# A shell starts its background processes with interrupts ignored, which the processes that tests start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Decoded images of tests are not kept, also not by the processes that tests start.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="hazeheal-tests-cache-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
# Half the time to compile, for code that runs a few steps on 32 pixels.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import pytest

# Assertions of the modules that tests share show their values too; before any of these is imported.
pytest.register_assert_rewrite(*(path.stem for path in pathlib.Path(__file__).parent.glob("*.py")))

import checkpoints_made
import numpy as np
import tensorflow as tf
import tiny
from converting import convert, write_pairs
from fuzz_sets import make_sets
from machine import Machine
from record_sets import write_ten
from trainings import SIZE, Training, make_config

from hazeheal import config as configs
from hazeheal.data.synthesis import synthetic_pairs
from hazeheal.distributed.ray_board import Board
from hazeheal.distributed.runtime import choose_runtime

CPU_DEVICES = 4
# Before anything else starts TensorFlow.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * CPU_DEVICES
)


# How files begin that share what takes long to make (`machine`): one process gets them all.
TOGETHER = ("test_trainer",)
# How the files begin that take longest: begun last, they would keep one process busy when the others are done.
FIRST = ("test_trainer", "test_train_command", "test_faults", "test_groups", "test_step", "test_fuzz")


def pytest_collection_modifyitems(config, items):
    """In a process of pytest-xdist, the longest files first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((i for i, n in enumerate(FIRST) if item.path.name.startswith(n)), len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """That of --dist=loadfile, but for groups of files, and in the order of collection."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return next((n for n in TOGETHER if pathlib.PurePath(file).name.startswith(n)), file)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.fixture
def restored_logger():
    """Puts the logger "hazeheal" back as it was, for tests that set it up."""
    logger = logging.getLogger("hazeheal")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def no_gpus(monkeypatch):
    """A machine without GPUs, and nothing in the environment that says which processes there are."""
    for name in ("TF_CONFIG", "CUDA_DEVICE_ORDER", "TF_NUM_INTRAOP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def log():
    """A logger that remembers its lines."""
    return checkpoints_made.Log()


@pytest.fixture
def saved(tmp_path, log):
    """A function that writes checkpoints [(step, psnr or None), ...] and returns their folder."""
    return functools.partial(checkpoints_made.write, tmp_path / "checkpoints", log=log)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The tiny data set: 11 pairs to train on, 3 to validate."""
    return tiny.data_set(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def runtime():
    return choose_runtime(cpu_replicas=2, precision="float32", xla="off")


@pytest.fixture(scope="session")
def machine(data, runtime, tmp_path_factory):
    return Machine(data, runtime, tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="session")
def whole_run(machine, tmp_path_factory):
    """(directory, result, metrics of every step) of a run of `machine` that was not stopped."""
    run = tmp_path_factory.mktemp("whole_run") / "run"
    result = machine.run(run, profile__steps="2:4")
    return run, result, np.array(machine.rows)


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Images to convert: hazy/ and GT/ of 16 JPEG pairs of 8 scenes."""
    return write_pairs(tmp_path_factory.mktemp("source") / "set")


@pytest.fixture(scope="session")
def converted(source, tmp_path_factory):
    """The data set that `source` becomes, in three shards; a quarter of the scenes validates."""
    output = tmp_path_factory.mktemp("converted") / "set"
    assert convert(source, output, "--num_shards=3", "--val_fraction=0.25") == 0
    return output


@pytest.fixture(scope="session")
def ten_pairs(tmp_path_factory):
    """Ten PNG pairs of three sizes in three shards; the smallest is 32x32."""
    return write_ten(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def sets(tmp_path_factory):
    """The data sets of the fuzz tests, see `fuzz_sets.DataSets`; the tests damage copies."""
    return make_sets(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture
def never_train(monkeypatch):
    """`hazeheal train` must not come to train."""

    def trained(*_):
        raise AssertionError("--dry_run trains")

    monkeypatch.setattr("hazeheal.commands.train.train", trained)


@pytest.fixture(scope="session")
def training():
    """Gives training(replicas=.., **kwargs): a `Training` at its start, built once for equal arguments."""
    built = {}

    def get(*, replicas=1, precision="float32", xla=False, fused=False, optimize=False, total_steps=1000, **fields):
        options = {
            "replicas": replicas,
            "precision": precision,
            "xla": xla,
            "fused": fused,
            "optimize": optimize,
            "total_steps": total_steps,
        }
        key = (*options.values(), configs.to_json(make_config(**fields)))
        if key not in built:
            built[key] = Training(**options, **fields)
        return built[key].reset()

    yield get
    built.clear()


@pytest.fixture(scope="session")
def vgg(tmp_path_factory):
    """Weights for the first convolution of the perceptual network, made up."""
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg.npz"
    kernel = generator.normal(0, 0.05, (3, 3, 3, 64)).astype("float32")
    np.savez(path, **{"block1_conv1/kernel": kernel, "block1_conv1/bias": np.zeros(64, "float32")})
    return str(path)


@pytest.fixture(scope="session")
def batches():
    """Gives batches(steps): hazy, clear of [steps, 4, 32, 32, 3] float32 in [0, 255], of uneven content."""
    pairs = [synthetic_pairs.make_pair(i, size=SIZE) for i in range(12)]
    hazy, clear = (np.stack(side).astype(np.float32) for side in zip(*pairs, strict=True))
    # A dark, flat quarter of every batch: a mean of the replicas' own means would not be the batch's.
    hazy[9:], clear[9:] = np.floor(hazy[9:] / 4), np.floor(clear[9:] / 8)

    def get(steps, seed=0):
        generator = np.random.default_rng(seed)
        chosen = [[*generator.integers(0, 9, 3), generator.integers(9, 12)] for _ in range(steps)]
        return hazy[chosen], clear[chosen]

    return get


@pytest.fixture
def board(monkeypatch):
    """The board of a job on Ray, in this process, and a Ray that reads it."""
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(get=lambda value: value, shutdown=lambda: None))
    return Board()
