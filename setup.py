"""Installation. `pip install .` on any machine; `pip install '.[cuda]'` brings NVIDIA's libraries too.

The commands `hazeheal` and `hazeheal-tfrecords` come with it, and `configs/` as `hazeheal.configs`, so
that `--config=rice1` is found without a clone, and the trained networks of hazeheal/pretrained.
"""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).resolve().parent


def version():
    """The version as `hazeheal/__init__.py` gives it, read without importing the package."""
    text = (HERE / "hazeheal" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def readme():
    path = HERE / "README.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


setup(
    name="hazeheal",
    version=version(),
    description="Training and use of a GAN that removes haze from images, on as many GPUs as there are",
    long_description=readme(),
    long_description_content_type="text/markdown",
    python_requires=">=3.10,<3.14",
    packages=[
        *find_packages(include=["hazeheal", "hazeheal.*", "tfrecords_tools", "tfrecords_tools.*"]),
        "hazeheal.configs",
    ],
    package_dir={"hazeheal.configs": "configs"},
    package_data={
        "hazeheal": ["pretrained/*", "data/pairing/*.json"]
    },  # weights and the table of public data sets
    install_requires=[
        "tensorflow>=2.20",
        "tensorflow-datasets",
        "importlib_resources",  # of TFDS's builders, which does not name it for Python 3.9 and up
        "numpy",
        "protobuf",
        "google-crc32c",  # of TFRecord frames, without waiting for TensorFlow
        "absl-py",
        "pillow",
        "scikit-image",  # CIEDE2000 and Y in `hazeheal evaluate`
        "scipy",
        "tensorboard",
        "ml-collections",
        "tqdm",
    ],
    extras_require={
        "cuda": ["tensorflow[and-cuda]>=2.20"],
        "video": ["imageio-ffmpeg"],  # where the machine has no ffmpeg
        "notebook": ["jupyterlab", "matplotlib"],
        "test": [
            *("pytest", "pytest-xdist>=3", "hypothesis", "ruff", "imageio-ffmpeg"),
            *("ipykernel", "matplotlib", "nbclient", "prometheus-client"),
            "dill",  # of tfds.testing
            "setuptools",  # to see what a wheel is made of
            "tensorflow-serving-api",  # its messages, for what `hazeheal export` writes
        ],
        "benchmarks": ["torch", "opencv-python-headless", "jax"],
        "lpips": ["lpips", "torch", "torchvision"],  # for `hazeheal evaluate --lpips`
        "plots": ["pydot"],
        "readers": ["tfrecord"],  # shards without TensorFlow, docs/datasets.md
        "onnx": ["tf2onnx", "onnx", "onnxruntime"],
        "beam": ["apache-beam"],
        "metrics": ["prometheus-client>=0.19"],  # for `hazeheal train --metrics_port`
    },
    entry_points={
        "console_scripts": [
            "hazeheal = hazeheal.__main__:main",
            "hazeheal-tfrecords = tfrecords_tools.__main__:main",
        ]
    },
)
