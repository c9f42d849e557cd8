"""Pairing by name: subfolders, links, one folder, leftovers, and unusual names."""

import os
import random
import subprocess
import time
import unicodedata

import pytest
from named_folders import joined, make, two

from hazeheal.data.pairing import folders
from hazeheal.data.pairing.pairing import pair_folders
from hazeheal.errors import DataError, UsageError


@pytest.mark.parametrize("rule", ["same_name", "rice", r"^(\d+)"])
def test_one_folder_is_refused_if_images_would_pair_with_themselves(tmp_path, rule):
    make(tmp_path, ["1.png", "2.png"])
    with pytest.raises(UsageError, match="in one folder"):
        pair_folders(tmp_path, tmp_path, rule=rule)


def test_one_folder_with_auto_never_uses_same_name(tmp_path):
    make(tmp_path, ["1.png", "2.png"])
    with pytest.raises(DataError, match="no rule pairs any of the 2 hazy files"):
        pair_folders(tmp_path, tmp_path)


def test_one_folder_lists_files_that_match_neither_pattern(tmp_path):
    make(tmp_path, ["1_hazy.png", "1_GT.png", "2_GT.png", "3_hazy.png", "cover.png"])
    result = pair_folders(tmp_path, tmp_path, rule="dense_haze")
    assert joined(result) == {"1_hazy.png": "1_GT.png"}
    assert (result.orphans_hazy, result.orphans_clear) == (["3_hazy.png", "cover.png"], ["2_GT.png"])


def test_linked_folder_is_the_same_folder(tmp_path):
    folder = make(tmp_path / "a", ["1.png"])
    (tmp_path / "b").symlink_to(folder, target_is_directory=True)
    with pytest.raises(UsageError, match="in one folder"):
        pair_folders(folder, tmp_path / "b", rule="same_name")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_to_the_partner_is_refused(tmp_path, link):
    hazy, clear = two(tmp_path, ["1.png", "2.png"], ["1.png", "2.png", "3.png"])
    link(clear / "3.png", hazy / "3.png")
    with pytest.raises(DataError, match=r"1 hazy files .*the same files as.*3\.png"):
        pair_folders(hazy, clear)


def test_a_clear_folder_inside_the_hazy_one_is_ignored(tmp_path):
    make(tmp_path, ["1.png", "2.png", "GT/1.png", "GT/2.png"])
    result = pair_folders(tmp_path, tmp_path / "GT")
    assert joined(result) == {"1.png": "1.png", "2.png": "2.png"}
    assert any("ignored GT/" in note for note in result.notes)
    assert joined(pair_folders(tmp_path / "GT", tmp_path)) == joined(result)


def test_subfolders_are_matched_or_else_their_parents(tmp_path):
    folders = two(
        tmp_path,
        [
            "part1/0005_0.8_0.1.jpg",
            "part2/deep/0005_0.9_0.1.jpg",
            "part3/deep/0005_1_0.1.jpg",
            "0006_1_0.2.jpg",
            "part1/0006_1_0.2.jpg",
        ],
        ["0005.png", "part1/0005.png", "part2/0005.png", "0006.png"],
    )
    result = pair_folders(*folders)
    assert joined(result) == {
        "part1/0005_0.8_0.1.jpg": "part1/0005.png",
        "part2/deep/0005_0.9_0.1.jpg": "part2/0005.png",
        "part3/deep/0005_1_0.1.jpg": "0005.png",
        "0006_1_0.2.jpg": "0006.png",
        "part1/0006_1_0.2.jpg": "0006.png",
    }
    keys = [pair.key for pair in result.pairs]
    assert keys == ["0005_0.8_0.1", "0005_0.9_0.1", "0005_1_0.1", "0006_1_0.2", "part1/0006_1_0.2"]


def test_keys_are_unique_and_sorted_even_for_colliding_names(tmp_path):
    hazy = ["a.png", "a.jpg", "x/a.png", "a.png.png", "b.png"]
    result = pair_folders(*two(tmp_path, hazy, ["a.png", "a.png.png", "b.png"]), rule="same_name")
    keys = [pair.key for pair in result.pairs]
    assert len(keys) == len(set(keys)) == len(hazy)
    assert keys == sorted(keys)


def test_two_clear_files_with_one_key_are_ambiguous(tmp_path):
    hazy = ["0001_0.8_0.2.jpg", "0001_1_0.2.jpg", "0002_1_0.2.jpg"]
    result = pair_folders(*two(tmp_path, hazy, ["0001.png", "0001.jpg", "0002.png"]), rule="ots")
    assert joined(result) == {"0002_1_0.2.jpg": "0002.png"}
    assert (result.orphans_hazy, result.orphans_clear, result.leftovers) == ([], [], 1)
    (line,) = result.ambiguous
    for name in ("0001.png", "0001.jpg", *hazy[:2]):
        assert name in line


