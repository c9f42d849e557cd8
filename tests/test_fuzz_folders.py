"""Fuzz: folders of odd pictures with odd names, and odd flags, through `hazeheal-tfrecords`.

What `convert` makes must pass `verify`, `info` and `extract`, and hold the pixels that were put in; what it refuses
it must refuse as `fuzzing` says, and leave nothing behind. `fuzzing.campaign` says how many cases there are.
"""

import contextlib
import dataclasses
import functools
import io
import json
import os
import pathlib
import re
import struct
import unicodedata
import zlib

import fuzzing
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from hazeheal import records
from tfrecords_tools import resume
from tfrecords_tools.__main__ import main

# ---- pictures -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Content:
    """A file's bytes, its usual suffix, and the pixels that it shows; None where it must or may be refused."""

    data: bytes
    suffix: str
    rgb: np.ndarray | None = None


def _saved(image, format, **options):
    """Of a copy: Pillow leaves the settings of one encoder on a picture that another one trips over."""
    buffer, image = io.BytesIO(), image if isinstance(image, Image.Image) else Image.fromarray(image)
    more = {"append_images": [other.copy() for other in options.pop("append_images", ())]}
    image.copy().save(buffer, format, **options, **(more if "save_all" in options else {}))
    return buffer.getvalue()


def _chunk(kind, content=b""):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_header(width, height, depth=8, colour=2):
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header


def _resized_header(data, marker, at, form, *sizes):
    """Writes other sizes behind the first `marker` of an encoded picture."""
    at += data.index(marker)
    new = struct.pack(form, *sizes)
    return data[:at] + new + data[at + len(new) :]


def _exif(**tags):
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[int(tag[1:], 16)] = value
    return exif


