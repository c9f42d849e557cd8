"""Imports point downwards, and what should start fast does not wait for TensorFlow."""

import ast
import pathlib
import subprocess
import sys

import pytest

import hazeheal

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Low to high. A module may import what stands in a line above its own, or beside it as long as there is no
# circle. The longest name counts: `hazeheal.training` stands for all of that folder that is not listed itself.
LAYERS = (
    (
        "hazeheal",
        "hazeheal.errors",
        "hazeheal.lines",
        "hazeheal.help",
        "hazeheal.aside",
        "hazeheal.bars",
        "hazeheal.heap",
        "hazeheal.quiet",
    ),
    ("hazeheal.example", "hazeheal.records", "hazeheal.cpu"),
    (
        *("hazeheal.data", "hazeheal.data.kept", "hazeheal.data.pictures", "hazeheal.data.pairing_rules"),
        *("hazeheal.data.folders", "hazeheal.data.pairing", "hazeheal.data.scene_canvas"),
        *("hazeheal.data.scene_layers", "hazeheal.data.scenes", "hazeheal.data.synthetic"),
        *("hazeheal.data.haze", "hazeheal.data.fresh_haze_settings"),
        *("hazeheal.data.public_sets", "hazeheal.data.tfds"),
    ),
    ("hazeheal.losses", "hazeheal.metrics", "hazeheal.colour", "hazeheal.lpips", "hazeheal.models"),
    (
        *("hazeheal.data.augment", "hazeheal.data.order", "hazeheal.data.decode", "hazeheal.data.readers"),
        *("hazeheal.data.bad_records", "hazeheal.data.graph_reader", "hazeheal.data.fresh_haze"),
        *("hazeheal.data.relaid_haze", "hazeheal.data.processor"),
    ),
    ("hazeheal.config",),
    # Files on disk alone; DehazeGAN.from_run reads them, and so stands above the other models.
    ("hazeheal.training.checkpoint",),
    # What DehazeGAN.restore is made of; the rest of that folder uses DehazeGAN.
    (
        *("hazeheal.restore.tiles", "hazeheal.restore.by_view", "hazeheal.restore.network"),
        "hazeheal.restore.restorer",
    ),
    ("hazeheal.models.gan",),
    ("hazeheal.restore",),
    ("hazeheal.training",),
    ("hazeheal.benchmark", "hazeheal.doctor", "hazeheal.export"),
    ("hazeheal.launch",),
    ("hazeheal.commands",),
    ("hazeheal.__main__",),
)
# Whatever else is found below hazeheal/data must be put into the table by name.
BY_NAME = ("hazeheal", "hazeheal.data")
TOOLS_MAY_USE = {
    *("hazeheal", "hazeheal.errors", "hazeheal.lines", "hazeheal.help", "hazeheal.aside", "hazeheal.bars"),
    "hazeheal.heap",
    "hazeheal.quiet",
    "hazeheal.records",
    *("hazeheal.data.folders", "hazeheal.data.pairing", "hazeheal.data.pairing_rules"),
    *("hazeheal.data.pictures", "hazeheal.data.synthetic", "hazeheal.data.haze"),
}
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
            assert node.level == 0, f"line {node.lineno}: imports are written in full here"
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


def level(module):
    """Layer of a module, by its own name or the nearest folder's."""
    name = module
    while name not in LEVEL and "." in name:
        name = name.rpartition(".")[0]
    assert name == module or name not in BY_NAME, f"{module} is in no layer; add it to LAYERS"
    return LEVEL[name]


def violations(root=ROOT, homes=hazeheal._HOME):
    """Every import that points the wrong way, as text."""
    packages = {package: modules(package, root) for package in ("hazeheal", "tfrecords_tools")}
    known = packages["hazeheal"] | packages["tfrecords_tools"]
    wrong, beside = [], {}
    for module, path in known.items():
        for line, name in imports(ast.parse(path.read_text(encoding="utf-8")), known, homes):
            where = f"{path.relative_to(root)}:{line} imports {name}"
            if name not in known:
                wrong.append(f"{where}, which does not exist")
            elif module.startswith("tfrecords_tools"):
                if not name.startswith("tfrecords_tools") and name not in TOOLS_MAY_USE:
                    wrong.append(f"{where}, which is none of the modules it may use")
            elif name.startswith("tfrecords_tools"):
                wrong.append(f"{where}: hazeheal must not")
            elif level(name) > level(module):
                wrong.append(f"{where}, which stands above it")
            beside.setdefault(module, set()).add(name)
    return wrong + [f"circle: {' -> '.join(circle)}" for circle in circles(beside)]


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
    ("path", "text", "said"),
    [
        ("hazeheal/losses.py", "import hazeheal.training.step", "stands above it"),
        ("hazeheal/records.py", "def f():\n    from hazeheal import config", "stands above it"),
        ("hazeheal/data/pictures.py", "from hazeheal import DehazeTrainer", "stands above it"),
        ("hazeheal/commands/a.py", "from tfrecords_tools import convert", "hazeheal must not"),
        ("tfrecords_tools/a.py", "from hazeheal import config", "none of the modules"),
        ("tfrecords_tools/a.py", "from hazeheal.data.processor import X", "none of the modules"),
        ("hazeheal/commands/a.py", "import hazeheal.nothing", "does not exist"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, path, text, said):
    for module in ("config", "losses", "records", "training/step", "training/trainer", "data/processor"):
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
    assert said in found[0]


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c", "a"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}}) == []


def test_new_modules_need_a_layer():
    assert level("hazeheal.training.something_new") == level("hazeheal.training")
    for module in ("hazeheal.something_new", "hazeheal.data.something_new"):
        with pytest.raises(AssertionError, match="in no layer"):
            level(module)


@pytest.mark.parametrize(
    "module",
    [
        *("hazeheal", "hazeheal.__main__", "hazeheal.records", "hazeheal.config", "hazeheal.data.synthetic"),
        *("hazeheal.data.pairing", "hazeheal.training.checkpoint", "tfrecords_tools.__main__"),
        *("hazeheal.data.haze", "tfrecords_tools.synthesize"),
        *("hazeheal.commands.train", "hazeheal.commands.checkpoints", "hazeheal.commands.benchmark"),
        *("hazeheal.commands.evaluate", "hazeheal.restore.dark_channel", "hazeheal.restore.pairs"),
        *("hazeheal.commands.train", "hazeheal.commands.checkpoints", "hazeheal.commands.dehaze"),
        *("hazeheal.restore.files", "hazeheal.restore.tiles", "hazeheal.restore.video"),
        *("hazeheal.commands.runs", "hazeheal.commands.doctor"),
        *("hazeheal.commands.export", "hazeheal.export.formats"),
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
