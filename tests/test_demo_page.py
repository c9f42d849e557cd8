"""The page of `hazeheal demo`: its server, and (slow) the page in a headless Chromium that Playwright drives."""

import io
import pathlib
import re
import signal
import sys
import time

import browser
import checkpoints_made
import image_files
import numpy as np
import processes
import pytest
from PIL import Image

from hazeheal import __main__ as program
from hazeheal.data.images import image_io
from hazeheal.inference.load_model import open_model
from hazeheal.inference.restorer import Restorer

pytest.importorskip("gradio", reason="needs gradio (pip install 'hazeheal[demo]')")

from starlette.testclient import TestClient

from hazeheal.demo import server
from hazeheal.demo.images import DemoImages

SCENE = image_files.scene(150, 200)
# In a process that writes the names of all machines that it wants to reach.
WITNESS = """
import socket, sys
reached, real = open(sys.argv[1], "w"), socket.getaddrinfo
def look_up(host, *rest, **options):
    print(host, file=reached, flush=True)
    return real(host, *rest, **options)
socket.getaddrinfo = look_up
from hazeheal.__main__ import main
sys.exit(main(["demo", *sys.argv[2:]]))
"""
LOADED = "[...document.querySelectorAll('#compare img')].filter(i => i.complete && i.naturalWidth).map(i => i.src)"


