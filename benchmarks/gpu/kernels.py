"""Counts the kernels of an optimized HLO program, and the bytes that they read and write.

Every instruction of the program that computes something is one kernel, or one call of a library. A kernel reads each of its
operands from memory once, and writes its results once; what is fused stays in registers. Of an operand that a kernel slices it
reads the slices. Caches are not considered.
"""

import dataclasses
import math
import re

from benchmarks.gpu.hlo_text import BYTES, FREE, Instruction, whole_name

_LIBRARY = {
    "__cudnn$convForward": "convolution",
    "__cudnn$convBiasActivationForward": "convolution with bias",
    "__cudnn$convForwardGraph": "convolution with bias",
    "__cudnn$convBackwardInput": "convolution, gradient of the input",
    "__cudnn$convBackwardFilter": "convolution, gradient of the kernel",
    "__cublas$gemm": "matrix product",
    "__cublas$lt$matmul": "matrix product",
}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel, or one call of a library.

    Attributes:
        kind: What it does.
        bytes: Read and written, where of an operand that is sliced only the slices count.
        whole_bytes: Read and written, where all operands count as a whole.
        instruction: Its instruction.
    """

    kind: str
    bytes: float
    whole_bytes: float
    instruction: Instruction


def count(computations, name, *, prefix="", times=1):
    """Returns the kernels that a computation runs; those of all branches of a conditional.

    Args:
        computations: {name: [Instruction]}.
        name: The computation.
        prefix: Text before each kind.
        times: How often the computation runs.
    """
    sizes, found = {}, []
    for instruction in computations[name]:
        sizes[instruction.name] = instruction.bytes
        for i, (dtype, sides) in enumerate(instruction.shapes):
            sizes[f"{instruction.name}#{i}"] = BYTES[dtype] * math.prod(sides)
        opcode = instruction.opcode
        if opcode in FREE or opcode.endswith("-done") or opcode == "async-update":
            continue
        if opcode in ("call", "async-start"):
            for callee in instruction.called("to_apply", "calls"):
                found += count(computations, callee, prefix=prefix, times=times)
        elif opcode == "conditional":
            found += [Kernel(f"{prefix}conditional", 0.0, 0.0, instruction)] * times
            for callee in instruction.called("branch_computations", "true_computation", "false_computation"):
                found += count(computations, callee, prefix="in a branch: ", times=times)
        elif opcode == "while":
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', instruction.line)
            for callee in instruction.called("condition", "body"):
                inside = times * int(trips.group(1)) if trips else times
                found += count(computations, callee, prefix="in a loop: ", times=inside)
        else:
            moved, whole = _moved(instruction, computations, sizes)
            found += [Kernel(prefix + _kind(instruction, computations), moved, whole, instruction)] * times
    return found


def _moved(instruction, computations, sizes):
    """Returns (bytes with slices counted, bytes with operands as a whole) that one kernel reads and writes."""
    operands = list(dict.fromkeys(instruction.operands))
    whole = instruction.bytes + sum(sizes.get(operand, 0) for operand in operands)
    opcode = instruction.opcode
    if opcode in ("slice", "dynamic-slice", "gather"):
        return 2.0 * instruction.bytes, whole
    if opcode == "dynamic-update-slice":
        return 2.0 * sizes.get(instruction.operands[1], 0), whole
    if opcode != "fusion":
        return float(whole), whole
    body = computations[instruction.called("calls")[0]]
    needed, read = _read_elements(body), {}
    for parameter in (i for i in body if i.opcode == "parameter"):
        operand = instruction.operands[int(re.search(r" parameter\((\d+)\)", parameter.line).group(1))]
        share = needed[parameter.name] / max(1, parameter.elements)
        read[operand] = max(read.get(operand, 0.0), share * sizes.get(operand, 0))
    return _written_bytes(body) + sum(read.values()), whole


def _read_elements(body):
    """Returns {instruction: number of its elements that a fusion computes or reads}.

    Walks from the results to the parameters. The elements that an instruction's users need are sets, which have names:
    users of equal sets need the same elements, and those of other sets need others, up to all elements.
    """
    by_name = {i.name: i for i in body}
    sets = {name: {} for name in by_name}
    for instruction in _roots(body):
        sets[instruction.name] = {"all": float(instruction.elements)}
    for instruction in reversed(body):
        wanted = sets[instruction.name]
        count = min(float(instruction.elements), sum(wanted.values()))
        if not count:
            continue
        for position, operand in enumerate(whole_name(o) for o in instruction.operands):
            if operand in by_name:
                size = by_name[operand].elements
                for name, elements in _operand_sets(instruction, position, wanted, count, size).items():
                    sets[operand][name] = max(sets[operand].get(name, 0.0), elements)
    return {name: min(float(by_name[name].elements), sum(found.values())) for name, found in sets.items()}


def _operand_sets(instruction, position, wanted, count, size):
    """Returns the sets of elements of an operand that an instruction needs for `count` elements in the sets `wanted`."""
    opcode = instruction.opcode
    if opcode in ("slice", "dynamic-slice"):
        where = re.search(r"slice=(\{.*?\]\})", instruction.line)
        return {(where.group(1) if where else instruction.name, *wanted): count} if position == 0 else {"all": size}
    if opcode in ("reduce", "convolution", "dot", "reduce-window", "gather", "scatter"):
        share = count / instruction.elements if opcode == "reduce" else 1.0
        return {"all": size} if share == 1.0 else {(opcode, *wanted): share * size}
    if opcode == "dynamic-update-slice":
        return {} if position == 0 else {"all": size}  # in place
    if size == instruction.elements:
        return wanted
    # Each element of the result needs at most one element of each operand.
    return {"all": size} if count >= size else {(opcode, *wanted): count}


def _roots(body):
    """Returns the instructions whose results a fusion writes."""
    by_name = {i.name: i for i in body}
    root = next(i for i in body if re.match(r"\s+ROOT ", i.line))
    return [by_name[whole_name(name)] for name in root.operands] if root.opcode == "tuple" else [root]


def _written_bytes(body):
    """Returns the bytes that a fusion writes: of an update in place, those of the update."""
    by_name = {i.name: i for i in body}
    roots = _roots(body)
    updates = [by_name[whole_name(i.operands[1])] if i.opcode == "dynamic-update-slice" else i for i in roots]
    return sum(i.bytes for i in updates)


def _kind(instruction, computations):
    opcode, line = instruction.opcode, instruction.line
    if opcode == "custom-call":
        target = re.search(r'custom_call_target="([^"]+)"', line).group(1)
        kind = _LIBRARY.get(target, f"call of {target}")
        groups = re.search(r"(?:feature|batch)_group_count=(\d+)", line)
        return f"{kind}, grouped" if groups and int(groups.group(1)) > 1 else kind
    if opcode != "fusion":
        return opcode
    if '"kind":"__triton' in line:
        return "Triton fusion"
    if '"kind":"__cudnn$fusion"' in line:
        return "cuDNN fusion"
    opcodes = {i.opcode for i in computations[instruction.called("calls")[0]]}
    for part, kind in (("scatter", "scatter"), ("reduce", "reduction"), ("reduce-window", "window reduction")):
        if part in opcodes:
            return f"{kind} fusion"
    if "transpose" in opcodes and "kind=kInput" in line:
        return "transposition fusion"
    return "copy" if opcodes <= {"parameter", "copy", "bitcast", "transpose", "slice"} else "elementwise fusion"
