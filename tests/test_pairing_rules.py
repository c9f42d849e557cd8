"""Pairing rules: each one by name, by `auto` and in one folder, and regular expressions."""

import re

import pytest
from named_folders import joined, make, two
from places import SHARED

from hazeheal.data.pairing import pairing, rules
from hazeheal.data.pairing.pairing import pair_folders
from hazeheal.errors import DataError, UsageError

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
    assert sorted(SETS) == sorted(rule.name for rule in rules.RULES)


@pytest.mark.parametrize("rule", SETS)
def test_each_rule_by_name_and_by_auto(tmp_path, rule):
    hazy, clear, expected = SETS[rule]
    folders = two(tmp_path, hazy, clear)
    for asked in (rule, rule.upper().replace("_", "-"), "auto"):
        result = pair_folders(*folders, rule=asked)
        assert joined(result) == expected
        assert result.rule == rule
        assert result.leftovers == 0
    assert f"rule {rule} pairs everything" in result.notes[0]


@pytest.mark.parametrize("rule", [rule.name for rule in rules.RULES if not rule.two_folders])
def test_each_rule_in_one_folder(tmp_path, rule):
    hazy, clear, expected = SETS[rule]
    folder = make(tmp_path, [*hazy, *clear])
    other_spelling = tmp_path / ".." / tmp_path.name
    for asked in (rule, "auto"):
        result = pair_folders(folder, other_spelling, rule=asked)
        assert (joined(result), result.rule, result.leftovers) == (expected, rule, 0)


@pytest.mark.parametrize("alias", rules.ALIASES)
def test_aliases(alias):
    assert rules.find_rule(alias).name == rules.ALIASES[alias]


def test_auto_without_a_full_match_returns_the_best_with_its_orphans(tmp_path):
    folders = two(tmp_path, ["1_1.png", "2_1.png", "9_1.png", "7.png"], ["1.png", "2.png", "3.png", "7.png"])
    result = pair_folders(*folders)
    assert result.rule == "sots_indoor"
    assert joined(result) == {"1_1.png": "1.png", "2_1.png": "2.png"}
    assert result.orphans_hazy == ["7.png", "9_1.png"]
    assert result.orphans_clear == ["3.png", "7.png"]
    assert "no rule pairs everything" in result.notes[0]


def test_auto_uses_the_first_of_rules_that_agree(tmp_path):
    folders = two(tmp_path, ["1_1_0.2.jpg"], ["1.png"])
    result = pair_folders(*folders)
    assert result.rule == "its"
    assert "sots_outdoor" in result.notes[0]


def test_auto_refuses_rules_that_contradict_each_other(tmp_path, monkeypatch):
    folders = two(tmp_path, ["1_2.png", "2_1.png", "3_3.png"], ["1.png", "2.png", "3.png"])
    first = pairing.Rule("first", r"^(\d)_\d$", r"^(\d)$")
    second = pairing.Rule("second", r"^\d_(\d)$", r"^(\d)$")
    monkeypatch.setattr(pairing, "RULES", (first, second))
    with pytest.raises(UsageError, match=r"first and second .* differ in 2 files \(1_2.png, 2_1.png\)"):
        pair_folders(*folders)


@pytest.mark.parametrize("expression", [r"^(\d+)", r"^(?P<key>\d+)(_.*)?$"])
def test_a_regular_expression_pairs_by_its_group(tmp_path, expression):
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


def test_without_any_pair_the_error_shows_names_of_both_folders(tmp_path):
    with pytest.raises(DataError, match=r"fog_a\.png.*sun_b\.png.*regular expression"):
        pair_folders(*two(tmp_path, ["fog_a.png"], ["sun_b.png"]))
    with pytest.raises(DataError, match="rule its pairs none of the 1 hazy files"):
        pair_folders(tmp_path / "hazy", tmp_path / "GT", rule="its")


@pytest.mark.parametrize("rule", ["auto", "ots"])
def test_without_any_pair_the_error_names_keys_that_agree_in_other_folders(tmp_path, rule):
    folders = two(tmp_path, ["part1/0001_0.8_0.1.jpg", "part2/0002_1_0.2.jpg"], ["all/0001.jpg", "all/0002.jpg"])
    with pytest.raises(DataError) as raised:
        pair_folders(*folders, rule=rule)
    text = str(raised.value)
    assert "by rule sots_outdoor part1/0001_0.8_0.1.jpg and all/0001.jpg have the same key" in text
    assert text.endswith(f"give --gt_dir={folders[1]}/all")
    assert joined(pair_folders(folders[0], folders[1] / "all", rule=rule)) == {
        "part1/0001_0.8_0.1.jpg": "0001.jpg",
        "part2/0002_1_0.2.jpg": "0002.jpg",
    }


def test_without_any_pair_the_error_offers_a_table_if_no_folder_fits(tmp_path):
    folders = two(tmp_path, ["a/fog/1.png", "b/fog/2.png"], ["a/gt/1.png", "b/gt/2.png"])
    with pytest.raises(DataError, match=r"by rule same_name a/fog/1\.png and a/gt/1\.png have .* --pairs`$"):
        pair_folders(*folders)


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
    assert len({pair.clear for pair in result.pairs}) == scenes
    for pair in result.pairs:
        assert re.match(r"\d+", pair.hazy)[0] == re.match(r"\d+", pair.clear)[0]
