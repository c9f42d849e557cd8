"""Pairing by names: every rule, sub-folders, one folder, leftovers, and names that file systems allow."""

import os
import random
import re
import subprocess
import time
import unicodedata

import pytest
from places import SHARED

from hazeheal.data import pairing, pairing_rules
from hazeheal.data.pairing import pair_folders
from hazeheal.errors import DataError, UsageError


def make(folder, names):
    """Creates empty files (pairing opens none) in a shuffled order; returns the folder."""
    names = list(names)
    random.Random(0).shuffle(names)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def two(tmp_path, hazy, clear):
    return make(tmp_path / "hazy", hazy), make(tmp_path / "GT", clear)


def joined(result):
    return {pair.hazy: pair.clear for pair in result.pairs}


# rule, hazy files, clear files, {hazy: clear}
SETS = {
    "same_name": (["b c.PNG", "a.jpg"], ["a.png", "b c.png"], {"a.jpg": "a.png", "b c.PNG": "b c.png"}),
    "dense_haze": (
        ["01_hazy.png", "55_hazy.PNG"],
        ["01_GT.png", "55_gt.jpg"],
        {"01_hazy.png": "01_GT.png", "55_hazy.PNG": "55_gt.jpg"},
    ),
    "o_haze": (["01_outdoor_hazy.jpg"], ["01_outdoor_GT.JPG"], {"01_outdoor_hazy.jpg": "01_outdoor_GT.JPG"}),
    "i_haze": (["01_indoor_hazy.jpg"], ["01_indoor_GT.jpg"], {"01_indoor_hazy.jpg": "01_indoor_GT.jpg"}),
    "sots_indoor": (
        ["1400_3.png", "1400_10.png", "140_1.png"],
        ["1400.png", "140.png"],
        {"1400_3.png": "1400.png", "1400_10.png": "1400.png", "140_1.png": "140.png"},
    ),
    "its": (
        ["1_1_0.90179.png", "1_2_0.97842.png", "11_1_0.7.png"],
        ["1.png", "11.png"],
        {"1_1_0.90179.png": "1.png", "1_2_0.97842.png": "1.png", "11_1_0.7.png": "11.png"},
    ),
    "sots_outdoor": (
        ["0001_0.8_0.2.jpg", "0001_1_0.08.jpg", "0002_0.85_0.16.jpg"],
        ["0001.png", "0002.jpg"],
        {"0001_0.8_0.2.jpg": "0001.png", "0001_1_0.08.jpg": "0001.png", "0002_0.85_0.16.jpg": "0002.jpg"},
    ),
    "satehaze1k": (["12-inputs.png"], ["12-targets.png"], {"12-inputs.png": "12-targets.png"}),
    "pix2pix": (["7_real_A.png"], ["7_real_B.png"], {"7_real_A.png": "7_real_B.png"}),
    "rice": (
        ["007_hazy.png", "8.png"],
        ["007_GT.png", "8.png"],
        {"007_hazy.png": "007_GT.png", "8.png": "8.png"},
    ),
}


def test_every_rule_has_a_case():
    assert sorted(SETS) == sorted(rule.name for rule in pairing_rules.RULES)


@pytest.mark.parametrize("rule", SETS)
def test_each_rule_by_name_and_by_auto(tmp_path, rule):
    hazy, clear, expected = SETS[rule]
    folders = two(tmp_path, hazy, clear)
    for asked in (rule, rule.upper().replace("_", "-"), "auto"):
        result = pair_folders(*folders, rule=asked)
        assert joined(result) == expected
        assert result.rule == rule
        assert result.leftovers == 0
        assert [pair.scene for pair in result.pairs] == [pair.clear for pair in result.pairs]
    assert f"rule {rule} pairs everything" in result.notes[0]


@pytest.mark.parametrize("rule", [rule.name for rule in pairing_rules.RULES if not rule.two_folders])
def test_each_rule_in_one_folder(tmp_path, rule):
    hazy, clear, expected = SETS[rule]
    folder = make(tmp_path, [*hazy, *clear])
    other_spelling = tmp_path / ".." / tmp_path.name
    for asked in (rule, "auto"):
        result = pair_folders(folder, other_spelling, rule=asked)
        assert (joined(result), result.rule, result.leftovers) == (expected, rule, 0)
        assert result.complete


@pytest.mark.parametrize("alias", pairing_rules.ALIASES)
def test_aliases(alias):
    assert pairing_rules.find_rule(alias).name == pairing_rules.ALIASES[alias]


@pytest.mark.parametrize("rule", ["same_name", "rice", r"^(\d+)"])
def test_one_folder_is_refused_where_a_picture_would_meet_itself(tmp_path, rule):
    make(tmp_path, ["1.png", "2.png"])
    with pytest.raises(UsageError, match="in one folder"):
        pair_folders(tmp_path, tmp_path, rule=rule)


def test_one_folder_with_auto_never_takes_the_same_name(tmp_path):
    make(tmp_path, ["1.png", "2.png"])
    with pytest.raises(DataError, match="no rule pairs any of the 2 hazy files"):
        pair_folders(tmp_path, tmp_path)


