"""Scenes: the pairs that must be in the same split, because their clear images show the same.

The pairs of one clear file are one scene, and so are those of clear files with equal bytes: many copies of public sets
repeat the clear image under each hazy name. `--scene` makes larger scenes, such as all frames of a video.
"""

import collections
import dataclasses
import hashlib
import os
import pathlib
import posixpath
import re
import warnings
from collections.abc import Hashable, Iterable, Sequence

from hazeheal.data.pairing.pairing import PairName
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import first_few, plural, progress_bar
from hazeheal.utils.parallel import map_in_threads
from tfrecords_tools.convert.pair_records import SourcePair
from tfrecords_tools.convert.shard import hash_file, read_sources

_BLOCK = 1 << 16  # bytes from the middle of a file that are compared before all of it


def compile_scene(text: str) -> re.Pattern:
    """Compiles `--scene`; raises UsageError if it is not a regular expression with a group."""
    try:
        with warnings.catch_warnings():  # Python warns of expressions whose meaning may change.
            warnings.simplefilter("ignore")
            pattern = re.compile(text)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"--scene={text!r} is not a regular expression ({error})") from None
    if not pattern.groups:
        raise UsageError(f"--scene={text!r} has no group; put the part that names the scene into parentheses")
    return pattern


def label_scenes(pairs: Sequence[PairName], text: str) -> list[PairName]:
    """Returns the pairs with the scenes that `--scene` finds: its first group, in the name of the hazy or clear file.

    Raises:
        UsageError: Both names of a pair do not match. It would be a guess that the pair is a scene of its own.
    """
    pattern, labeled, unmatched = compile_scene(text), [], []
    for pair in pairs:
        match = pattern.search(pair.hazy) or pattern.search(pair.clear)
        if match and match[1]:
            labeled.append(dataclasses.replace(pair, scene=match[1]))
        else:
            unmatched.append(pair.hazy)
    if unmatched:
        raise UsageError(
            f"--scene={text!r} does not match {len(unmatched)} of {len(pairs)} names of hazy files and their clear files "
            f"({first_few(unmatched)}); extend the expression"
        )
    return labeled


def join_scenes(pairs: Sequence[SourcePair]) -> tuple[SourcePair, ...]:
    """Joins the scenes of pairs whose clear files are the same or have equal bytes.

    Only clear files of equal size are read. A joined scene has the smallest of its names.
    """
    scenes_of, files = collections.defaultdict(set), {}
    for pair in pairs:
        scenes_of[pair.clear].add(pair.scene)
        files[pair.clear] = pair.clear_path, pair.clear_state[0]
    joined = {scene: scene for scenes in scenes_of.values() for scene in scenes}

    def find(scene: str) -> str:
        while joined[scene] != scene:
            joined[scene] = scene = joined[joined[scene]]
        return scene

    groups = [[clear] for clear, scenes in scenes_of.items() if len(scenes) > 1]
    for group in groups + _find_copies(files):
        first, *others = sorted({find(scene) for clear in group for scene in scenes_of[clear]})
        joined.update(dict.fromkeys(others, first))
    return tuple(
        pair if find(pair.scene) == pair.scene else dataclasses.replace(pair, scene=find(pair.scene)) for pair in pairs
    )


def _find_copies(files: dict[str, tuple[str, int]]) -> list[list[str]]:
    """Returns groups of the names of files with equal bytes; `files` is {name: (path, size)}."""
    groups = _refine([list(files)], [files[name][1] for name in files])
    suspects = [name for group in groups for name in group]
    if not suspects:
        return []
    options = {"desc": "comparing clear images", "unit": "file", "leave": False, "delay": 1}
    with progress_bar(lines=True, total=len(suspects), **options) as bar:
        blocks = map_in_threads(lambda name: _read_block(*files[name]), suspects, advance=bar.update)
        groups = _refine(groups, blocks)
        suspects = [name for group in groups for name in group]
        bar.total = bar.n + len(suspects)
        hashes = map_in_threads(lambda name: _hash(files[name][0]), suspects, advance=bar.update)
    return _refine(groups, hashes)


def _refine(groups: list[list[str]], keys: Sequence[Hashable]) -> list[list[str]]:
    """Divides groups by a key of each name, in order; drops groups of one name."""
    refined, keys = [], iter(keys)
    for group in groups:
        parts = collections.defaultdict(list)
        for name in group:
            parts[next(keys)].append(name)
        refined += [part for part in parts.values() if len(part) > 1]
    return refined


