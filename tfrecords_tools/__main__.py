"""`hazeheal-tfrecords synthesize | convert | verify | info | extract`: flags in, exit code out.

Exit codes: 0 done, 1 error (or, of verify, damage found), 2 bad usage, 130 interrupted.
"""

import argparse
import os
import shlex
import sys

from hazeheal.errors import EXIT_ERROR, EXIT_INTERRUPTED, HazeHealError
from hazeheal.utils.console import CommandParser, escape_unencodable_output, one_line
from tfrecords_tools.malloc import keep_freed_memory
from tfrecords_tools.synthesize.flags import add_synthesize

PROGRAM = "hazeheal-tfrecords"
CODES = "exit codes: 0 done, 1 error, 2 bad usage, 130 after SIGINT"
EXAMPLES = {
    "convert": """
  hazeheal-tfrecords convert --hazy_dir=RICE1/cloud --gt_dir=RICE1/label --output_dir=records/rice1
  hazeheal-tfrecords convert --hazy_dir=D/hazy --gt_dir=D/GT --output_dir=records/mine --pairing='^(\\d+)'
  hazeheal-tfrecords convert --hazy_dir=D/hazy --gt_dir=D/GT --output_dir=records/tiles --tile_size=512
""",
    "verify": """
  hazeheal-tfrecords verify records/mine
""",
    "info": """
  hazeheal-tfrecords info records/mine
  hazeheal-tfrecords info records/mine --json
""",
    "extract": """
  hazeheal-tfrecords extract records/mine --output_dir=pairs
  hazeheal-tfrecords extract records/mine --output_dir=held_back --split=val
""",
}