@pytest.mark.parametrize("rule", ["auto", "same_name", "dense_haze"])
def test_the_same_formats_on_both_sides_pair_by_format_and_are_one_scene(tmp_path, rule):
    end = ("_hazy", "_GT") if rule == "dense_haze" else ("", "")
    hazy, clear = ([f"1{one}.png", f"1{one}.JPG", f"x/2{one}.png", f"x/2{one}.tif"] for one in end)
    result = pair_folders(*two(tmp_path, hazy, [name.replace("JPG", "jpg") for name in clear]), rule=rule)
    assert joined(result) == {name: other.replace("JPG", "jpg") for name, other in zip(hazy, clear, strict=True)}
    assert result.leftovers == 0 and len({pair.key for pair in result.pairs}) == 4
    scenes = {pair.hazy: pair.scene for pair in result.pairs}
    assert scenes[hazy[0]] == scenes[hazy[1]] != scenes[hazy[2]] == scenes[hazy[3]]


def test_formats_that_only_the_clear_side_has_stay_ambiguous(tmp_path):
    hazy = ["1_hazy.png", "2_hazy.png", "2_hazy.jpg", "2_hazy.tif"]
    with pytest.raises(DataError, match=r"key '1': clear 1_GT\.jpg or 1_GT\.png, for hazy 1_hazy\.png"):
        pair_folders(*two(tmp_path, hazy, ["1_GT.png", "1_GT.jpg", "2_GT.png", "2_GT.jpg"]), rule="dense_haze")


def test_orphans_whose_key_is_in_another_folder_are_described(tmp_path):
    result = pair_folders(*two(tmp_path, ["a/1.png", "b/2.png", "3.png"], ["a/1.png", "c/2.png"]))
    assert joined(result) == {"a/1.png": "a/1.png"}
    assert result.describe_orphans() == ["3.png", "b/2.png (its key is that of c/2.png, in another folder)"]


def test_missing_and_empty_folders_are_named(tmp_path):
    hazy, clear = two(tmp_path, ["1.png"], ["1.png"])
    with pytest.raises(UsageError, match=r"hazy_dir='.*nowhere' is not an existing folder"):
        pair_folders(tmp_path / "nowhere", clear)
    with pytest.raises(UsageError, match=r"gt_dir='.*1\.png' is not an existing folder"):
        pair_folders(hazy, clear / "1.png")
    with pytest.raises(UsageError, match="gt_dir=''"):
        pair_folders(hazy, "")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"gt_dir=.*empty has no images \(found: nothing\)"):
        pair_folders(hazy, tmp_path / "empty")
    make(tmp_path / "texts", ["a.txt", "b.txt", ".hidden.png"])
    with pytest.raises(DataError, match=r"hazy_dir=.*\(found: 2 \.txt, 1 hidden\)"):
        pair_folders(tmp_path / "texts", clear)


def test_other_files_are_ignored_and_counted(tmp_path):
    extra = ["Thumbs.db", ".DS_Store", "._1.png", "readme.txt", "a.txt", ".cache/9.png", "noext"]
    result = pair_folders(*two(tmp_path, ["1.png", *extra], ["1.png"]))
    assert joined(result) == {"1.png": "1.png"}
    assert result.notes[1:] == [
        "hazy_dir: ignored 7 entries that are not images (3 hidden, 2 .txt, 1 .db, 1 without suffix)"
    ]


@pytest.mark.parametrize(
    "system",
    (
        *("@eaDir/1.png/", "#recycle/", "@Recycle/", "__MACOSX/", "$RECYCLE.BIN/", "System Volume Information/"),
        *("lost+found/", ".Trash-1000/", ".ipynb_checkpoints/", "part/@eaDir/", "@EADIR/", "._", "part/._"),
    ),
)
def test_folders_of_the_system_are_never_paired(tmp_path, system):
    names = ["1.png", "part/2.png"]
    hazy, clear = two(tmp_path, [*names, f"{system}9.png"], [*names, f"{system}9.png"])
    result = pair_folders(hazy, clear)
    assert joined(result) == {name: name for name in names}
    assert result.leftovers == 0


def test_ignored_folders_of_the_system_are_named(tmp_path):
    result = pair_folders(*two(tmp_path, ["1.png", "@eaDir/x.png", "._1.png", ".Trash/2.png"], ["1.png"]))
    assert result.notes[1] == "hazy_dir: ignored 3 entries that are not images (2 hidden, 1 @eaDir)"


