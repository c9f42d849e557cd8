"""Reads an optimized HLO program as text, and the memory that it needs. `kernels.py` counts what it does."""

import dataclasses
import math
import re

BYTES = {
    **dict.fromkeys(("token", "opaque"), 0),
    **dict.fromkeys(("pred", "s8", "u8", "f8e4m3fn", "f8e5m2"), 1),
    **dict.fromkeys(("bf16", "f16", "s16", "u16"), 2),
    **dict.fromkeys(("f32", "s32", "u32"), 4),
    **dict.fromkeys(("f64", "s64", "u64", "c64"), 8),
}
# Instructions that run nothing.
FREE = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all", "partition-id", "replica-id"}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program.

    Attributes:
        shapes: [(dtype, sides)] of the result, which may be a tuple.
        operands: Names of instructions; newer versions of XLA write `%name#1` for a part of a tuple.
        line: The whole line.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    line: str

    @property
    def shapes(self):
        return parse_shapes(self.shape)

    @property
    def bytes(self):
        """Bytes of the result, without the scratch memory that a library's call returns as its last part."""
        shapes = self.shapes
        if self.opcode == "custom-call" and len(shapes) > 1 and re.search(r", (u8|s8)\[\d*\](\{0\})?\)$", self.shape):
            shapes = shapes[:-1]
        return sum(BYTES[dtype] * math.prod(sides) for dtype, sides in shapes)

    @property
    def elements(self):
        return sum(math.prod(sides) for _, sides in self.shapes)

    def called(self, *attributes):
        """Names of the computations under attributes such as `calls`."""
        found = []
        for attribute in attributes:
            for names in re.findall(rf"\b{attribute}=(\{{[^}}]*\}}|%[\w.\-]+)", self.line):
                found += re.findall(r"%[\w.\-]+", names)
        return found


def parse_shapes(text):
    """Returns [(dtype, sides)] of the arrays in a shape such as `(f32[8,64]{1,0}, u8[0]{0})`."""
    found = re.findall(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\]", text)
    unknown = {dtype for dtype, _ in found} - set(BYTES)
    if unknown:
        raise ValueError(f"unknown dtype {', '.join(sorted(unknown))} in the shape {text!r}")
    return [(dtype, [int(side) for side in sides.split(",") if side]) for dtype, sides in found]


def parse(text):
    """Returns ({name: [Instruction]} of all computations, the name of the entry computation)."""
    computations, current, entry = {}, None, None
    for line in text.split("\n"):
        head = re.match(r"(ENTRY )?(%[\w.\-]+) .*\{$", line)
        if head and not line.startswith(" "):
            current = computations[head.group(2)] = []
            entry = head.group(2) if head.group(1) else entry
        elif current is not None and " = " in line and line.startswith("  "):
            current.append(_instruction(line))
    if entry is None:
        raise ValueError("the text contains no entry computation: give an HLO module as XLA dumps it")
    return computations, entry


def _instruction(line):
    left, right = re.sub(r"/\*.*?\*/", "", line).split(" = ", 1)
    end = _closing(right, 0) + 1 if right.startswith("(") else right.index(" ")
    shape, rest = right[:end], right[end:].lstrip()
    opcode, _, inside = rest.partition("(")
    arguments = inside[: _closing(rest, len(opcode)) - len(opcode) - 1]
    operands = () if opcode in ("constant", "parameter") else tuple(re.findall(r"%[\w.\-]+(?:#\d+)?", arguments))
    return Instruction(left.split()[-1], shape, opcode, operands, line)


def whole_name(operand):
    """Name of the instruction that an operand is the result of, or a part of."""
    return operand.partition("#")[0]


def _closing(text, start):
    """Position of the parenthesis that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if not depth:
            return i
    raise ValueError(f"unbalanced parentheses: {text[:200]}")


def temporary_bytes(buffers):
    """Returns the temporary memory of a program, from the text of XLA's buffer assignment."""
    found = re.findall(r"^allocation \d+: size (\d+),.*\bpreallocated-temp\b", buffers, flags=re.MULTILINE)
    return sum(int(size) for size in found)


def live_bytes(computations, name):
    """Estimates the temporary memory of a computation: the largest sum of all results that are still to be read.

    The instructions must be in the order in which they run. Branches and scratch memory are not counted, and no result
    takes the place of another in the middle of a kernel, so the estimate may be too low or too high.
    """
    instructions = computations[name]
    sizes, source = {}, {}
    for instruction in instructions:
        shares = instruction.opcode in ("bitcast", "get-tuple-element", "tuple")
        owners = (source.get(whole_name(operand), ()) for operand in instruction.operands)
        source[instruction.name] = set().union(*owners) if shares else set()
        if not shares and instruction.opcode not in FREE:
            source[instruction.name] = {instruction.name}
            sizes[instruction.name] = instruction.bytes
    last = {}
    for i, instruction in enumerate(instructions):
        for operand in instruction.operands:
            last.update(dict.fromkeys(source.get(whole_name(operand), ()), i))
    results = source.get(instructions[-1].name, set())
    live = largest = 0
    ends = {}
    for i, instruction in enumerate(instructions):
        if instruction.name in sizes and instruction.name not in results:
            live += sizes[instruction.name]
            ends.setdefault(last.get(instruction.name, i), []).append(instruction.name)
        largest = max(largest, live)
        live -= sum(sizes[n] for n in ends.pop(i, ()))
    return largest
