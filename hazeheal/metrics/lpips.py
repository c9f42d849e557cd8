"""LPIPS, the learned perceptual distance of Zhang et al. 2018, computed by the package `lpips` on the CPU.

The package contains the linear weights (version 0.1). The backbone's ImageNet weights are downloaded by torchvision
on first use. Papers mostly report AlexNet.
"""

import dataclasses
import importlib.util

import numpy as np

from hazeheal.errors import HazeHealError, UsageError

PACKAGES = ("lpips", "torch", "torchvision")
INSTALL = "pip install 'hazeheal[lpips]'"


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network whose features LPIPS compares.

    Attributes:
        title: The network's name in text.
        min_side: Smallest side of an image in pixels; below it a layer has no output.
        file: Name of torchvision's weight file.
        megabytes: Size of that file.
    """

    title: str
    min_side: int
    file: str
    megabytes: int


BACKBONES = {
    "alex": Backbone("AlexNet", 31, "alexnet-owt-7be5be79.pth", 233),
    "vgg": Backbone("VGG16", 16, "vgg16-397923af.pth", 528),
}


def check_installed() -> None:
    """Checks that the packages are installed, without importing them.

    Raises:
        UsageError: A package is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--lpips needs {', '.join(missing)}, not installed here; run `{INSTALL}`")


class Lpips:
    """LPIPS of one image against its reference; lower is better."""

    def __init__(self, name: str):
        """Loads the network; torchvision downloads the backbone's weights unless they are in its cache.

        Args:
            name: A key of `BACKBONES`.

        Raises:
            HazeHealError: The weights cannot be loaded or downloaded.
        """
        import lpips
        import torch

        self.backbone = BACKBONES[name]
        self._from_numpy = torch.from_numpy
        try:
            self._network = lpips.LPIPS(net=name, verbose=False).requires_grad_(False)
        except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum is a RuntimeError
            raise HazeHealError(
                f"--lpips={name}: torchvision cannot load its {self.backbone.title} weights ({error}); it downloads "
                f"them once ({self.backbone.megabytes} MB). Without a network connection, copy "
                f"{self.backbone.file} to ~/.cache/torch/hub/checkpoints, or leave --lpips out"
            ) from error

    def __call__(self, image: np.ndarray, clear: np.ndarray) -> float:
        """Returns the distance of two images.

        Args:
            image: uint8 `[H, W, 3]` RGB.
            clear: uint8 `[H, W, 3]` RGB, the reference.

        Raises:
            HazeHealError: A side is shorter than the backbone accepts.
        """
        height, width = clear.shape[:2]
        if min(height, width) < self.backbone.min_side:
            raise HazeHealError(
                f"an image of {width}x{height} is too small for LPIPS; {self.backbone.title} needs "
                f"{self.backbone.min_side} pixels on each side: leave out --lpips, or the image"
            )
        return self._network(self._to_tensor(image), self._to_tensor(clear)).item()

    def _to_tensor(self, image):
        """Converts uint8 [H, W, 3] to the package's input, float32 [1, 3, H, W] in [-1, 1]."""
        channels_first = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        return self._from_numpy(channels_first.astype(np.float32) / 127.5 - 1.0)
