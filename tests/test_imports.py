"""Imports point downwards, and what should start fast does not wait for TensorFlow."""

import ast
import pathlib
import subprocess
import sys

import pytest

import hazeheal
from hazeheal.__main__ import COMMANDS

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Low to high. A folder imports only from itself and from the rows above its own. `hazeheal` stands for the
# top-level __init__.py.
LAYERS = (
    ("hazeheal", "hazeheal.errors"),
    ("hazeheal.utils",),
    ("hazeheal.data", "hazeheal.metrics", "hazeheal.models"),
    ("hazeheal.config_fields",),
    ("hazeheal.config",),
    ("hazeheal.runs",),
    ("hazeheal.distributed",),
    ("hazeheal.inference",),
    ("hazeheal.evaluation", "hazeheal.training"),
    ("hazeheal.benchmark", "hazeheal.demo", "hazeheal.doctor", "hazeheal.export"),
    ("hazeheal.commands",),
    ("hazeheal.__main__",),
)
# The conversion tools stand beside all of this: they use the lowest layers, and hazeheal never imports them.
TOOLS_MAY_USE = ("hazeheal", "hazeheal.errors", "hazeheal.utils", "hazeheal.data")
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules(package, root=ROOT):
    """{dotted name: path} of every module of a package."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree, known, homes):
    """Yields (line, module) for all imports of `known` modules in a syntax tree, those in functions too.

    A lazy name of the package (`from hazeheal import DehazeGAN`) counts as the module it comes from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write it in full"
            names = []
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                lazy = homes.get(alias.name) if node.module == "hazeheal" else None
                names.append(lazy or (full if full in known else node.module))
        else:
            continue
        for name in names:
            if name.split(".")[0] in ("hazeheal", "tfrecords_tools"):
                yield node.lineno, name


def folder(module):
    """The entry of LAYERS that a module belongs to: the folder or file right below `hazeheal`."""
    name = ".".join(module.split(".")[:2])
    assert name in LEVEL, f"{module} is in no layer; add {name} to LAYERS"
    return name


def is_below(name, module):
    """Whether `module` may import `name`: one of its own folder, or of a lower layer."""
    return folder(name) == folder(module) or LEVEL[folder(name)] < LEVEL[folder(module)]


def violations(root=ROOT, homes=hazeheal._HOME):
    """Every import that points the wrong way, as text."""
    packages = {package: modules(package, root) for package in ("hazeheal", "tfrecords_tools")}
    known = packages["hazeheal"] | packages["tfrecords_tools"]
    wrong, graph = [], {}
    for module, path in known.items():
        for line, name in imports(ast.parse(path.read_text(encoding="utf-8")), known, homes):
            where = f"{path.relative_to(root)}:{line} imports {name}"
            if name not in known:
                wrong.append(f"{where}, which does not exist")
            elif module.startswith("tfrecords_tools"):
                if not name.startswith("tfrecords_tools") and folder(name) not in TOOLS_MAY_USE:
                    wrong.append(f"{where}, which the tools may not use")
            elif name.startswith("tfrecords_tools"):
                wrong.append(f"{where}: hazeheal must not import the tools")
            elif name != "hazeheal" and not is_below(name, module):
                wrong.append(f"{where}, which is not in a layer below it")
            graph.setdefault(module, set()).add(name)
    return wrong + [f"circle: {' -> '.join(circle)}" for circle in circles(graph)]


def circles(graph):
    """Circles of imports, each once by its first node met (a module may import its own package)."""
    done, found = set(), []

    def visit(node, path):
        if node in path:
            found.append([*path[path.index(node) :], node])
        elif node not in done:
            for below in sorted(graph.get(node, ())):
                if below != node:
                    visit(below, [*path, node])
            done.add(node)

    for node in sorted(graph):
        visit(node, [])
    return found


def test_imports_point_downwards():
    assert len(modules("hazeheal")) > 20, "the modules were not found"
    assert not violations(), "\n".join(violations())


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("hazeheal/models/a.py", "import hazeheal.training.trainer", "not in a layer below it"),
        ("hazeheal/data/records.py", "def f():\n    from hazeheal import config", "not in a layer below it"),
        ("hazeheal/models/a.py", "import hazeheal.data.records", "not in a layer below it"),
        ("hazeheal/data/images.py", "from hazeheal import DehazeTrainer", "not in a layer below it"),
        ("hazeheal/commands/a.py", "from tfrecords_tools import convert", "hazeheal must not"),
        ("tfrecords_tools/a.py", "from hazeheal import config", "the tools may not use"),
        ("tfrecords_tools/a.py", "from hazeheal.training import trainer", "the tools may not use"),
        ("hazeheal/commands/a.py", "import hazeheal.nothing", "does not exist"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, path, text, message):
    for module in ("config", "data/records", "training/trainer"):
        file = tmp_path / "hazeheal" / f"{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for package in ("hazeheal", "hazeheal/training", "hazeheal/data", "tfrecords_tools"):
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "tfrecords_tools/convert.py").touch()
    assert violations(tmp_path) == []
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(text)
    found = violations(tmp_path)
    assert len(found) == 1
    assert message in found[0]


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c", "a"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}}) == []


def test_new_folders_need_a_layer():
    assert folder("hazeheal.training.something.new") == "hazeheal.training"
    with pytest.raises(AssertionError, match="in no layer"):
        folder("hazeheal.something_new")


@pytest.mark.parametrize(
    "module",
    [
        *("hazeheal", "hazeheal.__main__", "hazeheal.config"),
        *(
            "hazeheal.data.records",
            "hazeheal.data.synthesis.synthetic_pairs",
            "hazeheal.data.pairing.pairing",
        ),
        *("hazeheal.data.synthesis.scattering", "hazeheal.runs.checkpoints", "hazeheal.runs.listing"),
        *("hazeheal.inference.jobs", "hazeheal.models.tiles", "hazeheal.inference.video"),
        *("hazeheal.evaluation.dark_channel", "hazeheal.evaluation.pairs", "hazeheal.export.formats"),
        *(f"hazeheal.commands.{name}" for name in sorted(COMMANDS)),
        *("tfrecords_tools.__main__", "tfrecords_tools.synthesize.command"),
    ],
)
def test_light_modules_do_not_import_tensorflow(module):
    code = f"import sys, {module}; print(sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_public_names_have_a_home():
    known = modules("hazeheal")
    assert set(hazeheal._HOME) == set(hazeheal.__all__) - {"__version__"}
    assert not set(hazeheal._HOME.values()) - set(known)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = hazeheal.Nothing
