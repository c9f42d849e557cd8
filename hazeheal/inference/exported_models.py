"""The files of `hazeheal export` as models that restore images: a SavedModel, a .keras file, an ONNX file."""

import functools
import json
import os
import pathlib
import zipfile

import numpy as np
import tensorflow as tf

from hazeheal import config as configs
from hazeheal import config_fields
from hazeheal.errors import DataError, HazeHealError
from hazeheal.inference.locate_model import METADATA, SUMMARY
from hazeheal.inference.network import Network, make_functions
from hazeheal.inference.restorer import Model
from hazeheal.utils.hashing import sha256_of_file
from hazeheal.utils.import_keras import keras


class ExportedModel(Model):
    """The generator of a SavedModel that `hazeheal export` wrote, which has the functions of a `Network`.

    Attributes:
        config: The configuration of its run.
        metadata: The metadata of the export (`export.exporter.describe`).
        checkpoint: A path with the name of the exported checkpoint.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        """Reads the metadata of a SavedModel and checks the hashes of its files. `network` loads the functions.

        Raises:
            HazeHealError: The SavedModel was not written by `hazeheal export`, or it is damaged.
        """
        self._path = pathlib.Path(path)
        try:
            text = (self._path / METADATA).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise HazeHealError(
                f"{path} is a SavedModel, but not of `hazeheal export`: it has no {METADATA}"
            ) from error
        _read_metadata(self, text, self._path / METADATA)
        if not isinstance(files := self.metadata.get("files"), dict) or "functions" not in self.metadata:
            raise HazeHealError(f"{self._path / METADATA} is damaged (it does not list the files); export again")
        for name, expected in files.items():
            try:
                problem = None if sha256_of_file(self._path / name) == expected else "SHA-256"
            except OSError as error:
                problem = error.strerror
            if problem:
                raise HazeHealError(f"{self._path / name} has changed since it was written ({problem}); export again")

    def network(self, *, device: str | None = None, copy: bool = False) -> Network:
        """Loads the functions on one device. They always have their own copy of the weights."""
        with tf.device(device):
            loaded = tf.saved_model.load(str(self._path))

        def call(name, *args):  # keeps a reference to `loaded`, which owns the variables
            return getattr(loaded, name)(*args)

        functions = {name: functools.partial(call, name) for name in self.metadata["functions"]}
        return Network(functions, device=device)


class KerasModel(Model):
    """The generator in a .keras file that `hazeheal export` wrote.

    Attributes:
        config, metadata, checkpoint: As of `ExportedModel`.
        generator: The generator.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        """Loads the file.

        Raises:
            HazeHealError: The file was not written by `hazeheal export`, or it is damaged.
        """
        import hazeheal.models.uint8_model  # noqa: F401 (registers the layers)

        path = pathlib.Path(path)
        try:
            with zipfile.ZipFile(path) as archive:
                text = archive.read(METADATA.name) if METADATA.name in archive.namelist() else None
        except (OSError, zipfile.BadZipFile) as error:
            raise HazeHealError(f"{path} is not a .keras file, or is damaged ({error}); export again") from error
        if text is None and (path.parent / SUMMARY).is_file():  # an export of version 0.1
            text = (path.parent / SUMMARY).read_bytes()
        _read_metadata(self, text, path)
        try:
            model = keras.saving.load_model(str(path), compile=False)
            (self.generator,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise HazeHealError(f"{path} cannot be loaded ({error}); export again") from error

    def network(self, *, device: str | None = None, copy: bool = False) -> Network:
        """Returns the generator on one device. With `copy` it has its own copy of the weights."""
        return Network(make_functions(self.generator, device=device, copy=copy), device=device)


class OnnxModel(Model):
    """The generator in an ONNX file that `hazeheal export` wrote, run by ONNX Runtime on the CPU.

    It takes whole images with 8 bits only, so its memory grows with the image.

    Attributes:
        config, metadata, checkpoint: As of `ExportedModel`.
    """

    takes_parts = False

    def __init__(self, path: str | os.PathLike) -> None:
        """Loads the file.

        Raises:
            HazeHealError: ONNX Runtime is not installed, or cannot load the file; or `hazeheal export` did not write it.
        """
        try:
            import onnxruntime
        except ImportError:
            raise HazeHealError(f"{path} needs onnxruntime; pip install 'hazeheal[onnx]'") from None
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common base class of its errors
            raise HazeHealError(f"{path} cannot be loaded by ONNX Runtime ({error}); export again") from error
        _read_metadata(self, self._session.get_modelmeta().custom_metadata_map.get("hazeheal"), path)

    def network(self, *, device: str | None = None, copy: bool = False) -> Network:
        """Returns the functions; ONNX Runtime chooses the device."""

        def restore_uint8(batch):
            (restored,) = self._session.run(["restored"], {"hazy": np.asarray(batch)})
            return tf.constant(restored, tf.float32)

        def restore_uint16(batch):
            raise DataError("an ONNX file restores 8 bits per channel only; use the run or another export of it")

        return Network({"restore_uint8": restore_uint8, "restore_uint16": restore_uint16}, device=device)


def _read_metadata(model, text, path):
    """Sets the attributes of a model from the JSON text of its metadata."""
    try:
        model.metadata = json.loads(text or "{}")
        model.config = configs.from_dict(model.metadata["config"])
        model.checkpoint = pathlib.PurePath(model.metadata["checkpoint"])
    except KeyError:
        raise HazeHealError(
            f"{path} has no metadata of `hazeheal export`; export again, or keep {SUMMARY} beside it"
        ) from None
    except (ValueError, TypeError) as error:
        raise HazeHealError(f"{path}: its metadata is damaged ({error}); export again") from error
    config_fields.check_model_fields(model.config, source=path)
