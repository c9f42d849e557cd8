"""Calls of `hazeheal-tfrecords convert` for the fuzz tests: valid and invalid folders, flags and output directories."""

import contextlib
import dataclasses
import os
import pathlib

from fuzz_images import DAMAGES, ODD, PLAIN, SIZES, SPARSE, SPARSE_BYTES, WHOLE, FuzzedFile, bombs, contents
from fuzz_scenes import EXTRAS, FOLDERS, GOOD_STEMS, LETTERS, STEMS, SUFFIXES, TEMPLATES, Scene
from hypothesis import strategies as st

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
    "--white": ("65535", "0", "-1", "nan", "inf", "p", "p200", "x", "", *HUGE),
    "--bands": ("4,3,2", "1", "3,2,1", "0", "1,2", "a", "", *HUGE),
    "--color": ("keep", "convert", "x"),
    "--num_shards": ("1", "2", "3", "auto", "0", "1000", "", "１", *HUGE),
    "--val_fraction": ("0", "0.5", "0.99", "1", "-0", "nan", "inf", "1e-320", "", "x"),
    "--val_keys": ("@first", "@all", "@unknown", "@binary", "@empty", "@none", "@folder"),
    "--seed": ("0", "-5", "7", "x", *HUGE),
    "--name": ("set", "a-b", "", "S_9", "é", "a\nb", "n" * 150, "n" * 300, "../x"),
    "--pairing": PAIRINGS,
    "--workers": ("0", "-1", "x"),  # at most 1: a pool would start a fork server
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
    """`scenes` with `extras` in the same folders, and `good` scenes of intact images, which must be converted (see `sure`)."""

    scenes: tuple
    good: tuple = ()
    extras: tuple = ()
    flags: tuple = ()
    output: str = "new"
    one_folder: bool = False
    relative: bool = False

    def write(self, root) -> tuple:
        """Writes the two folders in `root`; returns them, and {file name: Content} of each."""
        folders = [root / "in put" / name for name in ("hazy", "hazy" if self.one_folder else "gt")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        written = {}, {}
        for scene in (*self.scenes, *self.good):
            for side, named in enumerate(scene.names()):
                if named is None:
                    continue
                name, image = named
                path = folders[side] / name
                with contextlib.suppress(OSError):  # the name is invalid, or is that of a folder
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if image.kind == SPARSE:
                        path.write_bytes(contents(*SIZES[image.size])["png"].data)
                        os.truncate(path, SPARSE_BYTES)
                        written[side].pop(name, None)
                    else:
                        content = image.make()
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
        elif self.output == "half":  # other files with names similar to our temporary names
            (output / ".12-other.part").mkdir(parents=True)
            (output / "12-0a1b2c.part.png").write_text("x")
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
        stems = [name[0].rpartition("/")[2].rpartition(".")[0] for s in self.scenes if (name := next(s.names()))]
        lines = {"first": stems[:1], "all": stems, "unknown": ["nobody\x1b", "a\x85b"], "empty": ["# none"]}
        if kind == "folder":
            path.mkdir(exist_ok=True)
        elif kind == "binary":
            path.write_bytes(b"\xff\xfe\0")
        elif kind in lines:
            path.write_text("\n".join(lines[kind]) + "\n", encoding="utf-8", errors="surrogateescape")
        return path

    def sure(self) -> dict:
        """Returns {hazy file: clear file} of the pairs that must be converted; empty if the conversion may fail."""
        names = [named[0] for scene in self.scenes for named in scene.names() if named]
        refused = (
            self.output not in FINE or "mesh" in self.extras or any("\udc80" <= c <= "\udcff" for c in "".join(names))
        )
        return {} if refused else dict([name for name, _ in scene.names()] for scene in self.good)


# `good` scenes must be converted with these outputs and flags. FORGIVING allows everything else in the folders.
FINE = ("new", "a/b/c", "empty", "link", "odd \n[x]*?{0}%s", "-out", "n" * 255, "é", ".", "hazy/out")
MORE = st.sampled_from(("--encoding=png", "--encoding=jpeg", "--max_side=7", "--seed=7", "--name=S_9", "--tile_size=9"))


@st.composite
def cases(draw) -> Case:
    """Draws cases from valid folders, which must be converted, to folders in which nothing is valid."""
    kind = draw(st.sampled_from(("good", "flags", "flags", "forgiven", "forgiven", "any", "any", "any")))
    size = draw(st.integers(0, len(SIZES) - 1))
    whole = st.builds(FuzzedFile, st.sampled_from(WHOLE), st.just(size))
    output = draw(st.one_of(st.just("new"), st.sampled_from(OUTPUTS)))
    relative = draw(st.booleans())
    if kind in ("good", "flags"):
        letters = st.text(st.sampled_from("abxyz019_ é-"), min_size=1, max_size=6)
        stems = draw(st.lists(letters, min_size=1, max_size=5, unique=True))
        template = draw(st.sampled_from(TEMPLATES[:5]))
        plain = st.builds(FuzzedFile, st.sampled_from(PLAIN), st.just(size))
        scenes = tuple(Scene(f"s{stem}e", template, draw(plain), draw(plain)) for stem in stems)
        if kind == "good":
            flags = draw(st.lists(MORE, max_size=2, unique_by=lambda flag: flag.partition("=")[0]))
            return Case((), scenes, flags=tuple(flags), output=output, relative=relative)
        flags = draw(st.lists(FLAGS, min_size=1, max_size=2))
        return Case(scenes, flags=tuple(flags), output=output, relative=relative)

    odd = st.one_of(
        whole,
        st.builds(FuzzedFile, st.sampled_from(sorted(contents(16, 20))), st.integers(0, len(SIZES) - 1)),
        st.builds(FuzzedFile, st.sampled_from(sorted(contents(16, 20))), st.just(size), DAMAGES),
        st.builds(FuzzedFile, st.sampled_from(sorted(ODD)), st.just(size)),
        st.builds(FuzzedFile, st.sampled_from(sorted(ODD)), st.just(size), DAMAGES),
        st.just(FuzzedFile(SPARSE, size)),
        st.none(),
    )
    image = st.one_of(whole, whole, odd)
    stem = st.one_of(st.sampled_from(STEMS), st.text(LETTERS, min_size=1, max_size=5))
    template = draw(st.sampled_from(TEMPLATES)) if kind == "any" else TEMPLATES[0]
    templates = st.just(template) if draw(st.booleans()) else st.sampled_from((template, *TEMPLATES))
    suffix = st.one_of(st.none(), st.none(), st.sampled_from(SUFFIXES))
    suffixes = st.tuples(suffix, suffix)
    scene = st.builds(Scene, stem, templates, image, image, suffixes, st.sampled_from(FOLDERS))
    scenes = draw(st.lists(scene, min_size=1, max_size=4))
    if draw(st.integers(0, 40)) == 0:  # several threads read headers at the same time
        bomb = FuzzedFile(draw(st.sampled_from(sorted(bombs()))))
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
