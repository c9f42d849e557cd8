"""LPIPS, the learned perceptual distance of Zhang et al. 2018, computed by the package `lpips` on the CPU.

The package contains the linear weights (version 0.1). The backbone's ImageNet weights are downloaded by torchvision
on first use. Most papers report AlexNet.
"""

import importlib.util
import warnings

import numpy as np

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.utils.console import format_bytes
from hazeheal.utils.memory import available_memory

PACKAGES = ("lpips", "torch", "torchvision")
# Shortest side of an image in pixels for each backbone; a layer has no output for smaller images.
MIN_SIDE = {"alex": 31, "vgg": 16}
# Peak memory per pixel, measured with lpips 0.1.4 and torch 2.14 on the CPU. The network sees whole images: the value of
# tiles differs, because the layers pad every tile at its border.
BYTES_PER_PIXEL = {"alex": 300, "vgg": 3000}
PROTOCOL = "Zhang et al. 2018, version 0.1, {backbone}, on whole images in RGB; lower is better"


def check_installed() -> None:
    """Raises UsageError if a package is missing; imports none."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--lpips needs {', '.join(missing)}, not installed here; run `pip install 'hazeheal[lpips]'`")


def check_size(size: tuple[int, int], backbone: str, *, name: str = "") -> None:
    """Raises HazeHealError if an image of this (height, width) is too small for a backbone, or too large for the memory.

    Args:
        size: Height and width in pixels.
        backbone: `alex` or `vgg`.
        name: Name of the image in the error.
    """
    (height, width), least = size, MIN_SIDE[backbone]
    prefix = f"{name}: " if name else ""
    if min(height, width) < least:
        raise HazeHealError(
            f"{prefix}an image of {width}x{height} is too small for --lpips={backbone}, which needs sides of at least "
            f"{least} pixels; leave out --lpips, or the image"
        )
    needed, available = BYTES_PER_PIXEL[backbone] * height * width, available_memory()
    if needed > available:
        raise HazeHealError(
            f"{prefix}--lpips={backbone} needs about {format_bytes(needed)} of memory for an image of {width}x{height}, and "
            f"{format_bytes(available)} are available; leave out --lpips, or the image"
        )


class Lpips:
    """LPIPS of one image against its reference; lower is better."""

    def __init__(self, backbone: str):
        """Loads the network of a backbone, `alex` or `vgg`.

        Raises:
            HazeHealError: The backbone's weights are not in torchvision's cache and cannot be downloaded.
        """
        import lpips
        import torch

        self._backbone = backbone
        self._from_numpy = torch.from_numpy
        try:
            with warnings.catch_warnings():  # torchvision warns of how the package `lpips` calls it
                warnings.simplefilter("ignore", UserWarning)
                self._network = lpips.LPIPS(net=backbone, verbose=False).requires_grad_(False)
        except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum is a RuntimeError
            raise HazeHealError(
                f"--lpips={backbone}: torchvision cannot download the weights of its backbone ({error}); connect to the "
                "network once, or copy the file to ~/.cache/torch/hub/checkpoints (docs/evaluation.md)"
            ) from error

    def __call__(self, image: np.ndarray, clear: np.ndarray) -> float:
        """Returns the distance of two uint8 `[H, W, 3]` RGB images; `clear` is the reference.

        Raises:
            HazeHealError: The image is too small, or too large for the memory (`check_size`).
        """
        check_size(clear.shape[:2], self._backbone)
        return self._network(self._to_tensor(image), self._to_tensor(clear)).item()

    def _to_tensor(self, image):
        """Converts uint8 [H, W, 3] to the package's input, float32 [1, 3, H, W] in [-1, 1]."""
        channels_first = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        return self._from_numpy(channels_first.astype(np.float32) / 127.5 - 1.0)
