"""Operations in two forms: library kernels (oneDNN, cuDNN), and what XLA fuses on GPUs.

Both compute the same values and gradients up to rounding (docs/performance.md). Within `fused_forms()` functions are
traced in the second form, which pays only if XLA compiles them for a GPU.
"""

import contextlib
import contextvars
import itertools
import math
from collections.abc import Iterator

import tensorflow as tf

_fused = contextvars.ContextVar("whether operations are traced in fused form", default=False)


@contextlib.contextmanager
def fused_forms(enabled: bool = True) -> Iterator[None]:
    """Within the block, functions are traced for XLA on a GPU, if `enabled`."""
    token = _fused.set(enabled)
    try:
        yield
    finally:
        _fused.reset(token)


def is_fused() -> bool:
    """Returns whether functions are traced for XLA on a GPU."""
    return _fused.get()


def layer_norm(x: tf.Tensor, bias: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, *, epsilon: float) -> tf.Tensor:
    """Adds a bias and normalizes each pixel over its channels (Ba et al. 2016), in float32.

    Computes (x + bias - mean) / sqrt(variance + epsilon) * scale + offset for x and bias of any float type,
    `[B, H, W, C]` and `[C]`, and scale and offset in float32, `[C]`. It is bound by memory. The gradients that TensorFlow
    would derive take about twenty passes over the tensor, these about a dozen, and nine in fused form.
    """
    if is_fused():
        return _fused_layer_norm(x, bias, scale, offset, epsilon)
    return _layer_norm(tf.nn.bias_add(x, bias), scale, offset, epsilon)


def _layer_norm(x, scale, offset, epsilon):
    @tf.custom_gradient
    def norm(x, scale, offset):
        centered = tf.cast(x, tf.float32)
        centered -= tf.reduce_mean(centered, axis=-1, keepdims=True)
        rate = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True) + epsilon)
        unit = centered * rate

        def gradients(upstream):
            upstream = tf.cast(upstream, tf.float32)
            to_scale = upstream * unit
            to_unit = upstream * scale
            along_mean = tf.reduce_mean(to_unit, axis=-1, keepdims=True)
            along_unit = tf.reduce_mean(to_scale * scale, axis=-1, keepdims=True)
            to_x = (to_unit - (along_mean + unit * along_unit)) * rate
            sums = (tf.reduce_sum(gradient, axis=[0, 1, 2]) for gradient in (to_scale, upstream))
            return tf.cast(to_x, x.dtype), *sums

        return tf.cast(unit * scale + offset, x.dtype), gradients

    return norm(x, scale, offset)


def _fused_layer_norm(x, bias, scale, offset, epsilon):
    """Layer normalization in the form for which XLA makes the fewest passes (docs/performance.md).

    The gradients recompute what they need from x in its own precision. Mean and variance come from one pass: the
    variance has a relative error of about 1e-7 (mean / deviation)^2, where two passes would have 1e-7. The
    gradient of the bias is the sum of that of x, written with other operations: if it were the same operations, XLA
    would compute them once and write the result in float32.
    """
    share = 1.0 / x.shape[-1]

    @tf.custom_gradient
    def norm(x, bias, scale, offset):
        biased = tf.nn.bias_add(x, bias)
        values = tf.cast(biased, tf.float32)
        total, squares = _sum_of_channels(values), _sum_of_channels(tf.square(values))

        def unit():
            mean = share * total
            variance = tf.maximum(share * squares - tf.square(mean), 0.0)
            rate = tf.math.rsqrt(variance + epsilon)
            return (tf.cast(biased, tf.float32) - mean) * rate, rate

        def gradients(upstream):
            upstream = tf.cast(upstream, tf.float32)
            normal, rate = unit()
            to_unit = upstream * scale
            along_mean, along_unit = _sum_of_channels(to_unit), _sum_of_channels(to_unit * normal)
            to_x = (to_unit - share * (along_mean + normal * along_unit)) * rate
            to_bias, to_scale, to_offset = _sums_of_pixels(
                to_unit * rate - normal * (share * rate * along_unit) - share * rate * along_mean,
                upstream * normal,
                upstream,
            )
            return tf.cast(to_x, x.dtype), tf.cast(to_bias, bias.dtype), to_scale, to_offset

        return tf.cast(unit()[0] * scale + offset, x.dtype), gradients

    return norm(x, bias, scale, offset)


def _sum_of_channels(x):
    return tf.reduce_sum(x, axis=-1, keepdims=True)


