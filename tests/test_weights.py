"""Weights files: a round trip, and the refusal of any damaged byte."""

import io
import json
import zipfile

import numpy as np
import pytest
from disks import full_disk
from refusals import refusal

from hazeheal.errors import HazeHealError, OutputError
from hazeheal.models import weights

METADATA = {"made_by": "hazeheal 0", "config": {"model": {"width": 4}}, "step": 7}


def arrays():
    random = np.random.default_rng(0)
    return {"a/kernel": random.normal(size=(3, 3, 2, 4)), "a/bias": np.zeros(4), "scale": np.float32(2)}


def equal(found, values):
    return found.keys() == values.keys() and all(
        np.array_equal(found[name], np.asarray(value).astype("f2")) and found[name].shape == np.shape(value)
        for name, value in values.items()
    )


@pytest.fixture
def path(tmp_path):
    weights.write(tmp_path / "some.npz", arrays(), METADATA)
    return tmp_path / "some.npz"


def test_round_trip(path):
    found = weights.read(str(path))
    assert found.path == path
    assert equal(found.values, arrays())
    assert found.metadata.items() >= METADATA.items()
    assert [p.name for p in path.parent.iterdir()] == ["some.npz"]
    assert all(a.dtype == np.float16 for a in found.values.values())
    again = path.with_name("again.npz")
    weights.write(again, dict(reversed(arrays().items())), METADATA)
    assert again.read_bytes() == path.read_bytes(), "a function of its content"
    plain = np.load(path, allow_pickle=False)
    assert equal({name: plain[name] for name in arrays()}, arrays()), "plain NumPy reads it"
    assert json.loads(bytes(plain["metadata"])) == found.metadata


def test_any_flipped_byte_is_refused(path):
    whole, refused = path.read_bytes(), 0
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            found = weights.read(path)
        except HazeHealError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
        else:  # the archive has times and the like, that mean nothing
            assert equal(found.values, arrays()) and found.metadata.items() >= METADATA.items(), at
    assert refused > len(whole) / 2


@pytest.mark.parametrize("kept", [0, 1, 10, 100, -1, -22, -200])
def test_a_truncated_file_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    assert "or is damaged" in refusal(HazeHealError, weights.read, path)


def rewritten(path, change):
    """Rewrites the archive, as another program would, after `change` modified its members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def note(**fields):
    def change(members):
        about = json.loads(np.load(io.BytesIO(members["metadata.npy"])).tobytes()) | fields
        file = io.BytesIO()
        np.save(file, np.frombuffer(json.dumps(about).encode(), np.uint8))
        members["metadata.npy"] = file.getvalue()

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda members: members.pop("a/bias.npy"), "has changed since it was written"),
        (
            lambda members: members.update({"b.npy": members["a/bias.npy"]}),
            "has changed since it was written",
        ),
        (
            lambda members: members.update({"scale.npy": members["a/bias.npy"]}),
            "has changed since it was written",
        ),
        (
            lambda members: members.update({"a.npy": members.pop("a/bias.npy")}),
            "has changed since it was written",
        ),
        (note(step=8), "has changed since it was written"),
        (
            note(format="hazeheal weights 2"),
            "this version reads 'hazeheal weights 1'; install a newer hazeheal",
        ),
        (lambda members: members.pop("metadata.npy"), "is not a weights file"),
        (lambda members: members.update({"a/bias.npy": b"not an array"}), "is not a weights file"),
    ],
)
def test_an_intact_archive_with_other_contents_is_refused(path, change, said):
    rewritten(path, lambda members: None)
    assert equal(weights.read(path).values, arrays())
    rewritten(path, change)
    assert said in refusal(HazeHealError, weights.read, path)


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("{}")
    for name, said in {
        "other.npz": "is not a weights file",
        "text.npz": "is not a weights file",
        "none.npz": "No such file",
        ".": "Is a dir",
    }.items():
        assert said in refusal(HazeHealError, weights.read, tmp_path / name)


@pytest.mark.parametrize("value", [1e5, np.inf, np.nan])
def test_values_that_are_not_finite_in_float16_are_refused(path, value):
    before = path.read_bytes()
    message = refusal(HazeHealError, weights.write, path, {"x/variance": np.array([1.0, value])}, METADATA)
    assert message.startswith("x/variance contains ") and "nothing was written" in message
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_old_file(path):
    before = path.read_bytes()
    with full_disk(1000):
        refusal(OutputError, weights.write, path, {"a": np.zeros(10**5)}, METADATA)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["some.npz"]