@functools.cache
def contents(height: int, width: int) -> dict:
    """{kind: Content} of pictures of one size; the same for the same size."""
    rng = np.random.default_rng([height, width])
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([100 + 90 * np.sin(x / 5 + phase + y / 7) for phase in range(3)], -1)
    rgb = (rgb + rng.integers(0, 40, rgb.shape)).astype(np.uint8)
    image, gray = Image.fromarray(rgb), rgb[..., 0]
    gray3 = np.repeat(gray[..., None], 3, axis=2)
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(gray))
    palette = image.quantize(8)
    of_palette = np.array(palette.convert("RGB"))
    turned = np.rot90(rgb).copy()  # orientation 6 brings it upright
    one_bit = np.repeat(((gray > 99) * np.uint8(255))[..., None], 3, axis=2)
    two = {"save_all": True, "append_images": [image.rotate(180)]}
    made = {
        "png": (lambda: _saved(rgb, "PNG"), ".png", rgb),
        "png gray": (lambda: _saved(gray, "PNG"), ".png", gray3),
        "png alpha": (lambda: _saved(alpha, "PNG"), ".png", rgb),
        "png gray alpha": (lambda: _saved(alpha.convert("LA"), "PNG"), ".png", True),
        "png palette": (lambda: _saved(palette, "PNG"), ".png", of_palette),
        "png see-through": (lambda: _saved(palette, "PNG", transparency=bytes(range(8))), ".png", of_palette),
        "png 1 bit": (lambda: _saved(Image.fromarray(gray > 99), "PNG"), ".png", one_bit),
        "png 16 bit": (lambda: _saved(gray.astype(np.uint16) * 257, "PNG"), ".png", gray3),
        "png turned": (lambda: _saved(turned, "PNG", exif=_exif(x0112=6)), ".png", rgb),
        "png trailing": (lambda: _saved(rgb, "PNG") + b"\xff\0more", ".png", rgb),
        "jpeg": (lambda: _saved(rgb, "JPEG", quality=90), ".jpg", True),
        "jpeg gray": (lambda: _saved(gray, "JPEG"), ".jpeg", True),
        "jpeg progressive": (lambda: _saved(rgb, "JPEG", progressive=True), ".JPG", True),
        "jpeg cmyk": (lambda: _saved(image.convert("CMYK"), "JPEG"), ".jpg", True),
        "jpeg exif": (
            lambda: _saved(rgb, "JPEG", exif=_exif(x010E="x" * 60000, x0112=1), comment=b"c" * 60000),
            ".jpg",
            True,
        ),
        "jpeg bad exif": (lambda: _saved(rgb, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\0\0zzzz"), ".jpg", True),
        "png bad exif": (lambda: _saved(rgb, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09ab"), ".png", True),
        "mpo": (lambda: _saved(image, "MPO", **two), ".jpg", True),
        "gif": (lambda: _saved(palette, "GIF"), ".gif", of_palette),
        "gif animated": (lambda: _saved(image, "GIF", **two), ".gif", None),
        "webp": (lambda: _saved(rgb, "WEBP", lossless=True), ".webp", rgb),
        "webp lossy": (lambda: _saved(rgb, "WEBP", quality=80), ".webp", True),
        "webp animated": (lambda: _saved(image, "WEBP", **two), ".webp", None),
        "png animated": (lambda: _saved(image, "PNG", **two), ".png", None),
        "bmp": (lambda: _saved(rgb, "BMP"), ".bmp", rgb),
        "tiff": (lambda: _saved(rgb, "TIFF"), ".tif", rgb),
        "tiff lzw": (lambda: _saved(rgb, "TIFF", compression="tiff_lzw"), ".tiff", rgb),
        "tiff jpeg": (lambda: _saved(rgb, "TIFF", compression="jpeg"), ".tiff", True),
        "tiff float": (lambda: _saved(gray.astype(np.float32), "TIFF"), ".tif", None),
        "tiff 32 bit": (lambda: _saved(gray.astype(np.int32), "TIFF"), ".tif", None),
        "tiff 16 bit": (lambda: _saved(gray.astype(np.uint16) * 257, "TIFF"), ".tif", gray3),
        "tiff pages": (lambda: _saved(image, "TIFF", **two), ".tif", None),
        "tiff lab": (lambda: _saved(Image.frombytes("LAB", image.size, rgb.tobytes()), "TIFF"), ".tif", True),
        "ppm": (lambda: _saved(rgb, "PPM"), ".ppm", rgb),
        "tga": (lambda: _saved(rgb, "TGA"), ".tga", rgb),
        "pcx": (lambda: _saved(rgb, "PCX"), ".pcx", rgb),
        "jpeg 2000": (lambda: _saved(rgb, "JPEG2000"), ".jp2", rgb),
        "avif": (lambda: _saved(rgb, "AVIF"), ".avif", True),
        "sgi": (lambda: _saved(rgb, "SGI"), ".sgi", rgb),
        "eps": (lambda: _saved(rgb, "EPS"), ".png", None),
        "pdf": (lambda: _saved(rgb, "PDF"), ".jpg", None),
        "icns": (lambda: _saved(Image.new("RGBA", (16, 16)), "ICNS"), ".png", None),
    }
    found = {}
    for kind, (make, suffix, shown) in made.items():
        with contextlib.suppress(OSError, ValueError, SystemError):  # not every kind takes every size
            data = make()
            if shown is True:  # lossy: what an independent reader, Pillow alone, makes of it
                shown = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
            found[kind] = Content(data, suffix, shown)
    return found


def bombs() -> dict:
    """{kind: Content} of files that claim more pixels than they have."""
    tiny = Image.new("RGB", (8, 8))
    jpeg, gif, tiff = _saved(tiny, "JPEG"), _saved(tiny, "GIF"), _saved(tiny, "TIFF")
    bmp, webp, jp2 = _saved(tiny, "BMP"), _saved(tiny, "WEBP"), _saved(tiny, "JPEG2000", no_jp2=True)
    pixels = _chunk(b"IDAT", zlib.compress(bytes(5000))) + _chunk(b"IEND")
    text = _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000), 9))
    return {
        "png beyond": Content(_png_header(60000, 50000) + pixels, ".png"),
        "png just allowed": Content(_png_header(17000, 17000) + pixels, ".png"),
        "png text": Content(_png_header(8, 8) + text + _saved(tiny, "PNG")[33:], ".png"),
        "jpeg beyond": Content(_resized_header(jpeg, b"\xff\xc0", 5, ">HH", 65500, 65500), ".jpg"),
        "gif beyond": Content(_resized_header(gif, b"GIF8", 6, "<HH", 65535, 65535), ".gif"),
        "bmp beyond": Content(_resized_header(bmp, b"BM", 18, "<ii", 2**31 - 1, 2**31 - 1), ".bmp"),
        "bmp just allowed": Content(_resized_header(bmp, b"BM", 18, "<ii", 17000, 17000), ".bmp"),
        "webp just allowed": Content(_resized_header(webp, b"\x9d\x01\x2a", 3, "<HH", 16383, 16383), ".webp"),
        "jp2 just allowed": Content(_resized_header(jp2, b"\xff\x51", 6, ">II", 17000, 17000), ".jp2"),
        "tiff just allowed": Content(_tiff_sizes(tiff, 17000, 17000), ".tif"),
        "tiff beyond": Content(_tiff_sizes(tiff, 2**31 - 1, 2**31 - 1), ".tif"),
        "ppm just allowed": Content(b"P6 17000 17000 255\n" + bytes(100), ".ppm"),
        "ppm beyond": Content(b"P6 99999999999999999999 9999999999 255\n" + bytes(100), ".ppm"),
    }


def blanks() -> dict:
    """{kind: Content} of files of some hundred bytes that their decoders make whole, large, empty pictures of."""
    tiny = Image.new("RGB", (8, 8))
    jpeg, jp2 = _saved(tiny, "JPEG"), _saved(tiny, "JPEG2000", no_jp2=True)
    jp2 = _resized_header(jp2, b"\xff\x51", 6, ">II", 2000, 2000)
    return {
        "jpeg blank": Content(_resized_header(jpeg, b"\xff\xc0", 5, ">HH", 2000, 2000), ".jpg"),
        "jp2 blank": Content(_resized_header(jp2, b"\xff\x51", 22, ">II", 2000, 2000), ".jp2"),
    }


def _tiff_sizes(data, width, height):
    (at,) = struct.unpack_from("<I", data, 4)
    data = bytearray(data)
    for number in range(struct.unpack_from("<H", data, at)[0]):
        entry = at + 2 + 12 * number
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in (256, 257):
            struct.pack_into("<HHII", data, entry, tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


MAGICS = b"II*\0 MM\0* GIF89a BM \xff\xd8\xff\xe0 \x89PNG\r\n\x1a\n RIFF8\0\0\0WEBPVP8L 8BPS %!PS-Adobe P5 P6 P7 qoif"
MAGICS += b" \x76\x2f\x31\x01 \0\0\1\0 SIMPLE icns \0\0\0\x0cjP DDS /*_XPM_*/ #define \x0a\x05\1\x08 FORM %PDF- GRIB BLP2"
JUNK = {f"magic {n}": Content(m + bytes(range(64)), ".png") for n, m in enumerate(MAGICS.split(b" "))}
JUNK |= {
    "empty": Content(b"", ".png"),
    "one byte": Content(b"\x89", ".png"),
    "zeros": Content(bytes(4000), ".jpg"),
    "text": Content(b"no picture at all\n", ".jpg"),
    "html": Content(b"<!doctype html><title>404</title>", ".png"),
    "svg": Content(b"<svg xmlns='http://www.w3.org/2000/svg'/>", ".png"),
    "no IDAT": Content(_png_header(8, 8) + _chunk(b"IEND"), ".png"),
    "png 0x0": Content(_png_header(0, 0) + _chunk(b"IDAT") + _chunk(b"IEND"), ".png"),
    "short IHDR": Content(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", b"\0\0\0\1") + _chunk(b"IEND"), ".png"),
}
ODD = JUNK | bombs() | blanks()
SPARSE = "sparse"  # a whole PNG, and so many zeros behind it
SPARSE_BYTES = 2 * 2**30
WHOLE = sorted(kind for kind, content in contents(16, 20).items() if content.rgb is not None)
PLAIN = ("png", "jpeg", "png gray", "jpeg gray", "bmp", "webp")
SIZES = ((16, 20), (1, 1), (3, 2), (33, 17), (1, 40), (64, 5))


@dataclasses.dataclass(frozen=True)
class Picture:
    """What lies in one file: a kind of `contents` of the size numbered, or of `ODD`, and what was done to it."""

    kind: str
    size: int = 0
    damage: tuple | None = None  # kind, place (0 to 1), byte

    def make(self) -> Content:
        found = contents(*SIZES[self.size])
        content = ODD.get(self.kind) or found.get(self.kind) or found["png"]
        if self.damage is None:
            return content
        return Content(damaged(content.data, *self.damage), content.suffix)


def damaged(data: bytes, kind: str, place: float, byte: int) -> bytes:
    at = min(int(place * len(data)), max(0, len(data) - 1))
    head, tail = data[:at], data[at:]
    return {
        "flip": head + bytes(b ^ (byte or 1) for b in tail[:1]) + tail[1:],
        "cut": head,
        "lose": head + tail[1 + byte :],
        "insert": head + bytes([byte]) * (1 + byte) + tail,
        "zeros": head + bytes(len(tail)),
        "twice": data + tail,
    }[kind]


DAMAGES = st.tuples(
    st.sampled_from(("flip", "flip", "cut", "lose", "insert", "zeros", "twice")),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 255),
)

# ---- names ----------------------------------------------------------------------------------------------------

_STEMS = r"""0001 1400 7 a a.b.c café cafe\u0301 日本語 \u05d0\u05d1 a\nb \n tab\there \x1b[31mred \u2028 x\u0085y \u202eltr \rback %s
    %(x)d {0} $(x) `x` a;b ' " * ? [a] ~ #key C:x back\\slash ..\\up CON nul.txt x.tmp-1 @00000_00000 a@00000_00000 -dash
    --help - ... a... _hazy _GT x_hazy 1_2 1_2_0.5 0001_0.8_0.2 1e5 \U0001f32b 0001.png a.jpg a.tif \ufeffbom \x7f
    train-00000-of-00001"""
STEMS = [stem.encode("latin-1", "backslashreplace").decode("unicode_escape") for stem in _STEMS.split()]
STEMS += ["a b", " lead", "trail ", "a  b", "n" * 240, "é" * 120, "\u3000", "\udcff", "caf\udce9"]
# Stems that can be told from each other, and from those of other scenes when "good " stands before them.
GOOD_STEMS = sorted(
    {unicodedata.normalize("NFC", stem) for stem in STEMS if not "\udc80" <= stem[-1] <= "\udcff"}
)
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
    hazy: Picture | None
    clear: Picture | None
    suffixes: tuple = (None, None)  # None: that of the content
    folder: str = ""

    def names(self):
        """(file name, Picture) of the hazy side and of the clear side; None where there is none."""
        for side in (0, 1):
            picture = (self.hazy, self.clear)[side]
            if picture is None:
                yield None
                continue
            suffix = self.suffixes[side]
            suffix = picture.make().suffix if suffix is None else suffix
            base = self.template[side].format(self.stem).encode("utf-8", "surrogateescape")
            base = base[: 255 - len(suffix)].decode(
                "utf-8", "ignore" if len(base) > 200 else "surrogateescape"
            )
            yield self.folder + base + suffix, picture


EXTRAS = {  # what else lies in the folder of the hazy pictures; each is called with that folder and the clear one
    "hidden": lambda hazy, clear: (hazy / ".hidden.png").write_bytes(b"x"),
    "hidden temporary": lambda hazy, clear: (hazy / ".mine.tmp-1").write_bytes(b"x"),
    "text": lambda hazy, clear: (hazy / "read me.txt").write_text("x"),
    "odd suffix": lambda hazy, clear: (hazy / "a.\x1b[2J\nb").write_text("x"),
    "folder like a picture": lambda hazy, clear: (hazy / "folder.png").mkdir(exist_ok=True),
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
    """Deeper than Python recurses; the path is still shorter than the system's limit."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


def _mesh(folder, size=12):
    """Folders of which each holds links to all others: 12! ways through them."""
    for number in range(size):
        (folder / f"mesh{number}").mkdir()
        for other in range(size):
            (folder / f"mesh{number}/to{other}").symlink_to(f"../mesh{other}")


# ---- cases ----------------------------------------------------------------------------------------------------

FORGIVING = (
    "--allow_orphans",
    "--skip_bad",
    "--size_mismatch=resize",
    "--pairing=same_name",
    "--val_fraction=0",
)
HUGE = ("9" * 400, "9" * 5000)
PAIRINGS = (
    "same_name",
    "rice",
    "auto",
    "dense-haze",
    "",
    "(",
    "(.)(.)",
    r"^(\w+)",
    "(?P<key>.)",
    "(?L)(a)",
    "\x1b(.)",
)
PAIRINGS += ("(a{99999999999})", "(" * 500 + ")" * 500, "[[a](.)", "(?P<key>x)|(y)", "(?i)^(.+?)_")
VALUES = {
    "--image_size": ("1", "8", "33", "0", "-1", "1.5", "", "20000", "100000", "1000000000", *HUGE),
    "--max_side": ("1", "7", "100", "x", *HUGE),
    "--tile_size": ("4", "9", "100", "0", *HUGE),
    "--tile_overlap": ("0", "1", "3", "8", "-1", HUGE[0]),
    "--encoding": ("keep", "png", "jpeg", "jpeg", "webp"),
    "--quality": ("1", "100", "x", "0"),
    "--size_mismatch": ("resize", "center_crop", ""),
    "--num_shards": ("1", "2", "3", "auto", "0", "1000", "", "１", *HUGE),
    "--val_fraction": ("0", "0.5", "0.99", "1", "-0", "nan", "inf", "1e-320", "", "x"),
    "--val_keys": ("@first", "@all", "@unknown", "@binary", "@empty", "@none", "@folder"),
    "--seed": ("0", "-5", "7", "x", *HUGE),
    "--name": ("set", "a-b", "", "S_9", "é", "a\nb", "n" * 150, "n" * 300, "../x"),
    "--pairing": PAIRINGS,
    "--workers": ("0", "-1", "x"),  # never more than 1: a pool would start a server of its own
}
FLAGS = [f"{name}={value}" for name, values in VALUES.items() for value in values]
FLAGS += [
    "--allow_orphans",
    "--skip_bad",
    "--allow_orphans=1",
    "--nothing",
    "--nothing=\n",
    "--",
    "-",
    "extra",
    "-x\x1b",
]
FLAGS = st.sampled_from([*FLAGS, "--help", "--seed", "\udcff"])
OUTPUTS = (
    "new",
    "new",
    "new",
    "new",
    "a/b/c",
    "empty",
    "odd \n[x]*?{0}%s",
    "-out",
    "n" * 255,
    "n" * 300,
    "\udcff",
    "é",
)
OUTPUTS += (
    "foreign",
    "file",
    "file/below",
    "loop",
    "link",
    "dangling",
    "hazy",
    "hazy/out",
    "gt",
    ".",
    "",
    "a://b",
    "half",
)


@dataclasses.dataclass(frozen=True)
class Case:
    """`scenes`, with `extras` beside them; `good` ones of whole pictures, which must come out (see `sure`)."""

    scenes: tuple
    good: tuple = ()
    extras: tuple = ()
    flags: tuple = ()
    output: str = "new"
    one_folder: bool = False
    relative: bool = False

    def write(self, root) -> tuple:
        """Makes the two folders in `root`; returns {file name: Content} of each."""
        folders = [root / "in put" / name for name in ("hazy", "hazy" if self.one_folder else "gt")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        written = {}, {}
        for scene in (*self.scenes, *self.good):
            for side, named in enumerate(scene.names()):
                if named is None:
                    continue
                name, picture = named
                path = folders[side] / name
                with contextlib.suppress(OSError):  # a name that cannot be, or is a folder's
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if picture.kind == SPARSE:
                        path.write_bytes(contents(*SIZES[picture.size])["png"].data)
                        os.truncate(path, SPARSE_BYTES)
                        written[side].pop(name, None)
                    else:
                        content = picture.make()
                        path.write_bytes(content.data)
                        written[side][name] = content
        for extra in self.extras:
            with contextlib.suppress(OSError):  # the name is taken
                EXTRAS[extra](*folders)
        return folders, written

    def place_output(self, root, folders) -> pathlib.Path:
        output = root / self.output
        if self.output in ("hazy", "gt", "hazy/out"):
            return root / "in put" / self.output
        if self.output == "empty":
            output.mkdir()
        elif self.output == "foreign":
            output.mkdir()
            (output / "thesis\x1b.tex").write_text("x")
        elif self.output == "half":  # somebody's own files, by names like those of our temporary ones
            (output / ".mine.tmp-old").mkdir(parents=True)
            (output / "x.tmp-1.png").write_text("x")
        elif self.output == "file" or self.output == "file/below":
            (root / "file").write_text("x")
        elif self.output == "loop":
            output.symlink_to("loop")
        elif self.output == "dangling":
            output.symlink_to("nowhere/at all")
        elif self.output == "link":
            (root / "target").mkdir()
            output.symlink_to("target")
        elif self.output in (".", ""):
            return root / "here"
        return output

    def arguments(self, root, folders, output) -> list:
        flags = []
        for flag in self.flags:
            name, _, kind = flag.partition("=@")
            flags.append(f"{name}={self._keys(root, kind)}" if kind else flag)
        places = {"hazy_dir": folders[0], "gt_dir": folders[1], "output_dir": output}
        if self.output in (".", ""):
            output.mkdir()
            places["output_dir"] = self.output
        elif self.relative:
            places = {name: os.path.relpath(path, root) for name, path in places.items()}
        places = [f"--{name}={path}" for name, path in places.items()]
        one = [] if any(flag.startswith("--workers") for flag in flags) else ["--workers=1"]
        return ["convert", *flags, *places, *one] if self.relative else ["convert", *places, *one, *flags]

    def _keys(self, root, kind):
        path = root / f"keys {kind}"
        stems = [
            name[0].rpartition("/")[2].rpartition(".")[0] for s in self.scenes if (name := next(s.names()))
        ]
        lines = {"first": stems[:1], "all": stems, "unknown": ["nobody\x1b", "a\x85b"], "empty": ["# none"]}
        if kind == "folder":
            path.mkdir(exist_ok=True)
        elif kind == "binary":
            path.write_bytes(b"\xff\xfe\0")
        elif kind in lines:
            path.write_text("\n".join(lines[kind]) + "\n", encoding="utf-8", errors="surrogateescape")
        return path

    def sure(self) -> dict:
        """{hazy file: clear file} of pairs that must come out, whatever else lies there; else {}."""
        names = [named[0] for scene in self.scenes for named in scene.names() if named]
        refused = (
            self.output not in FINE
            or "mesh" in self.extras
            or any("\udc80" <= c <= "\udcff" for c in "".join(names))
        )
        return {} if refused else dict([name for name, _ in scene.names()] for scene in self.good)


# `good` scenes must be converted with these outputs and flags; FORGIVING lets everything else lie beside them.
FINE = ("new", "a/b/c", "empty", "link", "odd \n[x]*?{0}%s", "-out", "n" * 255, "é", ".", "hazy/out")
MORE = st.sampled_from(
    ("--encoding=png", "--encoding=jpeg", "--max_side=7", "--seed=7", "--name=S_9", "--tile_size=9")
)


@st.composite
def cases(draw) -> Case:
    """From folders that must be converted to folders where nothing is as it should be."""
    kind = draw(st.sampled_from(("good", "flags", "flags", "forgiven", "forgiven", "any", "any", "any")))
    size = draw(st.integers(0, len(SIZES) - 1))
    whole = st.builds(Picture, st.sampled_from(WHOLE), st.just(size))
    output = draw(st.one_of(st.just("new"), st.sampled_from(OUTPUTS)))
    relative = draw(st.booleans())
    if kind in ("good", "flags"):
        letters = st.text(st.sampled_from("abxyz019_ é-"), min_size=1, max_size=6)
        stems = draw(st.lists(letters, min_size=1, max_size=5, unique=True))
        template = draw(st.sampled_from(TEMPLATES[:5]))
        plain = st.builds(Picture, st.sampled_from(PLAIN), st.just(size))
        scenes = tuple(Scene(f"s{stem}e", template, draw(plain), draw(plain)) for stem in stems)
        if kind == "good":
            flags = draw(st.lists(MORE, max_size=2, unique_by=lambda flag: flag.partition("=")[0]))
            return Case((), scenes, flags=tuple(flags), output=output, relative=relative)
        flags = draw(st.lists(FLAGS, min_size=1, max_size=2))
        return Case(scenes, flags=tuple(flags), output=output, relative=relative)

    odd = st.one_of(
        whole,
        st.builds(Picture, st.sampled_from(sorted(contents(16, 20))), st.integers(0, len(SIZES) - 1)),
        st.builds(Picture, st.sampled_from(sorted(contents(16, 20))), st.just(size), DAMAGES),
        st.builds(Picture, st.sampled_from(sorted(ODD)), st.just(size)),
        st.builds(Picture, st.sampled_from(sorted(ODD)), st.just(size), DAMAGES),
        st.just(Picture(SPARSE, size)),
        st.none(),
    )
    picture = st.one_of(whole, whole, odd)
    stem = st.one_of(st.sampled_from(STEMS), st.text(LETTERS, min_size=1, max_size=5))
    template = draw(st.sampled_from(TEMPLATES)) if kind == "any" else TEMPLATES[0]
    templates = st.just(template) if draw(st.booleans()) else st.sampled_from((template, *TEMPLATES))
    suffix = st.one_of(st.none(), st.none(), st.sampled_from(SUFFIXES))
    suffixes = st.tuples(suffix, suffix)
    scene = st.builds(Scene, stem, templates, picture, picture, suffixes, st.sampled_from(FOLDERS))
    scenes = draw(st.lists(scene, min_size=1, max_size=4))
    if draw(st.integers(0, 40)) == 0:  # many at once: several threads look at headers
        bomb = Picture(draw(st.sampled_from(sorted(bombs()))))
        scenes += [Scene(f"bomb{number}", TEMPLATES[0], bomb, bomb) for number in range(6)]
    slow = {"deep", "mesh"}
    extras = draw(st.lists(st.sampled_from(sorted(EXTRAS.keys() - slow)), max_size=2, unique=True))
    extras += [draw(st.sampled_from(sorted(slow)))] if draw(st.integers(0, 25)) == 0 else []
    if kind == "forgiven":
        stems = st.lists(st.sampled_from(GOOD_STEMS), min_size=1, max_size=3, unique=True)
        good = [Scene(f"good {stem}", TEMPLATES[0], draw(whole), draw(whole)) for stem in draw(stems)]
        flags = (*FORGIVING, *draw(st.lists(MORE, max_size=1)))
        return Case(tuple(scenes), tuple(good), tuple(extras), flags, output, relative=relative)
    flags = (*draw(st.sampled_from(((), FORGIVING[:3], FORGIVING[:2]))), *draw(st.lists(FLAGS, max_size=2)))
    one = draw(st.integers(0, 7)) == 0
    return Case(tuple(scenes), (), tuple(extras), flags, output, one, relative)


# ---- what must hold -------------------------------------------------------------------------------------------


def check(case: Case, root: pathlib.Path, run=lambda argv: fuzzing.run(main, argv)) -> str:
    folders, written = case.write(root)
    output = case.place_output(root, folders)
    argv = case.arguments(root, folders, output)
    inputs = [folder for folder in dict.fromkeys(folders) if output != folder]
    before = {
        p: w for p, w in fuzzing.snapshot(*folders).items() if not p.startswith(os.fsencode(output) + b"/")
    }
    around = fuzzing.snapshot(root)
    with _inside(output if case.output in (".", "") else root):
        ended = run(argv)
        word = fuzzing.judge(ended, fuzzing.TOOLS)
        if "--help" in case.flags and "usage:" in ended.out:
            return "help"
        if case.sure():
            assert word == "success", (ended, case.sure())
        if word == "error":
            nothing_left(output, around, root)
        else:
            check_output(case, root, output, folders, written, run)
            again = fuzzing.snapshot(output)
            repeated = run(argv)
            assert fuzzing.judge(repeated, fuzzing.TOOLS) == "success" and "nothing to do" in repeated.out, (
                repeated
            )
            assert fuzzing.snapshot(output) == again
    after = {p: w for p, w in fuzzing.snapshot(*folders).items() if p in before or output not in folders}
    after = {p: w for p, w in after.items() if not _within(p, output)}
    assert after == {p: w for p, w in before.items() if not _within(p, output)}, "an input was changed"
    assert inputs or word == "error"
    return word


@contextlib.contextmanager
def _inside(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _within(path: bytes, folder) -> bool:
    return path == os.fsencode(folder) or path.startswith(os.fsencode(folder) + b"/")


def nothing_left(output, around, root):
    """After a failure all is as before, or there is a conversion that the same command can take up."""
    now = fuzzing.snapshot(root)
    changed = {path for path in now.keys() | around.keys() if now.get(path) != around.get(path)}
    if not changed:
        return
    own = rb"\.convert\.json|\.?\w+-(train|val)\.(tfrecord-\d{5}-of-\d{5}(\.done\.json)?|sources\.jsonl|index\.npy)"
    own += rb"|dataset_info\.json|features\.json|skipped\.txt"
    assert (output / resume.STATE).is_file(), changed
    real = os.fsencode(os.path.realpath(output))
    for path in changed:
        if os.fsencode(os.path.realpath(path)) == real or real.startswith(path + b"/"):
            continue  # the folder itself, and those above it
        assert re.fullmatch(own, os.path.basename(path)), changed


def check_output(case, root, output, folders, written, run):
    """Reads what was made by other means than the tools', then by the tools."""
    manifest = records.load_manifest(output)
    names = {
        name for name in os.listdir(output) if output not in folders or name.startswith(manifest["name"])
    }
    expected = {"manifest.json", "dataset_info.json", "features.json"}
    pairs = []
    for split, entry in manifest["splits"].items():
        expected |= {one["file"] for one in entry["shards"]} | {entry["index"], entry["sources"]}
        opened = records.open_split(output, split)
        for number, row in enumerate(opened.index):
            data = opened.shards[row["shard"]].read_bytes()
            payload = data[int(row["offset"]) : int(row["offset"]) + int(row["length"])]
            records.check_payload(payload, split=opened, record=number)
            pairs.append(records.parse(payload))
    if manifest["skipped"]:
        expected.add("skipped.txt")
        lines = (output / "skipped.txt").read_text(encoding="utf-8").split("\n")
        assert len(lines) == manifest["skipped"] + 2 and all(line.count("\t") == 3 for line in lines[1:-1]), (
            lines
        )
    assert names == expected
    assert len({pair.key for pair in pairs}) == len(pairs) > 0
    options = manifest["options"]
    whole = not options["tile_size"]
    for pair in pairs if whole else ():
        pixels_are_right(pair, options, written)
    if whole:
        assert case.sure().items() <= {pair.hazy_source: pair.clear_source for pair in pairs}.items()
    for command in (["verify", output, "--workers=1"], ["info", output], ["info", output, "--json"]):
        ended = run(command)
        assert fuzzing.judge(ended, fuzzing.TOOLS) == "success", ended
    found = json.loads(ended.out)
    assert sum(split["records"] for split in found["splits"].values()) == len(pairs)
    target = root / "extracted \n\udcff" / "to"
    ended = run(["extract", output, f"--output_dir={target}"])
    assert fuzzing.judge(ended, fuzzing.TOOLS) == "success", ended
    check_extracted(pairs, target, written, whole=whole)


def pixels_are_right(pair, options, written):
    """Lossless records of pictures of one size show what was put in, and kept ones are the files themselves."""
    put_in = [
        files.get(name) for files, name in zip(written, (pair.hazy_source, pair.clear_source), strict=True)
    ]
    known = all(content is not None and content.rgb is not None for content in put_in)
    unchanged = known and put_in[0].rgb.shape == put_in[1].rgb.shape
    unchanged &= not (options["max_side"] or options["image_size"] or options["encoding"] == "jpeg")
    for data, content in zip((pair.hazy, pair.clear), put_in, strict=True):
        with Image.open(io.BytesIO(data)) as image:
            assert image.format in ("PNG", "JPEG", "MPO")
            shown = np.asarray(image.convert("RGB"))
        assert shown.shape[:2] == (pair.height, pair.width)
        if unchanged:
            np.testing.assert_array_equal(shown, content.rgb)


def check_extracted(pairs, target, written, *, whole):
    """Every picture of every record is there, and a kept file under its own name."""
    found = {}
    for folder in ("hazy", "GT"):
        for path, (_, _, _) in fuzzing.snapshot(target / folder).items():
            if os.path.isfile(path):
                name = os.fsdecode(os.path.relpath(path, os.fsencode(target / folder)))
                found[folder, name] = pathlib.Path(os.fsdecode(path)).read_bytes()
    for side, folder in enumerate(("hazy", "GT")):
        made = {(pair.hazy, pair.clear)[side] for pair in pairs}
        assert {data for (place, _), data in found.items() if place == folder} == made
        for pair in pairs if whole else ():
            name, data = (pair.hazy_source, pair.clear_source)[side], (pair.hazy, pair.clear)[side]
            content = written[side].get(name)
            if content is not None and content.data == data:
                assert found.get((folder, name)) == data, name


# ---- campaigns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["small", "full"])
def test_folders(full, tmp_path):
    fuzzing.campaign("folders", fuzzing.cases("folders", full=full), cases(), check, base=tmp_path)


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["small", "full"])
def test_folders_in_processes(full, tmp_path):
    count = fuzzing.PROCESSES["folders"][full]

    def in_processes(case, root):
        return check(case, root, run=lambda argv: fuzzing.run_process("tfrecords_tools", argv))

    fuzzing.campaign("folders, as processes", count, cases(), in_processes, base=tmp_path)