def test_one_folder_lists_what_fits_neither_pattern(tmp_path):
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
    with pytest.raises(DataError, match=r"1 hazy files .*the very files.*'3\.png'"):
        pair_folders(hazy, clear)


def test_the_clear_folder_inside_the_hazy_one_is_left_out(tmp_path):
    make(tmp_path, ["1.png", "2.png", "GT/1.png", "GT/2.png"])
    result = pair_folders(tmp_path, tmp_path / "GT")
    assert joined(result) == {"1.png": "1.png", "2.png": "2.png"}
    assert any("left out GT/" in note for note in result.notes)
    assert joined(pair_folders(tmp_path / "GT", tmp_path)) == joined(result)


def test_subfolders_are_matched_and_otherwise_sought_above(tmp_path):
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


def test_keys_are_unique_and_sorted_even_for_names_that_collide_on_purpose(tmp_path):
    hazy = ["a.png", "a.jpg", "x/a.png", "a.png.png", "b.png"]
    result = pair_folders(*two(tmp_path, hazy, ["a.png", "a.png.png", "b.png"]), rule="same_name")
    keys = [pair.key for pair in result.pairs]
    assert len(keys) == len(set(keys)) == len(hazy)
    assert keys == sorted(keys)


def test_two_clear_files_of_one_key_are_reported_not_guessed(tmp_path):
    hazy = ["0001_0.8_0.2.jpg", "0001_1_0.2.jpg", "0002_1_0.2.jpg"]
    result = pair_folders(*two(tmp_path, hazy, ["0001.png", "0001.jpg", "0002.png"]), rule="ots")
    assert joined(result) == {"0002_1_0.2.jpg": "0002.png"}
    assert (result.orphans_hazy, result.orphans_clear, result.leftovers) == ([], [], 1)
    (line,) = result.ambiguous
    for name in ("0001.png", "0001.jpg", *hazy[:2]):
        assert name in line


def test_auto_without_a_full_match_returns_the_best_with_its_orphans(tmp_path):
    folders = two(tmp_path, ["1_1.png", "2_1.png", "9_1.png", "7.png"], ["1.png", "2.png", "3.png", "7.png"])
    result = pair_folders(*folders)
    assert result.rule == "sots_indoor"
    assert joined(result) == {"1_1.png": "1.png", "2_1.png": "2.png"}
    assert result.orphans_hazy == ["7.png", "9_1.png"]
    assert result.orphans_clear == ["3.png", "7.png"]
    assert "no rule pairs everything" in result.notes[0]


def test_auto_takes_the_first_of_rules_that_agree(tmp_path):
    folders = two(tmp_path, ["1_1_0.2.jpg"], ["1.png"])
    result = pair_folders(*folders)
    assert result.rule == "its"
    assert "sots_outdoor" in result.notes[0]


def test_auto_refuses_rules_that_contradict_each_other(tmp_path, monkeypatch):
    folders = two(tmp_path, ["1_2.png", "2_1.png", "3_3.png"], ["1.png", "2.png", "3.png"])
    first = pairing.Rule("first", r"^(\d)_\d$", r"^(\d)$", "")
    second = pairing.Rule("second", r"^\d_(\d)$", r"^(\d)$", "")
    monkeypatch.setattr(pairing, "RULES", (first, second))
    with pytest.raises(
        UsageError, match=r"first and second .* differ in 2 files \(1_2.png with 1.png or 2.png"
    ):
        pair_folders(*folders)


@pytest.mark.parametrize("expression", [r"^(\d+)", r"^(?P<key>\d+)(_.*)?$"])
def test_a_regular_expression_joins_by_its_group(tmp_path, expression):
    folders = two(tmp_path, ["01_fog.png", "01_mist.png", "02_fog.png", "x.png"], ["01-sharp.png", "02.png"])
    if "key" in expression:
        (folders[1] / "01-sharp.png").rename(folders[1] / "01_sharp.png")
    result = pair_folders(*folders, rule=expression)
    assert {hazy: clear[:2] for hazy, clear in joined(result).items()} == {
        "01_fog.png": "01",
        "01_mist.png": "01",
        "02_fog.png": "02",
    }
    assert (result.rule, result.orphans_hazy) == (expression, ["x.png"])


@pytest.mark.parametrize(
    "rule", ["nonsense", "(", "(a)(b)", "", "(?L)(a)", "(a{99999999999})", "(" * 5000 + ")" * 5000]
)
def test_bad_rules_are_named(tmp_path, rule):
    with pytest.raises(UsageError, match=re.escape(repr(rule)) + ".*dense_haze"):
        pair_folders(*two(tmp_path, ["1.png"], ["1.png"]), rule=rule)


