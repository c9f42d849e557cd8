"""Devices, precision and XLA: what is chosen, why, and what is refused. GPUs are simulated."""

import pytest
import tensorflow as tf
from conftest import CPU_DEVICES
from trainings import make_config

from hazeheal.distributed import runtime as runtimes
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.inference.gan import DehazeGAN


@pytest.fixture
def gpus(monkeypatch):
    """Returns gpus((8, 0), (7, 5)), which makes TensorFlow list GPUs with these compute capabilities."""

    def make(*capabilities):
        found = [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(len(capabilities))]
        details = {g: {"compute_capability": c} if c else {} for g, c in zip(found, capabilities, strict=True)}
        listed = tf.config.list_physical_devices
        monkeypatch.setattr(
            tf.config, "list_physical_devices", lambda kind=None: found if kind == "GPU" else listed(kind)
        )
        monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)
        return found

    return make


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- devices ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_cpu_replicas(replicas):
    runtime = runtimes.choose_runtime(cpu_replicas=replicas)
    assert runtime.replicas == replicas == len(runtime.devices)
    assert runtime.devices == tuple(f"CPU:{i}" for i in range(replicas))
    assert not runtime.on_gpu and not runtime.xla
    assert (runtime.group, runtime.num_groups) == (0, 1)
    assert len(runtime.device_kinds) == replicas and len(set(runtime.device_kinds)) == 1
    devices = [tf.DeviceSpec.from_string(d) for d in runtime.strategy.extended.worker_devices]
    assert [(d.device_type, d.device_index) for d in devices] == [("CPU", i) for i in range(replicas)]


def test_without_gpus_one_cpu_replica_is_chosen(monkeypatch):
    monkeypatch.setattr(runtimes, "cpu_has_bfloat16", lambda: (False, "CPU without avx512_bf16"))
    runtime = runtimes.choose_runtime()
    assert runtime.devices == ("CPU:0",)
    assert runtime.precision == "float32"
    text = runtime.describe()
    assert "1 replica on CPU:0" in text
    assert "float32 (CPU without avx512_bf16)" in text
    assert "XLA off (slower on CPUs)" in text


def test_all_gpus_or_the_requested_ones_are_used(gpus, monkeypatch):
    found = gpus((8, 0), (8, 0), (9, 0))
    used = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: used.append((devices, kind)))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: used.append((gpu, on)))
    made = []
    monkeypatch.setattr(
        tf.distribute,
        "MirroredStrategy",
        lambda devices, cross_device_ops: made.append((devices, type(cross_device_ops).__name__)),
    )
    runtime = runtimes.choose_runtime(gpus=[2, 0])
    assert runtime.devices == ("GPU:0", "GPU:1"), "numbered as TensorFlow sees them then"
    assert used == [([found[2], found[0]], "GPU"), (found[2], True), (found[0], True)]
    assert (runtime.precision, runtime.xla, runtime.on_gpu) == ("mixed_bfloat16", True, True)
    assert len(set(runtime.device_kinds)) == 2, "of compute capability 9.0 and 8.0"
    assert runtime.reasons == {"precision": "compute capability 8.0", "xla": "GPU"}
    assert runtimes.choose_runtime().devices == ("GPU:0", "GPU:1", "GPU:2")
    assert runtimes.choose_runtime(gpus=[1]).devices == ("GPU:0",)
    assert made == [
        (["GPU:0", "GPU:1"], "NcclAllReduce"),
        (["GPU:0", "GPU:1", "GPU:2"], "NcclAllReduce"),
        (["GPU:0"], "ReductionToOneDevice"),
    ]


def test_cpu_replicas_do_not_use_gpus(gpus, monkeypatch):
    gpus((8, 0))
    hidden = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: hidden.append((devices, kind)))
    runtime = runtimes.choose_runtime(cpu_replicas=2)
    assert runtime.devices == ("CPU:0", "CPU:1")
    assert hidden == [([], "GPU")]
    assert not runtime.xla


@pytest.mark.parametrize(
    ("asked", "found", "parts"),
    [
        ([0], 0, ["--gpus=0", "no GPU", "omit --gpus"]),
        ([0, 3], 2, ["--gpus=0,3", "GPUs 0 to 1"]),
        ([-1], 2, ["--gpus=-1"]),
        ([1, 1], 2, ["--gpus=1,1", "once"]),
        ([], 2, ["--gpus=", "GPUs 0 to 1"]),
    ],
)
def test_missing_gpus_are_refused(gpus, asked, found, parts):
    gpus(*[(8, 0)] * found)
    with pytest.raises(UsageError) as caught:
        runtimes.choose_runtime(gpus=asked)
    message = one_line(caught)
    assert all(part in message for part in parts), message


