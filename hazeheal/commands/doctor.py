"""Checks Python, TensorFlow, devices, memory and the disk. It changes nothing.

Examples:
  hazeheal doctor                       versions, devices, memory, and what `auto` selects here
  hazeheal doctor --workdir=runs/mine   also checks whether a run can be written there
  hazeheal doctor --json                the same as a list of objects: name, state, text, advice

ok: no action needed; note: works, but slower or with fewer features; problem: training will not work

exit codes: 0 no problem, 1 a problem, 2 bad usage
"""

import dataclasses
import json
import sys

from hazeheal.commands.parsing import CommandParser, command_parser
from hazeheal.doctor import checks, tensorflow_probe
from hazeheal.errors import EXIT_OK, HazeHealError
from hazeheal.utils.gpus import query_gpus


def parser() -> CommandParser:
    """Returns the command's argument parser."""
    parse = command_parser("doctor", __doc__)
    parse.add_argument("--workdir", default=".", help="directory for runs (default: the current directory)")
    parse.add_argument("--json", action="store_true", help="print a list of objects instead of lines")
    return parse


def main(argv: list[str]) -> int:
    """Runs `hazeheal doctor`; raises `HazeHealError` if there are problems, which are printed before."""
    flags = parser().parse_args(argv)
    findings = []

    def report(new):
        findings.extend(new)
        if not flags.json:
            print("\n".join(finding.line() for finding in new), flush=True)

    report(checks.check_machine())
    report(checks.check_workdir(flags.workdir))
    # Last, because importing TensorFlow takes seconds.
    report(tensorflow_probe.check_tensorflow(*tensorflow_probe.probe(), gpus=query_gpus()))
    if flags.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    sys.stdout.flush()  # before the error message on stderr
    problems = [finding.name for finding in findings if finding.state == checks.PROBLEM]
    if problems:
        plural = "s" * (len(problems) > 1)
        raise HazeHealError(f"{len(problems)} problem{plural}: {', '.join(problems)}; see above")
    if not flags.json:
        notes = sum(finding.state == checks.NOTE for finding in findings)
        print(f"\nno problem{f', {notes} note' + 's' * (notes > 1) if notes else ''}: this machine can train")
    return EXIT_OK
