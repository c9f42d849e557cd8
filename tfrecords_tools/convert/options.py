"""What can be asked of a conversion, checked as a whole before an image is looked at."""

import dataclasses
import os
import re

from hazeheal.data.images import image_io
from hazeheal.errors import UsageError
from tfrecords_tools.convert import pair_records, plan


@dataclasses.dataclass
class Options:
    """The flags of `hazeheal-tfrecords convert`, by the same names; `command` is recorded as it is."""

    hazy_dir: str
    gt_dir: str
    output_dir: str
    name: str | None = None
    val_fraction: float | None = None
    val_keys: str | None = None
    num_shards: int | None = None
    encoding: str | None = None
    quality: int | None = None
    image_size: int | None = None
    max_side: int | None = None
    tile_size: int | None = None
    tile_overlap: int | None = None
    pairing: str = "auto"
    size_mismatch: str = "error"
    allow_orphans: bool = False
    skip_bad: bool = False
    workers: int | None = None
    runner: str | None = None
    beam_options: str = ""
    seed: int = 0
    command: str = ""

    def __post_init__(self):
        self.name = self.name or plan.default_name(self.output_dir)
        problem = self._problem()
        if problem:
            raise UsageError(problem)
        if self.val_fraction is None:
            self.val_fraction = 0.1
        if self.runner is not None:  # its workers may run in other directories
            for name in ("hazy_dir", "gt_dir", "output_dir"):
                setattr(self, name, os.path.abspath(getattr(self, name)))

    def _problem(self) -> str | None:
        """The first thing that cannot be meant."""
        if not str(self.output_dir):
            return "--output_dir is empty; name a directory (. is the current one)"
        changes = [n for n in ("image_size", "max_side", "tile_size") if getattr(self, n) is not None]
        for name in ("num_shards", "image_size", "max_side", "tile_size", "workers"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                return f"--{name}={getattr(self, name)} must be 1 or more"
        if not re.fullmatch(r"[a-zA-Z]\w*", self.name, re.ASCII):
            return f"--name={self.name} must be a letter, then letters, digits and _, as TFDS names data sets"
        if len(self.name) > plan.NAME_LENGTH:
            return f"--name={self.name} has {len(self.name)} letters; {plan.NAME_LENGTH} are allowed in the files' names"
        if self.val_fraction is not None and self.val_keys is not None:
            return "--val_fraction and --val_keys exclude each other; give one"
        if self.val_fraction is not None and not 0 <= self.val_fraction < 1:
            return f"--val_fraction={self.val_fraction} must be at least 0 and less than 1"
        if self.image_size is not None and self.image_size**2 > image_io.MAX_PIXELS:
            return f"--image_size={self.image_size} makes images of more than {image_io.MAX_PIXELS:,} pixels; give less"
        if self.image_size is not None and self.max_side is not None:
            return "--image_size and --max_side exclude each other; give one"
        if self.tile_overlap is not None and self.tile_size is None:
            return f"--tile_overlap={self.tile_overlap} needs --tile_size"
        if self.tile_overlap is not None and not 0 <= self.tile_overlap < self.tile_size:
            return f"--tile_overlap={self.tile_overlap} must be at least 0 and less than --tile_size={self.tile_size}"
        if self.encoding == "keep" and changes:
            return (
                f"--encoding=keep keeps the files' bytes and --{changes[0]} changes the images; use --encoding=png "
                "(lossless) or jpeg"
            )
        if self.quality is not None and self.encoding != "jpeg":
            return f"--quality={self.quality} needs --encoding=jpeg"
        if self.quality is not None and not 1 <= self.quality <= 100:
            return f"--quality={self.quality} must be from 1 to 100"
        if self.runner is not None and self.workers is not None:
            return f"--workers={self.workers} is of processes here, and --runner={self.runner} has workers of its own; give one"
        if self.beam_options and self.runner is None:
            return f"--beam_options={self.beam_options} needs --runner"
        if "://" in str(self.output_dir):
            return f"--output_dir={self.output_dir} must be a local directory; convert there, then copy it"
        try:
            str(self.output_dir).encode()
        except UnicodeEncodeError:
            return f"--output_dir={self.output_dir} is no valid UTF-8, which TensorFlow needs; choose another name"
        return None

    @property
    def record_options(self) -> pair_records.RecordOptions:
        resized = self.image_size or self.max_side or self.tile_size
        encoding = self.encoding or ("png" if resized else "keep")
        return pair_records.RecordOptions(
            encoding=encoding,
            quality=(self.quality or 95) if encoding == "jpeg" else None,
            image_size=self.image_size,
            max_side=self.max_side,
            tile_size=self.tile_size,
            tile_overlap=self.tile_overlap or 0,
            size_mismatch=self.size_mismatch,
        )
