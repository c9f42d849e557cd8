"""Translates TensorFlow's errors into one line that the user can act on, and reports errors to the other groups."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorflow.python.eager import context

from hazeheal.distributed.tf_config import Cluster
from hazeheal.errors import DataError, GroupFailedError, GroupLostError, GroupsDisagreeError, HazeHealError
from hazeheal.utils.console import one_line

if TYPE_CHECKING:
    from hazeheal.data.pipeline.processor import DehazeDataProcessor

# The message with which the other groups' collectives fail after a group has reported an error.
_REPORT = "hazeheal: group {} has ended with an error (code {}): {}"
_REPORT_PATTERN = re.compile(r"hazeheal: group ([0-9]+) has ended with an error \(code ([12])\): ([^\n]+)")
_MAX_REPORT_LENGTH = 500
# A connection is reset or refused, a heartbeat is missed, or the collectives are aborted after one of these.
_LOST_GROUP_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
)


STEP_MEMORY_ADVICE = "lower --config.train.batch_size, --config.data.crop_size or --config.model.width, or raise --config.optimizer.accumulate"


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
        if isinstance(error, tf.errors.ResourceExhaustedError):
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
def translate_lost_groups(num_groups: int) -> Iterator[None]:
    """Translates TensorFlow's errors within the block that are caused by the end of another of `num_groups` groups.

    Raises:
        GroupFailedError: Another group reported an error.
        GroupLostError: Another group crashed, was killed, or does not respond.
    """
    try:
        yield
    except tf.errors.OpError as error:
        report = _REPORT_PATTERN.search(str(error))
        if report is not None:
            group, code, text = report.groups()
            raise GroupFailedError(f"group {group} ended with an error: {text}", int(code)) from error
        is_about_groups = "ollective ops" in str(error) or "heartbeat" in str(error)
        if num_groups < 2 or not (isinstance(error, _LOST_GROUP_ERRORS) or is_about_groups):
            raise
        text = str(error)
        reason = re.search(r"Collective ops is aborted by: (.+)", text) or re.search(r"\s*(.*)", text)
        raise GroupLostError(
            f"another replica group has ended or does not respond ({reason[1][:200].rstrip(' .:')}); rerun the command of "
            "every group to resume from the last checkpoint (hazeheal launch does so)"
        ) from error
