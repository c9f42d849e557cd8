"""The record of a folder of results."""

import json

import pytest

from hazeheal.errors import OutputError, UsageError
from hazeheal.inference.results_record import NAME, ResultsRecord, recorded

SETTINGS = {"model": "best", "strength": 1.0}


def test_results_of_the_same_settings_are_accepted(tmp_path):
    paths = [tmp_path / "out/a.png", tmp_path / "out/deep/b.png"]
    record = ResultsRecord(tmp_path / "out", SETTINGS)
    record.check(paths)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        with recorded(record, path):
            path.write_bytes(b"1")
    again = ResultsRecord(tmp_path / "out", dict(reversed(SETTINGS.items())))
    again.check(paths)
    assert again.has(paths[1]) and not again.has(tmp_path / "out/c.png") and not again.has(tmp_path / "a.png")
    lines = (tmp_path / "out" / NAME).read_text().splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [["settings", "values"], *[["file", "settings"]] * 2]


def test_the_last_settings_count_and_differences_are_named(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"1")
    first, second = (
        ResultsRecord(tmp_path, SETTINGS),
        ResultsRecord(tmp_path, SETTINGS | {"model": "fast", "mirror": True}),
    )
    with pytest.raises(UsageError, match="does not list it as a result"):
        first.check([path])
    first.add(path)
    second.add(path)
    ResultsRecord(tmp_path, SETTINGS | {"model": "fast", "mirror": True}).check([path])
    with pytest.raises(
        UsageError, match=r"a\.png was made with model=fast \(now best\), mirror=True \(now None\); replace"
    ):
        ResultsRecord(tmp_path, SETTINGS).check([path])
    path.unlink()
    ResultsRecord(tmp_path, SETTINGS).check([path])


def test_a_line_that_was_cut_off_is_ignored(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"1")
    ResultsRecord(tmp_path, SETTINGS).add(path)
    with open(tmp_path / NAME, "a") as file:
        file.write('{"file": "a.png", "sett\n[1]\n{"settings": "0", "values": 3}\n')
    ResultsRecord(tmp_path, SETTINGS).check([path])


def test_a_new_result_is_noted_before_and_a_replaced_one_after_it_is_written(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(RuntimeError), recorded(ResultsRecord(tmp_path, SETTINGS), path):
        raise RuntimeError
    assert ResultsRecord(tmp_path, SETTINGS).has(path)
    path.write_bytes(b"1")
    other = SETTINGS | {"model": "fast"}
    with pytest.raises(RuntimeError), recorded(ResultsRecord(tmp_path, other), path):
        raise RuntimeError
    ResultsRecord(tmp_path, SETTINGS).check([path])


def test_a_record_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        ResultsRecord(tmp_path, SETTINGS).add(tmp_path / "a.png")