def main(argv=None) -> int:
    """Runs one sub-command.

    Args:
        argv: The arguments; by default those of the process, which then also leaves the GPUs alone.

    Returns:
        The exit code.
    """
    if argv is None:
        argv = sys.argv[1:]
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # TensorFlow would take all memory of GPUs that train
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        keep_freed_memory()
    escape_unencodable_output()
    try:
        args = _parser().parse_args(argv)
        return args.run(args, argv)
    except SystemExit as end:  # --help
        return end.code or 0
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; the same command goes on from what is finished", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except MemoryError:
        print(f"{PROGRAM}: error: not enough memory; use fewer --workers, or smaller images", file=sys.stderr)
        return EXIT_ERROR
    except (HazeHealError, OSError) as error:
        print(f"{PROGRAM}: error: {one_line(error)}", file=sys.stderr)
        return getattr(error, "exit_code", EXIT_ERROR)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=PROGRAM,
        description="Make, check, describe and unpack data sets of hazy and clear image pairs.",
        epilog=f"`{PROGRAM} COMMAND --help` shows the flags of a command.\n\nexamples:\n"
        + "".join(text.splitlines()[1] + "\n" for text in EXAMPLES.values())
        + f"\n{CODES}",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_synthesize(commands).set_defaults(run=_synthesize)
    _add_convert(commands)
    for name, run, text in (
        ("verify", _verify, "re-read everything (CRC, decode, sizes, hashes) and name what is damaged"),
        ("info", _info, "print counts, sizes, resolutions, formats and the PSNR of the hazy images"),
        ("extract", _extract, "write the pairs back as files: hazy/ and GT/"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text}.", epilog=_epilog(name))
        command.add_argument("data_dir", metavar="DIR", help="the data set: the --output_dir of a conversion")
        command.set_defaults(run=run)
        if name == "verify":
            command.add_argument("--workers", type=int, metavar="N", help="processes (default: all cores)")
        if name == "info":
            command.add_argument("--json", action="store_true", help="as JSON")
        if name == "extract":
            command.add_argument(
                "--output_dir", required=True, metavar="OUT", help="new or empty directory for hazy/ and GT/"
            )
            command.add_argument("--split", metavar="NAME", help="train or val (default: both)")
    return parser


def _epilog(name):
    codes = CODES.replace("1 error", "1 damage was found, or another error") if name == "verify" else CODES
    return f"examples:{EXAMPLES[name]}\n{codes}"


def _add_convert(commands) -> None:
    text = "make a data set of sharded TFRecords from two folders of images"
    command = commands.add_parser(
        "convert",
        help=text,
        description=f"{text}. Deterministic: the same images and flags give the same bytes, for any number of "
        "workers. An interrupted conversion is taken up by the same command; one that is at work, on this host or on "
        "another, is waited for, and its data set taken as it is.",
        epilog=_epilog("convert"),
    )
    command.set_defaults(run=_convert)
    group = command.add_argument_group("what")
    add = group.add_argument
    add("--hazy_dir", required=True, metavar="DIR", help="folder of the hazy images")
    add("--gt_dir", required=True, metavar="DIR", help="folder of the clear ones; may be the same folder")
    add("--output_dir", required=True, metavar="DIR", help="new or empty directory for the data set")
    add("--name", help="name of the data set, in front of its files (default: the name of --output_dir)")
    add(
        "--pairing",
        default="auto",
        metavar="RULE",
        help="how names pair: auto (default; the rule that pairs everything), a rule (same_name, dense_haze, nh_haze, "
        "o_haze, i_haze, sots_indoor, its, ots, sots_outdoor, satehaze1k, rice, pix2pix), or a regular expression "
        "with one group, searched in the names of both folders: what it finds is the key",
    )
    group = command.add_argument_group("validation split (all hazy versions of a clear image stay together)")
    add = group.add_argument
    add("--val_fraction", type=float, metavar="F", help="part of the pairs, chosen by hash (default: 0.1)")
    add("--val_keys", metavar="FILE", help="or: a file that lists them, one key or clear file name a line")
    add("--seed", type=int, default=0, metavar="N", help="another seed gives another split (default: 0)")
    group = command.add_argument_group("images")
    add = group.add_argument
    add(
        "--encoding",
        choices=("keep", "jpeg", "png"),
        help="keep: the bytes of upright 8-bit RGB or gray JPEG and PNG files as they are, others as PNG (default); "
        "png: lossless, the default where the flags below change the images; jpeg",
    )
    add("--quality", type=int, metavar="Q", help="of --encoding=jpeg, 1 to 100 (default: 95)")
    add(
        "--image_size",
        type=int,
        metavar="S",
        help="resize both images to SxS; the aspect ratio changes, nothing is cut off",
    )
    add("--max_side", type=int, metavar="S", help="shrink images so that no side is longer; never enlarges")
    add(
        "--tile_size",
        type=int,
        metavar="T",
        help="cut TxT tiles, each a record of its own with @TOP_LEFT behind its key; the last ones are shifted inwards "
        "to the edge; a side shorter than T is taken whole. After --image_size or --max_side",
    )
    add("--tile_overlap", type=int, metavar="O", help="pixels that neighboring tiles share (default: 0)")
    add(
        "--size_mismatch",
        choices=("error", "center_crop", "resize"),
        default="error",
        help="pairs of two sizes: error (default) lists them and ends; center_crop cuts both to the common size; "
        "resize brings the clear image to the size of the hazy one",
    )
    group = command.add_argument_group("what may be left out")
    add = group.add_argument
    add("--allow_orphans", action="store_true", help="images without a partner, and ambiguous names")
    add("--skip_bad", action="store_true", help="pairs with an image that cannot be read; see skipped.txt")
    group = command.add_argument_group("writing")
    add = group.add_argument
    add(
        "--num_shards",
        type=_number_or_auto,
        metavar="N",
        help="shards of the training split; validation gets its share, at least 1. auto (default): about 128 MiB each; "
        "small sets one for every 16 pairs up to 16, so that several processes have work",
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes, at most one a shard; memory: a few images each (default: all cores, fewer if there is "
        "little to do); 1 stays in this process",
    )
    add(
        "--runner",
        metavar="NAME",
        help="write the shards in an Apache Beam pipeline instead: DirectRunner, DataflowRunner, FlinkRunner, ...; its "
        "workers must see all three folders under these paths (pip install 'hazeheal[beam]')",
    )
    add(
        "--beam_options",
        default="",
        metavar="FLAGS",
        help="the pipeline's own, as one text: '--project=P --region=R'",
    )


def _number_or_auto(text):
    return None if text == "auto" else int(text)


_number_or_auto.__name__ = "number or auto"  # argparse quotes it in errors


# The commands are imported when they are run, so that --help does not wait for what they import.
def _convert(args, argv) -> int:
    from tfrecords_tools.convert.command import Options, convert

    flags = {name: value for name, value in vars(args).items() if name != "run"}
    return convert(Options(**flags, command=shlex.join([PROGRAM, *argv])))


def _synthesize(args, argv) -> int:
    from tfrecords_tools.synthesize.command import Options, synthesize

    return synthesize(Options(**{name: value for name, value in vars(args).items() if name != "run"}))


def _verify(args, argv) -> int:
    from tfrecords_tools.verify import verify

    return verify(args.data_dir, workers=args.workers)


def _info(args, argv) -> int:
    from tfrecords_tools.info import info

    return info(args.data_dir, as_json=args.json)


def _extract(args, argv) -> int:
    from tfrecords_tools.extract import extract

    return extract(args.data_dir, output_dir=args.output_dir, split=args.split)


if __name__ == "__main__":
    sys.exit(main())
