"""The flags of `hazeheal-tfrecords synthesize`."""

import argparse

_TEXT = "lay haze on your own clear images, and get pairs to train on: hazy/ and GT/"
_EPILOG = """\
names: GT/ holds the clear images, byte for byte, under their own names. hazy/ has the same names (street/7.jpg gives
hazy/street/7.png), or with --per_picture=3 a folder for each version (hazy/street/v1/7.png to v3). `convert` pairs them as they are
(rule same_name), and keeps all versions of a clear image in one split.

haze.json holds the kind, beta, A and field seed of every hazy image. A haze is decided by --seed, the image's name and the version
alone: not by the number of processes, nor by the other images. An interrupted run is taken up by the same command; nothing that is
there is overwritten.

examples:
  hazeheal-tfrecords synthesize --clear_dir=photos --output_dir=pairs --per_picture=3
  hazeheal-tfrecords synthesize --clear_dir=orthophotos --output_dir=pairs --kind=clouds --beta=0.5,1.5
  hazeheal-tfrecords synthesize --clear_dir=photos --depth_dir=depth --depth_values=disparity --output_dir=pairs
  hazeheal-tfrecords synthesize --clear_dir=nyu --depth_dir=mm --depth_scale=65.535 --beta=0.2,0.6 --output_dir=pairs
  hazeheal-tfrecords convert --hazy_dir=pairs/hazy --gt_dir=pairs/GT --output_dir=records/mine

exit codes: 0 done, 1 error (an image cannot be read, the disk is full, ...), 2 bad usage, 130 interrupted
"""


def add_synthesize(commands) -> argparse.ArgumentParser:
    """Adds the command to the sub-parsers; its `run` is left to the caller."""
    command = commands.add_parser(
        "synthesize",
        help=_TEXT,
        description=f"{_TEXT}. I = J t + A (1 - t) with t = exp(-beta d), on the values as they stand in the file.",
        epilog=_EPILOG,
    )
    add = command.add_argument_group("what").add_argument
    add("--clear_dir", required=True, metavar="DIR", help="folder of clear images, with its sub-folders")
    add("--output_dir", required=True, metavar="DIR", help="new or empty directory for hazy/, GT/, haze.json")
    add("--per_picture", type=int, default=1, metavar="N", help="hazy versions of each image (default: 1)")
    add("--seed", type=int, default=0, metavar="N", help="another seed draws other haze (default: 0)")
    add = command.add_argument_group("where the haze is dense").add_argument
    add(
        "--kind",
        type=_words,
        metavar="KINDS",
        help="without depth maps, one of these is drawn for each hazy image: clouds (banks of haze, fractal, as seen "
        "from above), ramps (near below, far above, as in a view into the distance). Default: clouds,ramps",
    )
    add(
        "--depth_dir",
        metavar="DIR",
        help="depth maps instead: gray images of 8 bits, or PNG of 16, of the image's shape (another size is brought "
        "to it); d comes from their values as a part of white, v in [0, 1]. A value of 0 is taken at its word: fill holes "
        "first",
    )
    add(
        "--depth_pairing",
        default="auto",
        metavar="RULE",
        help="how the names of clear images and depth maps pair: auto (default), a rule of `convert --pairing`, or a "
        "regular expression with one group",
    )
    add(
        "--depth_values",
        choices=("distance", "nearness", "disparity"),
        help="distance (default): near is dark, d = scale v. nearness: near is bright, d = scale (1 - v). disparity: near "
        "is bright, d = scale 0.05 / max(v, 0.05), for maps of inverse depth as stereo and most networks give them",
    )
    add(
        "--depth_scale",
        type=float,
        metavar="D",
        help="the d of the farthest value (default: 1); millimeters in 16 bits are meters with 65.535, beta then is in "
        "one over meters",
    )
    add = command.add_argument_group("how dense, of what color (LOW,HIGH, or one number)").add_argument
    add(
        "--beta",
        type=_range,
        default=(0.6, 1.8),
        metavar="RANGE",
        help="scattering coefficient, where the farthest d of a field is 1 (default: 0.6,1.8, that of RESIDE's ITS; at 1.8 "
        "17%% of the scene comes through at d = 1)",
    )
    add(
        "--airlight",
        type=_range,
        default=(0.7, 1.0),
        metavar="RANGE",
        help="A, in [0, 1] (default: 0.7,1.0)",
    )
    add(
        "--tint",
        type=float,
        default=0.04,
        metavar="W",
        help="how far red and blue of A may lie apart, bluish or dusty (default: 0.04; 0 is gray)",
    )
    add = command.add_argument_group("writing").add_argument
    add("--encoding", choices=("png", "jpeg"), default="png", help="of the hazy images (default: png)")
    add("--quality", type=int, metavar="Q", help="of --encoding=jpeg, 1 to 100 (default: 95)")
    add("--workers", type=int, metavar="N", help="processes (default: all cores, one for few images)")
    return command


def _words(text):
    return tuple(word.strip() for word in text.split(","))


def _range(text):
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is no number and no LOW,HIGH such as 0.6,1.8")
    return numbers[0], numbers[-1]
