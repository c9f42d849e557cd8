"""`hazeheal demo` without its page: what it restores, keeps, refuses and removes."""

import io
import pathlib
import socket
import tempfile

import checkpoints_made
import image_files
import numpy as np
import pytest
from PIL import Image
from tiff_files import written

from hazeheal import __main__ as program
from hazeheal.commands import demo as command
from hazeheal.data.images import image_io
from hazeheal.data.images.pixel_options import PixelOptions
from hazeheal.demo import images as demo_images
from hazeheal.demo.images import DemoImages
from hazeheal.errors import DataError, HazeHealError, OptionNeededError
from hazeheal.inference import results_record
from hazeheal.inference.load_model import open_model
from hazeheal.inference.restorer import Restorer
from hazeheal.inference.strength import blend

SCENE = image_files.scene(60, 80)
FILM = b"\0\0\0\x20ftypisom"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    return checkpoints_made.write_run(path, (5, 20.0), (9, 10.0), model__se_ratio=0.25)


class Counting:
    """A network that counts the images that it restores."""

    def __init__(self, run):
        self.restorer, self.count = Restorer(open_model(run)), 0

    def restore(self, image):
        self.count += 1
        return self.restorer.restore(image)


@pytest.fixture
def network(run):
    return Counting(run)


@pytest.fixture
def images(network, tmp_path):
    models = {"mine": lambda: network, "other": lambda: network}
    return DemoImages(models, folder=tmp_path / "kept", max_pixels=10_000)


def upload(tmp_path, name, data):
    """A file as Gradio leaves it: in a folder of its own."""
    path = tmp_path / "uploads" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def with_camera():
    found = Image.Exif()
    found[0x010F], found[0x9003] = "A camera", "2026:01:02 03:04:05"
    return found


def files():
    """{name: content} of images of every kind that is restored."""
    wide = (SCENE.astype(np.uint16) * 257) ^ 0x55
    alpha = np.dstack([SCENE, np.full(SCENE.shape[:2], 255, np.uint8)])
    alpha[:9, :, 3] = 0
    gray = Image.fromarray(SCENE).convert("L")
    return {
        "photo.jpg": image_files.saved(SCENE, "JPEG", quality=95, exif=with_camera()),
        "turned.jpg": image_files.saved(SCENE, "JPEG", quality=95, exif=image_files.exif(6)),
        "wide.png": image_files.raw_png(wide, depth=16),
        "alpha.png": image_files.saved(Image.fromarray(alpha), "PNG"),
        "gray.png": image_files.saved(gray, "PNG"),
        "ähnlich & so.webp": image_files.saved(SCENE, "WEBP", lossless=True),
        "a.gif": image_files.saved(Image.fromarray(SCENE).quantize(64), "GIF"),
        "scene.tif": written(wide, photometric="rgb"),
    }


@pytest.mark.parametrize("name", files())
def test_the_result_is_the_file_that_dehaze_writes(run, images, tmp_path, name):
    source = tmp_path / "sources" / name
    source.parent.mkdir()
    source.write_bytes(files()[name])
    assert program.main(["dehaze", str(source), f"--model={run}", f"--output={tmp_path / 'out'}"]) == 0
    image = images.add(upload(tmp_path, name, files()[name]), session="a")
    result, data = images.result(image.key, model="mine", strength=1.0)
    (expected,) = (path for path in (tmp_path / "out").iterdir() if path.name != results_record.NAME)
    assert result == expected.name
    assert data == expected.read_bytes()


def test_strength_blends_the_pixels_of_the_file_and_keeps_its_metadata(images, network, tmp_path):
    image = images.add(upload(tmp_path, "photo.png", image_files.saved(SCENE, "PNG", exif=with_camera())), session="a")
    restored = network.restorer.restore(SCENE)
    for strength in (0.0, 0.5, 1.5):
        _, data = images.result(image.key, model="mine", strength=strength)
        assert np.array_equal(image_io.load_rgb(data)[0], blend(SCENE, restored, strength))
        assert Image.open(io.BytesIO(data)).getexif()[0x010F] == "A camera"