def test_missing_and_empty_folders_are_named(tmp_path):
    hazy, clear = two(tmp_path, ["1.png"], ["1.png"])
    with pytest.raises(UsageError, match=r"hazy_dir='.*nowhere' does not exist"):
        pair_folders(tmp_path / "nowhere", clear)
    with pytest.raises(UsageError, match=r"gt_dir='.*1\.png' is not a folder"):
        pair_folders(hazy, clear / "1.png")
    with pytest.raises(UsageError, match="gt_dir=''"):
        pair_folders(hazy, "")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"gt_dir=.*empty holds no pictures \(found: nothing\)"):
        pair_folders(hazy, tmp_path / "empty")
    make(tmp_path / "texts", ["a.txt", "b.txt", ".hidden.png"])
    with pytest.raises(DataError, match=r"hazy_dir=.*\(found: 2 \.txt, 1 hidden\)"):
        pair_folders(tmp_path / "texts", clear)


def test_no_pair_at_all_shows_both_kinds_of_names(tmp_path):
    with pytest.raises(DataError, match=r"'fog_a\.png'.*'sun_b\.png'.*regular expression"):
        pair_folders(*two(tmp_path, ["fog_a.png"], ["sun_b.png"]))
    with pytest.raises(DataError, match="rule its pairs any"):
        pair_folders(tmp_path / "hazy", tmp_path / "GT", rule="its")


def test_other_files_are_passed_over_and_counted(tmp_path):
    extra = ["Thumbs.db", ".DS_Store", "._1.png", "readme.txt", "a.txt", ".cache/9.png", "noext"]
    result = pair_folders(*two(tmp_path, ["1.png", *extra], ["1.png"]))
    assert joined(result) == {"1.png": "1.png"}
    assert result.notes[1:] == [
        "hazy_dir: passed over 7 that are no pictures (3 hidden, 2 .txt, 1 .db, 1 without suffix)"
    ]


def test_circular_links_end(tmp_path):
    hazy, clear = two(tmp_path, ["s/1.png"], ["s/1.png"])
    (hazy / "s" / "again").symlink_to(hazy, target_is_directory=True)
    result = pair_folders(hazy, clear)
    assert joined(result) == {"s/1.png": "s/1.png"}
    assert "1 circular link" in result.notes[1]


def test_folders_deeper_than_python_calls(tmp_path):
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
    for number in range(12):  # 12! ways
        (hazy / f"f{number}").mkdir()
        for other in range(12):
            (hazy / f"f{number}/to{other}").symlink_to(f"../f{other}")
    with pytest.raises(DataError, match=f"links lead to folder .* in more than {pairing.MOST_WAYS} ways"):
        pair_folders(hazy, clear)


def test_a_link_to_itself_is_a_picture_that_cannot_be_read(tmp_path):
    hazy, clear = two(tmp_path, ["1.png"], ["1.png", "loop.png"])
    (hazy / "loop.png").symlink_to("loop.png")
    assert joined(pair_folders(hazy, clear)) == {"1.png": "1.png", "loop.png": "loop.png"}


@pytest.mark.parametrize("rule", ["same_name", "auto", "rice"])
def test_names_with_line_breaks_pair(tmp_path, rule):
    folders = two(tmp_path, ["a\nb.png", "\n.png"], ["a\nb.png", "\n.png"])
    assert joined(pair_folders(*folders, rule=rule)) == {"a\nb.png": "a\nb.png", "\n.png": "\n.png"}


def test_linked_subfolders_are_walked(tmp_path):
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


def test_names_that_are_no_text_are_refused_by_name(tmp_path):
    hazy, clear = two(tmp_path, ["1.png"], ["1.png"])
    try:
        open(os.fsencode(hazy) + b"/caf\xe9.png", "wb").close()
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(DataError, match=r"caf\\xe9\.png.*rename") as raised:
        pair_folders(hazy, clear)
    str(raised.value).encode()  # can be printed
    os.rename(os.fsencode(hazy) + b"/caf\xe9.png", os.fsencode(hazy) + b"/2.t\xe9")
    pair_folders(hazy, clear).report().encode()


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


def test_report_names_everything_or_up_to_a_limit(tmp_path):
    hazy = ["1_1.png", *(f"{i}_1.png" for i in range(50, 55)), "2_1.png"]
    result = pair_folders(*two(tmp_path, hazy, ["1.png", "2.png", "2.jpg", "3.png"]))
    lines = result.report().splitlines()
    assert lines[0] == "rule sots_indoor: 1 pairs of 1 hazy and 1 clear files"
    for name in [*hazy[1:], "2.jpg", "3.png"]:
        assert any(name in line for line in lines)
    short = result.report(limit=2)
    assert "hazy files without a clear one: 5\n  50_1.png\n  51_1.png\n  ... and 3 more\n" in short


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


@pytest.mark.parametrize(
    ("name", "rule", "pairs", "scenes"),
    [
        ("rice1", "dense_haze", 60, 60),
        ("sots_outdoor_288", "sots_outdoor", 415, 408),
        ("sots_outdoor_full", "sots_outdoor", 24, 24),
    ],
)
def test_real_folders(name, rule, pairs, scenes):
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"no real data set {name} beside the repository")
    result = pair_folders(folder / "hazy", folder / "GT")
    assert (result.rule, len(result.pairs), result.leftovers) == (rule, pairs, 0)
    assert len({pair.scene for pair in result.pairs}) == scenes
    for pair in result.pairs:
        assert re.match(r"\d+", pair.hazy)[0] == re.match(r"\d+", pair.clear)[0]
