"""The files to restore, the names of their results, and invalid inputs."""

import os
import signal

import pytest

from hazeheal.errors import OutputError, UsageError
from hazeheal.inference.jobs import Naming, find_jobs
from hazeheal.utils.atomic import atomic_path, atomic_write, is_temporary
from hazeheal.utils.signals import exit_on_sigterm


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def outputs(jobs, root):
    return {str(job.source.relative_to(root)): str(job.output) for job in jobs}


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
    found = find_jobs([tree], output="out")
    jobs = found.jobs
    assert outputs(jobs, tree) == {
        "a.jpg": "out/a.jpg",
        "film.MP4": "out/film.MP4",
        "deep/er/b.PNG": "out/deep/er/b.PNG",
        "deep/c.gif": "out/deep/c.gif.png",
    }
    assert found.others == 1 and not found.raw and not found.unreadable
    assert [job.source.name for job in jobs if job.is_video] == ["film.MP4"]


def test_files_and_globs(tree):
    jobs = find_jobs([tree / "deep/er/b.PNG"], output="out").jobs
    assert outputs(jobs, tree) == {"deep/er/b.PNG": "out/b.PNG"}
    jobs = find_jobs([f"{tree}/deep/*"], output="out").jobs
    assert outputs(jobs, tree) == {"deep/c.gif": "out/c.gif.png", "deep/er/b.PNG": "out/er/b.PNG"}
    jobs = find_jobs(["in/**/*.[jP]*"], output="out").jobs
    assert sorted(str(job.output) for job in jobs) == ["out/a.jpg", "out/deep/er/b.PNG"]
    touch(tree, "x[1].png", "noending")
    jobs = find_jobs([tree / "x[1].png", tree / "noending", tree / "x[1].png"], output="out").jobs
    assert [job.output.name for job in jobs] == ["x[1].png", "noending.png"], "a named file is not a glob"


def test_folders_of_the_system_are_never_searched(tree):
    system = ["@eaDir/a.jpg/THUMB_M.jpg", "#recycle/b.png", "__MACOSX/._a.jpg", "System Volume Information/c.png"]
    touch(tree, *system, "$RECYCLE.BIN/d.png", "lost+found/e.png", "deep/.Trash-1000/f.png", "deep/@EADIR/g.png")
    for inputs, expected in ((["in"], 4), (["in/*"], 4), (["in/**/*"], 4), (["in/*/*"], 2)):
        jobs = find_jobs(inputs, output="out").jobs
        assert len(jobs) == expected, [str(job.source) for job in jobs]
    jobs = find_jobs([tree / "@eaDir"], output="out").jobs  # named by the user
    assert len(jobs) == 1


def test_results_are_not_inputs(tree):
    touch(tree, "out/a.jpg", "outer/e.png")
    jobs = find_jobs([tree], output=tree / "out").jobs
    assert len(jobs) == 5
    assert not any(job.is_done for job in jobs if job.source.name != "a.jpg")
    assert next(job for job in jobs if job.source.name == "a.jpg").is_done


def test_compare(tree):
    jobs = find_jobs([tree], output="out", compare=True).jobs
    job = next(job for job in jobs if job.source.name == "c.gif")
    assert [str(path) for path in job.outputs] == ["out/deep/c.gif.png", "out/deep/c.gif.compare.png"]
    touch(tree.parent, "out/deep/c.gif.png")
    assert not job.is_done


@pytest.mark.parametrize(
    ("inputs", "output", "said"),
    [
        (["in/none.png"], "out", "in/none.png does not exist"),
        (["in/*.bmp"], "out", r"in/\*.bmp: no image"),
        (["in/deep", "other"], "out", "other: no image and no video found .1 other files"),
        (["in/a.jpg", "twin/a.jpg"], "out", "in/a.jpg and twin/a.jpg would both become out/a.jpg"),
        (["in/a.jpg"], "in", "in/a.jpg would become in/a.jpg, which is an input"),
        (["in"], "in", "in/a.jpg would become in/a.jpg, which is an input"),
        (["in/*.jpg"], "in", "in/a.jpg would become in/a.jpg, which is an input"),
        (["in/a.jpg"], "in/notes.txt", "--output=in/notes.txt is a file"),
        (["in"], "twin/a.jpg", "--output=twin/a.jpg is a file"),
    ],
)
def test_invalid_inputs_are_refused(tree, inputs, output, said):
    touch(tree.parent, "other/notes.txt", "twin/a.jpg")
    with pytest.raises(UsageError, match=said):
        find_jobs(inputs, output=output)


