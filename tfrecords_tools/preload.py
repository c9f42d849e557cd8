"""What the fork server imports once, so that each worker process starts at once."""

from tfrecords_tools import quiet, shard, verify

quiet.tensorflow()

__all__ = ["quiet", "shard", "verify"]
