"""Translates TensorFlow's errors into one line that the user can act on, and reports errors to the other groups."""

import contextlib
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorflow.python.eager import context

from hazeheal.distributed.tf_config import Cluster
from hazeheal.errors import (
    EXIT_DEVICE_FAILED,
    EXIT_GROUP_LOST,
    DataError,
    DeviceFailedError,
    GroupFailedError,
    GroupLostError,
    GroupsDisagreeError,
    HazeHealError,
)
from hazeheal.runs.checkpoints import list_steps
from hazeheal.utils.console import one_line

if TYPE_CHECKING:
    from hazeheal.data.pipeline.processor import DehazeDataProcessor

# The message with which the other groups' collectives fail after a group has reported an error.
_REPORT = "hazeheal: group {} has ended with an error (code {}): {}"
_REPORT_PATTERN = re.compile(r"hazeheal: group ([0-9]+) has ended with an error \(code ([0-9]+)\): ([^\n]+)")
_MAX_REPORT_LENGTH = 500
_MAX_REASON_LENGTH = 300
# A connection is reset or refused, a heartbeat is missed, or the collectives are aborted after one of these.
_LOST_GROUP_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
)
# What TensorFlow raises for uncorrectable memory errors (ECC), lost GPUs (Xid), CUDA, cuDNN and NCCL.
_DEVICE_ERRORS = (
    tf.errors.InternalError,
    tf.errors.UnknownError,
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
)
# CUDA and its libraries report too little memory as an InternalError.
_MEMORY = re.compile("OUT_OF_MEMORY|ALLOC_FAILED|[Oo]ut of memory")
_ABOUT_GROUPS = re.compile("ollective ops|heartbeat|remote process exited")  # the last one is NCCL's
_PYTHON_TRACEBACK = "Traceback (most recent call last):"  # of a function that TensorFlow has called: a bug
STEP_MEMORY_ADVICE = (
    "lower --config.train.batch_size, --config.data.crop_size or --config.model.width, or raise "
    "--config.optimizer.accumulate"
)


@contextlib.contextmanager
def translate_errors(
    *, processor: "DehazeDataProcessor", devices: Sequence[str], memory_advice: str = STEP_MEMORY_ADVICE
) -> Iterator[None]:
    """Translates TensorFlow's errors within the block that are about damaged data or too little memory.

    At the end of the block, the damaged records that `processor` skipped are logged.

    Args:
        processor: Reads the data.
        devices: The devices, named in the error.
        memory_advice: What to do if a device does not have enough memory; by default what helps a training step.

    Raises:
        DataError: A record is damaged; names shard, record and source.
        HazeHealError: A device does not have enough memory; names the settings to change.
    """
    try:
        yield
    except tf.errors.OpError as error:
        data_error = processor.translate_error(error)
        if data_error is not None:
            raise DataError(str(data_error)) from error
        if _is_out_of_memory(error):
            raise HazeHealError(f"out of memory on {', '.join(devices)}; {memory_advice}") from error
        raise
    finally:
        processor.log_bad_records()


@contextlib.contextmanager
def report_error_to_groups(cluster: Cluster | None) -> Iterator[None]:
    """Reports a `HazeHealError` that leaves the block to the other groups before this process ends.

    Their collectives then fail at once with this error's message. Without the report they would take this group for
    lost and wait until it is restarted. `cluster` is None if this process trains alone.
    """
    try:
        yield
    except (GroupLostError, GroupsDisagreeError):  # the other groups raise the same error
        raise
    except HazeHealError as error:
        if cluster is not None:
            text = one_line(error)[:_MAX_REPORT_LENGTH]
            # Fails if the groups are not connected yet.
            with contextlib.suppress(Exception):
                context.context().report_error_to_cluster(
                    tf.errors.FAILED_PRECONDITION, _REPORT.format(cluster.group, error.exit_code, text)
                )
        raise


@contextlib.contextmanager
def translate_failures(num_groups: int, *, checkpoints: pathlib.Path) -> Iterator[None]:
    """Translates TensorFlow's errors within the block that a restart from the last checkpoint may mend.

    Args:
        num_groups: Number of groups of the job.
        checkpoints: This group's checkpoints; the error names the step from which the run resumes.

    Raises:
        GroupFailedError: Another group reported an error.
        GroupLostError: Another group crashed, was killed, or does not respond.
        DeviceFailedError: A device or the communication between devices failed.
    """
    try:
        yield
    except tf.errors.OpError as error:
        report = _REPORT_PATTERN.search(str(error))
        if report is not None:
            group, code, text = report.groups()
            code = EXIT_GROUP_LOST if int(code) == EXIT_DEVICE_FAILED else int(code)
            raise GroupFailedError(f"group {group} ended with an error: {text}", code) from error
        if num_groups > 1 and (isinstance(error, _LOST_GROUP_ERRORS) or _ABOUT_GROUPS.search(str(error))):
            text = str(error)
            reason = re.search(r"Collective ops is aborted by: (.+)", text) or re.search(r"\s*(.*)", text)
            raise GroupLostError(
                f"another replica group has ended or does not respond ({reason[1][:200].rstrip(' .:')}); rerun the "
                "command of every group to resume from the last checkpoint (hazeheal launch does so)"
            ) from error
        if not isinstance(error, _DEVICE_ERRORS) or _PYTHON_TRACEBACK in str(error) or _is_out_of_memory(error):
            raise
        raise DeviceFailedError(
            f"a device or the communication between devices failed ({_describe(error)}); {resume_advice(checkpoints)}"
        ) from error


def resume_advice(checkpoints: pathlib.Path) -> str:
    """Returns what to do after a failed device, with the step of the newest checkpoint in `checkpoints`."""
    steps = list_steps(checkpoints)
    goal = f"resume from step {steps[-1]}" if steps else "start again, as there is no checkpoint yet"
    return f"rerun the command to {goal} (hazeheal launch does so)"


def _is_out_of_memory(error):
    if _REPORT_PATTERN.search(str(error)):  # of another group
        return False
    is_internal = isinstance(error, tf.errors.InternalError | tf.errors.UnknownError)
    return isinstance(error, tf.errors.ResourceExhaustedError) or bool(is_internal and _MEMORY.search(str(error)))


def _describe(error):
    """Returns the type of a TensorFlow error and the line of its message that says what happened."""
    # The first lines name operations and where they were defined; the text after it names the operation again.
    lines = str(error).partition("[[{{node")[0].strip().splitlines()
    line = re.sub(r"^\s*\(\d+\) |\{\{function_node .*?\}\} ", "", lines[-1] if lines else "")
    return one_line(f"{type(error).__name__}: {line}")[:_MAX_REASON_LENGTH].rstrip(" .:")
