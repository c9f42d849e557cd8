"""The graph of the loop: no operation of the host depends on a result of a device.

Where one did, TensorFlow would wait for the device in every step, and the device then for the host. The graph is the same
on CPUs, where it is looked at here. Everything that follows from the result of a compiled function, through values or
control edges, must be on a device of a replica or a list of such values.

That an iteration ends when its updates have been started is no such dependency: TensorFlow adds these control edges to
the outputs of every loop body with side effects. They are followed within an iteration, and values also into the next.
"""

import numpy as np
import pytest
import tensorflow as tf
from trainings import SIZE

from hazeheal.training.step.step import compiled

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
ON_DEVICES = {*CALLS, "AddN", "AddV2", "Cast", "Identity", "IdentityN", "ReadVariableOp", "SplitV", "StridedSlice"}
# These hold values of a device, or order what is started.
AROUND = {"TensorListSetItem", "TensorListStack", "While", "NoOp"}
# With these in a function that XLA does not compile, the host would wait for values.
DECISIONS = {"If", "StatelessIf", "While", "StatelessWhile", "Case", "StatelessCase", "Where", "Timestamp", "Assert"}


def host_operations(graph, results=()):
    """Finds what on the host depends on results of compiled functions.

    Args:
        graph: A function's graph. All functions that it calls are compiled.
        results: Numbers of the inputs of the graph that are such results.

    Returns:
        (["NAME (TYPE)" of such operations], the numbers of the outputs that are such results by value).
    """
    values = {graph.inputs[i].name for i in results}  # results of devices
    waiting = {graph.inputs[i].op.name for i in results}  # operations that have or need such a result
    outputs = {t.op.name for t in graph.outputs}
    found = []
    for op in graph.get_operations():  # in an order in which they can run
        by_value = op.type in CALLS or any(t.name in values for t in op.inputs)
        if op.type == "While":
            found += in_while(op, values)
        elif by_value:
            values |= {t.name for t in op.outputs}
        if by_value or any(other.name in waiting for other in op.control_inputs):
            waiting.add(op.name)
            on_device = op.device or (op.type == "Identity" and op.name in outputs)
            if op.type not in AROUND and not (op.type in ON_DEVICES and on_device):
                found.append(f"{op.name} ({op.type})")
    return found, {i for i, t in enumerate(graph.outputs) if t.name in values}


def in_while(op, values):
    """The host operations in a while loop; adds the names of those of its outputs that are results to `values`."""
    body, condition = (op.graph._get_function(op.get_attr(name).name).graph for name in ("body", "cond"))
    assert len(body.inputs) == len(condition.inputs) == len(body.outputs) == len(op.inputs)
    carried = {i for i, t in enumerate(op.inputs) if t.name in values}
    found, returned = host_operations(body, carried)
    while returned - carried:  # what one iteration returns is what the next one gets
        carried |= returned
        found, returned = host_operations(body, carried)
    _, decisions = host_operations(condition, carried)
    values |= {op.outputs[i].name for i in carried}
    return found + [f"{op.name} (its condition)"] * len(decisions)


def calls(graph):
    """All calls of functions, in the body of the loop too."""
    operations = graph.get_operations()
    bodies = [graph._get_function(op.get_attr("body").name).graph for op in operations if op.type == "While"]
    return [op for op in operations if op.type in CALLS] + [op for body in bodies for op in calls(body)]


@pytest.mark.parametrize(
    ("replicas", "options"),
    [
        (1, {}),
        (1, {"xla": True}),
        (1, {"optimizer__accumulate": 2}),
        (2, {}),
        (2, {"xla": True, "optimizer__reduce_dtype": "float16"}),
    ],
)
def test_nothing_on_the_host_depends_on_a_device(training, replicas, options):
    trial = training(replicas=replicas, **options)
    images = np.zeros((1, 4, SIZE, SIZE, 3), np.uint8)
    graph = trial.graph(images, images)
    found, outputs = host_operations(graph)
    assert not found
    assert outputs == {0}, "the metrics are results"
    # The calls are those of the compiled functions: forward for each part of the batch and update, in both steps of the
    # graph, the first one and the body of the loop.
    parts = options.get("optimizer__accumulate", 1)
    names = [op.get_attr("f").name.removeprefix("__inference_").rpartition("_")[0] for op in calls(graph)]
    assert sorted(names) == ["forward_backward"] * 2 * parts * replicas + ["update"] * 2 * replicas
    for call in calls(graph):
        inside = {op.type for op in call.graph._get_function(call.get_attr("f").name).graph.get_operations()}
        assert len(inside) > 10 and not inside & DECISIONS


# --- loops that the test above must find -------------------------------------------------------------------------------


def clock_after_the_step(step, iterator, count):
    """As the loop was that measured its waits in every step."""
    metrics, waited = tf.TensorArray(tf.float32, size=count, element_shape=[]), tf.constant(0.0, tf.float64)
    last = tf.constant(0.0)
    for i in tf.range(count):
        with tf.control_dependencies([last]):
            requested = tf.timestamp()
        with tf.control_dependencies([requested]):
            batch = next(iterator)
        with tf.control_dependencies([batch]):
            waited += tf.timestamp() - requested
        last = step(batch)
        metrics = metrics.write(i, last)
    return metrics.stack(), waited


def batch_after_the_step(step, iterator, count):
    last = step(next(iterator))
    for _ in tf.range(count):
        with tf.control_dependencies([last]):
            batch = next(iterator)
        last = step(batch)
    return last


def decision(step, iterator, count):
    total = tf.constant(0.0)
    for _ in tf.range(count):
        value = step(next(iterator))
        if value > 0:
            total += 1
    return total


def end_by_a_value(step, iterator, count):
    last = tf.constant(0.0)
    while last < 3.0:
        last = step(next(iterator))
    return last


def value_on_the_host(step, iterator, count):
    last = tf.constant(0.0)
    for _ in tf.range(count):
        last = step(next(iterator))
        with tf.device(None):
            last = tf.math.log(last)
    return last


def nothing_of_these(step, iterator, count):
    metrics = tf.TensorArray(tf.float32, size=count, element_shape=[])
    for i in tf.range(count):
        metrics = metrics.write(i, step(next(iterator)))
    return metrics.stack()


@pytest.mark.parametrize(
    ("loop", "wanted"),
    [
        (clock_after_the_step, {"Timestamp", "IteratorGetNext"}),
        (batch_after_the_step, {"IteratorGetNext"}),
        (decision, {"Greater", "StatelessIf"}),
        (end_by_a_value, {"its condition"}),
        (value_on_the_host, {"Log"}),
        (nothing_of_these, set()),
    ],
)
def test_a_dependency_is_found(loop, wanted):
    variable = tf.Variable(1.0)

    def update(value):
        variable.assign_add(value)
        return variable * value

    update = compiled(update, xla=True)

    def step(value):
        with tf.device("CPU:0"):
            return update(value)

    iterator = iter(tf.data.Dataset.range(9).map(lambda i: tf.cast(i, tf.float32)))
    graph = tf.function(lambda iterator, count: loop(step, iterator, count))
    graph = graph.get_concrete_function(iterator, tf.constant(3)).graph
    found, _ = host_operations(graph)
    kinds = {operation.rpartition("(")[2].removesuffix(")") for operation in found}
    assert wanted <= kinds and bool(wanted) == bool(kinds), found
