"""The perceptual network: VGG19 (Simonyan and Zisserman 2015) up to one layer, frozen.

TensorFlow is imported only where the network is built: `check_perceptual_weights` says within a moment,
before anything else is started, whether the weights are there.
"""

import pathlib
import zipfile

import numpy as np

from hazeheal.errors import HazeHealError, UsageError

DEFAULT_LAYER = "block3_conv3"
_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions of each block
_BGR_MEAN = (103.939, 116.779, 123.68)
_ADVICE = (
    "give --config.loss.perceptual_weights=PATH (Keras .h5 or .npz of VGG19), "
    "or --config.loss.perceptual_weight=0 to train without the perceptual loss"
)


def build_perceptual(*, weights, layer=DEFAULT_LAYER, dtype="float32"):
    """Builds the perceptual network, a frozen Keras functional model with height and width open.

    Args:
        weights: `imagenet` (through keras.applications, which downloads them once), or the path of a Keras
            .h5 (full or without top, old layout or .weights.h5), or of an .npz that holds
            `block1_conv1/kernel`, `block1_conv1/bias` and so on.
        layer: The convolution whose output, after its ReLU, is returned: block1_conv1 to block5_conv4. Sides
            must be 2^(block - 1) pixels or more.
        dtype: Keras dtype policy: float32, mixed_bfloat16 or mixed_float16.

    Returns:
        A keras.Model from [B, H, W, 3] float32 in [-1, 1] to features in the policy's compute dtype.

    Raises:
        UsageError: There is no such layer or file, or the file lacks an array or holds a wrong one.
        HazeHealError: The download of `imagenet` failed.
    """
    shapes = _kernel_shapes(layer)
    arrays = _imagenet(shapes) if str(weights) == "imagenet" else _read(pathlib.Path(weights), shapes)

    import keras

    image = keras.Input((None, None, 3), name="image", dtype="float32")
    # [-1, 1] RGB to what the network was trained on: 0..255 BGR less the mean of ImageNet.
    x = keras.layers.Lambda(
        lambda x: (x[..., ::-1] + 1.0) * 127.5 - list(_BGR_MEAN), name="bgr", dtype="float32"
    )(image)
    previous = "block1"
    for name, shape in shapes.items():
        block = name.split("_")[0]
        if block != previous:
            x = keras.layers.MaxPooling2D(2, name=f"{previous}_pool", dtype=dtype)(x)
            previous = block
        conv = keras.layers.Conv2D(shape[-1], 3, padding="same", activation="relu", name=name, dtype=dtype)
        x = conv(x)
        conv.set_weights(arrays[name])
    model = keras.Model(image, x, name="perceptual")
    model.trainable = False
    return model


def check_perceptual_weights(weights, layer=DEFAULT_LAYER):
    """Checks, without TensorFlow, that `build_perceptual` will find what it needs.

    `imagenet` always passes: whether it can be downloaded shows when it is.

    Args:
        weights, layer: As in `build_perceptual`.

    Raises:
        UsageError: There is no such layer or file, or the file lacks an array or holds a wrong one.
    """
    shapes = _kernel_shapes(layer)
    if str(weights) != "imagenet":
        _read(pathlib.Path(weights), shapes)


def _kernel_shapes(layer):
    """{name: shape of the kernel} of all convolutions up to `layer`, in order."""
    shapes, channels = {}, 3
    for block, (filters, count) in enumerate(_BLOCKS, start=1):
        for i in range(1, count + 1):
            shapes[f"block{block}_conv{i}"] = (3, 3, channels, filters)
            channels = filters
    if layer not in shapes:
        raise UsageError(
            f"perceptual layer {layer!r} is not a convolution of VGG19: give one of {', '.join(shapes)}"
        )
    names = list(shapes)
    return {name: shapes[name] for name in names[: names.index(layer) + 1]}


def _imagenet(shapes):
    import keras

    try:
        network = keras.applications.VGG19(include_top=False, weights="imagenet")
    except Exception as error:  # keras raises a plain Exception where the network is down
        raise HazeHealError(
            f"the ImageNet weights of VGG19 could not be loaded ({error}): {_ADVICE}"
        ) from error
    return {name: network.get_layer(name).get_weights() for name in shapes}


def _read(path, shapes):
    """{name: [kernel, bias]} out of the file at `path`, checked against `shapes`."""
    if not path.is_file():
        raise UsageError(f"perceptual weights {path} not found: {_ADVICE}")
    if path.suffix not in (".npz", ".h5", ".hdf5"):
        raise UsageError(f"perceptual weights {path}: must be a Keras .h5 or an .npz; {_ADVICE}")
    try:
        found = _read_npz(path, shapes) if path.suffix == ".npz" else _read_h5(path, shapes)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"perceptual weights {path} cannot be read ({error}): {_ADVICE}") from error
    for name, shape in shapes.items():
        for part, array, wanted in zip(("kernel", "bias"), found[name], (shape, shape[-1:]), strict=True):
            if array is None:
                raise UsageError(f"perceptual weights {path} hold no {name}/{part}: {_ADVICE}")
            if array.shape != wanted:
                raise UsageError(
                    f"perceptual weights {path}: {name}/{part} has shape {array.shape} and not {wanted}: {_ADVICE}"
                )
            if not np.isfinite(array).all():
                raise UsageError(
                    f"perceptual weights {path}: {name}/{part} holds numbers that are not finite: {_ADVICE}"
                )
    return found


def _read_npz(path, shapes):
    with np.load(path, allow_pickle=False) as file:
        return {
            name: [file[key] if (key := f"{name}/{part}") in file else None for part in ("kernel", "bias")]
            for name in shapes
        }


def _read_h5(path, shapes):
    """Both of Keras's layouts: a group a layer under its name, or (.weights.h5) under its number.

    Within a group the arrays have had several names over the years (`block1_conv1_W_1:0`, `kernel:0`, `0`), but
    a kernel always has four dimensions and a bias one.
    """
    import h5py  # comes with Keras

    found = {}
    with h5py.File(path, "r") as file:
        for number, name in enumerate(shapes):
            numbered = f"layers/conv2d_{number}" if number else "layers/conv2d"
            places = (name, f"model_weights/{name}", f"layers/{name}", numbered)
            group = next((file[place] for place in places if place in file), None)
            arrays = []
            if group is not None:
                group.visititems(
                    lambda _, item, arrays=arrays: (
                        arrays.append(item[()]) if isinstance(item, h5py.Dataset) else None
                    )
                )
            found[name] = [next((a for a in arrays if a.ndim == rank), None) for rank in (4, 1)]
    return found
