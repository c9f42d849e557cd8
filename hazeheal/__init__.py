"""HazeHeal trains and uses a GAN that removes haze from images.

    from hazeheal import DehazeDataProcessor, DehazeGAN, DehazeTrainer

These names are imported on first use, so that `import hazeheal` and `hazeheal --help` do not import TensorFlow.
"""

import importlib
import os
import platform

# TensorFlow's wheels are compiled for any x86 CPU, while oneDNN generates code for the CPU it runs on. TensorFlow enables
# oneDNN by default only with AVX-512 VNNI or newer. On a CPU with only AVX2 oneDNN doubles the speed of the training step
# (docs/performance.md). TensorFlow reads the variable once, when it is imported. Other architectures were not measured
# and keep TensorFlow's default.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Keras reads its backend once, when TensorFlow imports it: from here or from ~/.keras/keras.json. The networks are
# written for TensorFlow: with another backend the process ends in a traceback or a segmentation fault.
KERAS_BACKEND = os.environ.get("KERAS_BACKEND")  # the user's, for `hazeheal doctor`
os.environ["KERAS_BACKEND"] = "tensorflow"

__version__ = "0.1.0"
__all__ = ["DehazeDataProcessor", "DehazeGAN", "DehazeTrainer", "__version__"]

_HOME = {
    "DehazeDataProcessor": "hazeheal.data.pipeline.processor",
    "DehazeGAN": "hazeheal.inference.gan",
    "DehazeTrainer": "hazeheal.training.trainer",
}


def __getattr__(name):
    if name in _HOME:
        importlib.import_module("hazeheal.utils.import_keras")  # before TensorFlow: it checks the backend
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