def test_another_strength_takes_no_run_of_the_network(images, network, tmp_path):
    image = images.add(upload(tmp_path, "photo.jpg", files()["photo.jpg"]), session="a")
    for strength in (1.0, 0.2, 0.7, 1.5):
        images.preview(image.key, model="mine", strength=strength)
        images.result(image.key, model="mine", strength=strength)
    assert network.count == 1
    images.preview(image.key, model="other", strength=1.0)
    assert network.count == 2


def test_restored_images_leave_the_memory_when_there_is_no_room(network, tmp_path):
    images = DemoImages({"mine": lambda: network}, folder=tmp_path / "kept", max_pixels=10**6, max_cached_bytes=30_000)
    keys = [images.add(upload(tmp_path, f"{i}.png", image_files.saved(SCENE, "PNG")), session="a").key for i in "012"]
    for key in (*keys, keys[2], keys[0], keys[0]):  # two of 14,400 bytes fit
        images.result(key, model="mine", strength=1.0)
    assert network.count == 4


def test_a_preview_is_small_and_has_8_bits(network, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_images, "PREVIEW_SIDE", 40)
    images = DemoImages({"mine": lambda: network}, folder=tmp_path / "kept", max_pixels=10**6)
    for name in ("wide.png", "gray.png", "alpha.png"):
        image = images.add(upload(tmp_path, name, files()[name]), session="a")
        preview = images.preview(image.key, model="mine", strength=1.0)
        assert preview.hazy.shape == preview.restored.shape == (30, 40, 3)
        assert preview.hazy.dtype == preview.restored.dtype == np.uint8
        assert preview.bits == (16 if name == "wide.png" else 8)
        if name == "gray.png":
            assert np.ptp(preview.restored, axis=2).max() == 0, "a gray image has no color"
        if name == "wide.png":
            assert np.abs(preview.hazy.mean((0, 1)) - SCENE.mean((0, 1))).max() < 1.5


def dark(size=(60, 80)):
    return np.random.default_rng(0).integers(0, 4096, (*size, 3)).astype(np.uint16)


