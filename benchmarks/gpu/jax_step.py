"""An exported step under JAX: its two functions, compiled for one device, and its state.

Needs only jax and numpy. As under TensorFlow, the parameters of a network are one vector. The forward pass takes its parts
and the update writes its new values to the same memory.
"""

import json
import sys

import jax
import jax.numpy as jnp

from benchmarks.gpu import hlo, hlo_text, kernels, start_values

# Vectors that the update changes. The forward pass takes their parts. They are split within the compiled function:
# TensorFlow's parts share the vector's memory, and JAX's would be copies.
VECTORS = ("generator", "discriminator", "spectral")


class JaxStep:
    """The functions and the state of one exported step.

    Args:
        folder: Directory written by `export_step.py`.
        exact: Whether float32 is computed in full precision, see `hlo.load`.

    Attributes:
        description: The contents of `step.json`.
        flops: Operations of one step, once it is compiled. They are counted before XLA's optimization, which replaces
            convolutions by calls of a library.
        kernels, bytes: Of the optimized programs of one step, see `kernels.py`.
    """

    def __init__(self, folder, *, exact=False):
        path = folder / "step.json"
        if not path.is_file():
            raise SystemExit(f"{path} does not exist: give a directory written by benchmarks/gpu/export_step.py")
        self.description = json.loads(path.read_text(encoding="utf-8"))
        self.flops = self.kernels = self.bytes = 0
        self._state, self._constants, self._images, self._compiled = {}, {}, {}, {}
        self._modules = {
            name: hlo.load(folder / f"{name}.hlo", outputs=self.description[name]["outputs"], exact=exact)
            for name in ("forward", "update")
        }

    def _call(self, name, arrays):
        """Calls a module with named arrays, within `jax.jit`; returns its outputs by name."""
        entry = self.description[name]
        results = self._modules[name](*(arrays[parameter["name"]] for parameter in entry["parameters"]))
        return {output["name"]: result for output, result in zip(entry["outputs"], results, strict=True)}

    def _forward(self, vectors, others):
        parts = {
            f"{name}/{i}": part
            for name, vector in vectors.items()
            for i, part in enumerate(split(vector, self.description["parts"][name]))
        }
        return self._call("forward", parts | others)

    def _update(self, variables, outputs):
        rows = self.description["gradient_rows"]
        *gradients, sums = split(outputs["summand"], [*rows.values(), 1])
        arrays = {f"gradient/{name}": gradient for name, gradient in zip(rows, gradients, strict=True)}
        arrays |= {"sums": sums[0], "new/spectral": outputs["spectral"]}
        results = self._call("update", variables | arrays)
        metrics = results.pop("metrics")
        return variables | results, metrics

    def shapes(self, name):
        """Returns the shapes of a function's arguments: two dictionaries of jax.ShapeDtypeStruct."""
        state = named_shapes(self.description["state"])
        given = named_shapes({entry["name"]: entry for entry in self.description[name]["parameters"]})
        if name == "forward":
            others = {key: shape for key, shape in given.items() if key.split("/")[0] not in VECTORS}
            return {key: state[key] for key in VECTORS}, others
        outputs = named_shapes({entry["name"]: entry for entry in self.description["forward"]["outputs"]})
        return {key: state[key] for key in given if key in state}, outputs

    def lower_module(self, name, *, sharding):
        """Returns a module alone, lowered for the device of `sharding` (`jax.stages.Lowered`): what TensorFlow compiles."""
        entry = self.description[name]
        written = {output["name"] for output in entry["outputs"]}
        donated = [i for i, parameter in enumerate(entry["parameters"]) if parameter["name"] in written]
        arguments = hlo.shapes(entry["parameters"])
        arguments = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding) for a in arguments]
        return jax.jit(lambda *arrays: self._modules[name](*arrays), donate_argnums=donated).lower(*arguments)

    def compile(self):
        """Compiles both functions for the first device."""
        for name, function, donated in (("forward", self._forward, ()), ("update", self._update, (0,))):
            lowered = jax.jit(function, donate_argnums=donated).lower(*self.shapes(name))
            self._compiled[name] = lowered.compile()
            self.flops += (lowered.cost_analysis() or {}).get("flops", 0)
            try:
                found = kernels.count(*hlo_text.parse(self._compiled[name].as_text()))
            except ValueError as error:  # a new form of the text: the step can be timed nevertheless
                print(f"the bytes are not counted: {error}", file=sys.stderr)
                found = []
            self.kernels += len(found)
            self.bytes += sum(kernel.bytes for kernel in found)

    def reset(self, values, images):
        """Starts from the values of `start_values.make`, with one batch for all steps."""
        self._state.clear()  # frees the memory of the old values first
        dtypes = {name: entry["dtype"] for name, entry in self.description["state"].items()}
        self._state = {name: jnp.array(v, dtypes[name]) for name, v in values.items() if name != "perceptual"}
        perceptual = jnp.array(values["perceptual"], dtypes["perceptual"])
        parts = split(perceptual, self.description["parts"]["perceptual"])
        self._constants = {f"perceptual/{i}": part for i, part in enumerate(parts)}
        self._images = dict(zip(("hazy", "clear"), images, strict=True))

    def run(self):
        """Runs one step; returns the metrics, on the device."""
        # The images are copied from the host, as from an input pipeline.
        images = {name: jax.device_put(image) for name, image in self._images.items()}
        given = self._state | self._constants | images
        outputs = self._compiled["forward"](*({key: given[key] for key in group} for group in self.shapes("forward")))
        variables = {key: self._state[key] for key in self.shapes("update")[0]}
        new, metrics = self._compiled["update"](variables, outputs)
        self._state |= new
        return metrics

    def memory_bytes(self):
        """Returns the memory of a step by the compiler's count: the state, and what the functions allocate besides it."""
        forward, update = (self._compiled[name].memory_analysis() for name in ("forward", "update"))
        arrays = self._state | self._constants | self._images
        state = sum(array.nbytes for array in arrays.values())
        return state + forward.output_size_in_bytes + max(forward.temp_size_in_bytes, update.temp_size_in_bytes)


def split(vector, rows):
    """Returns the parts of a vector with these numbers of rows."""
    parts, start = [], 0
    for count in rows:
        parts.append(vector[start : start + count])
        start += count
    return parts


def named_shapes(entries):
    return dict(zip(entries, hlo.shapes(entries.values()), strict=True))


def start(step):
    """Returns the values and the images that a step starts from, on the host.

    Raises:
        ValueError: They are not those for which the losses in `step.json` were computed.
    """
    values = start_values.make(step.description)
    start_values.verify(step.description, values)
    return values, start_values.images(step.description)
