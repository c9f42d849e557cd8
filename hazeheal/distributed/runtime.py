"""Strategy, devices, precision and XLA: decided once, before TensorFlow starts, and printed once."""

import dataclasses
import os

import tensorflow as tf

import hazeheal
from hazeheal.distributed import rendezvous
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.utils.cpu import describe_cpu, usable_cores


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What a run computes on.

    Attributes:
        strategy: The `tf.distribute.Strategy`; its replicas are this group's.
        devices: Names of this group's devices, as `GPU:0` or `CPU:1`.
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`: a Keras dtype policy.
        xla: Whether the step is compiled with XLA.
        group, num_groups: This process's number among those that train together.
        reasons: {'precision': why, 'xla': why}.
    """

    strategy: tf.distribute.Strategy
    devices: tuple
    precision: str
    xla: bool
    group: int = 0
    num_groups: int = 1
    reasons: dict = dataclasses.field(default_factory=dict)

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync

    @property
    def on_gpu(self) -> bool:
        return self.devices[0].startswith("GPU")

    def facts(self) -> dict:
        """What must be alike in all groups of a job."""
        return {
            "the version of hazeheal": hazeheal.__version__,
            "the version of TensorFlow": tf.__version__,
            "the number of replicas in a group": len(self.devices),
            "the precision": self.precision,
            "XLA": self.xla,
        }

    def describe(self) -> str:
        where = ", ".join(self.devices)
        if self.num_groups > 1:
            where += f" of each of {self.num_groups} groups (this is group {self.group})"
        return (
            f"{self.replicas} replica{'s' * (self.replicas > 1)} on {where}; "
            f"precision {self.precision} ({self.reasons['precision']}); "
            f"XLA {'on' if self.xla else 'off'} ({self.reasons['xla']})"
        )


def choose_runtime(*, gpus=None, cpu_replicas=None, precision="auto", xla="auto", cluster=None) -> Runtime:
    """Decides what to run on. With a cluster it returns when all groups are there.

    Args:
        gpus: Numbers of the GPUs to use, as `--gpus=0,1` gives them; None: all there are.
        cpu_replicas: Run on this many logical CPU devices instead. None: on CPUs (one replica) only
            where there is no GPU.
        precision: `auto` or a Keras dtype policy.
        xla: `auto`, `on` or `off`.
        cluster: The `cluster.Cluster` of the groups that train as one job; None: this process alone. No
            TensorFlow operation may have run before.

    Raises:
        UsageError: Devices or a precision were asked for that this machine does not have.
        HazeHealError: Another program listens where the other groups are to find this one.
    """
    if gpus is not None and cpu_replicas is not None:
        raise UsageError("--gpus and --cpu_replicas exclude each other; give one of them")
    if cluster is not None and (cpu_replicas or 1) > 1:
        raise UsageError(
            f"--cpu_replicas={cpu_replicas}: of {cluster.num_groups} groups each drives one CPU replica; start more "
            "groups instead"
        )
    physical = tf.config.list_physical_devices("GPU")
    if gpus is not None:
        check_gpus(gpus, found=len(physical))
    if cpu_replicas is None and physical:
        chosen = physical if gpus is None else [physical[i] for i in gpus]
        devices = _use_gpus(chosen)
    else:
        chosen = []
        devices = _use_cpus(1 if cpu_replicas is None else cpu_replicas)
    precision, precision_reason = choose_precision(precision, gpus=chosen)
    xla, xla_reason = choose_xla(xla, on_gpu=bool(chosen))
    if cluster is None:
        strategy = _one_process(devices, on_gpu=bool(chosen))
    else:
        rendezvous.wait_for_groups(cluster)
        strategy = _several_processes(on_gpu=bool(chosen))
    return Runtime(
        strategy=strategy,
        devices=devices,
        precision=precision,
        xla=xla,
        group=0 if cluster is None else cluster.group,
        num_groups=1 if cluster is None else cluster.num_groups,
        reasons={"precision": precision_reason, "xla": xla_reason},
    )


def _one_process(devices, *, on_gpu):
    # NCCL on GPUs. Between logical CPU devices the list of gradients is summed on one device: 29 ms
    # against the default's 92 ms for 45 M parameters.
    nccl = on_gpu and len(devices) > 1
    ops = tf.distribute.NcclAllReduce() if nccl else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(list(devices), cross_device_ops=ops)


def _several_processes(*, on_gpu):
    # It reads TF_CONFIG itself, starts a server on this process's port and waits for the others, which are about
    # to do the same.
    kinds = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=kinds.NCCL if on_gpu else kinds.RING
    )
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def count_gpus() -> int:
    """How many GPUs TensorFlow can use here."""
    return len(tf.config.list_physical_devices("GPU"))


def check_gpus(gpus, *, found: int) -> None:
    asked = ",".join(map(str, gpus))
    if len(set(gpus)) != len(gpus):
        raise UsageError(f"--gpus={asked} names a GPU twice; name each once")
    if not gpus or not all(0 <= i < found for i in gpus):
        have = f"GPUs 0 to {found - 1}" if found else "no GPU that TensorFlow can use"
        hint = (
            ""
            if found
            else "; use --cpu_replicas=N, or install NVIDIA's libraries: pip install '.[cuda]' in HazeHeal's repository"
        )
        raise UsageError(f"--gpus={asked}: this machine has {have}{hint}")


def _use_gpus(chosen):
    try:
        tf.config.set_visible_devices(chosen, "GPU")
        for gpu in chosen:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        raise HazeHealError(f"GPUs cannot be chosen after TensorFlow has started: {error}") from error
    return tuple(f"GPU:{i}" for i in range(len(chosen)))


def _use_cpus(count: int):
    if count < 1:
        raise UsageError(f"--cpu_replicas={count} must be 1 or more")
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_visible_devices([], "GPU")
        have = tf.config.get_logical_device_configuration(cpu)
        if have is None or len(have) < count:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        if count > 1 and "TF_NUM_INTRAOP_THREADS" not in os.environ:
            # Each operation of every replica would be cut into parts for all cores, and the replicas would wait for
            # each other's parts.
            tf.config.threading.set_intra_op_parallelism_threads(max(1, usable_cores() // count))
    except RuntimeError as error:
        # TensorFlow has started already (a notebook, a second trainer in one process).
        have = len(tf.config.list_logical_devices("CPU"))
        if have < count:
            raise HazeHealError(
                f"--cpu_replicas={count}: TensorFlow has already started with {have} CPU devices; start a new process"
            ) from error
    return tuple(f"CPU:{i}" for i in range(count))


def choose_precision(precision: str, *, gpus) -> tuple[str, str]:
    """Returns the dtype policy and why: bfloat16 where the hardware multiplies it, else what is safe."""
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
            f"--config.train.precision={precision}: this device lacks it ({name}); use float32 or auto"
        )
    return precision, "as configured"


def cpu_has_bfloat16() -> tuple[bool, str]:
    """Whether oneDNN multiplies bfloat16 in hardware here (measured: 1.45 to 1.73 times float32)."""
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") in ("0", "false"):
        return False, "oneDNN is off"
    _, flags = describe_cpu()
    if flags is None:
        return False, "CPU of unknown abilities"
    has = "avx512_bf16" in flags or "amx_bf16" in flags
    return has, "CPU with bfloat16" if has else "CPU without avx512_bf16"


def choose_xla(xla: str, *, on_gpu: bool) -> tuple[bool, str]:
    if xla == "auto":
        # Measured on CPUs: 0.60 times the speed in float32, 0.38 in bfloat16, and half a minute to compile.
        return on_gpu, "GPU" if on_gpu else "slower on CPUs"
    return xla == "on", "as configured"


def local_replica_index(devices) -> int:
    """Number of the calling replica within its group, as a Python integer; to be called in a replica function.

    Its context has a tensor for it, counted over all groups; where an operation is placed tells it at once.
    """
    spec = tf.DeviceSpec.from_string(tf.constant(0).device)
    return devices.index(f"{spec.device_type}:{spec.device_index}")
