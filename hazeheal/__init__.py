"""HazeHeal: training and use of a GAN that removes haze from images.

    from hazeheal import DehazeDataProcessor, DehazeGAN, DehazeTrainer

The names are looked up on first use, so that `import hazeheal` (and `hazeheal --help`) does not wait
for TensorFlow.
"""

import importlib
import os
import platform

# TensorFlow's wheels are compiled for any x86 CPU; oneDNN writes its kernels for the one it runs on. TensorFlow asks for
# them by itself only where it finds AVX-512 VNNI or better. On AVX2 alone they double the training step's
# speed (docs/performance.md). Set here, since it is read once, when TensorFlow starts. On other kinds of processor,
# where nothing was measured, TensorFlow decides.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"
__all__ = ["DehazeDataProcessor", "DehazeGAN", "DehazeTrainer", "__version__"]

_HOME = {
    "DehazeDataProcessor": "hazeheal.data.pipeline.processor",
    "DehazeGAN": "hazeheal.inference.gan",
    "DehazeTrainer": "hazeheal.training.trainer",
}


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
