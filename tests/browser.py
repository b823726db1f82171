"""A headless Chromium for tests, driven over a pair of pipes by the DevTools protocol.

Messages are JSON texts that end in a NUL byte (``--remote-debugging-pipe``): the browser reads them from fd 3 and
writes them to fd 4. Every wait ends: at the latest when the browser is killed after ``LIFETIME`` seconds.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import Any, final

LIFETIME = 60.0

PATH = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_SWITCHES = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
]


# Moves the pipes to 3 and 4, by way of numbers that are neither, and becomes the browser.
_LAUNCHER = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


@final
class Browser:
    """One browser with one page. Use it in a with statement.

    Attributes:
        complaints: What the page has written to the console as errors or warnings, and exceptions nobody caught.
    """

    def __init__(self, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        assert PATH, "no Chromium is installed"
        self.complaints: list[str] = []
        self._profile = tempfile.TemporaryDirectory(prefix="browser", ignore_cleanup_errors=True)
        to_browser, self._write_fd = os.pipe()
        self._read_fd, from_browser = os.pipe()
        window = [f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, str(to_browser), str(from_browser), PATH, *_SWITCHES, *window],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        # Its death ends every read here.
        self._killer = threading.Timer(LIFETIME, self._process.kill)
        self._killer.start()
        self._buffer = b""
        self._last_id = 0
        self._session: str | None = None
        try:
            self._attach(width, height, dark)
        except BaseException:
            self.close()
            raise

    def _attach(self, width: int, height: int, dark: bool) -> None:
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._killer.cancel()
        self._process.kill()
        self._process.wait()
        os.close(self._write_fd)
        os.close(self._read_fd)
        self._profile.cleanup()

    def call(self, method: str, **params: Any) -> Any:
        """Send one command and return its result. Events that come meanwhile are looked through for complaints."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write_fd, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read_message()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, f"{method}: {answer['error']['message']}"
                return answer["result"]
            self._note(answer)

    def _read_message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._read_fd, 65536)
            assert data, "the browser has gone"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.complaints.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in params["args"]))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            entry = params["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    def open(self, url: str) -> None:
        """Go to ``url`` and wait until the page has loaded."""
        result = self.call("Page.navigate", url=url)
        assert not result.get("errorText"), f"{url}: {result['errorText']}"
        self.evaluate("new Promise(r => document.readyState == 'complete' ? r() : addEventListener('load', () => r()))")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page; of a promise, what it resolves to."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true in the page. It is looked at on each frame."""
        self.evaluate(
            f"new Promise(r => {{ const look = () => ({condition}) ? r() : requestAnimationFrame(look); look(); }})"
        )

    def screenshot(self, path: str) -> None:
        """Write the whole page as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
