"""A web page in a headless Chromium, controlled through the DevTools protocol: for pages that scripts draw."""

import base64
import fcntl
import json
import os
import subprocess
import time

import browser
from processes import PATIENCE

FLAGS = [flag for flag in browser.FLAGS if not flag.startswith("--virtual-time-budget")]
# All text of a page, including shadow trees.
TEXT = """(() => { const found = []; const walk = node => {
    if (node.nodeType === Node.TEXT_NODE) found.push(node.textContent);
    if (node.tagName === "STYLE" || node.tagName === "SCRIPT") return;
    if (node.shadowRoot) walk(node.shadowRoot);
    node.childNodes.forEach(walk); };
    if (document.body) walk(document.body); return found.join(" ").replace(/\\s+/g, " "); })()"""
# All elements that match a selector, including shadow trees.
ALL = """(selector => { const found = []; const walk = root => {
    found.push(...root.querySelectorAll(selector));
    root.querySelectorAll("*").forEach(e => e.shadowRoot && walk(e.shadowRoot)); };
    walk(document); return found; })"""


class LivePage:
    """A browser with one page. Use it in a `with` statement.

    Args:
        folder: For the browser's files. It is created.
        size: Width and height of the window in pixels.
    """

    def __init__(self, folder, *, size=(1500, 1000)):
        folder.mkdir(parents=True)
        # Descriptors above 3 and 4, which the browser uses for the pipes.
        to_browser, from_browser = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (*to_browser, *from_browser)]
        for fd in (*to_browser, *from_browser):
            os.close(fd)
        reads, self._write, self._read, writes = ends
        command = [browser.PATH, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
        command += [f"--window-size={size[0]},{size[1]}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "-", *command],
            pass_fds=(reads, writes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self._number, self._rest, self._session = 0, b"", None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._process.terminate()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def call(self, method, **parameters):
        """Calls a DevTools method and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _message(self):
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser exited"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return message

    def show(self, url):
        self.call("Page.navigate", url="about:blank")  # a change after the # alone loads nothing
        self.call("Page.navigate", url=url)

    def evaluate(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script):
        """Waits until a script returns a true value, and returns it."""
        end = time.monotonic() + PATIENCE
        while not (value := self.evaluate(script)):
            assert time.monotonic() < end, f"timed out: {script}\n{self.evaluate(TEXT)[:3000]}"
            time.sleep(0.3)
        return value

    def until_text(self, *parts):
        """Waits until the page contains all `parts`."""
        return self.until(f"{json.dumps(parts)}.every(part => {TEXT}.includes(part))")

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
