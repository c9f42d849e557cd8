"""Pairs hazy and clear images by the names of their files.

Several hazy images may have the same clear image. If there are several clear candidates for one hazy image, they are
reported and not paired, unless they and the hazy images are the same set of formats: `a.png`, `a.jpg` in both folders.

Subfolders are included, and names are relative to their folder, with `/`. The clear image of a hazy file is searched
in the same subfolder of the clear folder, then in its parents: `part1/0005_0.8_0.1.jpg` is paired with
`part1/0005.png`, or else with `0005.png`.
"""

import collections
import dataclasses
import os
import pathlib
import posixpath
from collections.abc import Iterable, Sequence

from hazeheal.data.pairing.file_states import FileState, read_states
from hazeheal.data.pairing.folders import find_folder, identity, list_images
from hazeheal.data.pairing.rules import RULES, FileName, Rule, find_rule, split_names
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import first_few, progress_bar


@dataclasses.dataclass(frozen=True)
class PairName:
    """The names of one pair.

    Attributes:
        key: The stem of the hazy file, unique in its Pairing (with the folder, then the suffix, if necessary).
        hazy, clear: File names relative to the two folders, with `/`.
        scene: The same for all pairs of one clear image, which must be in the same split.
    """

    key: str
    hazy: str
    clear: str
    scene: str


@dataclasses.dataclass(frozen=True)
class Pairing:
    """The result of one rule on two folders. Every image file is in exactly one of the lists.

    Attributes:
        rule: Name of the rule, or the regular expression.
        pairs: The pairs, sorted by key.
        orphans_hazy, orphans_clear: Files without a partner, sorted. If both folders are the same, files that match
            neither pattern are in orphans_hazy.
        ambiguous: One line for each key that several clear files have, with the names of all files concerned.
        notes: Messages for the log: why this rule was used, and which files were ignored.
        elsewhere: {hazy file without a partner: clear file with the same key in another folder, where it is not searched}.
        hazy_states, clear_states: {name: state} of the files of the pairs; empty for pairs of names alone.
    """

    rule: str
    pairs: list[PairName]
    orphans_hazy: list[str]
    orphans_clear: list[str]
    ambiguous: list[str]
    notes: list[str] = dataclasses.field(default_factory=list)
    elsewhere: dict[str, str] = dataclasses.field(default_factory=dict)
    hazy_states: dict[str, FileState] = dataclasses.field(default_factory=dict, repr=False)
    clear_states: dict[str, FileState] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def leftovers(self) -> int:
        """The number of files without a partner and of ambiguous keys."""
        return len(self.orphans_hazy) + len(self.orphans_clear) + len(self.ambiguous)

    def describe_orphans(self) -> list[str]:
        """Returns a line for each hazy file without a partner, with the clear file that another folder has for it."""
        return [
            f"{name} (its key is that of {self.elsewhere[name]}, in another folder)" if name in self.elsewhere else name
            for name in self.orphans_hazy
        ]


def pair_folders(hazy_dir: str | os.PathLike, gt_dir: str | os.PathLike, *, rule: str = "auto") -> Pairing:
    """Pairs the image files of two folders by name, without opening them. The caller handles leftovers.

    Args:
        hazy_dir, gt_dir: The folders of the hazy and of the clear images. They may be the same folder.
        rule: The name of a rule, a regular expression with one group (or a group named `key`) that is searched in the
            stems of both folders, or `auto`. `auto` uses the rule that pairs every file: the first, if several do so
            identically, or the one that pairs most, if none does.

    Raises:
        UsageError: A folder does not exist, the rule is invalid or needs two folders, or `auto` finds contradicting
            rules.
        DataError: A folder has no images, a file name is not valid UTF-8, there is no pair, or both names of a pair
            lead to the same file.
    """
    hazy_dir, gt_dir = find_folder(hazy_dir, "hazy_dir"), find_folder(gt_dir, "gt_dir")
    one_folder = identity(hazy_dir) == identity(gt_dir)
    rules = RULES if rule == "auto" else (find_rule(rule),)
    if one_folder:
        rules = [r for r in rules if not r.two_folders]
        if not rules:
            raise UsageError(
                f"pairing {rule!r} cannot distinguish hazy from clear files in one folder ({hazy_dir}) and would pair "
                f"images with themselves; use two folders or one of "
                f"{', '.join(r.name for r in RULES if not r.two_folders)}"
            )
    hazy, notes = list_images(hazy_dir, "hazy_dir", other=gt_dir)
    if one_folder:
        clear = hazy
    else:
        clear, more = list_images(gt_dir, "gt_dir", other=hazy_dir)
        notes += more
    best = pair_names(hazy, clear, rules=rules, one_folder=one_folder)
    if not best.pairs:
        raise DataError(_explain_no_pairs(best, rule, hazy_dir, gt_dir, hazy, clear))
    states = {
        "hazy_states": read_states(hazy_dir, (pair.hazy for pair in best.pairs)),
        "clear_states": read_states(gt_dir, dict.fromkeys(pair.clear for pair in best.pairs)),
    }
    best = dataclasses.replace(best, notes=(best.notes if rule == "auto" else []) + notes, **states)
    refuse_same_file(best, hazy_dir, gt_dir)
    return best


