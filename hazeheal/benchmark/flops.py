"""Counts the floating-point operations of the networks and of the training step in their traced graphs.

Counted are the multiplications and additions of convolutions (plain, depthwise, transposed, and their gradients) and of
matrix products, two for each multiply-add, including the positions where the kernel overlaps the padding. GPUs quote their
peak in the same way. Elementwise operations are limited by memory bandwidth and are not counted.
"""

import math
from typing import TYPE_CHECKING

import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal.training.step.forward_backward import make_forward_backward
from hazeheal.training.step.layout import ROW
from hazeheal.training.step.train_state import Inputs, make_layouts
from hazeheal.utils.import_keras import keras

if TYPE_CHECKING:
    from hazeheal.models.networks import Networks

# For each operation: the input (or -1, the output) that is the convolution's output, and the one that is its kernel.
_CONVOLUTIONS = {
    "Conv2D": (-1, 1),
    "Conv2DBackpropInput": (2, 1),
    "Conv2DBackpropFilter": (2, -1),
    "DepthwiseConv2dNative": (-1, 1),
    "DepthwiseConv2dNativeBackpropInput": (2, 1),
    "DepthwiseConv2dNativeBackpropFilter": (2, -1),
}


def of_graph(graph: tf.Graph) -> int:
    """Counts the operations of a traced function whose convolutions have static shapes.

    Functions that it calls are not counted, nor operations that no output depends on: TensorFlow prunes them.
    """
    return sum(_of_operation(operation) for operation in _needed(graph))


def _needed(graph):
    needed, pending = set(), [*(tensor.op for tensor in graph.outputs), *graph.control_outputs]
    while pending:
        operation = pending.pop()
        if operation not in needed:
            needed.add(operation)
            pending += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return needed


def _of_operation(operation):
    if operation.type in _CONVOLUTIONS:
        output, kernel = (_shape(operation, index) for index in _CONVOLUTIONS[operation.type])
        channels = 1 if operation.type.startswith("Depthwise") else kernel[2]
        return 2 * math.prod(output) * kernel[0] * kernel[1] * channels
    if operation.type == "MatMul":
        inner = _shape(operation, 0)[0 if operation.get_attr("transpose_a") else 1]
        return 2 * math.prod(_shape(operation, -1)) * inner
    return 0


def _shape(operation, index):
    """The shape of an input of an operation, or of its output (-1)."""
    return (operation.outputs[0] if index < 0 else operation.inputs[index]).shape.as_list()


def of_generator(generator: keras.Model, *, height: int, width: int) -> int:
    """Counts the operations to restore one image; its sides are given in pixels."""
    forward = tf.function(lambda image: generator(image, training=False), autograph=False)
    return of_graph(forward.get_concrete_function(tf.TensorSpec([1, height, width, 3])).graph)


def of_step(networks: "Networks", *, config: ConfigDict) -> int:
    """Counts the operations of the forward and backward passes of the training step for one image of the crop size."""
    layouts = make_layouts(networks)
    function = make_forward_backward(networks, layouts, config=config, scaled=False)
    parts = {name: layout.split(tf.zeros([layout.rows, ROW])) for name, layout in layouts.items()}
    inputs = Inputs(**parts, loss_scale=tf.constant(1.0))
    inputs = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), inputs)
    image = tf.TensorSpec([1, config.data.crop_size, config.data.crop_size, 3], tf.uint8)
    return of_graph(tf.function(function, autograph=False).get_concrete_function(inputs, image, image, 1.0).graph)
