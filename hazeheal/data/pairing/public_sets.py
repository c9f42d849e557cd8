"""The public data sets of hazy and clear pairs: their pages, folders, pairing rules and citations.

The table is `public_sets.json`. docs/datasets.md describes the same sets; a test compares the two.
"""

import dataclasses
import json
import pathlib


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublicSet:
    """One data set as its authors publish it.

    Attributes:
        name: The configuration of the TFDS builder, `hazy_pairs/NAME`.
        title, text, page: The authors' name for it, its contents, and where to get it.
        splits: {split: (folder of the hazy images, folder of the clear images)}, relative to one root. A set without
            official splits has one.
        rule, size_mismatch: The flags `--pairing` and `--size_mismatch` of `hazeheal-tfrecords convert`.
        example: The file names of one hazy and one clear image of a pair.
        config: The configuration that trains on it (`--config=`).
        unpack: What else to do after unpacking.
        citation: BibTeX.
    """

    name: str
    title: str
    text: str
    page: str
    splits: dict[str, tuple[str, str]]
    rule: str
    example: tuple[str, str]
    config: str
    citation: str
    size_mismatch: str = "error"
    unpack: str = ""

    @property
    def instructions(self) -> str:
        """Where to get the data set, and the folders that it must be unpacked to."""
        folders = [f"    {folder}/" for pair in self.splits.values() for folder in dict.fromkeys(pair)]
        lines = [f"{self.title}: from {self.page}", *folders]
        return "\n".join(lines + ([f"    {self.unpack}"] if self.unpack else []))


def _load() -> tuple[PublicSet, ...]:
    table = json.loads(pathlib.Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    sets = []
    for entry in table["sets"]:
        entry["splits"] = {split: tuple(folders) for split, folders in entry["splits"].items()}
        entry["example"] = tuple(entry["example"])
        entry["citation"] = "\n".join(table["citations"][entry["citation"]])
        sets.append(PublicSet(**entry))
    return tuple(sets)


PUBLIC_SETS = _load()
