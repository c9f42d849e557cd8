"""What a user can act on among TensorFlow's errors, in one line each."""

import contextlib
import re

import tensorflow as tf
from tensorflow.python.eager import context

from hazeheal.errors import DataError, GroupFailedError, GroupLostError, GroupsDisagreeError, HazeHealError
from hazeheal.utils.console import one_line

# What a group that ends with an error has the others' collectives fail with.
_TOLD = "hazeheal: group {} has ended with an error (code {}): {}"
_TOLD_PATTERN = re.compile(r"hazeheal: group ([0-9]+) has ended with an error \(code ([12])\): ([^\n]+)")
_LONGEST = 500


@contextlib.contextmanager
def translate_errors(*, processor, devices):
    """Explains errors of the block: damaged data that `processor` read, and memory that `devices` lack.

    Raises:
        DataError: Shard, record and source are named.
        HazeHealError: A device has too little memory; what to lower.
    """
    try:
        yield
    except tf.errors.OpError as error:
        damaged = processor.translate_error(error)
        if damaged is not None:
            raise DataError(str(damaged)) from error
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise HazeHealError(
                f"out of memory on {', '.join(devices)}; lower --config.train.batch_size, --config.data.crop_size "
                "or --config.model.width, or raise --config.optimizer.accumulate"
            ) from error
        raise


@contextlib.contextmanager
def report_error_to_groups(group):
    """Lets the other groups know of an error of the block that a person must act on, before this one goes.

    Their collectives then fail with these words at once, on hosts too that share no file system; else they would take
    this group for one that is merely lost, and wait for it to be started again.

    Args:
        group: This process's `cluster.Cluster`; None: there are no others.
    """
    try:
        yield
    except (GroupLostError, GroupsDisagreeError):  # of which the others know as much
        raise
    except HazeHealError as error:
        if group is not None:
            text = one_line(error)[:_LONGEST]
            # Before the groups have met there is nobody to tell it to.
            with contextlib.suppress(Exception):
                context.context().report_error_to_cluster(
                    tf.errors.FAILED_PRECONDITION, _TOLD.format(group.group, error.exit_code, text)
                )
        raise


@contextlib.contextmanager
def translate_lost_groups(num_groups: int):
    """Explains errors of the block that come of another group's end: a collective that cannot be completed.

    Raises:
        GroupFailedError: One of the other groups has told its error.
        GroupLostError: One of the other groups crashed, was killed, or does not answer.
    """
    try:
        yield
    except tf.errors.OpError as error:
        match = _TOLD_PATTERN.search(str(error))
        if match is not None:
            number, code, text = match.groups()
            raise GroupFailedError(
                f"group {number} has ended with an error: {text}", exit_code=int(code)
            ) from error
        # What reaches the waiting side differs with the moment: a connection that is reset, one that is
        # refused, a heartbeat that is missed, or the abort that the first of these sets off.
        kinds = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
        kinds += (tf.errors.CancelledError,)
        told = "ollective ops" in str(error) or "heartbeat" in str(error)
        if num_groups < 2 or not (isinstance(error, kinds) or told):
            raise
        others = "the other replica group" if num_groups == 2 else "another replica group"
        raise GroupLostError(
            f"{others} is gone or does not answer ({_reason(error)}); start all groups again with the same command, and "
            "they go on from the last checkpoint (the launcher does it)"
        ) from error


def _reason(error) -> str:
    """The last words of TensorFlow's message that say something, in one line."""
    match = re.search(r"Collective ops is aborted by: ([^\n]+)", str(error))
    return (match[1] if match else error.message.strip().splitlines()[0])[:200].rstrip(" .:")
