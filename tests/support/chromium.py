"""A headless Chromium driven over the WebDriver protocol, with nothing but the standard library.

python tests/support/chromium.py results/digits_mlp/report.html paper/readme/report.png    the README's picture
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1100,1300",
)  # fmt: skip
START_SECONDS = 60.0
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def missing() -> str:
    """What is not installed, or nothing."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not installed (Debian: apt-get install chromium chromium-driver)" if absent else ""


class Browser:
    """One window of a browser of its own, with its profile in `folder`."""

    def __init__(self, folder: Path) -> None:
        options = {"args": [*FLAGS, f"--user-data-dir={folder}"], "binary": shutil.which("chromium")}
        wanted = {
            "capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        }
        with tempfile.TemporaryFile() as log:
            self._driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=log, stderr=log)
            try:
                self._root = f"http://127.0.0.1:{self._port(log)}"
                self._session = f"/session/{self._call('POST', '/session', wanted)['sessionId']}"
            except BaseException:
                self._end_driver()
                raise

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            self._call("DELETE", self._session)
        finally:
            self._end_driver()

    def open(self, path: Path) -> None:
        """Load a file from disk."""
        self._call("POST", f"{self._session}/url", {"url": path.as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript in the page and return what it returns."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, *keys: str) -> None:
        """Press keys one after another, where the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def hover(self, selector: str) -> None:
        """Move the pointer onto the first element of a CSS selector."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        move = {"type": "pointerMove", "duration": 0, "origin": {ELEMENT: found[ELEMENT]}, "x": 0, "y": 0}
        mouse = {"type": "pointer", "id": "m", "parameters": {"pointerType": "mouse"}, "actions": [move]}
        self._call("POST", f"{self._session}/actions", {"actions": [mouse]})

    def prefer(self, scheme: str) -> None:
        """Ask pages for their light or dark colours."""
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        command = {"cmd": "Emulation.setEmulatedMedia", "params": features}
        self._call("POST", f"{self._session}/goog/cdp/execute", command)

    def resize(self, width: int, height: int) -> None:
        """Show pages in a window of this size, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": size}
        self._call("POST", f"{self._session}/goog/cdp/execute", command)

    def scripts(self, run: bool) -> None:
        """Let pages that are opened from here on run JavaScript, or not."""
        command = {"cmd": "Emulation.setScriptExecutionDisabled", "params": {"value": not run}}
        self._call("POST", f"{self._session}/goog/cdp/execute", command)

    def complaints(self) -> list[str]:
        """Messages of the console since the last call that are errors or warnings."""
        log = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in log if entry["level"] in ("SEVERE", "WARNING")]

    def picture(self) -> bytes:
        """A PNG of the window."""
        return base64.b64decode(self._call("GET", f"{self._session}/screenshot"))

    def _call(self, method: str, path: str, body: dict | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._root + path, content, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(error.read().decode()) from None

    def _port(self, log: IO[bytes]) -> int:
        """The port that the driver chose, once it listens there."""
        end = time.monotonic() + START_SECONDS
        while not (found := re.search(rb"started successfully on port (\d+)", said := _content(log))):
            if self._driver.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"chromedriver did not start within {START_SECONDS} s: {said.decode()}")
            time.sleep(0.05)
        return int(found[1])

    def _end_driver(self) -> None:
        self._driver.terminate()
        try:
            self._driver.wait(10)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait()


def _content(file: IO[bytes]) -> bytes:
    return os.pread(file.fileno(), 1 << 20, 0)  # leaves the place where the driver writes next, which it shares


def main(arguments: list[str]) -> None:
    """`chromium.py PAGE.html PICTURE.png`: the page's explorer as a picture, for the README."""
    page, picture = map(Path, arguments)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(Path(profile))
        try:
            browser.open(page.resolve())
            browser.run("document.getElementById('explorer').scrollIntoView()")
            browser.run("point(Math.min(60, state.points.length - 1))")
            picture.write_bytes(browser.picture())
        finally:
            browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
