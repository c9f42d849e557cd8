"""The commands, and a check that a documented command line parses."""

import argparse
import importlib
import importlib.util
import pathlib
import re
import shlex

import ray_jobs
from places import ROOT

from hazeheal import config as configs
from hazeheal.__main__ import COMMANDS
from tfrecords_tools import __main__ as tools

# Other programs, whose arguments are not checked.
OTHERS = {"pip", "kubectl", "nvidia-smi", "cd", "cp", "curl", "git", "mkdir", "jupyter"}
OTHERS |= {"tensorboard", "taskset"}
OTHER_IMAGES = {"tensorflow/serving"}
OTHER_MODULES = {"venv", "pip", "tensorboard.main"}


def parsers() -> dict:
    """{command: ArgumentParser} of all commands, as in "hazeheal train" and "hazeheal-tfrecords info"."""
    found = {f"hazeheal {name}": importlib.import_module(f"hazeheal.commands.{name}").parser() for name in COMMANDS}
    subparsers = next(action for action in tools._parser()._actions if isinstance(action, argparse._SubParsersAction))
    return found | {f"{tools.PROGRAM} {name}": parser for name, parser in subparsers.choices.items()}


def of_block(text) -> list[list[str]]:
    """The command lines of a ```bash block, split as a shell does, without comments, variable assignments and pipes."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, "&&"]:
            if word not in ("&&", "||", "|", ";", "&"):
                words.append(word)
                continue
            while words and (words[0] == "do" or re.match(r"[A-Za-z_]\w*=", words[0])):
                words.pop(0)
            if words and words[0] not in ("for", "done"):
                found.append(words)
            words = []
    return found


def check(words) -> None:
    """Raises if a command line names a program, command, flag or configuration field that does not exist.

    Values are checked as the parsers check them; no file needs to exist.
    """
    words = [word for word in words if word != "..."]  # an ellipsis
    if words[0].startswith("--"):  # only flags of a training
        words = ["hazeheal", "train", *words]
    program, *arguments = words
    name = pathlib.PurePath(program).name
    if name == "hazeheal":
        _check_hazeheal(arguments)
    elif name == tools.PROGRAM:
        _check_tools(arguments)
    elif name in ("bash", "sbatch"):
        _check_script(arguments)
    elif re.fullmatch(r"python[0-9.]*", name):
        _check_python(arguments)
    elif name == "ray":
        if "--" in arguments:  # Ray's own flags are not checked
            check(arguments[arguments.index("--") + 1 :])
    elif name == "docker":
        _check_docker(arguments)
    else:
        assert name in OTHERS, f"{program} is not a known program"


def _check_hazeheal(arguments):
    if arguments[0].startswith("--"):
        assert arguments in (["--help"], ["--version"])
        return
    command, *arguments = arguments
    known = importlib.import_module(f"hazeheal.commands.{command}").parser()
    if "--help" in arguments:
        return
    ours, rest = configs.split_argv(arguments)
    if command == "launch":
        _, rest = known.parse_known_args(rest)
        convert = [f"--{word.removeprefix('--convert.')}" for word in rest if word.startswith("--convert.")]
        _check_tools(["convert", "--hazy_dir=D", "--gt_dir=D", "--output_dir=D", *convert])
        rest = [word for word in rest if not word.startswith("--convert.")]
        known = importlib.import_module("hazeheal.commands.train").parser()
    known.parse_args(rest)
    if ours:
        named = [word for word in ours if word.startswith("--config=")]
        configs.load(ours if named else ["--config=quickstart", *ours])


def _check_tools(arguments):
    if "--help" not in arguments:
        tools._parser().parse_args(arguments)


def _check_script(arguments):
    script = next(i for i, word in enumerate(arguments) if word.startswith(("launch/", "benchmarks/", "recipes/")))
    assert (ROOT / arguments[script]).is_file(), f"{arguments[script]} does not exist"
    name, arguments = pathlib.PurePath(arguments[script]).name, arguments[script + 1 :]
    if name not in ("train_multigpu.sh", "train_slurm.sbatch"):
        return  # arguments of pytest, of TensorBoard, or of a script of benchmarks/ or recipes/
    _check_hazeheal(["launch", *arguments])


def _check_python(arguments):
    if arguments[0] == "-m" and arguments[1] in OTHER_MODULES:
        return
    if arguments[0] == "-m":
        spec = importlib.util.find_spec(arguments[1])
        assert spec is not None, f"the module {arguments[1]} does not exist"
        path, arguments = pathlib.Path(spec.origin), arguments[2:]
    else:
        path, arguments = ROOT / arguments[0], arguments[1:]
    source = path.read_text(encoding="utf-8")
    if path.name == "train_ray.py":
        _check_ray(arguments)
        return
    for word in arguments:
        flag = word.partition("=")[0]
        if flag.startswith("--") and not flag.startswith("--config"):
            assert f'"{flag}"' in source, f"{path.name} has no {flag}"


def _check_ray(arguments):
    ours, rest = configs.split_argv(arguments)
    _, rest = ray_jobs.load().parser().parse_known_args(rest)
    importlib.import_module("hazeheal.commands.train").parser().parse_args(rest)
    configs.load(ours)


def _check_docker(arguments):
    """Checks the command that starts a container of HazeHeal."""
    if arguments[0] != "run":
        assert arguments[0] in ("build", "push", "stop"), f"docker {arguments[0]}"
        return
    if OTHER_IMAGES & set(arguments):
        return
    image = next(i for i, word in enumerate(arguments) if word.startswith("hazeheal:"))
    options = arguments[:image]
    program = options[options.index("--entrypoint") + 1] if "--entrypoint" in options else "hazeheal"
    check([program, *arguments[image + 1 :]])


def extras() -> set:
    """Names of the extras of `pip install`."""
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    return set(re.findall(r'^        "(\w+)": \[', text, re.MULTILINE))