REFUSED = {
    "broken.jpg": (files()["photo.jpg"][:700], "broken.jpg: truncated or damaged"),
    "text.png": (b"not an image at all", "text.png: not an image"),
    "empty.png": (b"", "empty.png: the file is empty"),
    "moving.gif": (
        image_files.saved(
            Image.fromarray(SCENE).quantize(16), "GIF", save_all=True, append_images=[Image.new("P", (80, 60))]
        ),
        "moving.gif: animated or multi-page (2 frames); save one frame as an image",
    ),
    "huge.png": (
        image_files.saved(np.zeros((101, 100, 3), np.uint8), "PNG"),
        "huge.png: 100 x 101 are 0.0101 megapixels, and this page restores up to 0.01; `hazeheal dehaze` restores it in parts",
    ),
    "film.mp4": (FILM, "film.mp4: a video; `hazeheal dehaze` restores it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_restored_is_refused_with_a_sentence_and_not_kept(images, tmp_path, name):
    data, said = REFUSED[name]
    path = upload(tmp_path, name, data)
    with pytest.raises(HazeHealError) as error:
        key = images.add(path, session="a").key
        images.preview(key, model="mine", strength=1.0)
    assert str(error.value).startswith(said)
    assert str(tmp_path) not in str(error.value) and "\n" not in str(error.value)
    images.close("a")
    assert not path.exists() and not any((tmp_path / "kept").iterdir())


def test_a_12_bit_image_needs_the_white_level_that_the_command_gives(network, images, tmp_path):
    data = image_files.raw_png(dark(), depth=16)
    with pytest.raises(OptionNeededError, match=r"^dark\.png: .*--white"):
        image = images.add(upload(tmp_path, "dark.png", data), session="a")
        images.preview(image.key, model="mine", strength=1.0)
    options = PixelOptions(white=4095)
    bright = DemoImages({"mine": lambda: network}, folder=tmp_path / "more", max_pixels=10**6, options=options)
    image = bright.add(upload(tmp_path, "dark.png", data), session="a")
    assert bright.preview(image.key, model="mine", strength=0).hazy.mean() == pytest.approx(127.5, abs=3)


@pytest.mark.parametrize(
    ("sent", "kept"), [("a b & ü.jpg", "a b & ü.jpg"), ("../../etc/x.jpg", "x.jpg"), ("C:\\dir\\y.jpg", "y.jpg")]
)
def test_names_are_those_of_the_user_without_folders(images, tmp_path, sent, kept):
    image = images.add(upload(tmp_path, "stored", files()["photo.jpg"]), session="a", name=sent)
    assert image.result == image.path.name == kept
    assert image.path == tmp_path / "kept" / image.key / kept


@pytest.mark.parametrize("sent", ["..", "x" * 300 + ".jpg", "a\0.jpg"])
def test_odd_names_harm_nothing(images, tmp_path, sent):
    try:
        image = images.add(upload(tmp_path, "stored", files()["photo.jpg"]), session="a", name=sent)
        assert image.path.parent == tmp_path / "kept" / image.key
    except DataError as error:
        assert "cannot be stored" in str(error)


def test_a_closed_session_leaves_nothing_and_the_others_stay(images, tmp_path):
    first, other = (
        images.add(upload(tmp_path, "photo.jpg", files()["photo.jpg"]), session=session) for session in "ab"
    )
    for image in (first, other):
        images.preview(image.key, model="mine", strength=1.0)
    images.close("a")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [other.key]
    assert images.of_session("a") == [] and images.of_session("b") == [other]
    with pytest.raises(DataError, match="was removed when its page was closed"):
        images.result(first.key, model="mine", strength=1.0)
    assert [key for key, _ in (*images._restored, *images._previews)] == [other.key] * 2


def test_a_session_holds_a_limited_number_of_images(images, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_images, "MAX_IMAGES", 2)
    for number in range(2):
        images.add(upload(tmp_path, f"{number}.jpg", files()["photo.jpg"]), session="a")
    with pytest.raises(DataError, match=r"^2\.jpg: the page holds 2 images; reload it"):
        images.add(upload(tmp_path, "2.jpg", files()["photo.jpg"]), session="a")
    images.add(upload(tmp_path, "2.jpg", files()["photo.jpg"]), session="b")


def test_the_pixels_are_bounded_by_the_memory():
    assert demo_images.max_pixels(8 * 2**30) == 8 * 2**30 // 2 // demo_images.BYTES_PER_PIXEL
    assert demo_images.max_pixels(2**50) == image_io.MAX_PIXELS


# The command


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--share=always"], 2, "--share=always: the page is never made public, as anyone with its address could use"),
        (["--port=70000"], 2, "must be a port from 0 (any free one) to 65535, got '70000'"),
        (["--max_upload=0"], 2, "must be a positive integer, got '0'"),
        (["--host=0.0.0.0"], 2, "unrecognized arguments: --host=0.0.0.0"),
        (["film.mp4"], 2, "unrecognized arguments: film.mp4"),
    ],
)
def test_invalid_flags_are_refused(capsys, flags, code, said):
    assert program.main(["demo", *flags]) == code
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and not out


def test_without_gradio_the_error_names_the_extra(capsys, monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert program.main(["demo"]) == 1
    assert capsys.readouterr().err == (
        "hazeheal demo: error: the page needs gradio, which is not installed; pip install 'hazeheal[demo]'\n"
    )


def test_a_port_in_use_is_refused_with_a_free_one(monkeypatch):
    server = pytest.importorskip("hazeheal.demo.server", reason="needs gradio", exc_type=ImportError)
    with server.bind(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            HazeHealError, match=rf"--port={port} is in use by another program; use --port=\d+,"
        ) as error:
            server.bind(port)
        free = int(str(error.value).split("use --port=")[1].split(",")[0])
        assert free != port
        with server.bind(free) as other:
            assert other.getsockname() == ("127.0.0.1", free)
        assert socket.create_connection(("127.0.0.1", port), timeout=5).close() is None


def test_an_error_of_the_model_ends_the_command_and_leaves_nothing(capsys, tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert program.main(["demo", "--port=0", "--model=nothing"]) == 1
    assert "nothing does not exist, and no pretrained network has that name" in capsys.readouterr().err
    assert not any(pathlib.Path(tmp_path, "temporary").iterdir())
