"""`--help` of every command and script: examples that parse, exit codes, defaults, line lengths."""

import ast
import os
import re
import subprocess
import sys

import command_lines
import processes
import pytest
from places import ROOT

from hazeheal.__main__ import COMMANDS, main, usage
from tfrecords_tools import __main__ as tools

PARSERS = command_lines.parsers()
SCRIPTS = sorted(path.name for path in (ROOT / "launch").glob("*.sh") if path.name != "environment.sh")
CODES = re.compile(r"exit codes: .*\b0\b.*\b2\b", re.IGNORECASE | re.DOTALL)


def script_help(name):
    done = subprocess.run(["bash", f"launch/{name}", "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def texts():
    """{name of the program: text of its --help}"""
    found = {name: parser.format_help() for name, parser in PARSERS.items()}
    return found | {"hazeheal": usage(), tools.PROGRAM: tools._parser().format_help()}


def examples(text):
    """Command lines of our programs and scripts in an indented line of a help text."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    # What stands behind two blanks or more says what it does.
    lines = [re.split(r"   +", line)[0] for line in lines]
    return [line for line in lines if re.match(r"(hazeheal|hazeheal-tfrecords|bash launch/\S+) \S", line)]


@pytest.mark.parametrize("name", [*PARSERS, "hazeheal", tools.PROGRAM])
def test_help_of_a_command_has_examples_and_exit_codes(name):
    text = texts()[name]
    found = [line for line in examples(text) if line.startswith(name)]
    assert found, text
    for line in found:
        for words in command_lines.of_block(line):
            command_lines.check(words)
    assert CODES.search(text), text


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_of_a_script_has_examples_and_exit_codes(name):
    text = script_help(name)
    found = [line for line in examples(text) if "[" not in line and "NAME" not in line]
    assert any(line.startswith(f"bash launch/{name}") for line in found), text
    for line in found:
        for words in command_lines.of_block(line):
            command_lines.check(words)
    assert re.search(r"exit codes: .*\b2\b", text, re.IGNORECASE | re.DOTALL), text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("columns", [80, 120, 400])
def test_lines_of_help_fit_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, text in texts().items():
        for line in text.splitlines():
            # An example, to be copied as it is; or one flag, which cannot be broken.
            indented = line.startswith("  ") and (name.split()[0] in line or " " not in line.strip(" ]"))
            indented |= bool(re.fullmatch(r" +\[--\w+ \S+\]", line))
            assert len(line) <= (120 if indented or name == "hazeheal" else min(columns, 120)), (name, line)


def test_paragraphs_are_filled_and_examples_stay_as_they_are(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = PARSERS["hazeheal dehaze"].format_help()
    paragraph = text[text.index("Folders are searched") :].split("\n\n")[0]
    assert all(len(line) > 60 for line in paragraph.splitlines()[:-1])
    assert "\n  hazeheal dehaze scans 'more/**/*.png' --model=runs/rice1 --output=restored --compare\n" in text


@pytest.mark.parametrize("name", PARSERS)
def test_every_flag_is_explained_and_defaults_are_shown(name):
    for action in PARSERS[name]._actions:
        flag = "/".join(action.option_strings) or action.dest
        assert action.help, f"{name}: {flag} has no help"
        if action.option_strings and action.default not in (None, False, [], "", "==SUPPRESS=="):
            told = action.help % {"default": action.default}
            assert "default" in told, f"{name} {flag}: its default {action.default!r} is not told"


@pytest.mark.parametrize("argv", [["--help"], ["help"], ["train", "--help"]])
def test_help_goes_to_stdout(capsys, argv):
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: hazeheal ") and err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_is_that_of_its_flag(capsys, name):
    texts = []
    for argv in (["help", name], [name, "--help"]):
        assert main(argv) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].startswith(f"usage: hazeheal {name} ")


def test_help_of_an_unknown_command_is_refused(capsys):
    assert main(["help", "trian"]) == 2
    assert "error: unknown command 'trian'; use one of launch, train" in capsys.readouterr().err


def test_commands_are_listed_in_groups():
    lines = usage().splitlines()
    assert [line for line in lines if line.endswith(":") and " " not in line] == [
        "train:",
        "use:",
        "inspect:",
    ]
    for name in COMMANDS:
        assert any(line.startswith(f"  {name} ") for line in lines)


def test_help_of_train_lists_the_included_configurations():
    text = PARSERS["hazeheal train"].format_help()
    for path in (ROOT / "configs").glob("*.py"):
        if path.stem != "__init__":
            summary = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()[0]
            assert re.search(rf"^  {path.stem} +{re.escape(summary)}$", text, re.MULTILINE), path


@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"], ["help", "dehaze"]])
def test_help_into_a_closed_pipe_prints_no_traceback(argv):
    read, write = os.pipe()
    os.close(read)
    process = processes.start(sys.executable, "-m", "hazeheal", *argv, stdout=write)
    os.close(write)
    assert processes.finish(process) == (0, None, "")
