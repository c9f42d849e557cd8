"""`--val_keys`: every form of a name and of a text file works, or the message quotes the line that is wrong."""

import codecs

import pytest
from converting import arguments, convert, write_pairs

from hazeheal.data import records
from hazeheal.errors import UsageError
from hazeheal.utils.text_files import read_text, split_lines
from tfrecords_tools.__main__ import main
from tfrecords_tools.convert import plan
from tfrecords_tools.convert.val_keys import read_val_keys


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """Pairs of 8 scenes: 0001 to 0008, the hazy images in part1 (0001 to 0004) and part2."""
    source = write_pairs(tmp_path_factory.mktemp("nested") / "set")
    for path in sorted((source / "hazy").iterdir()):
        part = source / "hazy" / ("part1" if path.name < "0005" else "part2")
        part.mkdir(exist_ok=True)
        path.rename(part / path.name)
    return source


@pytest.fixture
def read(nested, tmp_path):
    """Reads a file with these bytes as `--val_keys`; returns the stems of the scenes."""
    folders = nested / "hazy", nested / "GT"
    pairs = plan.find_sources(hazy_dir=folders[0], gt_dir=folders[1], rule="auto").pairs

    def read_file(data):
        path = tmp_path / "keys.txt"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return sorted(scene.removesuffix(".jpg") for scene in read_val_keys(path, pairs, folders=folders))

    return read_file


LINES = {
    "key": "0003_0.8_1",
    "clear file": "0003.jpg",
    "clear stem": "0003",
    "hazy file": "0003_0.8_1.jpg",
    "hazy file with its folder": "part1/0003_0.8_1.jpg",
    "hazy stem with its folder": "part1/0003_0.8_1",
    "from the parent folder": "hazy/part1/0003_0.8_1.jpg",
    "clear file from the parent folder": "GT/0003.jpg",
    "from two folders up": "set/GT/0003.jpg",
    "this folder": "./part1/0003_0.8_1.jpg",
    "Windows": "part1\\0003_0.8_1.jpg",
    "Windows from the parent folder": ".\\hazy\\part1\\0003_0.8_1",
    "quotes": '"0003.jpg"',
    "single quotes": "'0003_0.8_1.jpg'",
    "quoted path": '"hazy\\part1\\0003_0.8_1.jpg"',
    "spaces": "  0003.jpg \t",
    "comma at the end": "0003.jpg,",
    "table of pairs": "hazy,clear\npart1/0003_0.8_1.jpg,0003.jpg",
    "table with semicolons": "clear;hazy\n0003.jpg;part1\\0003_0.8_1.jpg",
    "table with quotes": '"key"\t"scene"\n"0003_0.8_1"\t"0003.jpg"',
}


@pytest.mark.parametrize("name", LINES)
def test_every_form_of_a_name(read, name):
    assert read(f"{LINES[name]}\n") == ["0003"]


def test_an_absolute_path(read, nested):
    assert read(f"{nested}/hazy/part2/0008_0.8_2.jpg\n{nested}/GT/0002.jpg") == ["0002", "0008"]


ENCODINGS = {
    "UTF-8": lambda text: text.encode(),
    "UTF-8 with a byte order mark (Notepad)": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16 (PowerShell)": lambda text: text.encode("utf-16"),
    "UTF-16 big-endian": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-16 big-endian without a mark": lambda text: text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["Unix", "Windows", "old Mac"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_and_line_end(read, encoding, end):
    text = end.join(["# a comment", "0003_0.8_1", "", "0005.jpg", ""])
    assert read(ENCODINGS[encoding](text)) == ["0003", "0005"]


def test_a_name_in_the_code_page_of_windows(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_bytes("Zürich.jpg\n".encode("cp1252"))
    assert split_lines(read_text(path)) == ["Zürich.jpg", ""]


def test_accents_match_composed_and_decomposed(tmp_path):
    source = write_pairs(tmp_path / "in", scenes=3)
    (source / "GT/0001.jpg").rename(source / "GT/Zu\u0308rich.jpg")
    for path in (source / "hazy").glob("0001*"):
        path.rename(path.with_name(path.name.replace("0001_0.8", "Zu\u0308rich_1_0.8")))
    for number in (2, 3):
        for path in (source / "hazy").glob(f"000{number}*"):
            path.rename(path.with_name(path.name.replace("_0.8_", "_1_0.8_")))
    (tmp_path / "keys.txt").write_text("Z\u00fcrich.jpg\n", encoding="utf-8")
    assert convert(source, tmp_path / "out", "--pairing=^(.+?)(?:_|$)", f"--val_keys={tmp_path}/keys.txt") == 0
    assert len(records.open_split(tmp_path / "out", "val")) == 2


def test_a_number_sign_begins_a_comment_unless_it_begins_a_name(tmp_path):
    source = write_pairs(tmp_path / "in", scenes=3, versions=1)
    for side in ("hazy", "GT"):
        for number, path in enumerate(sorted((source / side).iterdir()), start=1):
            path.rename(path.with_name(f"{'#' if number == 1 else ''}{number}.jpg"))
    pairs = plan.find_sources(hazy_dir=source / "hazy", gt_dir=source / "GT", rule="auto").pairs
    (tmp_path / "keys.txt").write_text("#1.jpg\n#2.jpg\n3.jpg\n")
    assert read_val_keys(tmp_path / "keys.txt", pairs) == {"#1.jpg", "3.jpg"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0003\nnobody\n0004.png\n", r"2 lines name no image .*: line 2 'nobody', line 3 '0004\.png'; a line is"),
        ("part2/0003_0.8_1.jpg\n", r"line 1 'part2/0003_0\.8_1\.jpg'"),
        ("other\\0003_0.8_1.jpg", r"line 1 'other\\\\0003_0\.8_1\.jpg'"),
        ("hazy,clear,split\npart1/0003_0.8_1.jpg,0003.jpg,val", "line 1 'hazy,clear,split'"),
        ("hazy,clear\nnobody.jpg,0003.jpg", "line 2 'nobody.jpg'"),
        ("#0001.jpg\n\n# x\n", r"lists no keys \(comments: line 1 '#0001\.jpg', line 3 '# x'\)"),
        ("", "lists no keys; list one on each line"),
        ("\n".join(f"000{number}" for number in range(1, 9)), "lists every scene"),
        (b"\xff\xfe0", "cannot be read .*truncated data"),
    ],
)
def test_the_message_quotes_the_line_that_is_wrong(read, text, said):
    with pytest.raises(UsageError, match=said):
        read(text)


def test_a_name_in_several_folders_must_be_written_with_its_folder(tmp_path, capsys):
    source = tmp_path / "in"
    for part, seed in (("a", 1), ("b", 2), ("c", 3)):
        write_pairs(tmp_path / part, scenes=seed, versions=1)
        for side in ("hazy", "GT"):
            (source / side / part).mkdir(parents=True)
            found = sorted((tmp_path / part / side).iterdir())[-1]
            found.rename(source / side / part / "1.jpg")
    keys = tmp_path / "keys.txt"
    keys.write_text("1.jpg\n")
    assert main(arguments(source, tmp_path / "out", f"--val_keys={keys}")) == 2
    assert "line 1 '1.jpg' (a/1.jpg, b/1.jpg, c/1.jpg); write their folders" in capsys.readouterr().err
    keys.write_text("b/1.jpg\n")
    assert main(arguments(source, tmp_path / "out", f"--val_keys={keys}", "--workers=1")) == 0
    assert len(records.open_split(tmp_path / "out", "val")) == 1
