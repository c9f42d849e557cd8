"""File names for the fuzz tests, pairs of files with these names, and other entries of a folder of images."""

import dataclasses
import os
import unicodedata

from fuzz_images import FuzzedFile
from hypothesis import strategies as st

_STEMS = r"""0001 1400 7 a a.b.c café cafe\u0301 日本語 \u05d0\u05d1 a\nb \n tab\there \x1b[31mred \u2028 x\u0085y \u202eltr \rback %s
    %(x)d {0} $(x) `x` a;b ' " * ? [a] ~ #key C:x back\\slash ..\\up CON nul.txt x.tmp-1 @00000_00000 a@00000_00000 -dash
    --help - ... a... _hazy _GT x_hazy 1_2 1_2_0.5 0001_0.8_0.2 1e5 \U0001f32b 0001.png a.jpg a.tif \ufeffbom \x7f
    train-00000-of-00001"""
STEMS = [stem.encode("latin-1", "backslashreplace").decode("unicode_escape") for stem in _STEMS.split()]
STEMS += ["a b", " lead", "trail ", "a  b", "n" * 240, "é" * 120, "\u3000", "\udcff", "caf\udce9"]
# Distinct stems. With the prefix "good " they also differ from those of other scenes.
GOOD_STEMS = sorted({unicodedata.normalize("NFC", stem) for stem in STEMS if not "\udc80" <= stem[-1] <= "\udcff"})
TEMPLATES = (
    ("{}", "{}"),
    ("{}_hazy", "{}_GT"),
    ("{}_outdoor_hazy", "{}_outdoor_GT"),
    ("{}-inputs", "{}-targets"),
    ("{}_real_A", "{}_real_B"),
    ("{}_1_0.9", "{}"),
    ("{}_3", "{}"),
    ("{}_hazy", "{}"),
)
SUFFIXES = (".png", ".jpg", ".JPG", ".tif", ".gif", ".webp", ".jpeg", ".txt", "", ".qoi", ".apng", ".PnG")
FOLDERS = ("", "", "", "part 1/", "part\n2/", "x.png/", "a/b/c/")
LETTERS = st.characters(exclude_characters="/\0", exclude_categories=("Cs",))


@dataclasses.dataclass(frozen=True)
class Scene:
    """A hazy and a clear file; one of them may be missing, and several scenes may have the same names."""

    stem: str
    template: tuple
    hazy: FuzzedFile | None
    clear: FuzzedFile | None
    suffixes: tuple = (None, None)  # None: the suffix of the content
    folder: str = ""

    def names(self):
        """Yields (file name, FuzzedFile) of the hazy and of the clear file, or None if it is missing."""
        for side in (0, 1):
            image = (self.hazy, self.clear)[side]
            if image is None:
                yield None
                continue
            suffix = self.suffixes[side]
            suffix = image.make().suffix if suffix is None else suffix
            base = self.template[side].format(self.stem).encode("utf-8", "surrogateescape")
            base = base[: 255 - len(suffix)].decode("utf-8", "ignore" if len(base) > 200 else "surrogateescape")
            yield self.folder + base + suffix, image


EXTRAS = {  # other entries of the folder of the hazy images; called with that folder and the clear one
    "hidden": lambda hazy, clear: (hazy / ".hidden.png").write_bytes(b"x"),
    "hidden temporary": lambda hazy, clear: (hazy / ".mine.tmp-1").write_bytes(b"x"),
    "text": lambda hazy, clear: (hazy / "read me.txt").write_text("x"),
    "odd suffix": lambda hazy, clear: (hazy / "a.\x1b[2J\nb").write_text("x"),
    "folder like an image": lambda hazy, clear: (hazy / "folder.png").mkdir(exist_ok=True),
    "link to itself": lambda hazy, clear: (hazy / "loop.png").symlink_to("loop.png"),
    "link to nothing": lambda hazy, clear: (hazy / "gone.png").symlink_to("nowhere.png"),
    "link to a device": lambda hazy, clear: (hazy / "zero.png").symlink_to("/dev/zero"),
    "link upwards": lambda hazy, clear: (hazy / "up").symlink_to(".."),
    "link to the other folder": lambda hazy, clear: (hazy / "other").symlink_to(clear),
    "pipe": lambda hazy, clear: os.mkfifo(hazy / "pipe.png"),
    "no text": lambda hazy, clear: (hazy / "\udcff.txt").write_text("x"),
    "no text folder": lambda hazy, clear: (hazy / "\udcfe").mkdir(),
    "deep": lambda hazy, clear: _deep(hazy),
    "mesh": lambda hazy, clear: _mesh(hazy),
}


def _deep(folder, levels=1050):
    """Creates folders nested deeper than Python recurses, with a path shorter than the system's limit."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


def _mesh(folder, size=12):
    """Creates folders that all contain links to each other: 12! paths lead through them."""
    for number in range(size):
        (folder / f"mesh{number}").mkdir()
        for other in range(size):
            (folder / f"mesh{number}/to{other}").symlink_to(f"../mesh{other}")
