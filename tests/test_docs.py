"""The documentation: its commands parse, its links resolve, and its fields, flags and messages exist in the code."""

import ast
import functools
import importlib
import pathlib
import re

import command_lines
import pytest
from places import ROOT

from hazeheal import config as configs
from hazeheal.models import pretrained

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
# Files that a command on the page writes.
SHIPPED = {f"hazeheal/pretrained/{name}.npz" for name in pretrained.NAMES}
COMMAND = re.compile(r"^Command: +(\S.*)$", re.MULTILINE)


def name(path) -> str:
    return str(pathlib.Path(path).relative_to(ROOT))


def check_block(text) -> None:
    """Raises AssertionError with the first command of a block that does not parse."""
    for words in command_lines.of_block(text):
        try:
            command_lines.check(words)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{' '.join(words)}\n{error}") from error


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_on_a_page_parse(page):
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind in ("bash", "sh"):
            check_block(text)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_on_a_page_parses_and_its_imports_exist(page):
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind != "python":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.startswith("hazeheal"):
                        importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom) and node.module.startswith("hazeheal"):
                for alias in node.names:
                    try:
                        importlib.import_module(f"{node.module}.{alias.name}")
                    except ModuleNotFoundError:
                        assert hasattr(importlib.import_module(node.module), alias.name), alias.name


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=name)
def test_the_command_in_a_configuration_parses(path):
    if path.stem == "__init__":
        return
    (command,) = COMMAND.findall(path.read_text(encoding="utf-8"))
    check_block(command)
    assert path.stem == "quickstart" or f"--config={path.stem} " in command


@functools.cache
def anchors(path):
    """The anchors that GitHub derives from a page's headings."""
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_an_existing_file_and_heading(page):
    for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{link}: {path} does not exist"
        assert not anchor or anchor in anchors(path), f"{link}: {path.name} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_fields_of_the_configuration_on_a_page_exist(page):
    known = configs.flat(configs.load(["--config=default"]))
    sections = {field.split(".")[0] for field in known}
    text = page.read_text(encoding="utf-8")
    for field in re.findall(r"--config\.(\w{2,}(?:\.\w+)+)", text):
        assert any(f"{name}.".startswith(f"{field}.") for name in known), f"--config.{field}"
    for field in re.findall(r"`((?:" + "|".join(sections) + r")\.[a-z_0-9]+)`", text):
        assert field in known or field.endswith(".py"), field


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_extras_on_a_page_exist(page):
    for named in re.findall(r"(?:\.|hazeheal)\[([a-z,]+)\]", page.read_text(encoding="utf-8")):
        assert set(named.split(",")) <= command_lines.extras(), named


def test_the_index_links_to_every_page():
    text = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    linked = {link.partition("#")[0] for link in LINK.findall(text)}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= linked


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("hazeheal trian --config=default", "trian"),
        ("hazeheal train --config=default --work_dir=r", "--work_dir"),
        ("hazeheal train --config=default --config.train.batchsize=3", "train.batchsize"),
        ("hazeheal-tfrecords convert --hazy_dir=a", "--gt_dir"),
        ("bash launch/train_multigpu.sh --convert.tile=3 --config=default", "--tile"),
        ("bash launch/train.sh", "launch/train.sh"),
        ("A=1 hazehal train | head", "hazehal"),
        ("python recipes/ablation.py --stps=3", "--stps"),
        ("ray job submit -- python launch/train_ray.py --worker=3 --config=default", "--worker=3"),
        ("hazeheal evaluate --data_dir=d \\\n  --spilt=val  # a comment", "--spilt"),
    ],
)
def test_an_invalid_command_is_detected(block, expected):
    with pytest.raises(AssertionError, match=re.escape(expected)):
        check_block(block)


def messages_of_the_code():
    """Every string in the code, with a NUL for each value, and every line of the shell scripts."""
    found = []
    for path in [*(ROOT / "hazeheal").rglob("*.py"), *(ROOT / "tfrecords_tools").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[sdg]|%\.\d+f", "\0", node.value))
    for path in (ROOT / "launch").glob("*.sh"):
        found += re.sub(r"\$\{?[\w\[\]#@*]+\}?", "\0", path.read_text(encoding="utf-8")).splitlines()
    return found


def test_messages_in_troubleshooting_are_those_of_the_code():
    """Compares the parts between values; `...` stands for a value."""
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(named) > 30
    known = "\n".join(messages_of_the_code())
    for message in named:
        pieces = [re.escape(piece.strip()) for piece in re.split(r"(?:\.\.\.)+", message) if piece.strip()]
        assert re.search("[^\n]*?".join(pieces), known), message


@pytest.mark.parametrize("page", [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"], ids=name)
def test_files_of_the_project_on_a_page_exist(page):
    text = page.read_text(encoding="utf-8")
    for named in re.findall(
        r"\b(?:hazeheal|tfrecords_tools|launch|tests|configs|benchmarks|recipes)/[\w/]+\.\w+", text
    ):
        assert "NAME" in named or named in SHIPPED or (ROOT / named).is_file(), named


def prose(text) -> list[str]:
    """The lines of a page without code blocks, tables, images and lines that consist of one link."""
    lines = BLOCK.sub("", text).splitlines()
    return [line for line in lines if not re.match(r"\s*(\||!?\[[^\]]*\]\(\S+\)$|<http)", line)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_of_prose_fit_120_characters(page):
    assert not [line for line in prose(page.read_text(encoding="utf-8")) if len(line) > 120]


def test_tests_that_reliability_names_exist():
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    known = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    for named in re.findall(r"`(test_\w+)`", text):
        assert f"def {named}(" in known, named
