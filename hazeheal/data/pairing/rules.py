"""The naming rules of data sets: which file names form a pair."""

import dataclasses
import re
import unicodedata
import warnings
from collections.abc import Iterable
from typing import NamedTuple

from hazeheal.errors import UsageError


class FileName(NamedTuple):
    """The name of a file, relative to its folder and with `/`; its subfolder with composed accents; its stem."""

    name: str
    folder: str
    stem: str


def split_names(names: Iterable[str]) -> list[FileName]:
    """Splits names once for all rules. macOS writes accents decomposed and other systems composed."""
    split = []
    for name in names:
        folder, _, base = name.rpartition("/")
        split.append(FileName(name, unicodedata.normalize("NFC", folder), base.rpartition(".")[0]))
    return split


@dataclasses.dataclass(frozen=True)
class Rule:
    """A naming rule: files whose stems give the same key form a pair.

    Attributes:
        name: The value of `--pairing`.
        hazy, clear: Regular expressions that are searched in the stems (file names without suffix) of hazy and clear
            files. The key is their group `key`, or else their only group.
        two_folders: Whether the patterns cannot distinguish hazy from clear files. The two must then be in different
            folders; in one folder every image would be paired with itself.
        ignore_case: Whether `_gt` matches `_GT`. The comparison of keys is always case-sensitive.
    """

    name: str
    hazy: str
    clear: str
    two_folders: bool = False
    ignore_case: bool = True

    def keys(self, names: Iterable[FileName], *, hazy: bool) -> dict[str, tuple[str, str]]:
        """Returns {name: (folder, key)} of the files whose stems match the pattern, with composed accents."""
        # DOTALL, because a name may contain a line break. A user's own expression is not changed.
        flags = re.IGNORECASE | re.DOTALL if self.ignore_case else 0
        pattern = re.compile(self.hazy if hazy else self.clear, flags)
        group = "key" if "key" in pattern.groupindex else 1
        keys = {}
        for name, folder, stem in names:
            match = pattern.search(stem)
            if match and (key := match[group]):
                keys[name] = folder, key if key.isascii() else unicodedata.normalize("NFC", key)
        return keys


# If several rules pair everything identically, `auto` reports the first, so the more specific ones come first.
RULES = (
    # the same name in two folders: 7.png, 7.png
    Rule("same_name", r"^(.+)$", r"^(.+)$", two_folders=True),
    # O-HAZE: 01_outdoor_hazy, 01_outdoor_GT
    Rule("o_haze", r"^(.+)_outdoor_hazy$", r"^(.+)_outdoor_GT$"),
    # I-HAZE: 01_indoor_hazy, 01_indoor_GT
    Rule("i_haze", r"^(.+)_indoor_hazy$", r"^(.+)_indoor_GT$"),
    # Dense-Haze, NH-HAZE: 01_hazy, 01_GT
    Rule("dense_haze", r"^(.+)_hazy$", r"^(.+)_GT$"),
    # SateHaze1k: 12-inputs, 12-targets
    Rule("satehaze1k", r"^(.+)-inputs$", r"^(.+)-targets$"),
    # pix2pix: 7_real_A, 7_real_B
    Rule("pix2pix", r"^(.+)_real_A$", r"^(.+)_real_B$"),
    # RESIDE SOTS indoor: 1400_3, 1400
    Rule("sots_indoor", r"^(\d+)_\d+$", r"^(\d+)$"),
    # RESIDE ITS: 1_1_0.90179, 1
    Rule("its", r"^(\d+)_\d+_[\d.]+$", r"^(\d+)$"),
    # RESIDE SOTS outdoor, OTS: 0001_0.8_0.2, 0001
    Rule("sots_outdoor", r"^(\d+)_[\d.]+_[\d.]+$", r"^(\d+)$"),
    # RICE: the same name in two folders, with or without _hazy and _GT: 007_hazy, 007_GT
    Rule("rice", r"^(.+?)(?:_hazy)?$", r"^(.+?)(?:_GT)?$", two_folders=True),
)
ALIASES = {"nh_haze": "dense_haze", "ots": "sots_outdoor", "rice1": "rice", "rice2": "rice"}


def find_rule(text: str) -> Rule:
    """Returns the rule of that name, or a rule for a regular expression that is searched in both stems.

    Raises:
        UsageError: `text` is neither the name of a rule nor an expression with one group or a group named `key`.
    """
    name = text.lower().replace("-", "_")
    for rule in RULES:
        if rule.name == ALIASES.get(name, name):
            return rule
    names = ", ".join(["auto", *(rule.name for rule in RULES), *ALIASES])
    try:
        with warnings.catch_warnings():  # Python warns of expressions whose meaning may change.
            warnings.simplefilter("ignore")
            pattern = re.compile(text)
    # Also raised for flags, repeat counts and nesting depths that are invalid.
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"pairing {text!r} is neither a rule nor a regular expression ({error}); rules: {names}"
        ) from None
    if "key" not in pattern.groupindex and pattern.groups != 1:
        raise UsageError(
            f"pairing {text!r} is not a rule, and as a regular expression it has {pattern.groups} groups; "
            f"use one group, or name one as in (?P<key>...), or use a rule: {names}"
        )
    return Rule(text, text, text, two_folders=True, ignore_case=False)
