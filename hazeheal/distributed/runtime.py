"""Chooses the distribution strategy, devices, precision and XLA of a run, once, before TensorFlow starts."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

import hazeheal
from hazeheal.distributed import proxies, rendezvous
from hazeheal.distributed.tf_config import Cluster
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.utils.cpu import describe_cpu, usable_cores


@dataclasses.dataclass(frozen=True)
class Runtime:
    """The devices of a run and how it uses them.

    Attributes:
        strategy: Its local replicas are those of this group.
        devices: Names of this group's devices, such as `GPU:0` or `CPU:1`.
        precision: A Keras dtype policy: `float32`, `mixed_bfloat16` or `mixed_float16`.
        xla: Whether the training step is compiled with XLA.
        group, num_groups: Number of this process's replica group, from 0, and of all groups of the job.
        groups_on_host: Number of groups on this host, which share its cores.
        device_kinds: What kind of GPU or CPU each device is. Devices of one kind compute the same bits.
        reasons: {"precision": reason, "xla": reason} of the choices, for the log.
    """

    strategy: tf.distribute.Strategy
    devices: tuple[str, ...]
    precision: str
    xla: bool
    group: int = 0
    num_groups: int = 1
    groups_on_host: int = 1
    device_kinds: tuple[str, ...] = ()
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def replicas(self) -> int:
        """The number of replicas of all groups."""
        return self.strategy.num_replicas_in_sync

    @property
    def on_gpu(self) -> bool:
        """Whether the devices are GPUs."""
        return self.devices[0].startswith("GPU")

    @property
    def host(self) -> str:
        """The CPU of this process; in a job of several groups, `CPU:0` alone is that of group 0."""
        task = f"/job:worker/replica:0/task:{self.group}" if self.num_groups > 1 else ""
        return f"{task}/device:CPU:0"

    @property
    def fuses(self) -> bool:
        """Whether XLA compiles the training step for GPUs."""
        return self.xla and self.on_gpu

    def facts(self) -> dict[str, Any]:
        """Returns {name: JSON value} of everything that must be the same in all groups of a job."""
        return {
            "the version of hazeheal": hazeheal.__version__,
            "the version of TensorFlow": tf.__version__,
            "the number of replicas in a group": len(self.devices),
            "the precision": self.precision,
            "XLA": self.xla,
        }

    def describe(self) -> str:
        """Returns a line for the log: replicas, devices, precision and XLA, with reasons."""
        devices = ", ".join(self.devices)
        if self.num_groups > 1:
            devices += f" of each of {self.num_groups} groups (this is group {self.group})"
        return (
            f"{self.replicas} replica{'s' * (self.replicas > 1)} on {devices}; "
            f"precision {self.precision} ({self.reasons['precision']}); "
            f"XLA {'on' if self.xla else 'off'} ({self.reasons['xla']})"
        )


def choose_runtime(
    *,
    gpus: Sequence[int] | None = None,
    cpu_replicas: int | None = None,
    precision: str = "auto",
    xla: str = "auto",
    cluster: Cluster | None = None,
) -> Runtime:
    """Chooses devices and strategy. With a cluster it returns when all groups can be reached.

    No TensorFlow operation may run before.

    Args:
        gpus: Numbers of the GPUs to use. None: all.
        cpu_replicas: Number of logical CPU devices to use instead of GPUs. None: one, only if there is no GPU.
        precision: `auto` or a Keras dtype policy.
        xla: `auto`, `on` or `off`.
        cluster: The groups that train as one job. None: this process trains alone.

    Raises:
        UsageError: This machine does not have the requested devices or precision.
        HazeHealError: Another program uses this group's port.
    """
    if gpus is not None and cpu_replicas is not None:
        raise UsageError("--gpus and --cpu_replicas exclude each other; use one of them")
    if cluster is not None and (cpu_replicas or 1) > 1:
        raise UsageError(
            f"--cpu_replicas={cpu_replicas}: each of {cluster.num_groups} groups uses one CPU replica; start more "
            "groups instead"
        )
    if gpus is not None:
        check_gpus(gpus)
    physical_gpus = tf.config.list_physical_devices("GPU")
    selected = []
    if cpu_replicas is None:
        selected = physical_gpus if gpus is None else [physical_gpus[i] for i in gpus]
    if selected:
        devices = _configure_gpus(selected)
    else:
        devices = _configure_cpus(1 if cpu_replicas is None else cpu_replicas)
    precision, precision_reason = choose_precision(precision, gpus=selected)
    xla, xla_reason = choose_xla(xla, on_gpu=bool(selected))
    return Runtime(
        strategy=_connect(devices, cluster, on_gpu=bool(selected)),
        devices=devices,
        precision=precision,
        xla=xla,
        group=0 if cluster is None else cluster.group,
        num_groups=1 if cluster is None else cluster.num_groups,
        groups_on_host=1 if cluster is None else cluster.groups_on_host,
        device_kinds=_device_kinds(selected) or (_cpu_kind(),) * len(devices),
        reasons={"precision": precision_reason, "xla": xla_reason},
    )


def _device_kinds(gpus):
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return tuple(f"{d.get('device_name')} {d.get('compute_capability')}" for d in details)


def _cpu_kind():
    # With another number of cores, sums are divided differently.
    name, flags = describe_cpu()
    return f"{name}, {usable_cores()} cores, {' '.join(sorted(flags or ()))}"


def _connect(devices, cluster, *, on_gpu) -> tf.distribute.Strategy:
    """Returns the strategy of this process, which with a cluster is connected to the other groups."""
    if cluster is None:
        # Between logical CPU devices one device sums the list of gradients: 29 ms for 45 M parameters, against 92 ms
        # with TensorFlow's default.
        use_nccl = on_gpu and len(devices) > 1
        ops = tf.distribute.NcclAllReduce() if use_nccl else tf.distribute.ReductionToOneDevice()
        return tf.distribute.MirroredStrategy(list(devices), cross_device_ops=ops)
    proxies.bypass_proxies(cluster)
    rendezvous.wait_for_groups(cluster)
    implementations = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=implementations.NCCL if on_gpu else implementations.RING
    )
    # It reads TF_CONFIG, starts a server on this process's port and connects to the other groups.
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def count_gpus() -> int:
    """Returns the number of GPUs that TensorFlow can use."""
    return len(tf.config.list_physical_devices("GPU"))


def check_gpus(gpus: Sequence[int]) -> None:
    """Checks the numbers of `--gpus`.

    Raises:
        UsageError: A number occurs twice, or TensorFlow cannot use this GPU.
    """
    numbers, num_gpus = ",".join(map(str, gpus)), count_gpus()
    if not num_gpus:
        raise UsageError(
            f"--gpus={numbers}: this machine has no GPU that TensorFlow can use; omit --gpus to use the CPU, or install "
            "NVIDIA's libraries: pip install '.[cuda]' in HazeHeal's repository"
        )
    if not gpus or not set(gpus) <= set(range(num_gpus)) or len(set(gpus)) != len(gpus):
        raise UsageError(f"--gpus={numbers}: this machine has GPUs 0 to {num_gpus - 1}; list each GPU at most once")


def _configure_gpus(gpus):
    # Threads of its own launch a GPU's kernels, so that input threads do not delay them.
    os.environ.setdefault("TF_GPU_THREAD_MODE", "gpu_private")
    try:
        tf.config.set_visible_devices(gpus, "GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        raise HazeHealError(f"GPUs cannot be chosen after TensorFlow has started: {error}") from error
    return tuple(f"GPU:{i}" for i in range(len(gpus)))


def _configure_cpus(count: int):
    if count < 1:
        raise UsageError(f"--cpu_replicas={count} must be 1 or more")
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_visible_devices([], "GPU")
        logical = tf.config.get_logical_device_configuration(cpu)
        if logical is None or len(logical) < count:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        if count > 1 and "TF_NUM_INTRAOP_THREADS" not in os.environ:
            # By default every replica's operations are split over all cores, and replicas wait for each other's parts.
            tf.config.threading.set_intra_op_parallelism_threads(max(1, usable_cores() // count))
    except RuntimeError as error:
        # TensorFlow has started already (in a notebook, or for an earlier trainer in this process).
        started = len(tf.config.list_logical_devices("CPU"))
        if started < count:
            raise HazeHealError(
                f"--cpu_replicas={count}: TensorFlow has started with {started} CPU devices; start a new process"
            ) from error
    return tuple(f"CPU:{i}" for i in range(count))


def choose_precision(precision: str, *, gpus: Sequence[tf.config.PhysicalDevice]) -> tuple[str, str]:
    """Returns the dtype policy and the reason.

    For `auto` that is bfloat16 if all devices multiply it in hardware, else float16 on GPUs with tensor cores, else
    float32.

    Args:
        precision: `auto` or a Keras dtype policy.
        gpus: The devices; empty for the CPU.

    Raises:
        UsageError: A device does not support the requested precision.
    """
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        capability = min(d.get("compute_capability", (0, 0)) for d in details)
        name = f"compute capability {capability[0]}.{capability[1]}"
        bfloat16, float16 = capability >= (8, 0), capability >= (7, 0)
    else:
        bfloat16, name = cpu_has_bfloat16()
        float16 = False
    if precision == "auto":
        best = "mixed_bfloat16" if bfloat16 else "mixed_float16" if float16 else "float32"
        return best, name
    if (precision == "mixed_bfloat16" and not bfloat16) or (precision == "mixed_float16" and not float16):
        raise UsageError(
            f"--config.train.precision={precision} is not supported by this device ({name}); use float32 or auto"
        )
    return precision, "as configured"


def cpu_has_bfloat16() -> tuple[bool, str]:
    """Returns whether oneDNN multiplies bfloat16 in hardware on this CPU, and the reason.

    Where it does, it was measured to be 1.45 to 1.73 times as fast as float32.
    """
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") in ("0", "false"):
        return False, "oneDNN is off"
    _, flags = describe_cpu()
    if flags is None:
        return False, "CPU flags are unknown"
    has_bfloat16 = "avx512_bf16" in flags or "amx_bf16" in flags
    return has_bfloat16, "CPU with bfloat16" if has_bfloat16 else "CPU without avx512_bf16"


def choose_xla(xla: str, *, on_gpu: bool) -> tuple[bool, str]:
    """Returns whether to compile with XLA, and the reason. `xla` is `auto` (on for GPUs), `on` or `off`."""
    if xla == "auto":
        # Measured on CPUs: 0.60 times the speed in float32, 0.38 in bfloat16, and half a minute to compile.
        return on_gpu, "GPU" if on_gpu else "slower on CPUs"
    return xla == "on", "as configured"


def local_replica_index(devices: Sequence[str]) -> int:
    """Returns the index in `Runtime.devices` of the replica that calls it, in a replica function.

    The replica context has only a tensor, which counts over all groups. The device on which an operation is placed gives
    the index as a Python integer while the function is traced.
    """
    spec = tf.DeviceSpec.from_string(tf.constant(0).device)
    return devices.index(f"{spec.device_type}:{spec.device_index}")