def _sums_of_pixels(*tensors):
    """Sums tensors `[B, H, W, C]` over all pixels: first each in blocks, as XLA does, then all sums in one operation."""
    shape = tensors[0].shape
    pixels = math.prod(shape[:3]) if shape.is_fully_defined() else 0
    blocks = 2 ** (pixels.bit_length() // 2) if pixels > 2048 else 1
    if not pixels or pixels % blocks:
        return [tf.reduce_sum(tensor, axis=[0, 1, 2]) for tensor in tensors]
    sums = [tf.reduce_sum(tf.reshape(x, [blocks, pixels // blocks, x.shape[-1]]), axis=1) for x in tensors]
    return tf.unstack(tf.reduce_sum(tf.stack(sums), axis=1))


def dense(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Applies a 1x1 convolution `[1, 1, C, N]` and a bias to `[B, 1, 1, C]`, all float32.

    In fused form it is a sum of products, which XLA computes with the operations around it: three calls of cuDNN for a few
    thousand products would take longer.
    """
    if not is_fused():
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)
    products = x * tf.transpose(kernel, [0, 1, 3, 2])
    return (tf.reduce_sum(products, axis=3) + bias)[:, tf.newaxis]


def scale_channels(x: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Multiplies `[B, H, W, C]` of any float type by float32 factors `[B, 1, 1, C]`; in fused form in float32."""
    if not is_fused():
        return x * tf.cast(factors, x.dtype)
    return tf.cast(tf.cast(x, tf.float32) * factors, x.dtype)


def relu(x: tf.Tensor) -> tf.Tensor:
    """Rectified linear unit.

    In fused form the gradient is taken from the output alone: XLA then computes the unit within the convolution before
    it.
    """
    if not is_fused():
        return tf.nn.relu(x)

    @tf.custom_gradient
    def rectify(x):
        y = tf.nn.relu(x)
        # Of `y > 0` XLA would make `x > 0`, and keep x.
        return y, lambda upstream: upstream * tf.cast(y != 0, upstream.dtype)

    return rectify(x)


def max_pool(x: tf.Tensor) -> tf.Tensor:
    """Maximum over windows of 2x2 pixels of `[B, H, W, C]`; the gradient goes to the first maximum of each window.

    In fused form the gradient is elementwise. XLA's own goes through index maps in int32 and a scatter in float32.
    """
    if not is_fused():
        return tf.nn.max_pool2d(x, 2, 2, "VALID")

    @tf.custom_gradient
    def pool(x):
        y = tf.nn.max_pool2d(x, 2, 2, "VALID")

        def gradient(upstream):
            batch, height, width, channels = (y.shape[i] or tf.shape(y)[i] for i in range(4))
            inside = x[:, : 2 * height, : 2 * width]
            first = tf.constant(3)
            for i in (2, 1, 0):  # position in the window: 2 row + column
                first = tf.where(inside[:, i // 2 :: 2, i % 2 :: 2] == y, i, first)
            positions = tf.reshape(tf.range(4), [1, 1, 2, 1, 2, 1])
            chosen = tf.cast(first[:, :, None, :, None] == positions, upstream.dtype)
            spread = tf.reshape(chosen * upstream[:, :, None, :, None], [batch, 2 * height, 2 * width, channels])
            rest = (tf.shape(x)[axis] % 2 if x.shape[axis] is None else x.shape[axis] % 2 for axis in (1, 2))
            return tf.pad(spread, [[0, 0], *([0, odd] for odd in rest), [0, 0]])

        return y, gradient

    return pool(x)


def conv_same(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None, *, strides: int, edges: str = "zero"
) -> tf.Tensor:
    """Convolution of `[B, H, W, C]` with padding `same`, and the addition of a bias where there is one.

    Beyond the edges are zeros, or with edges=`repeat`, for 3x3 taps and sides that are multiples of `strides`, the outermost
    pixels.

    In fused form uneven padding is replaced by more padding on both sides and a slice of the result. cuDNN pads both
    sides alike: XLA would copy the whole map to pad it, but computes the slice within the next operation.
    """

    def convolve(padding):
        outputs = tf.nn.conv2d(x, kernel, strides, padding)
        return outputs if bias is None else tf.nn.bias_add(outputs, bias)

    if edges == "repeat" and kernel.shape[0] > 1:
        x = _with_edges(x, kernel.shape[0], strides)
        return convolve("VALID")
    sides = x.shape.as_list()[1:3]
    if not is_fused() or None in sides:
        return convolve("SAME")
    paddings, windows = [[0, 0]], [slice(None)]
    for side, taps in zip(sides, kernel.shape[:2], strict=True):
        count, total = _same_padding(side, taps=taps, strides=strides)
        shift = total % 2  # with `strides` more padding in front, output q becomes q + 1
        paddings.append([total // 2 + shift * strides] * 2)
        windows.append(slice(shift, shift + count))
    outputs = convolve([*paddings, [0, 0]])
    return outputs[tuple(windows)] if any(window.start for window in windows) else outputs


def repeat_edges(x: tf.Tensor, before: int, after: int) -> tf.Tensor:
    """Pads `[B, H, W, C]` on both axes by 0 or 1 pixels `before` and `after`, with the outermost pixels.

    Its own gradient pads a row or a column. That of the slices fills a whole padded map with zeros for each of them.
    """

    @tf.custom_gradient
    def repeat(x):
        def gradient(upstream):
            for axis in (1, 2):
                upstream = _folded_edges(upstream, before, after, axis=axis)
            return upstream

        padded = x
        for axis in (1, 2):
            first, last = _slice(padded, 0, 1, axis=axis), _slice(padded, -1, None, axis=axis)
            padded = tf.concat([first] * before + [padded] + [last] * after, axis=axis)
        return padded, gradient

    return repeat(x)


def _folded_edges(x, before, after, *, axis):
    """Removes the outermost `before` and `after` positions along an axis and adds them to their neighbors."""
    inside = _slice(x, before, -after or None, axis=axis)
    rest = tf.shape(inside)[axis] - 1
    first, last = _slice(x, 0, 1, axis=axis), _slice(x, -1, None, axis=axis)
    for edge, padding in [(first, [0, rest])] * before + [(last, [rest, 0])] * after:
        inside += tf.pad(edge, [padding if i == axis else [0, 0] for i in range(4)])
    return inside


def _slice(x, start, end, *, axis):
    return x[:, start:end] if axis == 1 else x[:, :, start:end]


def _with_edges(x, taps, strides):
    """Pads as padding `same` does for kernels of 3x3 taps, where the sides are multiples of `strides`."""
    total = taps - strides
    return repeat_edges(x, total // 2, total - total // 2)


def _same_padding(side, *, taps, strides):
    """Returns the number of outputs along a side and the sum of its padding; `side` is an integer or a tensor."""
    count = (side + strides - 1) // strides
    total = (count - 1) * strides + taps - side
    return count, tf.maximum(total, 0) if tf.is_tensor(total) else max(total, 0)


def conv_input_gradient(upstream: tf.Tensor, x: tf.Tensor, kernel: tf.Tensor, *, strides: int) -> tf.Tensor:
    """Returns the gradient of `conv_same` with respect to x. The values of x do not matter, only its shape."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = conv_same(x, kernel, None, strides=strides)
    return tape.gradient(outputs, x, upstream)


def depthwise(x: tf.Tensor, kernel: tf.Tensor, *, strides: int, edges: str = "zero") -> tf.Tensor:
    """Depthwise convolution of `[B, H, W, C]` with padding `same`; the kernel is `[h, w, C, 1]`, `edges` as above.

    In fused form it is a sum of shifted products, which XLA computes together with the operations before and after,
    reading each map once. On a CPU, the gradients of bfloat16 are computed in float32: oneDNN has a fast bfloat16 kernel only
    for the forward pass, and its reference code for the backward pass takes five times as long as float32 with the casts.
    """
    padding = "SAME"
    if edges == "repeat":
        x, padding = _with_edges(x, kernel.shape[0], strides), "VALID"
    if not is_fused() or padding == "VALID":
        return _library_depthwise(x, kernel, [1, strides, strides, 1], padding)

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradients(upstream):
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = _weighted_sum(_shifted(x, kernel.shape[:2], strides), kernel)
            # One sum over a stack, since XLA would read the maps again for each tap.
            stack = tf.stack(_shifted(x, kernel.shape[:2], strides), axis=3)
            products = tf.cast(stack, tf.float32) * tf.cast(upstream, tf.float32)[:, :, :, tf.newaxis]
            to_kernel = tf.reshape(tf.reduce_sum(products, axis=[0, 1, 2]), kernel.shape)
            return tape.gradient(outputs, x, upstream), tf.cast(to_kernel, kernel.dtype)

        return _weighted_sum(_shifted(x, kernel.shape[:2], strides), kernel), gradients

    return convolve(x, kernel)


def _shifted(x, size, strides):
    """Returns what each tap of a kernel of `size` sees of x, with padding `same`: `[B, H / strides, W / strides, C]`."""
    counts, paddings = [], []
    for axis, taps in zip((1, 2), size, strict=True):
        side = tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]
        count, total = _same_padding(side, taps=taps, strides=strides)
        counts.append(count)
        paddings.append([total // 2, total - total // 2])
    padded = tf.pad(x, [[0, 0], *paddings, [0, 0]])
    windows = [
        [slice(first, first + (count - 1) * strides + 1, strides) for first in range(taps)]
        for count, taps in zip(counts, size, strict=True)
    ]
    return [padded[:, rows, columns] for rows, columns in itertools.product(*windows)]


def _weighted_sum(shifted, kernel):
    taps = tf.unstack(tf.reshape(tf.cast(kernel, tf.float32), [len(shifted), -1]))
    total = sum(tf.cast(s, tf.float32) * tap for s, tap in zip(shifted, taps, strict=True))
    return tf.cast(total, shifted[0].dtype)


def _library_depthwise(x, kernel, strides, padding):
    if x.dtype != tf.bfloat16 or tf.config.list_logical_devices("GPU"):
        return tf.nn.depthwise_conv2d(x, kernel, strides, padding)

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradients(upstream):
            common = {"out_backprop": tf.cast(upstream, tf.float32), "strides": strides, "padding": padding}
            to_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x), filter=tf.cast(kernel, tf.float32), **common
            )
            to_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=tf.cast(x, tf.float32), filter_sizes=tf.shape(kernel), **common
            )
            # The operation does not infer a static shape for open sides.
            return tf.cast(tf.ensure_shape(to_x, x.shape), x.dtype), tf.cast(to_kernel, kernel.dtype)

        return tf.nn.depthwise_conv2d(x, kernel, strides, padding), gradients

    return convolve(x, kernel)
