"""Public functions and methods of the product have annotated parameters and results."""

import ast

import pytest
from places import ROOT

PRODUCT = sorted(path for name in ("hazeheal", "tfrecords_tools") for path in (ROOT / name).rglob("*.py"))


def unannotated(source):
    """Yields `line: name: parameters` of each public function, method and constructor that lacks annotations."""

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from visit(node.body, f"{node.name}.")
            elif isinstance(node, ast.FunctionDef) and is_public(node.name) and (names := missing(node)):
                yield f"{node.lineno}: {prefix}{node.name}: {', '.join(names)}"

    yield from visit(ast.parse(source).body, "")


def is_public(name):
    return not name.startswith("_") or name in ("__init__", "__call__")


def missing(function):
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    names = [p.arg for p in parameters if p.annotation is None and p.arg not in ("self", "cls")]
    return names + ["return"] * (function.returns is None and function.name != "__init__")


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_are_annotated(path):
    lines = list(unannotated(path.read_text(encoding="utf-8")))
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(a, b: int) -> int: ...", ["1: f: a"]),
        ("def f(*, a: int): ...", ["1: f: return"]),
        (
            "class A:\n    def __init__(self, a): ...\n    def m(self): ...",
            ["2: A.__init__: a", "3: A.m: return"],
        ),
        ("def _f(a): ...\nclass _A:\n    def m(self): ...", []),
        (
            "class A:\n    def __init__(self, a: int): ...\n    def _m(self): ...\n    def __len__(self): ...",
            [],
        ),
    ],
)
def test_missing_annotations_are_found(source, expected):
    assert list(unannotated(source)) == expected
