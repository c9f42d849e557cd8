"""Gradients with respect to the input of a network, for some images of the batch alone.

The discriminator sees real and restored images in one batch, and the perceptual network clear and restored ones. The
generator needs the gradient with respect to the restored images. A `GradientTape` would pass zeros for all other images
through the whole network. So the layers record how each passes a gradient back, and `InputGradient` applies this to the
part of the batch that matters:

    with InputGradient(images=slice(batch_size, None)) as gradient:
        logits = discriminator(...)
    to_input = gradient(to_logits)      # of the recorded images

The layers must form a chain: each passes its result to the next.
"""

import contextvars
from collections.abc import Callable

import tensorflow as tf

_active = contextvars.ContextVar("recorder of input gradients", default=None)


class InputGradient:
    """Records a chain of layers while it is a context manager; then computes the gradient of its input."""

    def __init__(self, images: slice) -> None:
        """`images` selects the images of the batch whose gradient is computed."""
        self._images = images
        self._steps = []

    def __enter__(self) -> "InputGradient":
        self._token = _active.set(self)
        return self

    def __exit__(self, *error) -> None:
        _active.reset(self._token)

    def record(self, step: Callable[[tf.Tensor, slice], tf.Tensor]) -> None:
        """Adds a layer, see `record`."""
        self._steps.append(step)

    def __call__(self, upstream: tf.Tensor) -> tf.Tensor:
        """Returns the gradient of the chain's input, given that of its output, both of the selected images."""
        for step in reversed(self._steps):
            upstream = step(upstream, self._images)
        return upstream


def record(step: Callable[[tf.Tensor, slice], tf.Tensor]) -> None:
    """Records one layer, if an `InputGradient` is active.

    Args:
        step: A function (gradient of the layer's output, images) -> gradient of its input. Both are of the selected
            images; `images` selects these from tensors of the whole batch.
    """
    if (recorder := _active.get()) is not None:
        recorder.record(step)
