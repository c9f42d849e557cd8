"""Long work on many files prints progress: a bar on a terminal, elsewhere a line now and then; each file is read once."""

import collections
import io
import sys

import pytest
from converting import convert, write_pairs
from named_folders import two

from hazeheal.data.pairing import folders
from hazeheal.data.pairing.pairing import pair_folders
from hazeheal.utils import progress_lines
from hazeheal.utils.console import progress_bar
from tfrecords_tools.convert import headers, plan
from tfrecords_tools.convert.pair_records import RecordOptions


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets: [seconds]."""
    now = [0.0]
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_after_ten_seconds_and_then_ever_more_rarely(clock, capsys):
    with progress_bar(lines=True, desc="reading headers", total=300_000, unit="file") as bar:
        for _ in range(300):
            clock[0] += 1
            bar.update(1000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "reading headers: 10,000 of 300,000 files, 1,000.0/s"
    counts = [int(line.split()[2].replace(",", "")) // 1000 for line in lines]
    assert counts == [10, 30, 70, 130, 190, 250]


def test_short_work_prints_nothing(clock, capsys):
    with progress_bar(lines=True, desc="scanning", unit="file") as bar:
        clock[0] += 9
        bar.update(50)
    assert capsys.readouterr().err == ""


def test_without_a_total_and_with_what_was_done_before(clock, capsys):
    bar = progress_bar(lines=True, desc="pairs", unit=" pair", initial=20)
    clock[0] += 20
    bar.update(10)
    assert capsys.readouterr().err == "pairs: 30 pairs, 0.5/s\n"


def test_a_closed_stderr_ends_the_lines_only(clock, monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    bar = progress_bar(lines=True, desc="scanning")
    clock[0] += 20
    bar.update()
    assert bar.n == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("is_terminal", [True, False])
def test_scanning_pairing_headers_and_writing_show_progress(tmp_path, monkeypatch, is_terminal):
    source = write_pairs(tmp_path / "in", scenes=4, versions=1)
    if not is_terminal:
        monkeypatch.setattr(progress_lines, "FIRST_SECONDS", 0.0)
    shown = Terminal() if is_terminal else io.StringIO()
    real = progress_bar
    for module in (folders, "hazeheal.data.pairing.pairing", "tfrecords_tools.pool"):
        name = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{name}.progress_bar", lambda **options: real(**options | {"delay": 0, "mininterval": 0}))
    monkeypatch.setattr(sys, "stderr", shown)
    assert convert(source, tmp_path / "out") == 0
    for part in ("scanning hazy_dir: ", "scanning gt_dir: ", "pairing: ", "reading headers: "):
        assert part in shown.getvalue(), shown.getvalue()
    assert ("\r" in shown.getvalue()) == is_terminal


def test_each_file_is_opened_once_for_its_header(tmp_path):
    source = write_pairs(tmp_path / "in", scenes=3, versions=5)
    pairs = plan.find_sources(hazy_dir=source / "hazy", gt_dir=source / "GT", rule="auto").pairs
    opened = collections.Counter()
    # An audit hook cannot be removed: it goes on counting, and nobody looks.
    sys.addaudithook(lambda event, args: opened.update([args[0]]) if event == "open" else None)
    checked = headers.check_headers(pairs, RecordOptions())
    files = {str(path): 1 for path in source.rglob("*.jpg")}
    assert len(checked.readable) == 15 and len(files) == 18
    assert {path: count for path, count in opened.items() if path in files} == files


def test_a_bad_clear_image_is_reported_for_each_of_its_pairs(tmp_path):
    source = write_pairs(tmp_path / "in", scenes=2, versions=3)
    (source / "GT/0001.jpg").write_bytes(b"no image")
    pairs = plan.find_sources(hazy_dir=source / "hazy", gt_dir=source / "GT", rule="auto").pairs
    checked = headers.check_headers(pairs, RecordOptions())
    assert [pair["key"] for pair in checked.unreadable] == ["0001_0.8_1", "0001_0.8_2", "0001_0.8_3"]
    assert all("0001.jpg: not an image" in pair["reason"] for pair in checked.unreadable)
    assert [pair.key for pair in checked.readable] == ["0002_0.8_1", "0002_0.8_2", "0002_0.8_3"]


def test_headers_in_processes_are_those_of_one_process(tmp_path, monkeypatch):
    source = write_pairs(tmp_path / "in", scenes=4, versions=3)
    (source / "hazy/0002_0.8_2.jpg").write_bytes(b"")
    pairs = plan.find_sources(hazy_dir=source / "hazy", gt_dir=source / "GT", rule="auto").pairs
    expected = headers.check_headers(pairs, RecordOptions())
    monkeypatch.setattr(headers, "_FILES_PER_PROCESS", 4)
    monkeypatch.setattr(headers, "_FILES_PER_TASK", 3)
    assert headers.check_headers(pairs, RecordOptions(), workers=2) == expected


def test_states_of_files_are_those_of_the_system(tmp_path):
    hazy, clear = two(tmp_path, ["a/1.png", "2.png"], ["a/1.png", "2.png"])
    (hazy / "2.png").write_bytes(b"12345")
    (clear / "2.png").unlink()
    (clear / "2.png").symlink_to("nowhere")
    result = pair_folders(hazy, clear)
    status = (hazy / "2.png").stat()
    assert result.hazy_states["2.png"][:2] == (5, status.st_mtime_ns)
    assert result.clear_states["2.png"] == (0, 0, None)
