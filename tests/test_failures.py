"""Errors that a group reports to the others, and how these translate them."""

import pathlib
import types

import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from hazeheal.distributed import failures
from hazeheal.distributed.tf_config import Cluster
from hazeheal.errors import (
    DataError,
    DeviceFailedError,
    GroupFailedError,
    GroupLostError,
    GroupsDisagreeError,
    HazeHealError,
    UsageError,
)

NO_CHECKPOINTS = pathlib.Path("/nowhere")
GROUP = Cluster(("a:1", "b:1"), group=1)
# TensorFlow 2.21's messages in a collective of the leading group and of another group.
TOLD = [
    "Graph execution error:\n\nDetected at node CollectiveReduceV2 defined at (most recent call last):\n\nCollective ops is "
    "aborted by: Error reported from /job:worker/task:1: {}\nThe error could be from a previous operation. Restart your "
    "program to reset.\n\t [[{{{{node CollectiveReduceV2}}}}]] [Op:__inference_f_31]",
    "Collective ops is aborted by: Collective ops is aborted by: {0}\nThe error could be from a previous operation.\n"
    'Additional GRPC error information:\n:UNKNOWN:Error received from peer  {{grpc_message:"{0}\\nThe error could", '
    "grpc_status:9}}",
]


@pytest.fixture
def reports(monkeypatch):
    """The reports to the other groups: [(code, text), ...]."""
    found = []
    monkeypatch.setattr(
        context.context(),
        "report_error_to_cluster",
        lambda code, text: found.append((code, text)),
        raising=False,
    )
    return found


def tell(error, group=GROUP):
    with pytest.raises(type(error)) as caught, failures.report_error_to_groups(group):
        raise error
    assert caught.value is error


def receive(error):
    with pytest.raises(HazeHealError) as caught, failures.translate_failures(2, checkpoints=NO_CHECKPOINTS):
        raise error
    return caught.value


@pytest.mark.parametrize("error", [HazeHealError("no room"), DataError("bad: shard 3"), UsageError("--x=1 is no y")])
@pytest.mark.parametrize("frame", TOLD)
def test_another_groups_error_has_its_message_and_exit_code(reports, error, frame):
    tell(error)
    ((code, text),) = reports
    assert code == tf.errors.FAILED_PRECONDITION
    received = receive(tf.errors.FailedPreconditionError(None, None, frame.format(text)))
    assert isinstance(received, GroupFailedError)
    assert received.exit_code == error.exit_code
    assert str(received).startswith(f"group 1 ended with an error: {error}")


def test_a_report_is_one_short_line_of_valid_unicode(reports):
    tell(DataError("a\nname of \udcff" + "x" * 1000))
    ((_, text),) = reports
    assert r"a\nname of \udcffxxx" in text
    assert len(text) < 600
    text.encode()


@pytest.mark.parametrize(
    "error",
    [
        GroupLostError("the other replica group is gone"),
        GroupFailedError("group 0 has ended with an error: no room", 1),  # comes from another group
        GroupsDisagreeError("the replica groups do not agree on --config.seed"),  # raised in every group
        tf.errors.UnavailableError(None, None, "Socket closed"),
        KeyboardInterrupt(),
        ZeroDivisionError(),  # may be a consequence of a lost group
    ],
)
def test_errors_that_are_not_reported(reports, error):
    tell(error)
    assert reports == []


def test_a_single_group_reports_nothing(reports):
    tell(HazeHealError("no room"), group=None)
    assert reports == []


def test_a_failed_report_does_not_hide_the_error(monkeypatch):
    def broken(*_):
        raise tf.errors.InternalError(None, None, "no coordination service")

    monkeypatch.setattr(context.context(), "report_error_to_cluster", broken, raising=False)
    tell(HazeHealError("no room"))


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.UnavailableError(None, None, "Collective ops is aborted by: Socket closed"),
        tf.errors.AbortedError(None, None, "task 1 missed its heartbeat"),
        tf.errors.FailedPreconditionError(None, None, "Collective ops is aborted by: something else"),
    ],
)
def test_a_group_that_ends_without_a_report_is_lost(error):
    received = receive(error)
    assert type(received) is GroupLostError
    assert received.exit_code == 69


