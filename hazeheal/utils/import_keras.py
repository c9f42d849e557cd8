"""Keras with the settings that the networks need, whatever its configuration file says.

    from hazeheal.utils.import_keras import keras

The backend is set in `hazeheal/__init__.py`, before anything imports TensorFlow, which imports Keras. The layout of
images is set here; ~/.keras/keras.json may contain another one.
"""

import keras

from hazeheal.errors import UsageError

__all__ = ["keras"]

BACKEND = "tensorflow"
IMAGE_DATA_FORMAT = "channels_last"

if keras.config.backend() != BACKEND:
    raise UsageError(
        f"Keras has been imported with the backend {keras.config.backend()!r}, but HazeHeal needs {BACKEND!r}; import "
        f"hazeheal before keras, or set KERAS_BACKEND={BACKEND}"
    )
keras.config.set_image_data_format(IMAGE_DATA_FORMAT)
