"""What a user can act on among TensorFlow's errors, in one line each."""

import contextlib

import tensorflow as tf

from hazeheal.errors import DataError, HazeHealError


@contextlib.contextmanager
def explained(*, processor, devices):
    """Explains errors of the block: damaged data that `processor` read, and memory that `devices` lack.

    Raises:
        DataError: Shard, record and source are named.
        HazeHealError: A device has too little memory; what to lower.
    """
    try:
        yield
    except tf.errors.OpError as error:
        damaged = processor.translate_error(error)
        if damaged is not None:
            raise DataError(str(damaged)) from error
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise HazeHealError(
                f"out of memory on {', '.join(devices)}; lower --config.train.batch_size, --config.data.crop_size "
                "or --config.model.width, or raise --config.optimizer.accumulate"
            ) from error
        raise
