"""Data sets for TensorFlow Datasets; importing this package registers them.

import hazeheal.data.tfds
import tensorflow_datasets as tfds

pairs = tfds.load("hazy_pairs/rice1", data_dir="D")  # reads D/downloads/manual/RICE_DATASET/RICE1/
"""

from hazeheal.data.tfds.hazy_pairs import HazyPairs

__all__ = ["HazyPairs"]
