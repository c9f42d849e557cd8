"""Shared by the tests of `hazeheal launch`."""

import sys

from hazeheal.distributed import tf_config

TRAIN = [sys.executable, "-m", "hazeheal", "train"]
JOB = tf_config.to_json(["h1:7000", "h2:7000", "h3:7000"], group=2)