def test_errors_of_this_group_are_not_translated():
    error = tf.errors.InvalidArgumentError(None, None, "shapes")
    with (
        pytest.raises(tf.errors.InvalidArgumentError) as caught,
        failures.translate_failures(2, checkpoints=NO_CHECKPOINTS),
    ):
        raise error
    assert caught.value is error


# TensorFlow's messages of failed devices: from a graph, from an eager operation, from several operations.
DEVICE_FAILURES = [
    (
        tf.errors.InternalError,
        "Graph execution error:\n\nDetected at node StatefulPartitionedCall defined at (most recent call last):\n"
        '  File "/a/b.py", line 7, in <module>\n\nFailed to synchronize: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC '
        "error encountered\n\t [[{{node StatefulPartitionedCall}}]] [Op:__inference_train_5]",
        "InternalError: Failed to synchronize: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered",
    ),
    (
        tf.errors.UnknownError,
        "{{function_node __wrapped__NcclAllReduce_device_/job:localhost/device:GPU:0}} Error invoking NCCL: unhandled cuda "
        "error [Op:NcclAllReduce]",
        "UnknownError: Error invoking NCCL: unhandled cuda error [Op:NcclAllReduce]",
    ),
    (
        tf.errors.InternalError,
        "Graph execution error:\n\n2 root error(s) found.\n  (0) INTERNAL: cuDNN launch failure\n\t [[{{node a}}]]\n  "
        "(1) INTERNAL: cuDNN launch failure\n\t [[{{node b}}]]\n0 successful operations.",
        "InternalError: INTERNAL: cuDNN launch failure",
    ),
    (tf.errors.UnavailableError, "no connection", "UnavailableError: no connection"),
    (tf.errors.InternalError, "", "InternalError"),
]


@pytest.mark.parametrize(("kind", "message", "reason"), DEVICE_FAILURES)
def test_a_failed_device_is_named_with_the_step_to_resume_from(saved, kind, message, reason):
    folder = saved((4, None), (12, None))
    with pytest.raises(DeviceFailedError) as caught, failures.translate_failures(1, checkpoints=folder):
        raise kind(None, None, message)
    assert str(caught.value) == (
        f"a device or the communication between devices failed ({reason}); rerun the command to resume from step 12 "
        "(hazeheal launch does so)"
    )
    assert caught.value.exit_code == 71


def test_a_failed_device_before_the_first_checkpoint(tmp_path):
    raised = pytest.raises(DeviceFailedError, match="to start again, as there is no checkpoint yet ")
    with raised, failures.translate_failures(1, checkpoints=tmp_path):
        raise tf.errors.InternalError(None, None, "CUDA_ERROR_LAUNCH_FAILED")


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.InvalidArgumentError(None, None, "shapes"),
        tf.errors.UnknownError(None, None, "KeyError: 'x'\nTraceback (most recent call last):\n\n  File ..."),
        tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
    ],
)
def test_errors_that_a_restart_does_not_mend_are_not_translated(error):
    with pytest.raises(type(error)) as caught, failures.translate_failures(1, checkpoints=NO_CHECKPOINTS):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("message", ["CUDA_ERROR_OUT_OF_MEMORY: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"])
def test_too_little_memory_that_cuda_reports_is_an_error_of_the_user(message):
    processor = types.SimpleNamespace(translate_error=lambda error: None, log_bad_records=lambda: None)
    raised = pytest.raises(HazeHealError, match=r"^out of memory on GPU:0; lower ")
    with raised as caught, failures.translate_errors(processor=processor, devices=["GPU:0"]):
        raise tf.errors.InternalError(None, None, message)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("frame", TOLD)
def test_a_failed_device_of_another_group_is_a_loss(reports, frame):
    tell(DeviceFailedError("a device failed"))
    received = receive(tf.errors.FailedPreconditionError(None, None, frame.format(reports[0][1])))
    assert received.exit_code == 69
    assert str(received).startswith("group 1 ended with an error: a device failed")
