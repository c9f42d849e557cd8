"""`hazeheal doctor`: whether this machine can train, and what is missing."""

import dataclasses
import json
import sys

from hazeheal.commands.parsing import CommandParser
from hazeheal.doctor import checks, place, tensorflow_probe
from hazeheal.doctor.finding import NOTE, PROBLEM
from hazeheal.errors import EXIT_OK, HazeHealError
from hazeheal.utils.gpus import query_gpus

EPILOG = """\
examples:
  hazeheal doctor                       versions, devices, limits, and what `auto` comes to here
  hazeheal doctor --workdir=runs/mine   also whether a run can be written there
  hazeheal doctor --json                the same as a list of objects: name, state, text, advice

ok: as it should be; note: works, slower or with something less; problem: training will not work so

exit codes: 0 no problem, 1 a problem, 2 bad usage
"""


def parser() -> CommandParser:
    parse = CommandParser(
        prog="hazeheal doctor",
        description="Looks at Python, TensorFlow, devices, limits and the disk; changes nothing.",
        epilog=EPILOG,
    )
    parse.add_argument(
        "--workdir", default=".", help="directory that runs will be written to (default: this one)"
    )
    parse.add_argument("--json", action="store_true", help="print a list of objects instead of lines")
    return parse


def main(argv) -> int:
    """Runs the command; `argv` is what stands behind `hazeheal doctor`.

    Raises:
        HazeHealError: There are problems; they have been shown by then.
    """
    flags = parser().parse_args(argv)
    found = []

    def tell(findings):
        found.extend(findings)
        if not flags.json:
            print("\n".join(finding.line() for finding in findings), flush=True)

    tell(checks.look())
    tell(place.look(flags.workdir))
    tell(tensorflow_probe.look(*tensorflow_probe.ask(), gpus=query_gpus()))  # last, as it takes seconds
    if flags.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in found], indent=1))
    sys.stdout.flush()  # before the message about what is wrong
    wrong = [finding.name for finding in found if finding.state == PROBLEM]
    if wrong:
        raise HazeHealError(f"{len(wrong)} problem{'s' * (len(wrong) > 1)}: {', '.join(wrong)}; see above")
    if not flags.json:
        notes = sum(finding.state == NOTE for finding in found)
        print(f"\nno problem{f', {notes} note' + 's' * (notes > 1) if notes else ''}: this machine can train")
    return EXIT_OK
