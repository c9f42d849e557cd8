"""A SavedModel: for TensorFlow and TensorFlow Serving without HazeHeal, and for `hazeheal dehaze`.

Its signature `serving_default`, under the tag `serve`, takes `hazy` and returns `restored`, both uint8 [B, H, W, 3].
It also has the functions of `inference.network`, with which `inference.load_model` restores 16-bit images and tiles.
"""

import functools
import json
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from hazeheal.inference.load_model import METADATA
from hazeheal.inference.network import make_functions
from hazeheal.models.pixels import restore_uint8
from hazeheal.utils.hashing import sha256_of_file

if TYPE_CHECKING:
    from hazeheal.inference.gan import DehazeGAN


def serving_module(generator: keras.Model) -> tf.Module:
    """Returns a module with the generator's weights and, as `serve`, the function of `serving_default`."""

    def serve(hazy):
        return {"restored": restore_uint8(functools.partial(generator, training=False), hazy)}

    images = tf.TensorSpec([None, None, None, 3], tf.uint8, name="hazy")
    module = tf.Module()
    module.weights = [variable.value for variable in generator.variables]
    module.serve = tf.function(serve, input_signature=[images], autograph=False)
    return module


def write(gan: "DehazeGAN", path: pathlib.Path, metadata: dict[str, Any]) -> None:
    """Writes the directory, with the metadata and the SHA-256 of each other file in it."""
    module, functions = serving_module(gan.generator), make_functions(gan.generator)
    for name, function in functions.items():
        setattr(module, name, function)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    hashes = {file.relative_to(path).as_posix(): sha256_of_file(file) for file in files}
    metadata_path = path / METADATA
    metadata_path.parent.mkdir()
    text = json.dumps(metadata | {"functions": list(functions), "files": hashes}, indent=2)
    metadata_path.write_text(f"{text}\n", encoding="utf-8")


def load(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """Loads the signature that a server runs, as a function from uint8 `[B, H, W, 3]` to the same."""
    loaded = tf.saved_model.load(str(path))

    def restore(hazy: np.ndarray) -> np.ndarray:  # keeps a reference to `loaded`, which owns the variables
        return loaded.signatures["serving_default"](hazy=tf.constant(hazy))["restored"].numpy()

    return restore
