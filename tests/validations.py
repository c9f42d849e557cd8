"""What the tests of validation and of samples share: pairs in memory in place of a validation split."""

import tensorflow as tf

from hazeheal.distributed.groups import Groups
from hazeheal.training.image_restorer import ImageRestorer
from hazeheal.training.validator import Validator
from hazeheal.utils.parallel import Workers


class Images:
    """Stands in for the processor of a validation split.

    Attributes:
        read: The numbers of the pairs that were read.
    """

    def __init__(self, pairs):
        """`pairs`: [(hazy, clear)], uint8 [H, W, 3]."""
        self.num_images = len(pairs)
        self._pairs = pairs
        self.read = []

    def evaluation_dataset(self, *, replica=0, replicas=1):
        def generate():
            for number in range(replica, self.num_images, replicas):
                self.read.append(number)
                hazy, clear = self._pairs[number]
                yield {"hazy": hazy, "clear": clear, "number": number}

        image = tf.TensorSpec([None, None, 3], tf.uint8)
        signature = {"hazy": image, "clear": image, "number": tf.TensorSpec([], tf.int64)}
        return tf.data.Dataset.from_generator(generate, output_signature=signature)


def validator(trial, pairs, *, config, groups=None):
    """A validator over pairs in memory."""
    return Validator(
        ImageRestorer(trial.state, config=config),
        config=config,
        runtime=trial.runtime,
        groups=groups or Groups(trial.runtime),
        processor=Images(pairs),
    )


def restore_with(trial, config):
    """A function that restores an image with the weights of the time when it is called."""
    restorer = ImageRestorer(trial.state, config=config)
    return lambda image: restorer.restore(image, Workers([restorer.replica(0)]))


def record_calls(monkeypatch, owner, name):
    """Returns a list to which the positional arguments of every call of a function of `owner` are added."""
    calls, function = [], getattr(owner, name)

    def recorded(*args):
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(owner, name, recorded)
    return calls