def pair_names(
    hazy: list[str], clear: list[str], *, rules: Sequence[Rule] = RULES, one_folder: bool = False
) -> Pairing:
    """Pairs two lists of names as `pair_folders` pairs the files of two folders.

    Args:
        hazy, clear: Names relative to the folders of the images, with `/`. Those of the hazy images are sorted.
        rules: The rules to try. The result is that of the first rule that pairs everything, or else of the one that
            pairs most. It may have no pairs.
        one_folder: Whether both lists are of the same folder.

    Raises:
        UsageError: Several rules pair everything, and differ.
    """
    hazy, clear, results = split_names(hazy), split_names(clear), []
    with progress_bar(lines=True, total=len(rules), desc="pairing", unit="rule", leave=False, delay=1) as bar:
        for rule in rules:
            results.append(_join(rule, hazy, clear, one_folder=one_folder))
            bar.update()
    best = max(results, key=lambda p: (not p.leftovers, len(p.pairs), -p.leftovers))  # the first, if equal
    if not best.pairs:  # report the rule whose keys agree, if folders keep its files apart
        found = [dataclasses.replace(p, elsewhere=_find_elsewhere(r, p)) for r, p in zip(rules, results, strict=True)]
        return max(found, key=lambda p: (len(p.elsewhere), len(p.ambiguous)))
    rule = next(rule for rule, result in zip(rules, results, strict=True) if result is best)
    return dataclasses.replace(best, notes=[_explain_auto(results, best)], elsewhere=_find_elsewhere(rule, best))


def _join(rule: Rule, hazy: list[FileName], clear: list[FileName], *, one_folder: bool) -> Pairing:
    hazy_keys, clear_keys = rule.keys(hazy, hazy=True), rule.keys(clear, hazy=False)
    hazy, clear = [file.name for file in hazy], [file.name for file in clear]
    if one_folder:  # A file cannot be both hazy and clear.
        clear_keys = {name: place for name, place in clear_keys.items() if name not in hazy_keys}
        hazy = [name for name in hazy if name not in clear_keys]
        clear = list(clear_keys)
    if not hazy_keys or not clear_keys:
        return Pairing(rule.name, [], orphans_hazy=hazy, orphans_clear=clear, ambiguous=[])
    candidates = collections.defaultdict(list)
    for name, place in clear_keys.items():
        candidates[place].append(name)
    partner, ambiguous, orphans = {}, collections.defaultdict(list), []
    for name in hazy:
        place = folder, key = hazy_keys.get(name, ("", ""))
        while folder and place not in candidates:
            folder = folder.rpartition("/")[0]
            place = folder, key
        matches = candidates.get(place, ())
        if not matches:
            orphans.append(name)
        elif len(matches) == 1:
            partner[name] = matches[0]
        else:
            ambiguous[place].append(name)
    scenes = {}  # of clear files that are the formats of one image
    for place, names in [*ambiguous.items()]:
        by_format = _pair_formats(names, candidates[place])
        partner |= by_format
        scenes |= dict.fromkeys(by_format.values(), candidates[place][0])
        ambiguous[place] = [name for name in names if name not in by_format]
        if not ambiguous[place]:
            del ambiguous[place]
    used = set(partner.values()).union(*(candidates[place] for place in ambiguous))
    keys = unique_keys(partner)
    pairs = [PairName(keys[name], name, other, scenes.get(other, other)) for name, other in partner.items()]
    return Pairing(
        rule=rule.name,
        pairs=sorted(pairs, key=lambda pair: pair.key),
        orphans_hazy=orphans,
        orphans_clear=[name for name in clear if name not in used],
        ambiguous=[
            f"key {place[1]!r}: clear {' or '.join(candidates[place])}, for hazy {', '.join(names)}"
            for place, names in sorted(ambiguous.items())
        ],
    )


