"""The perceptual network: VGG19 (Simonyan and Zisserman 2015) up to one layer, frozen.

TensorFlow is imported only to build the network: `check_perceptual_weights` checks the weights without it, before a
training starts.
"""

import os
import pathlib
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from hazeheal.errors import HazeHealError, UsageError

if TYPE_CHECKING:
    from hazeheal.utils.import_keras import keras

DEFAULT_LAYER = "block3_conv3"
_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions of each block
_BGR_MEAN = (103.939, 116.779, 123.68)
_ADVICE = (
    "give --config.loss.perceptual_weights=PATH (Keras .h5 or .npz of VGG19), "
    "or --config.loss.perceptual_weight=0 to train without the perceptual loss"
)


def build_perceptual(
    *, weights: str | os.PathLike, layer: str = DEFAULT_LAYER, dtype: str = "float32"
) -> "keras.Model":
    """Builds the perceptual network, a frozen Keras functional model for any height and width.

    Args:
        weights: `imagenet` (keras.applications downloads them once), or the path of a Keras .h5 file (with or
            without top, legacy layout or .weights.h5), or of an .npz file with the arrays `block1_conv1/kernel`,
            `block1_conv1/bias` and so on.
        layer: The convolution whose output, after its ReLU, is returned: block1_conv1 to block5_conv4. Images must
            have sides of at least 2^(block - 1) pixels.
        dtype: Keras dtype policy of the features.

    Returns:
        A model from `[B, H, W, 3]` float32 in [-1, 1] to features.

    Raises:
        UsageError: The layer or the file does not exist, or the file has a missing or invalid array.
        HazeHealError: The download of `imagenet` failed.
    """
    shapes = _kernel_shapes(layer)
    arrays = _imagenet(shapes) if str(weights) == "imagenet" else _read(pathlib.Path(weights), shapes)

    from hazeheal.models import ops
    from hazeheal.utils.import_keras import keras

    image = keras.Input((None, None, 3), name="image", dtype="float32")
    x = keras.layers.Lambda(_to_vgg_input, name="bgr", dtype="float32")(image)
    for name, shape in shapes.items():
        if name.endswith("_conv1") and name != "block1_conv1":
            x = keras.layers.Lambda(ops.max_pool, name=name.replace("conv1", "pool"), dtype=dtype)(x)
        conv = keras.layers.Conv2D(shape[-1], 3, padding="same", name=name, dtype=dtype)
        x = keras.layers.Activation(ops.relu, name=f"{name}_relu", dtype=dtype)(conv(x))
        conv.set_weights([arrays[f"{name}/kernel"], arrays[f"{name}/bias"]])
    model = keras.Model(image, x, name="perceptual")
    model.trainable = False
    return model


def _to_vgg_input(image):
    """From RGB in [-1, 1] to the inputs that VGG19 was trained on: BGR in 0..255 minus the ImageNet mean."""
    return (image[..., ::-1] + 1.0) * 127.5 - list(_BGR_MEAN)


def check_perceptual_weights(weights: str | os.PathLike, layer: str = DEFAULT_LAYER) -> None:
    """Checks, without TensorFlow, the arguments of `build_perceptual`. `imagenet` is not checked.

    Raises:
        UsageError: The layer or the file does not exist, or the file has a missing or invalid array.
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
        raise UsageError(f"perceptual layer {layer!r} is not a convolution of VGG19: use one of {', '.join(shapes)}")
    names = list(shapes)
    return {name: shapes[name] for name in names[: names.index(layer) + 1]}


def _imagenet(shapes):
    """As `_read`, from the weights that keras.applications downloads."""
    from hazeheal.utils.import_keras import keras

    try:
        network = keras.applications.VGG19(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises a plain Exception if the download fails
        raise HazeHealError(f"the ImageNet weights of VGG19 could not be loaded ({error}): {_ADVICE}") from error
    return {v.path: v.numpy() for name in shapes for v in network.get_layer(name).variables}


def _read(path, shapes):
    """Reads {`block1_conv1/kernel`: array} from a file and checks the arrays against `shapes`."""
    if not path.is_file():
        raise UsageError(f"perceptual weights {path} not found: {_ADVICE}")
    try:
        arrays = _read_npz(path, shapes) if path.suffix == ".npz" else _read_h5(path, shapes)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"perceptual weights {path} cannot be read ({error}): {_ADVICE}") from error
    expected = {
        f"{name}/{part}": part_shape
        for name, shape in shapes.items()
        for part, part_shape in (("kernel", shape), ("bias", shape[-1:]))
    }
    for name, shape in expected.items():
        if name not in arrays:
            problem = f"perceptual weights {path} have no {name}"
        elif arrays[name].shape != shape:
            problem = f"perceptual weights {path} have {name} of shape {arrays[name].shape}, not {shape}"
        elif not np.isfinite(arrays[name]).all():
            problem = f"perceptual weights {path} have values in {name} that are not finite"
        else:
            continue
        raise UsageError(f"{problem}: {_ADVICE}")
    return arrays


def _read_npz(path, shapes):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file if name.split("/")[0] in shapes}


def _read_h5(path, shapes):
    """Reads both layouts of Keras: one group for each layer, named after the layer or (.weights.h5) numbered.

    The names of the arrays in a group differ between versions of Keras (`block1_conv1_W_1:0`, `kernel:0`, `0`), but
    a kernel always has four dimensions and a bias has one.
    """
    import h5py  # a dependency of Keras

    arrays = {}

    def collect(layer, item):
        if isinstance(item, h5py.Dataset):
            arrays[f"{layer}/{'kernel' if item.ndim == 4 else 'bias'}"] = item[()]

    with h5py.File(path, "r") as file:
        for number, layer in enumerate(shapes):
            numbered = f"layers/conv2d_{number}" if number else "layers/conv2d"
            for group in (layer, f"model_weights/{layer}", f"layers/{layer}", numbered):
                if group in file:
                    file[group].visititems(lambda _, item, layer=layer: collect(layer, item))
                    break
    return arrays
