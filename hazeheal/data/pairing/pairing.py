"""Pairs hazy and clear images by the names of their files.

Several hazy images may have the same clear image. If there are several clear candidates for one hazy image, they are
reported and not paired.

Subfolders are included, and names are relative to their folder, with `/`. The clear image of a hazy file is searched
in the same subfolder of the clear folder, then in its parents: `part1/0005_0.8_0.1.jpg` is paired with
`part1/0005.png`, or else with `0005.png`.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Sequence

from hazeheal.data.pairing.folders import find_folder, identity, list_images
from hazeheal.data.pairing.rules import RULES, Rule, find_rule
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import first_few


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
    """

    rule: str
    pairs: list[PairName]
    orphans_hazy: list[str]
    orphans_clear: list[str]
    ambiguous: list[str]
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def leftovers(self) -> int:
        """The number of files without a partner and of ambiguous keys."""
        return len(self.orphans_hazy) + len(self.orphans_clear) + len(self.ambiguous)


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
        raise DataError(
            f"{'no rule' if rule == 'auto' else f'rule {rule}'} pairs any of the {len(hazy)} hazy files in {hazy_dir} "
            f"({first_few(hazy)}) with any of the {len(clear)} clear files in {gt_dir} ({first_few(clear)})"
            f"{'; ' + best.ambiguous[0] if best.ambiguous else ''}; "
            f"set --pairing to a rule ({', '.join(r.name for r in RULES)}) or to a regular expression with one group"
        )
    _refuse_same_file(best, hazy_dir, gt_dir)
    return dataclasses.replace(best, notes=(best.notes if rule == "auto" else []) + notes)


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
    results = [_join(r, hazy, clear, one_folder=one_folder) for r in rules]
    best = max(results, key=lambda p: (not p.leftovers, len(p.pairs), -p.leftovers))  # the first, if equal
    return dataclasses.replace(best, notes=[_explain_auto(results, best)]) if best.pairs else best


def _join(rule: Rule, hazy: list[str], clear: list[str], *, one_folder: bool) -> Pairing:
    hazy_keys, clear_keys = rule.keys(hazy, hazy=True), rule.keys(clear, hazy=False)
    if one_folder:  # A file cannot be both hazy and clear.
        clear_keys = {name: place for name, place in clear_keys.items() if name not in hazy_keys}
        hazy = [name for name in hazy if name not in clear_keys]
        clear = list(clear_keys)
    candidates = collections.defaultdict(list)
    for name, place in clear_keys.items():
        candidates[place].append(name)
    partner, ambiguous, orphans = {}, collections.defaultdict(list), []
    for name in hazy:
        folder, key = hazy_keys.get(name, ("", ""))
        while folder and (folder, key) not in candidates:
            folder = folder.rpartition("/")[0]
        matches = candidates.get((folder, key), ())
        if not matches:
            orphans.append(name)
        elif len(matches) == 1:
            partner[name] = matches[0]
        else:
            ambiguous[folder, key].append(name)
    used = set(partner.values()).union(*(candidates[place] for place in ambiguous))
    pairs = [PairName(key, name, partner[name], partner[name]) for name, key in _unique_keys(partner).items()]
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


def _unique_keys(names: Iterable[str]) -> dict[str, str]:
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


def _refuse_same_file(pairing: Pairing, hazy_dir: pathlib.Path, gt_dir: pathlib.Path) -> None:
    """Refuses hazy files that are links to their clear image, which would train the network to change nothing."""
    same = []
    for pair in pairing.pairs:
        with contextlib.suppress(OSError):  # A dangling link. Reading it reports the error.
            if os.path.samefile(hazy_dir / pair.hazy, gt_dir / pair.clear):
                same.append(pair.hazy)
    if same:
        raise DataError(
            f"{len(same)} hazy files in {hazy_dir} are the same files as their clear images in {gt_dir} "
            f"({first_few(same)}); check the folders and the links in them"
        )
