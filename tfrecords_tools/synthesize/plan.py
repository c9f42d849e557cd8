"""Plans `hazeheal-tfrecords synthesize`: every output file and its haze. No image is opened."""

import pathlib
import posixpath

from hazeheal.data.pairing import pairing
from hazeheal.data.pairing.folders import find_folder, identity, list_images
from hazeheal.data.pairing.rules import RULES, find_rule
from hazeheal.data.synthesis import scattering
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import first_few, plural
from tfrecords_tools.synthesize.apply_haze import SUFFIX, Task
from tfrecords_tools.synthesize.options import Options


def plan(options: Options) -> tuple[list[Task], list[str]]:
    """Finds the clear images and their depth maps, and draws the haze of every hazy image.

    Returns the tasks, one for each clear image, and notes to print. Raises UsageError or DataError if a directory or a
    pairing rule is not valid, if an image has no depth map, or if the output's names could not be paired again.
    """
    clear_dir = find_folder(options.clear_dir, "--clear_dir")
    depth_dir = options.depth_dir and find_folder(options.depth_dir, "--depth_dir")
    if depth_dir and identity(clear_dir) == identity(depth_dir):
        raise UsageError(
            f"--depth_dir={depth_dir} is the same directory as --clear_dir; put the depth maps into another directory"
        )
    output_dir = pathlib.Path(options.output_dir).resolve()
    for flag, folder in (("clear_dir", clear_dir), ("depth_dir", depth_dir)):
        if folder and output_dir.is_relative_to(folder.resolve()):
            raise UsageError(
                f"--output_dir={options.output_dir} is inside --{flag}={folder}, whose images are all used as input; "
                "choose another directory"
            )
    names, notes = list_images(clear_dir, "--clear_dir", other=depth_dir)
    depths = {}
    if depth_dir:
        depths, depth_notes = _pair_depths(options, names, depth_dir, clear_dir)
        notes += depth_notes
    tasks = [Task(options, name, _draw_hazes(options, name), depths.get(name)) for name in names]
    _check_names(tasks)
    return tasks, notes


def _draw_hazes(options: Options, name: str) -> tuple[tuple[str, scattering.Haze], ...]:
    """Returns (name of the hazy image, haze) of each version. Several versions go into folders `v1`, `v2`, ..."""
    folder, base = posixpath.split(posixpath.splitext(name)[0] + SUFFIX[options.encoding])
    digits = len(str(options.per_picture))
    hazes = []
    for version in range(1, options.per_picture + 1):
        version_folder = f"v{version:0{digits}}" if options.per_picture > 1 else ""
        haze = scattering.draw(options.ranges, seed=options.seed, name=name, version=version)
        hazes.append((posixpath.join(folder, version_folder, base), haze))
    return tuple(hazes)


def _pair_depths(
    options: Options, names: list[str], depth_dir: pathlib.Path, clear_dir: pathlib.Path
) -> tuple[dict[str, str], list[str]]:
    """Returns the depth map of each clear image, by name, and notes to print."""
    depths, notes = list_images(depth_dir, "--depth_dir", other=clear_dir)
    rules = RULES if options.depth_pairing == "auto" else (find_rule(options.depth_pairing),)
    try:
        paired = pairing.pair_names(names, depths, rules=rules)
    except UsageError as error:
        raise UsageError(f"--depth_dir: {str(error).replace('--pairing', '--depth_pairing')}") from None
    problems = [f"{name} has no depth map" for name in paired.orphans_hazy] + paired.ambiguous
    if problems:
        raise DataError(
            f"{len(problems)} of {len(names)} clear images do not have exactly one depth map in {depth_dir} "
            f"({first_few(problems)}); rename them, or give --depth_pairing a rule or a regular expression (rule "
            f"{paired.rule} was used)"
        )
    if paired.orphans_clear:
        notes.append(f"--depth_dir: ignoring {plural(len(paired.orphans_clear), 'depth map')} without an image")
    return {pair.hazy: pair.clear for pair in paired.pairs}, notes


def _check_names(tasks: list[Task]) -> None:
    """Checks that `convert` pairs the output as it was made."""
    clear_of = {hazy: task.clear for task in tasks for hazy, _ in task.hazes}
    rule = find_rule("same_name")
    paired = pairing.pair_names(sorted(clear_of), sorted(task.clear for task in tasks), rules=[rule])
    pairs = {pair.hazy: pair.clear for pair in paired.pairs}
    wrong = [task.clear for task in tasks if any(pairs.get(hazy) != task.clear for hazy, _ in task.hazes)]
    if wrong or len(clear_of) != sum(len(task.hazes) for task in tasks):
        raise DataError(
            f"--clear_dir: the names of {len(wrong)} images differ from those of others only in the suffix or a version "
            f"folder ({first_few(wrong)}), so that their pairs would be ambiguous; rename them"
        )