def test_gpus_and_cpu_replicas_exclude_each_other():
    with pytest.raises(UsageError) as caught:
        runtimes.choose_runtime(gpus=[0], cpu_replicas=2)
    assert "--gpus" in one_line(caught) and "--cpu_replicas" in one_line(caught)


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_replica_is_refused(count):
    with pytest.raises(UsageError, match=f"--cpu_replicas={count}"):
        runtimes.choose_runtime(cpu_replicas=count)


def test_more_cpu_replicas_than_tensorflow_started_with_are_refused():
    assert len(tf.config.list_logical_devices("CPU")) == CPU_DEVICES  # starts TensorFlow
    with pytest.raises(HazeHealError) as caught:
        runtimes.choose_runtime(cpu_replicas=CPU_DEVICES + 1)
    message = one_line(caught)
    assert f"--cpu_replicas={CPU_DEVICES + 1}" in message and "start a new process" in message
    assert f"{CPU_DEVICES} CPU devices" in message


# --- precision and XLA ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "wanted"),
    [
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0), (8, 6)], "mixed_bfloat16"),
        ([(9, 0), (7, 5)], "mixed_float16"),
        ([(7, 0)], "mixed_float16"),
        ([(6, 1)], "float32"),
        ([(10, 0)], "mixed_bfloat16"),
        ([None], "float32"),
    ],
)
def test_precision_auto_depends_on_the_weakest_gpu(gpus, capabilities, wanted):
    chosen, reason = runtimes.choose_precision("auto", gpus=gpus(*capabilities))
    assert chosen == wanted
    weakest = min(c or (0, 0) for c in capabilities)
    assert reason == f"compute capability {weakest[0]}.{weakest[1]}"


@pytest.mark.parametrize(
    ("capability", "refused"),
    [
        ((7, 5), {"mixed_bfloat16"}),
        ((6, 1), {"mixed_bfloat16", "mixed_float16"}),
        ((8, 0), set()),
        ((9, 0), set()),
    ],
)
def test_an_unsupported_precision_is_refused(gpus, capability, refused):
    found = gpus(capability)
    for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
        if precision in refused:
            with pytest.raises(UsageError) as caught:
                runtimes.choose_precision(precision, gpus=found)
            assert f"precision={precision}" in one_line(caught)
            assert f"{capability[0]}.{capability[1]}" in one_line(caught)
        else:
            assert runtimes.choose_precision(precision, gpus=found) == (precision, "as configured")


@pytest.mark.parametrize(
    ("flags", "onednn", "wanted"),
    [
        ("fpu avx512f avx512_bf16 amx_tile", None, True),
        ("fpu amx_bf16", "1", True),
        ("fpu avx512f avx512_fp16", None, False),
        ("fpu avx512_bf16", "0", False),
    ],
)
def test_precision_on_cpus(monkeypatch, flags, onednn, wanted):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if onednn is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    monkeypatch.setattr(runtimes, "describe_cpu", lambda: ("A CPU", frozenset(flags.split())))
    chosen, reason = runtimes.choose_precision("auto", gpus=[])
    assert chosen == ("mixed_bfloat16" if wanted else "float32")
    assert reason
    if wanted:
        assert runtimes.choose_precision("mixed_bfloat16", gpus=[])[0] == "mixed_bfloat16"
    else:
        with pytest.raises(UsageError, match="mixed_bfloat16"):
            runtimes.choose_precision("mixed_bfloat16", gpus=[])
    with pytest.raises(UsageError, match="mixed_float16"):
        runtimes.choose_precision("mixed_float16", gpus=[])


def test_a_cpu_with_unknown_flags_uses_float32(monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    monkeypatch.setattr(runtimes, "describe_cpu", lambda: ("A CPU", None))
    assert runtimes.choose_precision("auto", gpus=[])[0] == "float32"


@pytest.mark.parametrize(
    ("asked", "on_gpu", "wanted"),
    [("auto", True, True), ("auto", False, False), ("on", False, True), ("off", True, False)],
)
def test_xla(asked, on_gpu, wanted):
    chosen, reason = runtimes.choose_xla(asked, on_gpu=on_gpu)
    assert chosen is wanted
    assert reason == {"auto": "GPU" if on_gpu else "slower on CPUs"}.get(asked, "as configured")


# --- networks -------------------------------------------------------------------------------------------


def test_parameter_counts_match_the_design():
    sizes = {"model__width": 16, "model__depth": 5, "model__norm": "none", "model__disc_width": 16}
    gan = DehazeGAN(make_config(data__crop_size=64, **sizes))
    assert gan.networks.parameter_counts() == {"generator": 1_745_923, "discriminator": 438_129}
    assert gan.perceptual is None
    alone = DehazeGAN(make_config(), for_training=False)
    assert list(alone.networks.parameter_counts()) == ["generator"]
