"""Which clear image belongs to which hazy one, by the names of the files.

    pairing = pair_folders("D/hazy", "D/GT")            # rule="auto"
    for pair in pairing.pairs:                          # PairName(key, hazy, clear, scene)
        ...
    print(pairing.report())                             # and what could not be paired

Several hazy images of one clear one are normal. Several clear candidates for one hazy image are not: they
are reported, not guessed at.

Sub-folders are walked, and names are relative to their folder, with `/`. A hazy file looks for its clear image
in the same sub-folder of the clear folder, then in the folders above it: `part1/0005_0.8_0.1.jpg` finds
`part1/0005.png`, else `0005.png`.
"""

import collections
import dataclasses
import pathlib
import unicodedata

from hazeheal.data.pairing.folders import find_folder, identity, list_images
from hazeheal.data.pairing.rules import RULES, Rule, find_rule
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import first_few


@dataclasses.dataclass(frozen=True)
class PairName:
    """One pair, by the names of its files.

    Attributes:
        key: The hazy file's stem, unique in its Pairing (with the folder, then the suffix, where needed).
        hazy, clear: File names relative to the two folders, with `/`.
        scene: What pairs of one clear image share; a split must not tear it apart.
    """

    key: str
    hazy: str
    clear: str
    scene: str


@dataclasses.dataclass(frozen=True)
class Pairing:
    """What one rule made of two folders; every image file is in exactly one of the lists.

    Attributes:
        rule: Name of the rule, or the regular expression.
        pairs: Sorted by key.
        orphans_hazy, orphans_clear: Files with no partner, sorted. Where both folders are the same one, files
            that fit neither pattern are among orphans_hazy.
        ambiguous: One line for each key that several clear files claim, naming all files concerned.
        notes: Remarks for the log: the rule that was taken and why, files that were passed over.
    """

    rule: str
    pairs: list[PairName]
    orphans_hazy: list[str]
    orphans_clear: list[str]
    ambiguous: list[str]
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def leftovers(self) -> int:
        """Number of files without a partner and of disputed keys; 0 where everything is paired."""
        return len(self.orphans_hazy) + len(self.orphans_clear) + len(self.ambiguous)

    @property
    def complete(self) -> bool:
        """Whether everything is paired."""
        return not self.leftovers

    def report(self, *, limit: int | None = None) -> str:
        """Returns the counts and everything that could not be paired, one a line, at most `limit` a section."""
        clear = len({pair.clear for pair in self.pairs})
        lines = [
            f"rule {self.rule}: {len(self.pairs)} pairs of {len(self.pairs)} hazy and {clear} clear files"
        ]
        for title, names in (
            ("hazy files without a clear one", self.orphans_hazy),
            ("clear files without a hazy one", self.orphans_clear),
            ("keys that several clear files claim", self.ambiguous),
        ):
            if names:
                lines += [f"{title}: {len(names)}", *(f"  {name}" for name in names[:limit])]
                if limit is not None and len(names) > limit:
                    lines.append(f"  ... and {len(names) - limit} more")
        return "\n".join(lines + self.notes)


def pair_folders(hazy_dir, gt_dir, *, rule: str = "auto") -> Pairing:
    """Pairs the image files of two folders by name; opens none of them.

    Args:
        hazy_dir, gt_dir: The folders; they may be the same one.
        rule: The name of a rule of `RULES`, a regular expression with one group (or a group named `key`) that
            is searched in the stems of both folders, or `auto`: the rule that pairs every file. Of several
            that do so alike, the first; with none, the one that pairs most.

    Returns:
        The Pairing. It may have leftovers: the caller decides about them.

    Raises:
        UsageError: A folder does not exist, the rule is neither a name nor such an expression, the rule needs
            two folders, or `auto` finds rules that contradict each other.
        DataError: A folder holds no images, a file name is no valid text, not one pair was found, or both
            names of a pair lead to the same file.
    """
    hazy_dir, gt_dir = find_folder(hazy_dir, "hazy_dir"), find_folder(gt_dir, "gt_dir")
    one_folder = identity(hazy_dir) == identity(gt_dir)
    rules = RULES if rule == "auto" else (find_rule(rule),)
    if one_folder:
        usable = [r for r in RULES if not r.two_folders]
        if rule != "auto" and rules[0].two_folders:
            raise UsageError(
                f"pairing {rule!r} cannot tell hazy from clear files in one folder ({hazy_dir}) and would pair images with "
                f"themselves; put them in two folders or use one of {', '.join(r.name for r in usable)}"
            )
        rules = usable if rule == "auto" else rules
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
            f"give --pairing a rule ({', '.join(r.name for r in RULES)}) or a regular expression with one group"
        )
    _refuse_same_file(best, hazy_dir, gt_dir)
    return dataclasses.replace(best, notes=(best.notes if rule == "auto" else []) + notes)


