"""LPIPS, a distance between images that goes by what a network sees (Zhang et al. 2018), as pure functions.

    weights = lpips.load("lpips_alex.npz")
    lpips.distance(weights, restored, clear)        # [B] float32, 0 where they are equal

The weights are those of the package `lpips`, version 0.1 of the linear heads, on AlexNet or VGG16 of torchvision;
`benchmarks/export_lpips.py` writes them to a file, as this package ships none.
"""

import dataclasses
import pathlib
import zipfile

import numpy as np
import tensorflow as tf

from hazeheal.errors import UsageError

# Of the inputs in [-1, 1]: ImageNet's mean and deviation, as the package has them.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_ADVICE = "make the file with `python benchmarks/export_lpips.py`"


@dataclasses.dataclass(frozen=True)
class Network:
    """A backbone.

    Attributes:
        convolutions: (side of the kernel, channels in, channels out, stride, padding) of each.
        pools: {convolution in front of which is a max-pool: (side, stride)}, counted from 0.
        taps: Convolutions behind whose ReLU the features are compared.
        least: Pixels that the shorter side must have.
    """

    convolutions: tuple
    pools: dict
    taps: tuple
    least: int


NETWORKS = {
    "alex": Network(
        convolutions=(
            (11, 3, 64, 4, 2),
            (5, 64, 192, 1, 2),
            (3, 192, 384, 1, 1),
            (3, 384, 256, 1, 1),
            (3, 256, 256, 1, 1),
        ),
        pools={1: (3, 2), 2: (3, 2)},
        taps=(0, 1, 2, 3, 4),
        least=31,
    ),
    "vgg": Network(
        convolutions=tuple(
            (3, before, after, 1, 1)
            for before, after in (
                *((3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)),
                *((256, 512), (512, 512), (512, 512), (512, 512), (512, 512), (512, 512)),
            )
        ),
        pools=dict.fromkeys((2, 4, 7, 10), (2, 2)),
        taps=(1, 3, 6, 9, 12),
        least=16,
    ),
}


@dataclasses.dataclass(frozen=True)
class Weights:
    """What `load` has read.

    Attributes:
        name: `alex` or `vgg`.
        kernels, biases: float32 [k, k, in, out] and [out], one a convolution.
        heads: float32 [channels], one a tap, 0 or more.
    """

    name: str
    kernels: tuple
    biases: tuple
    heads: tuple

    @property
    def least(self) -> int:
        """Pixels that the shorter side of an image must have."""
        return NETWORKS[self.name].least


def distance(weights, a, b):
    """LPIPS of images: for each tap the squared difference of the features, each scaled to length 1 over its channels.

        sum over taps of  mean over places of  sum over channels of  w (f_a / |f_a| - f_b / |f_b|)^2    (equation 1)

    Args:
        weights: As `load` returns them.
        a, b: [B, H, W, 3] of one size, uint8 or any float, RGB in [0, 255], both sides `weights.least` or more.

    Returns:
        [B] float32, 0 or more; lower is nearer.
    """
    # One pass through the network for both.
    features = _features(weights, tf.concat([tf.cast(a, tf.float32), tf.cast(b, tf.float32)], axis=0))
    total = 0.0
    for head, feature in zip(weights.heads, features, strict=True):
        length = tf.sqrt(tf.reduce_sum(tf.square(feature), axis=-1, keepdims=True))
        of_a, of_b = tf.split(feature / (length + 1e-10), 2)
        total += tf.reduce_mean(tf.reduce_sum(head * tf.square(of_a - of_b), axis=-1), axis=[1, 2])
    return total


def _features(weights, images):
    """The backbone's outputs at its taps, of [B, H, W, 3] float32 in [0, 255]."""
    network = NETWORKS[weights.name]
    x = (images / 127.5 - 1.0 - _SHIFT) / _SCALE
    found = []
    layers = zip(network.convolutions, weights.kernels, weights.biases, strict=True)
    for number, ((_, _, _, stride, padding), kernel, bias) in enumerate(layers):
        if number in network.pools:
            side, step = network.pools[number]
            x = tf.nn.max_pool2d(x, side, step, "VALID")
        around = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, stride, around) + bias)
        if number in network.taps:
            found.append(x)
    return found


def load(path) -> Weights:
    """Reads and checks a file of `benchmarks/export_lpips.py`: `conv0/kernel`, `conv0/bias`, ..., `lin0`, ...

    Raises:
        UsageError: There is no such file, or it lacks an array or holds a wrong one.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UsageError(f"--lpips_weights={path} not found; {_ADVICE}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"--lpips_weights={path} cannot be read as .npz ({error}); {_ADVICE}") from error
    name = "alex" if arrays.get("conv0/kernel", np.zeros(0)).shape[:1] == (11,) else "vgg"
    network = NETWORKS[name]
    shapes = {}
    for number, (side, before, after, _, _) in enumerate(network.convolutions):
        shapes |= {f"conv{number}/kernel": (side, side, before, after), f"conv{number}/bias": (after,)}
    shapes |= {f"lin{i}": (network.convolutions[tap][2],) for i, tap in enumerate(network.taps)}
    for key, shape in shapes.items():
        if key not in arrays:
            raise UsageError(f"--lpips_weights={path} holds no {key}; {_ADVICE}")
        if arrays[key].shape != shape:
            raise UsageError(
                f"--lpips_weights={path}: {key} has shape {arrays[key].shape} and not {shape}; {_ADVICE}"
            )
        if not np.isfinite(arrays[key]).all():
            raise UsageError(f"--lpips_weights={path}: {key} holds numbers that are not finite; {_ADVICE}")

    def take(template, count):
        return tuple(arrays[template.format(i)].astype(np.float32) for i in range(count))

    layers = len(network.convolutions)
    return Weights(
        name=name,
        kernels=take("conv{}/kernel", layers),
        biases=take("conv{}/bias", layers),
        heads=take("lin{}", len(network.taps)),
    )