def _read_block(path: str, size: int) -> Hashable:
    try:
        if not os.path.isfile(path):  # a pipe could be read forever
            return object()
        with open(path, "rb") as file:
            file.seek(max(0, (size - _BLOCK) // 2))
            return hashlib.sha256(file.read(_BLOCK)).digest()
    except OSError:  # Reading the image reports the error.
        return object()


def _hash(path: str) -> Hashable:
    try:
        return hash_file(pathlib.Path(path))
    except OSError:
        return object()


def describe_videos(pairs: Sequence[SourcePair]) -> str | None:
    """Returns a note if the images look like the frames of videos, which are scenes only if the user says so."""
    folders = {posixpath.dirname(pair.hazy) for pair in pairs}
    numbered = all(
        pair.scene == pair.clear
        and posixpath.dirname(pair.clear) == posixpath.dirname(pair.hazy)
        and re.fullmatch(r"\D*\d+", posixpath.splitext(posixpath.basename(pair.hazy))[0])
        for pair in pairs
    )
    if not numbered or "" in folders or len({pair.clear for pair in pairs}) < max(len(pairs), 2 * len(folders)):
        return None
    return (
        f"note: the images are numbered in {plural(len(folders), 'subfolder')}; if these are videos, give --scene='^(.+)/' "
        "to keep all frames of a video in one split"
    )


def refuse_divided(splits: dict[str, list[SourcePair]]) -> None:
    """Raises DataError if pairs of one scene are in two splits."""
    seen, divided = {}, {}
    for split, pairs in splits.items():
        for pair in pairs:
            other, first = seen.setdefault(pair.scene, (split, pair))
            if other != split:
                divided.setdefault(pair.scene, f"{first.hazy} in {other} and {pair.hazy} in {split}")
    if divided:
        raise DataError(
            f"{len(divided)} scenes are in two splits ({first_few([*divided.values()])}): their clear images are equal, or "
            "the table gives them one scene; put each scene into one split"
        )


def refuse_shared(
    pairs: Sequence[SourcePair], directory: pathlib.Path, splits: dict[str, dict], *, compare_names: bool
) -> None:
    """Raises DataError if scenes of new pairs are already in a data set.

    Args:
        pairs: The pairs of the new split.
        directory: The data set.
        splits: The manifest's entries of its other splits.
        compare_names: Whether equal names of scenes are one scene, because the user named them. Otherwise only equal
            clear images are.
    """
    known, names, keys = {}, {}, {pair.key for pair in pairs}
    for split, entry in splits.items():
        for source in read_sources(directory, entry):
            if source["key"] in keys:
                raise DataError(f"{directory} has a pair {source['key']!r} in {split} already; rename the hazy file")
            known[source["clear_sha256"]] = names[scene_of(source)] = f"{source['hazy']} in {split}"
    first = {pair.clear: pair for pair in pairs}
    with progress_bar(lines=True, total=len(first), desc="comparing clear images", unit="file", leave=False) as bar:
        hashes = map_in_threads(lambda pair: _hash(pair.clear_path), [*first.values()], advance=bar.update)
    shared = {pair.hazy: known[digest] for pair, digest in zip(first.values(), hashes, strict=True) if digest in known}
    if compare_names:
        shared |= {pair.hazy: names[pair.scene] for pair in pairs if pair.scene in names}
    if shared:
        text = [f"{name} and {other}" for name, other in shared.items()]
        raise DataError(
            f"{len(shared)} pairs show scenes that {directory} has in another split ({first_few(text)}); nothing was added. "
            "Leave them out, for example with a table of pairs (--pairs)"
        )


def find_shared_images(directory: pathlib.Path, manifest: dict) -> list[str]:
    """Returns a line for each clear image that two splits of a data set share, as version 0.1 allowed."""
    split_of, shared = {}, {}
    for split, entry in manifest["splits"].items():
        for source in read_sources(directory, entry):
            digest = source["clear_sha256"]
            other, clear = split_of.setdefault(digest, (split, source["clear"]))
            if other != split:
                shared.setdefault(digest, f"{clear} in split {other} and {source['clear']} in split {split} are equal")
    return list(shared.values())


def scene_of(source: dict) -> str:
    """Returns the scene of an entry of the list of sources, which names it only where it is not the clear file."""
    return source.get("scene", source["clear"])


def count_scenes(sources: Iterable[dict]) -> int:
    """Returns the number of scenes in a list of sources."""
    return len({scene_of(source) for source in sources})
