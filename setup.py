"""Installs HazeHeal: `pip install .`, or `pip install '.[cuda]'` with NVIDIA's libraries.

The installation contains the commands `hazeheal` and `hazeheal-tfrecords`, the trained networks in `hazeheal/pretrained`,
and `configs/` as the package `hazeheal.configs`, so that `--config=rice1` works without a clone of the repository.
"""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).resolve().parent


def version() -> str:
    """Returns the version in `hazeheal/__init__.py` without importing the package."""
    text = (HERE / "hazeheal" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def readme() -> str:
    """Returns the README, or nothing if it is not part of the sources."""
    path = HERE / "README.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


setup(
    name="hazeheal",
    version=version(),
    description="A GAN that removes haze from images: multi-GPU training, evaluation, restoration and export",
    long_description=readme(),
    long_description_content_type="text/markdown",
    python_requires=">=3.10,<3.14",
    packages=[
        *find_packages(include=["hazeheal", "hazeheal.*", "tfrecords_tools", "tfrecords_tools.*"]),
        "hazeheal.configs",
    ],
    package_dir={"hazeheal.configs": "configs"},
    # The trained networks, and the table of public data sets.
    package_data={"hazeheal": ["pretrained/*", "data/pairing/*.json"]},
    install_requires=[
        "tensorflow>=2.20",
        "tensorflow-datasets",
        "importlib_resources",  # used by the builders of TFDS, which does not declare it for Python 3.9 and later
        "numpy",
        "protobuf",
        "google-crc32c",  # writes TFRecord frames without TensorFlow
        "absl-py",
        "pillow",
        "scikit-image",  # CIEDE2000 and Y in `hazeheal evaluate`
        "scipy",
        "tifffile",  # the TIFFs that Pillow misreads: 16 bits, separate planes, more than four bands
        "tensorboard",
        "ml-collections",
        "tqdm",
    ],
    extras_require={
        "cuda": ["tensorflow[and-cuda]>=2.20"],
        "video": ["av>=17"],  # FFmpeg, for videos in `hazeheal dehaze`
        "geo": ["rasterio>=1.3"],  # GeoTIFF window by window in `hazeheal dehaze`
        "tiff": ["imagecodecs"],  # LZW, Zstandard, JPEG, ... in TIFFs that Pillow misreads; 80 MB
        "heic": ["pillow-heif"],
        "jxl": ["pillow-jxl-plugin"],
        "demo": ["gradio>=6"],  # for `hazeheal demo`; needs pillow<13, so it is not part of `test`
        "notebook": ["jupyterlab", "matplotlib"],
        "test": [
            *("pytest", "pytest-xdist>=3", "hypothesis", "ruff", "av>=17"),
            *("ipykernel", "matplotlib", "nbclient", "prometheus-client"),
            "dill",  # used by tfds.testing
            "setuptools",  # to check the contents of a wheel
            *("rasterio", "imagecodecs", "pillow-heif"),  # tests of these formats skip without them
            "tensorflow-serving-api",  # to check the SavedModels of `hazeheal export`
        ],
        "benchmarks": ["torch", "opencv-python-headless", "jax"],
        "lpips": ["lpips", "torch", "torchvision"],  # for `hazeheal evaluate --lpips`
        "plots": ["pydot"],
        "readers": ["tfrecord"],  # reads shards without TensorFlow, see docs/datasets.md
        "onnx": ["tf2onnx", "onnx", "onnxruntime"],
        "beam": ["apache-beam"],
        "ray": ["ray[default,train]>=2.51"],  # for launch/train_ray.py
        "metrics": ["prometheus-client>=0.19"],  # for `hazeheal train --metrics_port`
    },
    entry_points={
        "console_scripts": [
            "hazeheal = hazeheal.__main__:main",
            "hazeheal-tfrecords = tfrecords_tools.__main__:main",
        ]
    },
)
