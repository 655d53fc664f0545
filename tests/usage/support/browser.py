"""Headless Chromium without a network, told what to do through the pipe of its DevTools protocol."""

import base64
import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 60.0
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    # nothing but this machine's files can be reached
    "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=http://127.0.0.1:9",
)  # fmt: skip


class Browser:
    """One tab.

    Attributes:
        requests: addresses that the tab asked for.
        complaints: errors and warnings of the page.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._rest = b""
        self._last = 0
        self._session = ""
        self._loaded = False
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._call(f"{domain}.enable")
        self._call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )

    def open(self, path: Path, width: int = 1280, scheme: str = "light") -> None:
        """Show a file and wait until it is loaded."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.requests.clear()
        self.complaints.clear()
        self._loaded = False
        answer = self._call("Page.navigate", url=path.as_uri())
        assert not answer.get("errorText"), answer
        end = time.monotonic() + SECONDS
        while not self._loaded:
            self._take(end)

    def ask(self, expression: str) -> Any:
        """Value of a JavaScript expression, which the page itself may not run."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> Path:
        """The whole page as PNG."""
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        number = self._last
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while True:
            message = self._take(end)
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def _take(self, end: float) -> dict[str, Any]:
        """The next message; what the page did is noted."""
        while b"\0" not in self._rest:
            readable, _, _ = select.select([self._reading], [], [], max(0.0, end - time.monotonic()))
            assert readable, "Chromium does not answer"
            more = os.read(self._reading, 1 << 20)
            assert more, "Chromium has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        parameters = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(parameters))
        return message


@contextlib.contextmanager
def chromium(program: str, directory: Path) -> Iterator[Browser]:
    """A browser with a profile and a home of its own, for as long as the context lasts."""
    orders, writing = os.pipe()
    reading, answers = os.pipe()
    # the browser reads orders from descriptor 3 and answers on 4; not every sh can move one above 9
    command = ["bash", "-c", f'exec "$@" 3<&{orders} 4>&{answers}', "bash", program, *OPTIONS]
    command += [f"--user-data-dir={directory}/profile", "--remote-debugging-pipe", "about:blank"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LC_ALL": "C.UTF-8"}
    with (directory / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            command, pass_fds=(orders, answers), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
    os.close(orders)
    os.close(answers)
    try:
        yield Browser(reading, writing)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(reading)
        os.close(writing)
