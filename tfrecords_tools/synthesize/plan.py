"""What `hazeheal-tfrecords synthesize` was asked for, and what it will write: every name and every haze."""

import dataclasses
import os
import pathlib

from hazeheal.data.pairing import pairing
from hazeheal.data.pairing.folders import find_folder, identity, list_images
from hazeheal.data.pairing.rules import RULES, find_rule
from hazeheal.data.synthesis import scattering
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import first_few
from tfrecords_tools.synthesize import apply_haze


@dataclasses.dataclass
class Options:
    """The flags of `hazeheal-tfrecords synthesize`, by the same names."""

    clear_dir: str
    output_dir: str
    per_picture: int = 1
    seed: int = 0
    kind: tuple[str, ...] | None = None
    depth_dir: str | None = None
    depth_pairing: str = "auto"
    depth_values: str | None = None
    depth_scale: float | None = None
    beta: tuple[float, float] = (0.6, 1.8)
    airlight: tuple[float, float] = (0.7, 1.0)
    tint: float = 0.04
    encoding: str = "png"
    quality: int | None = None
    workers: int | None = None

    def __post_init__(self):
        for name, least in (("per_picture", 1), ("seed", 0), ("workers", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"--{name}={value} must be {least} or more")
        if not os.fspath(self.output_dir):
            raise UsageError("--output_dir is empty; name a directory (. is the current one)")
        if self.depth_dir is None:
            for name in ("depth_values", "depth_scale"):
                if getattr(self, name) is not None:
                    raise UsageError(f"--{name}={getattr(self, name)} needs --depth_dir")
        elif self.kind is not None:
            raise UsageError(f"--kind={','.join(self.kind)} and --depth_dir exclude each other; give one")
        if self.depth_scale is not None and not 0 < self.depth_scale < 1e9:
            raise UsageError(f"--depth_scale={self.depth_scale} must be more than 0, and finite")
        if self.quality is not None and self.encoding != "jpeg":
            raise UsageError(f"--quality={self.quality} needs --encoding=jpeg")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"--quality={self.quality} must be from 1 to 100")
        kinds = (scattering.DEPTH,) if self.depth_dir is not None else self.kind or scattering.KINDS
        try:
            self.ranges = scattering.Ranges(kinds, self.beta, self.airlight, self.tint)
        except UsageError as error:
            raise UsageError(f"--{error}") from None

    def settings(self) -> dict:
        """What decides the pixels, beside the images."""
        depth = {"values": self.depth_values or "distance", "scale": self.depth_scale or 1.0}
        return {
            "rules": scattering.VERSION,
            **dataclasses.asdict(self.ranges),
            "per_picture": self.per_picture,
            "seed": self.seed,
            "depth": depth if self.depth_dir is not None else None,
            "encoding": self.encoding,
            "quality": (self.quality or 95) if self.encoding == "jpeg" else None,
        }


def plan(options: Options) -> tuple:
    """Finds the images and draws their haze; opens none of them.

    Returns:
        (list of `laying.Task`, notes for the log).

    Raises:
        UsageError: A folder, a rule or the place of the output cannot be meant.
        DataError: An image has no depth map, or what is written could not be paired again.
    """
    clear_dir = find_folder(options.clear_dir, "--clear_dir")
    depth_dir = options.depth_dir and find_folder(options.depth_dir, "--depth_dir")
    if depth_dir and identity(clear_dir) == identity(depth_dir):
        raise UsageError(
            f"--depth_dir={depth_dir} is --clear_dir itself; put the depth maps into a folder of their own"
        )
    output_dir = pathlib.Path(options.output_dir).resolve()
    for flag, folder in (("clear_dir", clear_dir), ("depth_dir", depth_dir)):
        if folder and output_dir.is_relative_to(folder.resolve()):
            raise UsageError(
                f"--output_dir={options.output_dir} lies within --{flag}={folder}, where its images would be taken for "
                "clear ones; choose another directory"
            )
    names, notes = list_images(clear_dir, "--clear_dir", other=depth_dir)
    depths = {}
    if depth_dir:
        depths, more = _pair_depths(options, names, depth_dir, clear_dir)
        notes += more
    digits, suffix = len(str(options.per_picture)), apply_haze.SUFFIX[options.encoding]
    tasks = []
    for name in names:
        folder, _, base = f"/{name}".rpartition("/")
        hazes = []
        for version in range(1, options.per_picture + 1):
            own = f"/v{version:0{digits}}" if options.per_picture > 1 else ""
            hazy = f"{folder}{own}/{base.rpartition('.')[0]}{suffix}"[1:]
            hazes.append(
                (hazy, scattering.draw(options.ranges, seed=options.seed, name=name, version=version))
            )
        tasks.append(
            apply_haze.Task(
                clear_dir=str(clear_dir),
                output_dir=str(options.output_dir),
                clear=name,
                hazes=tuple(hazes),
                depth_dir=depth_dir and str(depth_dir),
                depth=depths.get(name),
                depth_values=options.depth_values or "distance",
                depth_scale=options.depth_scale or 1.0,
                encoding=options.encoding,
                quality=options.quality or 95,
            )
        )
    _check_names(tasks)
    return tasks, notes


def _pair_depths(options, names, depth_dir, clear_dir) -> tuple:
    """Returns ({clear name: depth name}, notes)."""
    depths, notes = list_images(depth_dir, "--depth_dir", other=clear_dir)
    rules = RULES if options.depth_pairing == "auto" else (find_rule(options.depth_pairing),)
    try:
        found = pairing.pair_names(names, depths, rules=rules)
    except UsageError as error:
        raise UsageError(f"--depth_dir: {str(error).replace('--pairing', '--depth_pairing')}") from None
    wrong = [f"{name} has no depth map" for name in found.orphans_hazy] + found.ambiguous
    if wrong:
        raise DataError(
            f"{len(wrong)} clear images of {len(names)} without one depth map in {depth_dir} ({first_few(wrong)}); rename them, "
            f"or give --depth_pairing a rule or a regular expression ({found.rule} was tried)"
        )
    if found.orphans_clear:
        notes.append(f"--depth_dir: {len(found.orphans_clear)} depth maps of no image are left out")
    return {pair.hazy: pair.clear for pair in found.pairs}, notes


def _check_names(tasks) -> None:
    """What is written must pair again as it was made, by `convert` with its defaults."""
    made = {hazy: task.clear for task in tasks for hazy, _ in task.hazes}
    try:
        found = pairing.pair_names(sorted(made), sorted(task.clear for task in tasks))
    except UsageError as error:
        raise DataError(f"--clear_dir: the pairs of these names could not be told apart: {error}") from None
    pairs = {pair.hazy: pair.clear for pair in found.pairs}
    wrong = [
        f"{task.clear}" for task in tasks if any(pairs.get(hazy) != task.clear for hazy, _ in task.hazes)
    ]
    if wrong or len(made) != sum(len(task.hazes) for task in tasks):
        raise DataError(
            f"--clear_dir: {len(wrong)} images share their name with another one, but for the suffix or a folder "
            f"({first_few(wrong)}), and their pairs could not be told apart; rename them"
        )
