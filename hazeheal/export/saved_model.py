"""A SavedModel: for TensorFlow and TensorFlow Serving without HazeHeal, and for `hazeheal dehaze`.

Its signature `serving_default` takes `hazy` and returns `restored`, both uint8 [B, H, W, 3], under the tag `serve`.
Beside it stand the functions of `restore.network`, for images of 16 bits and for tiles (`restore.exported`).
"""

import functools
import json

import tensorflow as tf

from hazeheal.data import records
from hazeheal.inference.load_model import METADATA
from hazeheal.inference.network import make_functions
from hazeheal.models.pixels import restore_uint8


def serving_module(generator) -> tf.Module:
    """A module with the generator's weights and, as `serve`, the function of `serving_default`."""

    def restored(hazy):
        return {"restored": restore_uint8(functools.partial(generator, training=False), hazy)}

    images = tf.TensorSpec([None, None, None, 3], tf.uint8, name="hazy")
    module = tf.Module()
    module.weights = [variable.value for variable in generator.variables]
    module.serve = tf.function(restored, input_signature=[images], autograph=False)
    return module


def write(gan, path, metadata) -> None:
    """Writes the SavedModel's directory, with the metadata and the hashes of all other files in it."""
    module, functions = serving_module(gan.generator), make_functions(gan.generator)
    for name, function in functions.items():
        setattr(module, name, function)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    hashes = {file.relative_to(path).as_posix(): records.sha256(file.read_bytes()) for file in files}
    noted = path / METADATA
    noted.parent.mkdir()
    text = json.dumps(metadata | {"functions": list(functions), "files": hashes}, indent=2)
    noted.write_text(f"{text}\n", encoding="utf-8")


def load(path):
    """The signature that a server would run."""
    # The loaded object goes with the function: its variables live no longer than it does.
    loaded = tf.saved_model.load(str(path))
    return lambda hazy: loaded.signatures["serving_default"](hazy=tf.constant(hazy))["restored"].numpy()
