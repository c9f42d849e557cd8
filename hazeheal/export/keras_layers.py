"""Registers all layers of the .keras files of `hazeheal export` with Keras, so that Keras can load them."""

import hazeheal.models.uint8_model  # noqa: F401
