"""Which files are meant, where their results go, and what is refused before anything is done."""

import os
import signal

import pytest

from hazeheal.errors import OutputError, UsageError
from hazeheal.inference.jobs import find
from hazeheal.utils.atomic import atomic_path, atomic_write, is_temporary
from hazeheal.utils.signals import exit_on_sigterm


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def places(found, root):
    return {str(job.source.relative_to(root)): str(job.output) for job in found.jobs}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [
        "a.jpg",
        "deep/er/b.PNG",
        "deep/c.gif",
        "film.MP4",
        "notes.txt",
        ".hidden.png",
        "._a.jpg",
        ".git/d.png",
    ]
    return touch(tmp_path / "in", *names)


def test_folders_keep_their_structure(tree):
    found = find([tree], output="out")
    assert places(found, tree) == {
        "a.jpg": "out/a.jpg",
        "film.MP4": "out/film.MP4",
        "deep/er/b.PNG": "out/deep/er/b.PNG",
        "deep/c.gif": "out/deep/c.gif.png",
    }
    assert found.others == 1
    assert [job.source.name for job in found.jobs if job.is_video] == ["film.MP4"]


def test_files_and_globs(tree):
    assert places(find([tree / "deep/er/b.PNG"], output="out"), tree) == {"deep/er/b.PNG": "out/b.PNG"}
    found = find([f"{tree}/deep/*"], output="out")
    assert places(found, tree) == {"deep/c.gif": "out/c.gif.png", "deep/er/b.PNG": "out/er/b.PNG"}
    found = find(["in/**/*.[jP]*"], output="out")
    assert sorted(str(job.output) for job in found.jobs) == ["out/a.jpg", "out/deep/er/b.PNG"]
    touch(tree, "x[1].png", "noending")
    found = find([tree / "x[1].png", tree / "noending", tree / "x[1].png"], output="out")
    assert [job.output.name for job in found.jobs] == ["x[1].png", "noending.png"], (
        "named files are taken as named"
    )


def test_results_are_no_inputs(tree):
    touch(tree, "out/a.jpg", "outer/e.png")
    found = find([tree], output=tree / "out")
    assert len(found.jobs) == 5
    assert not any(job.is_done for job in found.jobs if job.source.name != "a.jpg")
    assert next(job for job in found.jobs if job.source.name == "a.jpg").is_done


def test_compare(tree):
    job = next(job for job in find([tree], output="out", compare=True).jobs if job.source.name == "c.gif")
    assert [str(path) for path in job.outputs] == ["out/deep/c.gif.png", "out/deep/c.gif.compare.png"]
    touch(tree.parent, "out/deep/c.gif.png")
    assert not job.is_done


@pytest.mark.parametrize(
    ("inputs", "output", "said"),
    [
        (["in/none.png"], "out", "in/none.png: there is no such file"),
        (["in/*.bmp"], "out", r"in/\*.bmp: no image"),
        (["in/deep", "other"], "out", "other: no image and no video there .1 other files"),
        (["in/a.jpg", "twin/a.jpg"], "out", "in/a.jpg and twin/a.jpg would both become out/a.jpg"),
        (["in/a.jpg"], "in", "in/a.jpg would become in/a.jpg, which is an input"),
        (["in"], "in", "in/a.jpg would become in/a.jpg, which is an input"),
        (["in/*.jpg"], "in", "in/a.jpg would become in/a.jpg, which is an input"),
        (["in/a.jpg"], "in/notes.txt", "--output=in/notes.txt is a file"),
    ],
)
def test_refused(tree, inputs, output, said):
    touch(tree.parent, "other/notes.txt", "twin/a.jpg")
    with pytest.raises(UsageError, match=said):
        find(inputs, output=output)


def test_links_do_not_hide_an_input(tree):
    os.symlink(tree, tree.parent / "link")
    with pytest.raises(UsageError, match="which is an input"):
        find([tree / "a.jpg"], output=tree.parent / "link")


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_appears_complete_or_not_at_all(tmp_path, durable):
    path = tmp_path / "new/a.png"
    with atomic_path(path, overwrite=False, durable=durable) as temporary:
        temporary.write_bytes(b"1")
        assert is_temporary(temporary.name) and not is_temporary(path.name)
        assert not path.exists()
    with pytest.raises(OutputError, match="exists and was not overwritten"):  # noqa: SIM117
        with atomic_path(path, overwrite=False, durable=durable) as temporary:
            temporary.write_bytes(b"2")
    with pytest.raises(RuntimeError), atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(b"3")
        raise RuntimeError
    assert path.read_bytes() == b"1"
    atomic_write(path, b"4", durable=durable)
    assert path.read_bytes() == b"4"
    assert os.listdir(path.parent) == ["a.png"]


def test_nothing_half_written_is_left_by_a_request_to_end(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    path = tmp_path / "a.mp4"
    with pytest.raises(SystemExit) as end, exit_on_sigterm(), atomic_path(path) as aside:
        aside.write_bytes(b"1")
        signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 143
    assert not os.listdir(tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before
