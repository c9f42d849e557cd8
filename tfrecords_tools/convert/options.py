"""The flags of `hazeheal-tfrecords convert`, checked together before any image is read."""

import dataclasses
import os
import re
from collections.abc import Iterator

from hazeheal.data.images import image_io
from hazeheal.data.images.pixel_options import (
    BANDS_HELP,
    COLOR_HELP,
    COLORS,
    WHITE_HELP,
    PixelOptions,
    parse_bands,
    parse_white,
)
from hazeheal.data.pairing.pair_table import SPLITS
from hazeheal.data.pairing.rules import ALIASES, RULES
from hazeheal.errors import UsageError
from tfrecords_tools.convert.pair_records import JPEG_QUALITY, RecordOptions
from tfrecords_tools.convert.scenes import compile_scene
from tfrecords_tools.flags import flag

VAL_FRACTION = 0.1
# The longest file name is `.NAME-train.tfrecord-00000-of-00001.done.json`; file systems allow 255 bytes.
NAME_LENGTH = 150
_RULE_NAMES = ", ".join([*(rule.name for rule in RULES), *ALIASES])


def _number_or_auto(text: str) -> int | None:
    return None if text == "auto" else int(text)


_number_or_auto.__name__ = "number or auto"  # argparse quotes it in errors