def pair_names(hazy: list[str], clear: list[str], *, rules=RULES, one_folder: bool = False) -> Pairing:
    """Pairs two lists of names as `pair_folders` pairs the files of two folders.

    Args:
        hazy, clear: Names relative to the two folders, with `/`, sorted.
        rules: Of several, the first of those that pair everything; else the one that pairs most.
        one_folder: Whether the two lists are of the same folder.

    Returns:
        The Pairing, which may be without pairs; its notes say why this rule.

    Raises:
        UsageError: Several rules pair everything, and differ.
    """
    results = [_join(r, hazy, clear, one_folder=one_folder) for r in rules]
    best = max(results, key=lambda p: (p.complete, len(p.pairs), -p.leftovers))  # the first of equals
    return dataclasses.replace(best, notes=[_explain_auto(results, best)]) if best.pairs else best


def _join(rule: Rule, hazy: list[str], clear: list[str], *, one_folder: bool) -> Pairing:
    hazy_keys, clear_keys = rule.keys(hazy, hazy=True), rule.keys(clear, hazy=False)
    if one_folder:  # each file has one role
        clear_keys = {name: place for name, place in clear_keys.items() if name not in hazy_keys}
        hazy = [name for name in hazy if name not in clear_keys]
        clear = list(clear_keys)
    owners = collections.defaultdict(list)
    for name, place in clear_keys.items():
        owners[_composed(place)].append(name)
    partner, disputed, orphans = {}, collections.defaultdict(list), []
    for name in hazy:
        folder, key = _composed(hazy_keys.get(name, ("", "")))
        while folder and (folder, key) not in owners:
            folder = folder.rpartition("/")[0]
        claims = owners.get((folder, key), ())
        if not claims:
            orphans.append(name)
        elif len(claims) == 1:
            partner[name] = claims[0]
        else:
            disputed[folder, key].append(name)
    used = set(partner.values()).union(*(owners[place] for place in disputed))
    pairs = [PairName(key, name, partner[name], partner[name]) for name, key in _unique_keys(partner).items()]
    return Pairing(
        rule=rule.name,
        pairs=sorted(pairs, key=lambda pair: pair.key),
        orphans_hazy=orphans,
        orphans_clear=[name for name in clear if name not in used],
        ambiguous=[
            f"key {place[1]!r}: clear {' or '.join(owners[place])}, for hazy {', '.join(names)}"
            for place, names in sorted(disputed.items())
        ],
    )


def _composed(place: tuple[str, str]) -> tuple[str, str]:
    """macOS writes accents decomposed, other systems composed; to a reader the names are the same."""
    return unicodedata.normalize("NFC", place[0]), unicodedata.normalize("NFC", place[1])


def _unique_keys(names) -> dict[str, str]:
    """{name: key}: the stem; where several share it, with the folder; where that does not help, the name."""
    keys = {name: name.rpartition("/")[2].rpartition(".")[0] for name in names}
    for longer in (lambda name: name.rpartition(".")[0], lambda name: name):
        count = collections.Counter(keys.values())
        keys = {name: key if count[key] == 1 else longer(name) for name, key in keys.items()}
    return keys if len(set(keys.values())) == len(keys) else {name: name for name in names}


def _explain_auto(results: list[Pairing], best: Pairing) -> str:
    if not best.complete:
        return f"auto: no rule pairs everything; {best.rule} pairs most ({len(best.pairs)}) and leaves {best.leftovers}"
    choice, agree = {pair.hazy: pair.clear for pair in best.pairs}, []
    for other in results:
        if other is best or not other.complete:
            continue
        second = {pair.hazy: pair.clear for pair in other.pairs}
        differ = sorted(name for name in choice.keys() | second if choice.get(name) != second.get(name))
        if differ:
            shown = "; ".join(f"{name} with {choice.get(name)} or {second.get(name)}" for name in differ[:5])
            raise UsageError(
                f"pairing auto: rules {best.rule} and {other.rule} both pair everything and differ in {len(differ)} "
                f"files ({shown}); choose with --pairing={best.rule} or --pairing={other.rule}"
            )
        agree.append(other.rule)
    also = f" (and so do, alike: {', '.join(agree)})" if agree else ""
    return f"auto: rule {best.rule} pairs everything{also}"


def _refuse_same_file(pairing: Pairing, hazy_dir: pathlib.Path, gt_dir: pathlib.Path) -> None:
    """A link from one folder into the other would teach the network to change nothing."""
    same = []
    for pair in pairing.pairs:
        try:
            if identity(hazy_dir / pair.hazy) == identity(gt_dir / pair.clear):
                same.append(pair.hazy)
        except OSError:
            continue  # a dangling link: it is named when it is read
    if same:
        raise DataError(
            f"{len(same)} hazy files in {hazy_dir} are the very files that they are paired with in {gt_dir} "
            f"({first_few(same)}); check the folders and the links in them"
        )
