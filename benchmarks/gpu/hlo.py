"""Loads a serialized HLO module as a function for `jax.jit`, with JAX's public interfaces alone.

JAX converts HLO to StableHLO. A primitive of our own then copies that module into the one that `jax.jit` compiles.
"""

import itertools

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.extend.mlir import hlo_to_stablehlo, ir
from jax.extend.mlir.dialects import func
from jax.interpreters import mlir

jax.config.update("jax_enable_x64", True)  # the counters of the step are int64

_numbers = itertools.count()
_call = core.Primitive("call_hlo_module")
_call.multiple_results = True


def load(path, *, outputs, exact=False):
    """Returns a function from arrays to a list of arrays, to be called within `jax.jit`.

    Args:
        path: File of a serialized HloModuleProto.
        outputs: [{`shape`, `dtype`}] of the results, as in `step.json`.
        exact: Whether convolutions and matrix products of float32 are computed in float32. Otherwise GPUs may use TF32.
    """
    try:
        module = hlo_to_stablehlo(path.read_bytes())
    except Exception as error:  # jaxlib's own error types differ between versions
        text = f"{path}: JAX {jax.__version__} cannot read this HLO ({error}); export the step again"
        raise SystemExit(text) from None
    results = tuple(jax.core.ShapedArray(spec.shape, spec.dtype) for spec in shapes(outputs))
    return lambda *arrays: _call.bind(*arrays, module=module, results=results, exact=exact)


def describe_device():
    """Returns the device and the versions."""
    device = jax.devices()[0]
    return {"device": device.device_kind, "platform": device.platform, "jax": jax.__version__}


def shapes(entries):
    """Returns the jax.ShapeDtypeStructs of entries of `step.json`."""
    return [jax.ShapeDtypeStruct(tuple(entry["shape"]), jnp.dtype(entry["dtype"])) for entry in entries]


@_call.def_abstract_eval
def _abstract(*_, module, results, exact):
    return list(results)


def _lower(context, *operands, module, results, exact):
    source = ir.Module.parse(module)
    operations = []

    def collect(operation):
        operations.append(operation)
        return ir.WalkResult.ADVANCE

    source.operation.walk(collect)
    for operation in operations:
        if operation.name == "mhlo.copy":
            # StableHLO cannot express TensorFlow's copies between variables and their values. XLA inserts those it needs.
            operation.results[0].replace_all_uses_with(operation.operands[0])
            operation.erase()
        elif exact and operation.name in ("stablehlo.convolution", "stablehlo.dot_general", "stablehlo.dot"):
            precision = ir.Attribute.parse("[#stablehlo<precision HIGHEST>, #stablehlo<precision HIGHEST>]")
            operation.attributes["precision_config"] = precision

    prefix = f"hlo_{next(_numbers)}_"
    for function in source.body.operations:
        name = ir.StringAttr(function.attributes["sym_name"]).value
        if name == "main":
            types = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value).results
        ir.SymbolTable.replace_all_symbol_uses(name, prefix + name, source.operation)
        function.attributes["sym_name"] = ir.StringAttr.get(prefix + name)
        function.attributes["sym_visibility"] = ir.StringAttr.get("private")
        context.module_context.module.body.append(function.operation.clone())
    return func.CallOp(types, ir.FlatSymbolRefAttr.get(f"{prefix}main"), operands).results


mlir.register_lowering(_call, _lower)
