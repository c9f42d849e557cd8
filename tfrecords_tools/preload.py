"""What the fork server imports once, so that each worker process starts at once."""

from tfrecords_tools import shard, verify

__all__ = ["shard", "verify"]
