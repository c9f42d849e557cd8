"""Floating-point operations of the networks and of the training step, counted in the graphs they are traced to.

What counts is what GPUs quote their peak in: the multiplications and additions of convolutions (plain,
depthwise, transposed, and their gradients) and matrix products, two for each multiply-add, positions of
the kernel that reach into the padding included. What works on each element alone (norms, activations, the
update) is bound by memory and left out. A trace holds every operation once, whatever computes it, so the
count is exact, and it is of the graph as it is written: a compiler may leave out what nothing uses.
"""

import math

import tensorflow as tf

from hazeheal.training.step.step import make_forward_backward

# For each operation: which of its inputs (or -1, its output) is the convolution's output, and which the kernel.
_CONVOLUTIONS = {
    "Conv2D": (-1, 1),
    "Conv2DBackpropInput": (2, 1),
    "Conv2DBackpropFilter": (2, -1),
    "DepthwiseConv2dNative": (-1, 1),
    "DepthwiseConv2dNativeBackpropInput": (2, 1),
    "DepthwiseConv2dNativeBackpropFilter": (2, -1),
}


def of_graph(graph) -> int:
    """Counts the operations of a traced function.

    Args:
        graph: A `tf.Graph` whose convolutions have static shapes; functions that it calls are not entered.

    Raises:
        ValueError: A shape is open, so that nothing could be counted.
    """
    return sum(_of_operation(operation) for operation in _needed(graph))


def _needed(graph):
    """The operations that the outputs depend on: the others are pruned before the graph runs."""
    needed, pending = set(), [*(tensor.op for tensor in graph.outputs), *graph.control_outputs]
    while pending:
        operation = pending.pop()
        if operation not in needed:
            needed.add(operation)
            pending += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return needed


def _of_operation(operation):
    if operation.type in _CONVOLUTIONS:
        output, kernel = (_shape(operation, place) for place in _CONVOLUTIONS[operation.type])
        channels = 1 if operation.type.startswith("Depthwise") else kernel[2]
        return 2 * math.prod(output) * kernel[0] * kernel[1] * channels
    if operation.type == "MatMul":
        inner = _shape(operation, 0)[0 if operation.get_attr("transpose_a") else 1]
        return 2 * math.prod(_shape(operation, -1)) * inner
    return 0


def _shape(operation, place):
    shape = (operation.outputs[0] if place < 0 else operation.inputs[place]).shape
    if not shape.is_fully_defined():
        raise ValueError(f"{operation.name} has the open shape {shape}: its work cannot be counted")
    return shape.as_list()


def of_generator(gan, *, height, width) -> int:
    """Operations to restore one image of `height` x `width` pixels."""
    forward = tf.function(lambda image: gan.generator(image, training=False), autograph=False)
    return of_graph(forward.get_concrete_function(tf.TensorSpec([1, height, width, 3])).graph)


def of_step(gan, *, config) -> int:
    """Operations of the forward and backward passes of the training step, for one image.

    Args:
        gan: The networks of `config`, all three.
        config: The configuration; its crop size is the image's.
    """
    step = tf.function(make_forward_backward(gan, config=config, scaled=False), autograph=False)
    image = tf.TensorSpec([1, config.data.crop_size, config.data.crop_size, 3], tf.uint8)
    perceptual = gan.perceptual.variables if gan.perceptual is not None else []
    variables = (
        *(gan.generator.trainable_variables, gan.discriminator.trainable_variables),
        *(gan.generator.non_trainable_variables, gan.discriminator.non_trainable_variables, perceptual),
    )
    specs = [[tf.TensorSpec(v.shape, v.value.dtype) for v in group] for group in variables]
    scale, norms = tf.TensorSpec([]), tf.TensorSpec([3])
    return of_graph(step.get_concrete_function(*specs, scale, norms, image, image, 1.0).graph)