def photo(**options):
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    return image_files.saved(SCENE, "JPEG", quality=95, exif=exif, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    return checkpoints_made.write_run(path, (5, 20.0), model__se_ratio=0.25)


@pytest.fixture
def client(run, tmp_path, monkeypatch):
    """A client of the application, with one image uploaded; its key is `client.key`."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    images = DemoImages({"mine": lambda: Restorer(open_model(run))}, folder=tmp_path / "kept", max_pixels=10**6)
    app = server.make_app(images, models=["mine"], max_upload=1000)
    (tmp_path / "a.jpg").write_bytes(photo())
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        client.key = images.add(tmp_path / "a.jpg", session="s", name='x "ü".jpg').key
        yield client


def test_the_page_asks_for_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert answer.status_code == 200 and "HazeHeal" in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    loaded = re.findall(r"""<(?:script|link|img|iframe)[^>]*?(?:src|href)=["']([^"']+)""", answer.text)
    assert loaded and not [address for address in loaded if re.match(r"(\w+:)?//", address)]
    assert not re.findall(r"@import|url\(['\"]?(?:https?:)?//", client.get("/theme.css").text)


def test_only_its_own_page_on_this_machine_is_answered(client):
    assert client.get("/", headers={"host": "127.0.0.1:7860"}).status_code == 200
    assert client.get("/", headers={"host": "attacker.example"}).status_code == 400
    own, other = "http://127.0.0.1:7860", "http://attacker.example"
    files = {"files": ("x.jpg", b"123")}
    assert client.post("/gradio_api/upload", files=files, headers={"origin": other}).status_code == 403
    assert client.post("/gradio_api/upload", files=files, headers={"origin": own}).status_code == 200


def called(client, function, *data):
    """The events of a call of one of the page's functions, as the page makes it."""
    (number,) = [f["id"] for f in client.get("/config").json()["dependencies"] if f["api_name"] == function]
    call = {"data": data, "fn_index": number, "session_hash": "s"}
    assert client.post("/gradio_api/queue/join", json=call).status_code == 200
    return client.get("/gradio_api/queue/data", params={"session_hash": "s"}).text


def test_only_uploads_are_read(client, tmp_path):
    """A request that names another file of this machine gets nothing of it."""
    (tmp_path / "private.jpg").write_bytes(photo())
    meta = {"orig_name": "x.jpg", "meta": {"_type": "gradio.FileData"}}
    stolen = called(client, "upload", [{"path": str(tmp_path / "private.jpg")} | meta], None)
    assert "process_completed" in stolen and '"success":false' in stolen.replace(" ", "")
    assert (tmp_path / "private.jpg").exists()
    assert not [path for path in (tmp_path / "gradio").rglob("*") if path.name == "private.jpg"]
    (path,) = client.post("/gradio_api/upload", files={"files": ("y.txt", b"no image")}).json()
    taken = called(client, "upload", [{"path": path} | meta], None)
    assert '"success":true' in taken.replace(" ", "")
    assert not pathlib.Path(path).exists(), "it was not taken over"


def test_a_large_upload_is_refused(client, tmp_path):
    answer = client.post("/gradio_api/upload", files={"files": ("x.jpg", bytes(1001))})
    assert answer.status_code == 413 and "maximum allowed size of 1000 bytes" in answer.text
    assert client.post("/gradio_api/upload", files={"files": ("x.jpg", bytes(1000))}).status_code == 200


def test_a_result_is_a_download_with_its_name(client):
    answer = client.get(f"/result/{client.key}", params={"model": "mine", "strength": 0})
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''x%20%22%C3%BC%22.jpg"
    assert answer.headers["cache-control"] == "no-store"
    assert Image.open(io.BytesIO(answer.content)).getexif()[0x010F] == "A camera"


@pytest.mark.parametrize(
    ("key", "query", "code", "said"),
    [
        ("unknown", "model=mine&strength=1", 404, "this image was removed when its page was closed; drop it again."),
        ("", "model=none&strength=1", 400, "model=none or strength=1 is not valid"),
        ("", "model=mine&strength=9", 400, "model=mine or strength=9 is not valid"),
        ("", "model=mine&strength=nan", 400, "strength=nan is not valid"),
    ],
)
def test_a_wrong_address_is_refused(client, key, query, code, said):
    answer = client.get(f"/result/{key or client.key}?{query}")
    assert answer.status_code == code and said in answer.text


def start(tmp_path, *flags):
    """(process of `hazeheal demo`, its address); its temporary files are in tmp_path/temporary."""
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-c", WITNESS, tmp_path / "reached", "--port=0", *flags]
    process = processes.start(*command, variables={"TMPDIR": str(tmp_path / "temporary")})
    line = process.stdout.readline()
    assert line.startswith("HazeHeal is at http://127.0.0.1:"), line + process.communicate()[1]
    return process, re.search(r"http://\S+", line)[0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_and_leaves_nothing(tmp_path, run, number, code):
    process, _ = start(tmp_path, f"--model={run}")
    assert len(list((tmp_path / "temporary").glob("hazeheal-demo-*"))) == 1
    process.send_signal(number)
    ended, _, err = processes.finish(process)
    assert ended == code and "Traceback" not in err
    assert not list((tmp_path / "temporary").glob("hazeheal-demo-*"))
    assert set((tmp_path / "reached").read_text().split()) <= {"127.0.0.1", "localhost"}


def opened(playwright, folder):
    flags = [flag for flag in browser.FLAGS if not flag.startswith(("--headless", "--virtual-time"))]
    return playwright.chromium.launch_persistent_context(
        str(folder), executable_path=browser.PATH, headless=True, args=flags, viewport={"width": 1240, "height": 860}
    )


def pixels(page, number):
    """The image that the slider shows: 0 is hazy, 1 restored."""
    answer = page.request.get(page.evaluate(LOADED)[number])
    return image_io.load_rgb(answer.body())[0].astype(int)


def wait_until(condition):
    end = time.monotonic() + processes.PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)


@pytest.mark.slow
@browser.needed
def test_in_a_browser(tmp_path, run):
    """Upload, slider, strength, network, download, a broken file, a file that is too large, and the end."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    for name, data in {
        "photo.jpg": photo(),
        "broken.jpg": photo()[:700],
        "large.png": image_files.saved(
            np.random.default_rng(0).integers(0, 256, (700, 700, 3)).astype(np.uint8), "PNG"
        ),
        "wide.png": image_files.raw_png(SCENE.astype(np.uint16) * 257, depth=16),
    }.items():
        (tmp_path / name).write_bytes(data)
    sources = [str(tmp_path / name) for name in ("photo.jpg", "wide.png")]
    assert program.main(["dehaze", *sources, f"--model={run}", f"--output={tmp_path / 'out'}"]) == 0
    process, address = start(tmp_path, f"--model={run}", "--max_upload=1")
    kept = next((tmp_path / "temporary").glob("hazeheal-demo-*")) / "images"
    requests = []
    with playwright.sync_playwright() as started, opened(started, tmp_path / "profile") as context:
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        files = page.locator("#drop input[type=file]")

        def drop(*names):
            files.set_input_files([str(tmp_path / name) for name in names])

        def changes(action):
            before = page.evaluate(LOADED)
            action()
            wait_until(lambda: len(now := page.evaluate(LOADED)) == 2 and now != before)

        def downloaded(name):
            with page.expect_download() as download:
                page.locator("#download a").click()
            assert download.value.suggested_filename == name
            return pathlib.Path(download.value.path()).read_bytes()

        # Upload: the restored image is that of the network, as a JPEG.
        changes(lambda: drop("photo.jpg"))
        hazy = image_io.load_rgb(tmp_path / "photo.jpg")[0].astype(int)
        restored = image_io.load_rgb(tmp_path / "out/photo.jpg")[0].astype(int)
        assert np.abs(restored - hazy).mean() > 10, "the network must change the image for this test"
        assert np.abs(pixels(page, 0) - hazy).mean() < 3 and np.abs(pixels(page, 1) - restored).mean() < 3
        assert "photo.jpg: 200 x 150 pixels" in page.locator("#facts").inner_text()

        # Download: the file of `hazeheal dehaze`, with its metadata.
        assert downloaded("photo.jpg") == (tmp_path / "out/photo.jpg").read_bytes()

        # Slider: dragged to the right, hazy pixels cover what was restored.
        box = page.locator("#compare img").first.bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        before = page.screenshot(clip=box)
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.9 * box["width"], middle[1], steps=5)
        page.mouse.up()
        shots = [
            np.asarray(Image.open(io.BytesIO(s)).convert("RGB")).astype(int)
            for s in (before, page.screenshot(clip=box))
        ]
        columns = [int(share * shots[0].shape[1]) for share in (0.2, 0.7)]
        change = [np.abs(shots[1][:, c - 5 : c + 5] - shots[0][:, c - 5 : c + 5]).mean() for c in columns]
        assert change[0] < 2 < 5 < change[1]

        # Strength: 0 is the hazy image.
        number = page.locator("#strength input[type=number]")
        changes(lambda: (number.fill("0"), number.press("Enter")))
        assert np.abs(pixels(page, 1) - pixels(page, 0)).mean() < 0.5
        changes(lambda: (number.fill("0.5"), number.press("Enter")))
        half = np.rint(hazy + 0.5 * (restored - hazy))
        assert np.abs(pixels(page, 1) - half).mean() < 3
        saved = image_io.load_rgb(downloaded("photo.jpg"))[0]
        assert np.abs(saved - half).mean() < 3
        changes(lambda: (number.fill("1"), number.press("Enter")))

        # Another network.
        changes(lambda: page.locator("#model label", has_text="fast").click())
        assert np.abs(pixels(page, 1) - restored).mean() > 5
        changes(lambda: page.locator("#model label", has_text="run").click())

        # A broken file: a sentence, and the other image stays.
        drop("broken.jpg")
        page.locator("#problems [role=alert]", has_text="broken.jpg: truncated or damaged").wait_for()
        assert len(page.evaluate(LOADED)) == 2

        # A file that is too large: a sentence, and nothing is stored.
        drop("large.png")
        page.get_by_text(re.compile("exceed", re.IGNORECASE)).first.wait_for()

        # A second image, of 16 bits: shown with 8, written with 16.
        changes(lambda: drop("wide.png"))
        assert "16 bits per sample (shown with 8)" in page.locator("#facts").inner_text()
        assert downloaded("wide.png") == (tmp_path / "out/wide.png").read_bytes()
        assert page.locator("#problems [role=alert]").count() == 0
        assert len(list(kept.iterdir())) == 2

        assert "Traceback" not in page.content()
        page.close()
        wait_until(lambda: not list(kept.iterdir()))
    assert {url.split("/")[2] for url in requests if url.startswith("http")} == {address.split("/")[2]}
    process.send_signal(signal.SIGTERM)
    ended, _, err = processes.finish(process)
    assert ended == 143 and "Traceback" not in err, err
    assert not list((tmp_path / "temporary").glob("hazeheal-demo-*"))
    assert set((tmp_path / "reached").read_text().split()) <= {"127.0.0.1", "localhost"}
