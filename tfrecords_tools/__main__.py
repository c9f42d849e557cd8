"""Command line of `hazeheal-tfrecords`: `synthesize`, `convert`, `verify`, `info` and `extract`.

Exit codes: 0 done, 1 error (of verify: or damage found), 2 bad usage, 130 interrupted, 143 stopped by SIGTERM.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from hazeheal.errors import EXIT_ERROR, EXIT_INTERRUPTED, HazeHealError
from hazeheal.utils.console import CommandParser, escape_unencodable_output, one_line
from hazeheal.utils.signals import exit_on_sigterm
from tfrecords_tools.convert.command import convert
from tfrecords_tools.convert.options import Options as ConvertOptions
from tfrecords_tools.extract import extract
from tfrecords_tools.flags import add_flags, read_flags
from tfrecords_tools.info import info
from tfrecords_tools.synthesize.command import synthesize
from tfrecords_tools.synthesize.options import Options as SynthesizeOptions
from tfrecords_tools.verify import verify

PROGRAM = "hazeheal-tfrecords"

_EXIT_CODES = "exit codes: 0 done, 1 error, 2 bad usage, 130 interrupted (Ctrl-C), 143 stopped (SIGTERM)"
_OVERVIEW = f"""\
Run `{PROGRAM} COMMAND --help` or `{PROGRAM} help COMMAND` for the flags of a command.

examples:
  {PROGRAM} synthesize --clear_dir=photos --output_dir=pairs
  {PROGRAM} convert --hazy_dir=pairs/hazy --gt_dir=pairs/GT --output_dir=records/mine
  {PROGRAM} verify records/mine
  {PROGRAM} info records/mine
  {PROGRAM} extract records/mine --output_dir=files

{_EXIT_CODES}"""

_SYNTHESIZE = """\
Applies synthetic haze to your own clear images, to get pairs to train on. The haze follows the scattering model
I = J t + A (1 - t) with t = exp(-beta d), on the values stored in the file (sRGB).

GT/ holds copies of the clear images under their own names. hazy/ has the same names (street/7.jpg gives
hazy/street/7.png). With --per_picture=3, each version has its own folder (hazy/street/v1/7.png to v3). `convert` pairs
these names by default (rule same_name) and keeps all versions of a clear image in one split.

haze.json records the kind, beta, A and field seed of every hazy image. The haze depends only on --seed, the image's name
and the version: not on the number of processes, nor on the other images. Run the same command again to resume an
interrupted run. Existing files are not overwritten."""
_SYNTHESIZE_EXAMPLES = """\
synthesize --clear_dir=photos --output_dir=pairs --per_picture=3
synthesize --clear_dir=orthophotos --output_dir=pairs --kind=clouds --beta=0.5,1.5
synthesize --clear_dir=photos --depth_dir=depth --depth_values=disparity --output_dir=pairs
synthesize --clear_dir=nyu --depth_dir=mm --depth_scale=65.535 --beta=0.2,0.6 --output_dir=pairs
convert --hazy_dir=pairs/hazy --gt_dir=pairs/GT --output_dir=records/mine"""

_CONVERT = """\
Converts two directories of images to a data set of sharded TFRecords. The same images and flags give the same bytes, with
any number of workers. Run the same command again to resume an interrupted conversion. If another process converts into
the same directory, the command waits for it to finish and uses its data set."""
_CONVERT_EXAMPLES = """\
convert --hazy_dir=RICE1/cloud --gt_dir=RICE1/label --output_dir=records/rice1
convert --hazy_dir=D/hazy --gt_dir=D/GT --output_dir=records/mine --pairing='^(\\d+)'
convert --hazy_dir=D/hazy --gt_dir=D/GT --output_dir=records/tiles --tile_size=512
convert --hazy_dir=D/hazy --gt_dir=D/GT --output_dir=records/clips --scene='^(.+)/'
convert --hazy_dir=D/valid/hazy --gt_dir=D/valid/GT --output_dir=records/mine --split=val
convert --pairs=D/pairs.csv --output_dir=records/listed"""

_VERIFY = """\
Reads a whole data set again and names everything that is damaged: checks CRCs, SHA-256 hashes and sizes, and decodes all
images. Exits with 1 if something is damaged."""
_INFO = "Prints the counts, sizes, resolutions and formats of a data set, and the PSNR of its hazy images."
_EXTRACT = """\
Writes the pairs of a data set as image files, in the folders hazy/ and GT/. Run the same command again to resume an
interrupted extraction."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command of `argv`, by default that of the process, and returns the exit code."""
    escape_unencodable_output()
    try:
        with exit_on_sigterm():
            code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, so that a closed pipe is handled below
        return code
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; rerun the command to resume", file=sys.stderr)
        return EXIT_INTERRUPTED
    except SystemExit as end:  # raised by `exit_on_sigterm`
        print(f"{PROGRAM}: stopped by SIGTERM; rerun the command to resume", file=sys.stderr)
        return end.code
    except BrokenPipeError:  # as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except MemoryError:
        print(f"{PROGRAM}: error: not enough memory; use fewer --workers or smaller images", file=sys.stderr)
        return EXIT_ERROR
    except (HazeHealError, OSError) as error:
        print(f"{PROGRAM}: error: {one_line(error)}", file=sys.stderr)
        return getattr(error, "exit_code", EXIT_ERROR)


