"""Errors that one group tells the others, and what those make of what reaches them."""

import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from hazeheal.distributed import failures
from hazeheal.distributed.tf_config import Cluster
from hazeheal.errors import (
    DataError,
    GroupFailedError,
    GroupLostError,
    GroupsDisagreeError,
    HazeHealError,
    UsageError,
)

GROUP = Cluster(("a:1", "b:1"), group=1)
# What TensorFlow 2.21 made of it in a collective of the leading group, and of one that the leader told.
TOLD = [
    "Graph execution error:\n\nDetected at node CollectiveReduceV2 defined at (most recent call last):\n\nCollective ops is "
    "aborted by: Error reported from /job:worker/task:1: {}\nThe error could be from a previous operation. Restart your "
    "program to reset.\n\t [[{{{{node CollectiveReduceV2}}}}]] [Op:__inference_f_31]",
    "Collective ops is aborted by: Collective ops is aborted by: {0}\nThe error could be from a previous operation.\n"
    'Additional GRPC error information:\n:UNKNOWN:Error received from peer  {{grpc_message:"{0}\\nThe error could", '
    "grpc_status:9}}",
]


@pytest.fixture
def told(monkeypatch):
    """What is told to the other groups."""
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
    with pytest.raises(HazeHealError) as caught, failures.translate_lost_groups(2):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "error", [HazeHealError("no room"), DataError("bad: shard 3"), UsageError("--x=1 is no y")]
)
@pytest.mark.parametrize("frame", TOLD)
def test_an_error_arrives_in_the_words_of_the_group_that_has_it(told, error, frame):
    tell(error)
    ((code, text),) = told
    assert code == tf.errors.FAILED_PRECONDITION
    received = receive(tf.errors.FailedPreconditionError(None, None, frame.format(text)))
    assert isinstance(received, GroupFailedError)
    assert received.exit_code == error.exit_code
    assert str(received).startswith(f"group 1 ended with an error: {error}")


def test_what_is_told_is_one_line_that_any_connection_takes(told):
    tell(DataError("a\nname of \udcff" + "x" * 1000))
    ((_, text),) = told
    assert r"a\nname of \udcffxxx" in text
    assert len(text) < 600
    text.encode()


@pytest.mark.parametrize(
    "error",
    [
        GroupLostError("the other replica group is gone"),
        GroupFailedError("group 0 has ended with an error: no room"),  # it comes from the others
        GroupsDisagreeError(
            "the replica groups do not agree on --config.seed"
        ),  # each of them says it itself
        tf.errors.UnavailableError(None, None, "Socket closed"),
        KeyboardInterrupt(),
        ZeroDivisionError(),  # who knows of what it comes
    ],
)
def test_a_loss_and_what_all_know_is_told_to_nobody(told, error):
    tell(error)
    assert told == []


def test_a_group_alone_tells_nobody(told):
    tell(HazeHealError("no room"), group=None)
    assert told == []


def test_where_it_cannot_be_told_the_error_stays_what_it_is(monkeypatch):
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
def test_a_group_that_has_told_nothing_is_lost(error):
    received = receive(error)
    assert type(received) is GroupLostError
    assert received.exit_code == 69


def test_errors_of_this_group_alone_pass():
    error = tf.errors.InvalidArgumentError(None, None, "shapes")
    with pytest.raises(tf.errors.InvalidArgumentError) as caught, failures.translate_lost_groups(2):
        raise error
    assert caught.value is error
