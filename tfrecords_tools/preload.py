"""What the fork server imports once, so that each worker process starts at once."""

from tfrecords_tools import verify
from tfrecords_tools.convert import shard

__all__ = ["shard", "verify"]
