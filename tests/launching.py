"""What the tests of `hazeheal launch` share."""

import sys

from hazeheal.training import cluster

TRAIN = [sys.executable, "-m", "hazeheal", "train"]
JOB = cluster.to_json(["h1:7000", "h2:7000", "h3:7000"], group=2)