def _run(argv: list[str]) -> int:
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    try:
        args = _parser().parse_args(argv)
    except SystemExit as end:  # raised after --help
        return end.code or 0
    args.command = shlex.join([PROGRAM, *argv])
    return args.run(args)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=PROGRAM,
        description="Creates, checks, describes and unpacks data sets of hazy and clear image pairs.",
        epilog=_OVERVIEW,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, summary: str, description: str, examples: str) -> argparse.ArgumentParser:
        lines = "".join(f"  {PROGRAM} {line}\n" for line in examples.splitlines())
        epilog = f"examples:\n{lines}\n{_EXIT_CODES}"
        return commands.add_parser(name, help=summary, description=description, epilog=epilog)

    command = add("synthesize", "apply synthetic haze to clear images", _SYNTHESIZE, _SYNTHESIZE_EXAMPLES)
    add_flags(command, SynthesizeOptions)
    command.set_defaults(run=lambda args: synthesize(read_flags(SynthesizeOptions, args)))

    command = add("convert", "convert directories of images to a data set", _CONVERT, _CONVERT_EXAMPLES)
    add_flags(command, ConvertOptions)
    command.set_defaults(run=lambda args: convert(read_flags(ConvertOptions, args, command=args.command)))

    data_dir = {"metavar": "DIR", "help": "the data set: --output_dir of a conversion"}
    command = add("verify", "find damage in a data set", _VERIFY, "verify records/mine")
    command.add_argument("data_dir", **data_dir)
    command.add_argument("--workers", type=int, metavar="N", help="number of processes (default: all cores)")
    command.set_defaults(run=lambda args: verify(args.data_dir, workers=args.workers))

    command = add("info", "describe a data set", _INFO, "info records/mine\ninfo records/mine --json")
    command.add_argument("data_dir", **data_dir)
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=lambda args: info(args.data_dir, as_json=args.json))

    command = add(
        "extract",
        "write the pairs as image files",
        _EXTRACT,
        "extract records/mine --output_dir=pairs\nextract records/mine --output_dir=validation --split=val",
    )
    command.add_argument("data_dir", **data_dir)
    command.add_argument(
        "--output_dir",
        required=True,
        metavar="OUT",
        help="new or empty directory for hazy/ and GT/, or an unfinished one",
    )
    command.add_argument("--split", metavar="NAME", help="split to extract: train, val or test (default: all)")
    command.set_defaults(run=lambda args: extract(args.data_dir, output_dir=args.output_dir, split=args.split))
    return parser


if __name__ == "__main__":
    sys.exit(main())
