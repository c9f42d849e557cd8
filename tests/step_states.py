"""What several tests of the step share: what they compare, and what they turn on."""

import numpy as np

NORMS = ("none", "layer")
COUNTERS = {"step", "skipped_in_a_row"}
# Clipping that binds the generator alone, and a perceptual network.
EVERYTHING = {
    "loss__perceptual_weight": 0.005,
    "loss__perceptual_layer": "block1_conv1",
    "optimizer__clip_norm": 5.0,
    "model__se_ratio": 0.0,
}


def assert_equal_states(one, other, *, but=()):
    """Bit for bit, NaN included."""
    assert one.keys() == other.keys()
    different = [name for name in one if one[name].tobytes() != other[name].tobytes()]
    assert sorted(different) == sorted(but)


def slots(training, network, which="m"):
    """One of Adam's slots of a network as a single float64 vector, on the first replica."""
    values = training.copies(0)
    names = [name for name in values if name.startswith(f"adam_{which}/{network}/")]
    return np.concatenate([values[name].astype(np.float64).ravel() for name in names])