def test_a_single_input_may_have_a_file_as_its_result(tree):
    for source, output in (("a.jpg", "out/b.tif"), ("deep/c.gif", "c.png"), ("film.MP4", "new/b.mkv")):
        found = find_jobs([tree / source], output=output, compare=True)
        assert found.is_file and str(found.jobs[0].output) == output
    for source, output in (("a.jpg", "b.mkv"), ("film.MP4", "b.png"), ("a.jpg", "v1.2"), ("a.jpg", "deep.png")):
        (tree.parent / "deep.png").mkdir(exist_ok=True)
        found = find_jobs([tree / source], output=output)
        assert not found.is_file and str(found.jobs[0].output) == f"{output}/{source}"


def test_names_of_the_results(tree):
    touch(tree, "two.dots.tif")
    naming = Naming.of(suffix="_clear", extension="PNG")
    jobs = find_jobs([tree], output="out", naming=naming, compare=True).jobs
    assert outputs(jobs, tree) == {
        "a.jpg": "out/a_clear.png",
        "two.dots.tif": "out/two.dots_clear.png",
        "film.MP4": "out/film_clear.MP4",
        "deep/er/b.PNG": "out/deep/er/b_clear.png",
        "deep/c.gif": "out/deep/c_clear.png",
    }
    assert str(jobs[0].compare) == "out/a_clear.compare.png"
    jobs = find_jobs([tree / "film.MP4", tree / "deep/c.gif"], output="out", naming=Naming.of(extension=".mkv")).jobs
    assert [str(job.output) for job in jobs] == ["out/film.mkv", "out/c.gif.png"]
    touch(tree, "a.png")
    with pytest.raises(UsageError, match=r"would both become out/a\.png"):
        find_jobs([tree], output="out", naming=Naming.of(extension="png"))
    for flags, said in (({"suffix": "a/b"}, "--suffix='a/b'"), ({"extension": "gif2"}, "--ext=gif2 .* png, ")):
        with pytest.raises(UsageError, match=said):
            Naming.of(**flags)


def test_results_beside_the_inputs_are_not_inputs(tree):
    naming = Naming.of(suffix="_clear")
    touch(tree, "a_clear.jpg", "deep/e.png")
    results = {tree / "a_clear.jpg"}
    jobs = find_jobs([tree], output=tree, naming=naming, is_result=results.__contains__).jobs
    assert sorted(job.source.name for job in jobs) == ["a.jpg", "b.PNG", "c.gif", "e.png", "film.MP4"]


def test_links_to_folders_are_followed_once(tree):
    touch(tree.parent / "elsewhere", "x.png", "sub/y.png")
    os.symlink(tree.parent / "elsewhere", tree / "link")
    os.symlink(tree, tree / "deep" / "loop")
    os.symlink(tree.parent / "none", tree / "broken")
    found = find_jobs([tree], output="out")
    assert outputs(found.jobs, tree)["link/sub/y.png"] == "out/link/sub/y.png"
    assert len(found.jobs) == 6 and found.others == 1


def test_a_folder_that_cannot_be_listed_is_named(tree, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("er"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_jobs([tree], output="out")
    assert found.unreadable == {str(tree / "deep/er"): "Permission denied"} and len(found.jobs) == 3


def test_names_that_are_too_long_cost_nothing(tree):
    touch(tree, "n" * 251 + ".gif")
    (job,) = find_jobs([tree / ("n" * 251 + ".gif")], output="out").jobs
    assert not job.is_done and len(job.output.name) == 259


def test_an_input_is_recognized_through_a_link(tree):
    os.symlink(tree, tree.parent / "link")
    with pytest.raises(UsageError, match="which is an input"):
        find_jobs([tree / "a.jpg"], output=tree.parent / "link")


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


def test_sigterm_leaves_no_partial_file(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    path = tmp_path / "a.mp4"
    with pytest.raises(SystemExit) as end, exit_on_sigterm(), atomic_path(path) as temporary:
        temporary.write_bytes(b"1")
        signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 143
    assert not os.listdir(tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before