def test_circular_links_are_ignored(tmp_path):
    hazy, clear = two(tmp_path, ["s/1.png"], ["s/1.png"])
    (hazy / "s" / "again").symlink_to(hazy, target_is_directory=True)
    result = pair_folders(hazy, clear)
    assert joined(result) == {"s/1.png": "s/1.png"}
    assert "1 circular link" in result.notes[1]


def test_folders_nested_deeper_than_python_calls(tmp_path):
    hazy, clear = two(tmp_path, ["1.png"], ["1.png"])
    here = os.open(hazy, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    try:
        assert joined(pair_folders(hazy, clear)) == {"1.png": "1.png"}
    finally:
        subprocess.run(["rm", "-r", str(hazy)], check=True)  # Python's own removal would call too deep


def test_folders_that_all_link_to_each_other_are_refused(tmp_path):
    hazy, clear = two(tmp_path, ["1.png"], ["1.png"])
    for number in range(12):  # 12! paths
        (hazy / f"f{number}").mkdir()
        for other in range(12):
            (hazy / f"f{number}/to{other}").symlink_to(f"../f{other}")
    with pytest.raises(DataError, match=f"more than {folders.MAX_PATHS} paths lead to folder"):
        pair_folders(hazy, clear)


def test_a_link_to_itself_is_an_image_that_cannot_be_read(tmp_path):
    hazy, clear = two(tmp_path, ["1.png"], ["1.png", "loop.png"])
    (hazy / "loop.png").symlink_to("loop.png")
    assert joined(pair_folders(hazy, clear)) == {"1.png": "1.png", "loop.png": "loop.png"}


@pytest.mark.parametrize("rule", ["same_name", "auto", "rice"])
def test_names_with_line_breaks_pair(tmp_path, rule):
    folders = two(tmp_path, ["a\nb.png", "\n.png"], ["a\nb.png", "\n.png"])
    assert joined(pair_folders(*folders, rule=rule)) == {"a\nb.png": "a\nb.png", "\n.png": "\n.png"}


def test_linked_subfolders_are_listed(tmp_path):
    store = make(tmp_path / "store", ["1.png"])
    hazy, clear = two(tmp_path, ["0.png"], ["0.png", "1.png"])
    (hazy / "part").symlink_to(store, target_is_directory=True)
    assert joined(pair_folders(hazy, clear)) == {"0.png": "0.png", "part/1.png": "1.png"}


def test_accents_match_composed_and_decomposed(tmp_path):
    name = "Zürich Straße 山 1.png"
    composed, decomposed = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
    assert composed != decomposed
    folders = two(tmp_path, [f"fé/{composed}"], [f"{unicodedata.normalize('NFD', 'fé')}/{decomposed}"])
    result = pair_folders(*folders)
    assert len(result.pairs) == 1 and result.leftovers == 0


def test_names_that_are_not_utf8_are_refused(tmp_path):
    hazy, clear = two(tmp_path, ["1.png"], ["1.png"])
    try:
        open(os.fsencode(hazy) + b"/caf\xe9.png", "wb").close()
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(DataError, match=r"caf\\xe9\.png.*rename") as raised:
        pair_folders(hazy, clear)
    str(raised.value).encode()  # can be printed
    os.rename(os.fsencode(hazy) + b"/caf\xe9.png", os.fsencode(hazy) + b"/2.t\xe9")
    "".join(pair_folders(hazy, clear).notes).encode()


def test_the_order_of_the_directory_does_not_matter(tmp_path, monkeypatch):
    hazy = [f"{i % 40:04d}_{i}_0.2.jpg" for i in range(120)]
    folders = two(tmp_path, hazy, [f"{i:04d}.png" for i in range(45)])
    scandir, results = os.scandir, []
    for seed in range(3):

        class Shuffled:
            def __init__(self, path, seed=seed):
                with scandir(path) as entries:
                    self.entries = sorted(entries, key=lambda entry: entry.name)
                random.Random(seed).shuffle(self.entries)

            def __enter__(self):
                return iter(self.entries)

            def __exit__(self, *_):
                pass

        monkeypatch.setattr(os, "scandir", Shuffled)
        results.append(pair_folders(*folders))
    assert results[0] == results[1] == results[2]
    assert results[0].orphans_clear == [f"{i:04d}.png" for i in range(40, 45)]


def test_twenty_thousand_files_pair_quickly(tmp_path):
    hazy, clear = tmp_path / "hazy", tmp_path / "GT"
    hazy.mkdir()
    clear.mkdir()
    for i in range(2000):
        (clear / f"{i:04d}.png").touch()
        for j in range(9):
            (hazy / f"{i:04d}_0.{j}_0.2.jpg").touch()
    start = time.process_time()
    result = pair_folders(hazy, clear)
    seconds = time.process_time() - start
    assert (len(result.pairs), result.leftovers) == (18000, 0)
    assert seconds < 5
