"""The flat vectors: where each variable lies, and round trips bit for bit."""

import math

import numpy as np
import pytest
import tensorflow as tf

from hazeheal.training.step import layout as layouts
from hazeheal.training.step.layout import ROW, SMALL, Layout, outputs_first, outputs_last

BOTH = pytest.mark.parametrize("outputs_first", [False, True])
# Sizes that are not multiples of a row, one value, kernels of convolutions and a dense one. `SMALL` is set to 1000 here.
SHAPES = {
    "small variables between large ones": {
        "a/kernel": (3, 3, 7, 17),
        "a/bias": (17,),
        "b/kernel": (4, 4, 5, 13),
        "b/u": (1,),
        "c/kernel": (3, 3, 5, 1),
        "d/kernel": (40, 64),
    },
    "no small ones": {"a": (3, 3, 16, 32), "b": (1001,), "c": (37, 59)},
    "no large ones": {"a": (3, 3, 2, 5), "b": (5,), "c": (9, 11)},
    "one value": {"a": (1,)},
    "at the border": {"a": (999,), "b": (1000,), "c": (1001,)},
    "whole rows": {"a": (ROW, ROW), "b": (2 * ROW,)},
    "nothing": {},
}


@pytest.fixture(params=SHAPES)
def shapes(request, monkeypatch):
    monkeypatch.setattr(layouts, "SMALL", 1000)
    return SHAPES[request.param]


def drawn(shapes, seed=0):
    """Values whose bits a round trip must keep: NaN, minus zero, infinity and denormals among them."""
    generator = np.random.default_rng(seed)
    values = {}
    for name, shape in shapes.items():
        array = generator.normal(size=shape).astype(np.float32)
        special = np.array([np.nan, -0.0, np.inf, 1e-42, 2.5], np.float32)
        array.flat[: special.size] = special[: array.size]
        values[name] = array
    return values


def assert_same_bits(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, np.float32), name
        assert found[name].tobytes() == value.tobytes(), name


def bits(vector):
    return np.asarray(vector).view(np.uint32).tolist()


@BOTH
def test_arrays_to_a_vector_and_back(shapes, outputs_first):
    layout = Layout(shapes, outputs_first=outputs_first)
    assert dict(zip(layout.names, layout.shapes, strict=True)) == shapes
    values = drawn(shapes)
    vector = layout.to_vector(values)
    assert vector.shape == (layout.rows, ROW) and vector.dtype == np.float32
    assert_same_bits(layout.to_arrays(vector), values)
    # Under the names of a checkpoint, which holds other variables too.
    prefixed = {f"ema/{name}": value for name, value in values.items()}
    again = layout.to_vector(prefixed | {"step": np.int64(1)}, prefix="ema/")
    assert bits(again) == bits(vector)
    assert_same_bits(layout.to_arrays(vector, prefix="ema/"), prefixed)


@BOTH
@pytest.mark.parametrize("compiled", [False, True])
def test_a_vector_to_tensors_and_back(shapes, outputs_first, compiled):
    """`split` and `unpack` give the variables of `to_vector`, and `pack` the parts of the same vector."""
    layout = Layout(shapes, outputs_first=outputs_first)
    values = drawn(shapes)
    if compiled:  # XLA's functions for CPUs set denormals to zero
        values = {name: np.where(np.abs(value) < 1e-38, np.float32(3), value) for name, value in values.items()}
    vector = layout.to_vector(values)

    @tf.function(jit_compile=compiled, autograph=False)
    def unpack(parts):
        return layout.unpack(parts)

    @tf.function(jit_compile=compiled, autograph=False)
    def pack(tensors):
        return tf.concat(layout.pack(tensors), 0)

    parts = layout.split(tf.constant(vector))
    assert sum(part.shape[0] for part in parts) == layout.rows
    tensors = unpack(parts)
    assert_same_bits({n: t.numpy() for n, t in zip(layout.names, tensors, strict=True)}, values)
    assert bits(pack(tensors)) == bits(vector)


@BOTH
def test_padding_is_zero_and_nothing_else_is_added(shapes, outputs_first):
    layout = Layout(shapes, outputs_first=outputs_first)
    ones = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    vector = layout.to_vector(ones)
    assert int(vector.sum()) == sum(math.prod(shape) for shape in shapes.values())
    packed = np.concatenate([part.numpy() for part in layout.pack([tf.constant(value) for value in ones.values()])])
    assert np.array_equal(packed, vector)
    large = [math.prod(shape) for shape in shapes.values() if math.prod(shape) >= 1000]
    small = sum(math.prod(shape) for shape in shapes.values()) - sum(large)
    assert layout.rows == sum(math.ceil(size / ROW) for size in [*large, small])


def test_large_variables_are_parts_of_their_own(shapes):
    layout = Layout(shapes)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    large = [name for name in shapes if sizes[name] >= 1000]
    values = drawn(shapes)
    *parts, rest = layout.split(tf.constant(layout.to_vector(values)))
    assert len(parts) == len(large)
    for name, part in zip(large, parts, strict=True):
        assert bits(tf.reshape(part, [-1])[: sizes[name]]) == bits(values[name].ravel())
    # The others follow without gaps.
    small = [values[name].ravel() for name in shapes if name not in large]
    together = np.concatenate(small) if small else np.zeros(0, np.float32)
    assert bits(tf.reshape(rest, [-1])[: together.size]) == bits(together)


def test_outputs_first_stores_kernels_with_their_last_axis_first():
    kernel = np.arange(24, dtype=np.float32).reshape(2, 3, 1, 4)
    assert outputs_first(kernel, np.transpose).shape == (4, 2, 3, 1)
    assert np.array_equal(outputs_last(outputs_first(kernel, np.transpose), np.transpose), kernel)
    assert np.array_equal(outputs_first(tf.constant(kernel)), outputs_first(kernel, np.transpose))
    assert np.array_equal(outputs_last(outputs_first(tf.constant(kernel))), kernel)
    vector = Layout({"kernel": kernel.shape, "bias": (4,)}, outputs_first=True).to_vector(
        {"kernel": kernel, "bias": np.full(4, 7, np.float32)}
    )
    wanted = [*np.moveaxis(kernel, -1, 0).ravel(), 7, 7, 7, 7]
    assert vector.ravel()[:28].tolist() == wanted


def test_variables_of_a_network_are_large_from_65536_values():
    layout = Layout({"a": (SMALL - 1,), "b": (SMALL,), "c": (2, SMALL // 2)})
    assert [part.shape[0] for part in layout.split(tf.zeros([layout.rows, ROW]))] == [SMALL // ROW] * 3
    assert SMALL == 65536


def test_a_missing_array_or_another_shape_is_an_error():
    layout = Layout({"a": (2, 3)})
    with pytest.raises(KeyError, match="x/a"):
        layout.to_vector({"a": np.zeros((2, 3))}, prefix="x/")
    with pytest.raises(ValueError, match="shape"):
        layout.to_vector({"a": np.zeros((2, 4))})