@dataclasses.dataclass(kw_only=True)
class Options:
    """The flags of `hazeheal-tfrecords convert`, by the same names.

    Attributes:
        command: The command line, for the manifest's provenance.
        is_named, divides: Whether `name` was given, and whether a flag that divides the pairs into splits was.

    Raises:
        UsageError: A flag has an invalid value, or two flags exclude each other.
    """

    hazy_dir: str | None = flag("DIR", "directory of the hazy images", None, group="input and output", required=True)
    gt_dir: str | None = flag(
        "DIR", "directory of the clear (ground-truth) images; may be the same directory", None, required=True
    )
    output_dir: str = flag("DIR", "data set to write: a new or empty directory")
    name: str | None = flag(
        None,
        "name of the data set, with which its files' names begin (default: the name of --output_dir)",
        None,
    )
    pairing: str = flag(
        "RULE",
        "how file names are paired: auto (default) uses the rule that pairs all images; a named rule "
        f"({_RULE_NAMES}); or a regular expression with one group, which is searched in the file names of both "
        "directories and matches the pair's key",
        "auto",
    )
    pairs: str | None = flag(
        "FILE",
        "CSV file that lists the pairs instead, for any layout of folders: a header with the columns hazy and clear, and "
        "optionally split (train, val or test) and scene. The names are relative to the file's own directory, or to "
        "--hazy_dir and --gt_dir, which are not required then",
        None,
        replaces=("hazy_dir", "gt_dir"),
    )
    val_fraction: float | None = flag(
        "F",
        f"fraction of the pairs that is used for validation, selected by a hash (default: {VAL_FRACTION})",
        None,
        group="splits (pairs of one clear image, or of equal ones, stay together)",
    )
    val_keys: str | None = flag(
        "FILE",
        "text file that lists the validation pairs instead: a pair key or the name of a hazy or clear file on each line",
        None,
    )
    scene: str | None = flag(
        "REGEX",
        "regular expression whose first group is the scene, searched in the name of the hazy file with its subfolders, "
        "or else of the clear file. Pairs of equal scenes stay in one split: '^(.+)/' for folders that are videos",
        None,
    )
    split: str | None = flag(
        None,
        "put all pairs into this split. If --output_dir is a data set without it, the split is added",
        None,
        choices=SPLITS,
    )
    seed: int = flag("N", "seed of the split; another seed gives another split (default: %(default)s)", 0)
    encoding: str | None = flag(
        None,
        "keep (default) stores upright 8-bit RGB or gray JPEG and PNG files byte for byte and re-encodes all "
        "other images as PNG; png is lossless, and is the default if a flag below changes the images; jpeg is lossy",
        None,
        group="images",
        choices=("keep", "jpeg", "png"),
    )
    quality: int | None = flag("Q", f"quality of --encoding=jpeg, from 1 to 100 (default: {JPEG_QUALITY})", None)
    image_size: int | None = flag(
        "S", "resize both images to SxS pixels; this changes the aspect ratio and crops nothing", None
    )
    max_side: int | None = flag(
        "S", "shrink images whose longer side is more than S pixels; smaller images are not enlarged", None
    )
    tile_size: int | None = flag(
        "T",
        "cut images into tiles of TxT pixels, after --image_size or --max_side. Each tile is a record whose key "
        "ends with @TOP_LEFT. The last tile of a row or column ends at the edge; a side shorter than T is not cut",
        None,
    )
    tile_overlap: int | None = flag("O", "pixels that neighboring tiles share (default: 0)", None)
    size_mismatch: str = flag(
        None,
        "for pairs of images of different sizes: error (default) lists the pairs and stops; center_crop crops "
        "both images to their common size, by at most 10%% of a side; resize resizes the clear image to the size of "
        "the hazy image, whose aspect ratio may differ by at most 2%%",
        "error",
        choices=("error", "center_crop", "resize"),
    )
    white: float | str | None = flag("V", WHITE_HELP, None, parse=parse_white)
    bands: tuple[int, ...] | None = flag("R,G,B", BANDS_HELP, None, parse=parse_bands)
    color: str = flag(None, COLOR_HELP, "convert", choices=COLORS)
    allow_orphans: bool = flag(
        None,
        "leave out images without a partner and images with ambiguous names",
        False,
        group="incomplete input",
    )
    skip_bad: bool = flag(
        None, "leave out pairs with an image that cannot be read, and list them in skipped.txt", False
    )
    num_shards: int | None = flag(
        "N",
        "number of training shards; validation gets a proportional number, at least 1. auto (default): shards of "
        "about 128 MiB; for small data sets one shard for every 16 pairs, up to 16, so that several processes have work",
        None,
        group="writing",
        parse=_number_or_auto,
    )
    workers: int | None = flag(
        "N",
        "number of processes, at most one for each shard; each holds a few images in memory. 1 converts without "
        "further processes (default: all cores, or fewer for a small data set)",
        None,
    )
    runner: str | None = flag(
        "NAME",
        "write the shards in an Apache Beam pipeline: DirectRunner, DataflowRunner, FlinkRunner, ... The "
        "pipeline's workers must see all three directories under the same paths (pip install 'hazeheal[beam]')",
        None,
    )
    beam_options: str = flag("FLAGS", "flags of the pipeline in one string: '--project=P --region=R'", "")
    dry_run: bool = flag(None, "check all images' headers, print the plan and write nothing", False)
    command: str = ""

    def __post_init__(self) -> None:
        self.is_named, self.divides = self.name is not None, self.val_fraction is not None or self.val_keys is not None
        self.name = self.name or default_name(self.output_dir)
        for problem in self._problems():
            raise UsageError(problem)
        if self.scene is not None:
            compile_scene(self.scene)
        check_quality(self.quality, self.encoding)
        if self.val_fraction is None:
            self.val_fraction = VAL_FRACTION
        if self.runner is not None:  # its workers may run in other directories
            for name in ("hazy_dir", "gt_dir", "output_dir", "pairs"):
                if getattr(self, name) is not None:
                    setattr(self, name, os.path.abspath(getattr(self, name)))

    def _problems(self) -> Iterator[str]:
        """Yields a message for each invalid value and for each pair of flags that exclude each other."""
        output_dir = str(self.output_dir)
        if not output_dir:
            yield "--output_dir is empty; name a directory (. is the current directory)"
        if "://" in output_dir:
            yield f"--output_dir={output_dir} must be a local directory; convert to a local directory, then copy it"
        if any("\ud800" <= letter <= "\udfff" for letter in output_dir):  # bytes that are not UTF-8
            yield f"--output_dir={output_dir} is not valid UTF-8, which TensorFlow requires; choose another name"
        if not re.fullmatch(rf"[a-zA-Z]\w{{0,{NAME_LENGTH - 1}}}", self.name, re.ASCII):
            rule = f"a letter followed by letters, digits and _, at most {NAME_LENGTH} in all"
            yield f"--name={self.name} must be {rule}, as TFDS and file systems require"
        changes = ("image_size", "max_side", "tile_size")
        for name in (*changes, "num_shards", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                yield f"--{name}={value} must be a positive integer"
            if value is not None and name in changes and self.encoding == "keep":
                yield (
                    f"--encoding=keep stores the files' bytes, but --{name} changes the images; use --encoding=png "
                    "(lossless) or jpeg"
                )
        if self.pairs is None and (missing := [name for name in ("hazy_dir", "gt_dir") if getattr(self, name) is None]):
            yield f"--{missing[0]} is missing; give --hazy_dir and --gt_dir, or a table with --pairs"
        if self.pairs is not None and self.pairing != "auto":
            yield f"--pairs={self.pairs} and --pairing={self.pairing} exclude each other; give one of them"
        if self.split is not None and self.divides:
            yield f"--split={self.split} takes all pairs; it excludes --val_fraction and --val_keys"
        if self.val_fraction is not None and self.val_keys is not None:
            yield "--val_fraction and --val_keys exclude each other; give one of them"
        if self.val_fraction is not None and not 0 <= self.val_fraction < 1:
            yield f"--val_fraction={self.val_fraction} must be at least 0 and less than 1"
        if self.image_size is not None and self.image_size**2 > image_io.MAX_PIXELS:
            limit = f"{image_io.MAX_PIXELS:,}"
            yield f"--image_size={self.image_size} makes images of more than {limit} pixels; choose a smaller size"
        if self.image_size is not None and self.max_side is not None:
            yield "--image_size and --max_side exclude each other; give one of them"
        if self.tile_overlap is not None and self.tile_size is None:
            yield f"--tile_overlap={self.tile_overlap} needs --tile_size"
        elif self.tile_overlap is not None and not 0 <= self.tile_overlap < self.tile_size:
            limit = f"--tile_size={self.tile_size}"
            yield f"--tile_overlap={self.tile_overlap} must be at least 0 and less than {limit}"
        if self.runner is not None and self.workers is not None:
            yield (
                f"--workers={self.workers} sets local processes, but --runner={self.runner} has its own workers; give "
                "one of them"
            )
        if self.beam_options and self.runner is None:
            yield f"--beam_options={self.beam_options} needs --runner"

    @property
    def record_options(self) -> RecordOptions:
        """The options that decide a record's bytes, with their defaults filled in."""
        changed = self.image_size or self.max_side or self.tile_size
        encoding = self.encoding or ("png" if changed else "keep")
        return RecordOptions(
            encoding=encoding,
            quality=(self.quality or JPEG_QUALITY) if encoding == "jpeg" else None,
            image_size=self.image_size,
            max_side=self.max_side,
            tile_size=self.tile_size,
            tile_overlap=self.tile_overlap or 0,
            size_mismatch=self.size_mismatch,
            pixels=PixelOptions(white=self.white, bands=self.bands, color=self.color),
        )


def default_name(output_dir: str) -> str:
    """Returns the directory's name as a TFDS name: a letter followed by lower-case letters, digits and `_`."""
    # Before Python 3.13, Path.resolve() raises for circular links; realpath does not.
    name = re.sub(r"[^a-z0-9]+", "_", os.path.basename(os.path.realpath(output_dir)).lower()).strip("_")
    name = name if name[:1].isalpha() else f"data_{name}".rstrip("_")
    return name[:NAME_LENGTH]


def check_quality(quality: int | None, encoding: str | None) -> None:
    """Raises UsageError if `--quality` is out of range, or is given for another encoding than JPEG."""
    if quality is not None and encoding != "jpeg":
        raise UsageError(f"--quality={quality} needs --encoding=jpeg")
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"--quality={quality} must be from 1 to 100")
