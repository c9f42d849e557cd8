"""The values that an exported step starts from, made from a seed: `step.json` holds the rule and no weights.

Needs only NumPy, and reads nothing but `step.json`. Every machine makes the same values: NumPy promises that the numbers of
`RandomState` never change. `check_sums` notices if they do.

`step.json` describes each variable of the training state by one rule:

    normal       independent normal values with the mean and standard deviation of each variable of a network; padding is 0
    singular     the leading singular vector of each kernel of another vector (spectral normalization)
    same         the values of another vector
    constant     one value everywhere
"""

import math
import zlib

import numpy as np


def make(description):
    """Returns {name: array} of the state. Vectors are float32 `[rows, 64]`; the caller converts them to their dtype."""
    values = {}
    for name, entry in description["state"].items():
        rule = entry["rule"]
        if rule == "normal":
            values[name] = _normal(name, entry, seed=description["seed"])
        elif rule == "singular":
            values[name] = _singular(entry, values[entry["of"]], description["state"][entry["of"]])
        elif rule == "same":
            values[name] = values[entry["as"]]
        elif rule == "constant":
            dtype = "float32" if entry["dtype"] == "bfloat16" else entry["dtype"]
            values[name] = np.full(entry["shape"], entry["value"], dtype)
        else:
            raise ValueError(f"step.json: {name} has the unknown rule {rule!r}; export the step again")
    return values


def images(description):
    """Returns (hazy, clear), uint8 `[B, H, W, 3]`. They are noise: the time of a step does not depend on them."""
    settings = description["settings"]
    shape = (settings["batch_size"], settings["crop_size"], settings["crop_size"], 3)
    random = np.random.RandomState([description["seed"], zlib.crc32(b"images")])
    clear = random.randint(0, 256, shape).astype(np.uint8)
    return (clear // 2 + random.randint(0, 100, shape)).astype(np.uint8), clear


def named(entry, vector):
    """Returns {variable: array of its own shape} of the variables in a vector of the state."""
    flat, arrays = vector.reshape(-1), {}
    for variable in entry["variables"]:
        part = flat[variable["start"] : variable["start"] + math.prod(variable["shape"])]
        arrays[variable["name"]] = _shaped(part, variable)
    return arrays


def check_sums(values):
    """Returns {name: CRC-32} of the vectors that are made of random numbers."""
    return {name: zlib.crc32(np.ascontiguousarray(values[name])) for name in ("generator", "discriminator")}


def verify(description, values):
    """Raises ValueError if the values are not those with which the losses in `step.json` were computed."""
    expected = description.get("check_sums", {})
    wrong = [name for name, value in check_sums(values).items() if expected.get(name, value) != value]
    if wrong:
        raise ValueError(
            f"NumPy {np.__version__} makes other values of {', '.join(wrong)} than the machine that exported the step; "
            "use the NumPy version of that machine"
        )


def _normal(name, entry, *, seed):
    vector = np.zeros(entry["shape"], np.float32)
    flat = vector.reshape(-1)
    random = np.random.RandomState([seed, zlib.crc32(name.encode())])
    for variable in entry["variables"]:
        size = math.prod(variable["shape"])
        drawn = random.standard_normal(size) * variable["std"] + variable["mean"]
        flat[variable["start"] : variable["start"] + size] = drawn
    return vector


def _singular(entry, kernels, kernels_entry):
    vector = np.zeros(entry["shape"], np.float32)
    flat, kernels = vector.reshape(-1), named(kernels_entry, kernels)
    for variable in entry["variables"]:
        kernel = kernels[variable["kernel"]]
        matrix = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
        # The last eigenvector of the symmetric product belongs to the largest eigenvalue.
        flat[variable["start"] : variable["start"] + kernel.shape[-1]] = np.linalg.eigh(matrix.T @ matrix)[1][:, -1]
    return vector


def _shaped(flat, variable):
    shape = variable["shape"]
    if not variable["outputs_first"]:
        return flat.reshape(shape)
    return np.moveaxis(flat.reshape(shape[-1], *shape[:-1]), 0, -1)
