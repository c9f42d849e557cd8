"""A headless Chromium for the tests of HTML pages."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATH = next((found for name in NAMES if (found := shutil.which(name))), None)
needed = pytest.mark.skipif(PATH is None, reason=f"no browser is installed: none of {', '.join(NAMES)}")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--force-color-profile=srgb", "--force-device-scale-factor=1"),
    "--virtual-time-budget=5000",
)


def look(page, folder, *, script="null", size=(1000, 1400)):
    """Loads a page, evaluates a script and takes a screenshot.

    Args:
        page: HTML.
        folder: For the browser's files. It is created.
        script: A JavaScript expression, evaluated after the page has loaded.
        size: Width and height of the window in pixels.

    Returns:
        (value of the expression, uint8 [H, W, 3] screenshot taken afterwards).
    """
    folder.mkdir()
    found = '<pre id="found-by-test" hidden></pre>'
    run = f"""<script>addEventListener("load", () => {{
        document.getElementById("found-by-test").textContent = JSON.stringify({script}); }});</script>"""
    (folder / "page.html").write_text(page.replace("</body>", f"{found}{run}</body>"), encoding="utf-8")
    shot = folder / "shot.png"
    command = [PATH, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
    command += [f"--screenshot={shot}", "--dump-dom", (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    answer = re.search(r'id="found-by-test" hidden="">(.*?)</pre>', done.stdout, re.DOTALL)
    assert answer and answer[1], f"the script did not run: {done.stderr[-2000:]}"
    return json.loads(html.unescape(answer[1])), np.asarray(Image.open(shot).convert("RGB"))