def _pair_formats(hazy: list[str], clear: list[str]) -> dict[str, str]:
    """Pairs `a.png` with `a.png` and `a.jpg` with `a.jpg`, where the hazy image has exactly the clear image's formats."""
    formats = {posixpath.splitext(name)[1].lower(): name for name in clear}
    versions = collections.defaultdict(dict)
    for name in hazy:
        stem, suffix = posixpath.splitext(name)
        versions[stem][suffix.lower()] = name
    same = [names for names in versions.values() if names.keys() == formats.keys() and len(formats) == len(clear)]
    return {name: formats[suffix] for names in same for suffix, name in names.items()}


def _find_elsewhere(rule: Rule, pairing: Pairing) -> dict[str, str]:
    """Returns {hazy orphan: clear file}, where `rule` gives both the same key and only their folders differ."""
    if not pairing.orphans_hazy:
        return {}
    clear = {pair.clear for pair in pairing.pairs}.union(pairing.orphans_clear)
    places = {key: name for name, (_, key) in rule.keys(split_names(sorted(clear)), hazy=False).items()}
    hazy = rule.keys(split_names(pairing.orphans_hazy), hazy=True)
    return {name: places[key] for name, (_, key) in hazy.items() if key in places}


def _explain_no_pairs(
    best: Pairing, rule: str, hazy_dir: pathlib.Path, gt_dir: pathlib.Path, hazy: list[str], clear: list[str]
) -> str:
    """Returns why no file pairs, and what to do."""
    start = "no rule pairs any" if rule == "auto" else f"rule {rule} pairs none"
    text = (
        f"{start} of the {len(hazy)} hazy files in {hazy_dir} ({first_few(hazy)}) with any of the {len(clear)} clear "
        f"files in {gt_dir} ({first_few(clear)})"
    )
    if best.elsewhere:
        name, other = next(iter(best.elsewhere.items()))
        text += (
            f"; by rule {best.rule} {name} and {other} have the same key, but a clear image is searched in the hazy "
            "image's subfolder and its parents only"
        )
        folders = {posixpath.dirname(other) for other in best.elsewhere.values()}
        if len(folders) == 1 and (folder := folders.pop()):
            return f"{text}; give --gt_dir={gt_dir / folder}"
    text += f"; {best.ambiguous[0]}" if best.ambiguous else ""
    return (
        f"{text}; set --pairing to a rule ({', '.join(r.name for r in RULES)}) or to a regular expression with one group, "
        "or list the pairs in a table for `hazeheal-tfrecords convert --pairs`"
    )


def unique_keys(names: Iterable[str]) -> dict[str, str]:
    """Returns {name: key}: the stem, with the folder if it is not unique, or the whole name if that is not unique."""
    keys = {name: name.rpartition("/")[2].rpartition(".")[0] for name in names}
    for longer in (lambda name: name.rpartition(".")[0], lambda name: name):
        count = collections.Counter(keys.values())
        keys = {name: key if count[key] == 1 else longer(name) for name, key in keys.items()}
    return keys if len(set(keys.values())) == len(keys) else {name: name for name in names}


def _explain_auto(results: list[Pairing], best: Pairing) -> str:
    if best.leftovers:
        return f"auto: no rule pairs everything; {best.rule} pairs most ({len(best.pairs)}), with {best.leftovers} leftovers"
    choice, agree = {pair.hazy: pair.clear for pair in best.pairs}, []
    for other in results:
        if other is best or other.leftovers:
            continue
        second = {pair.hazy: pair.clear for pair in other.pairs}
        differ = sorted(name for name in choice.keys() | second if choice.get(name) != second.get(name))
        if differ:
            raise UsageError(
                f"pairing auto: rules {best.rule} and {other.rule} both pair everything and differ in {len(differ)} "
                f"files ({first_few(differ)}); select one with --pairing={best.rule} or --pairing={other.rule}"
            )
        agree.append(other.rule)
    also = f" (identical results: {', '.join(agree)})" if agree else ""
    return f"auto: rule {best.rule} pairs everything{also}"


def refuse_same_file(pairing: Pairing, hazy_dir: pathlib.Path, gt_dir: pathlib.Path) -> None:
    """Raises DataError if hazy files are links to their clear image, which would train the network to change nothing."""
    hazy, clear = pairing.hazy_states, pairing.clear_states
    same = [
        pair.hazy
        for pair in pairing.pairs
        if hazy[pair.hazy].identity is not None and hazy[pair.hazy].identity == clear[pair.clear].identity
    ]
    if same:
        raise DataError(
            f"{len(same)} hazy files in {hazy_dir} are the same files as their clear images in {gt_dir} "
            f"({first_few(same)}); check the folders and the links in them"
        )
