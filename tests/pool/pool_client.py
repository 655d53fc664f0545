"""What the tests use as a client of the proxy: one connection a request, nothing between it and the wire."""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

from role_settings import MASTER_KEY

Api = Literal["openai", "anthropic"]
APIS: tuple[Api, ...] = ("openai", "anthropic")
PATHS: dict[Api, str] = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}

MODEL = "glm-5.3"
POLL = 0.02
Result = TypeVar("Result")


def wait_until(met: Callable[[], Result], within: float, what: str | Callable[[], object] = "") -> Result:
    """Return what `met` returns as soon as it is true; fail with `what` after `within` seconds."""
    end = time.monotonic() + within
    while True:
        late = time.monotonic() > end
        if found := met():
            return found
        assert not late, f"not within {within} s: {what() if callable(what) else what}"
        time.sleep(POLL)


def together(calls: Sequence[Callable[[], Result]], clients: int | None = None) -> list[Result]:
    """Make the calls in as many threads; return their results in order."""
    with ThreadPoolExecutor(clients or len(calls)) as threads:
        return [running.result() for running in [threads.submit(call) for call in calls]]


def parse_events(raw: bytes) -> list[tuple[str | None, Any]]:
    """The events of a stream as (name, data); data that is not JSON stays text."""
    events: list[tuple[str | None, Any]] = []
    for block in re.split(r"\r?\n\r?\n", raw.decode()):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != ":")
        if "data" in fields:
            data = fields["data"]
            events.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
    return events


@dataclass(frozen=True)
class Answer:
    """What came back; `cut` when the connection ended before the body did."""

    api: Api
    status: int
    headers: Mapping[str, str]
    raw: bytes
    took: float
    cut: bool = False

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw)
        return found

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["error"]
        return found

    @property
    def key(self) -> str | None:
        """Name of the key that answered."""
        return self.headers.get("x-litellm-pool-key")

    @property
    def retry_after(self) -> float | None:
        return float(self.headers["retry-after"]) if "retry-after" in self.headers else None

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def events(self) -> list[tuple[str | None, Any]]:
        return parse_events(self.raw)

    @property
    def text(self) -> str:
        """The answer's text without its reasoning, streamed or not."""
        if self.streamed:
            return "".join(_text_of_event(self.api, data) for _, data in self.events)
        if self.api == "openai":
            return str(self.body["choices"][0]["message"]["content"])
        return "".join(str(block["text"]) for block in self.body["content"] if block["type"] == "text")

    def __str__(self) -> str:
        return f"{self.status} {dict(self.headers)} {self.raw[:2000]!r}"


def _text_of_event(api: Api, data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    if api == "openai":
        return "".join(str(choice["delta"].get("content") or "") for choice in data.get("choices") or [])
    return str(data["delta"].get("text") or "") if data.get("type") == "content_block_delta" else ""


def has_content(data: Any) -> bool:
    """Whether an event of either API carries content, reasoning included."""
    if not isinstance(data, dict):
        return False
    if data.get("type") == "content_block_delta":
        return True
    deltas = [choice["delta"] for choice in data.get("choices") or []]
    return any(delta.get("content") or delta.get("reasoning_content") for delta in deltas)


@dataclass
class Open:
    """A request that was sent and whose answer nobody has read yet."""

    api: Api
    connection: http.client.HTTPConnection
    began: float = field(default_factory=time.monotonic)
    response: http.client.HTTPResponse | None = None

    def leave(self, *, reset: bool = False) -> None:
        """Hang up; with `reset` by RST, as a client that is killed with unread data does."""
        if reset and self.connection.sock is not None:
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.response is not None:
            self.response.close()
        self.connection.close()

    def first_content(self) -> None:
        """Return when the first content of the stream is here."""
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        while line := self.response.readline():
            if line.startswith(b"data: {") and has_content(json.loads(line[6:])):
                return
        raise AssertionError("the stream ended without content")

    def finish(self) -> Answer:
        """Read the answer to its end."""
        response = self.response or self.connection.getresponse()
        raw, cut = b"", False
        try:
            while piece := response.read1():
                raw += piece
        except (http.client.IncompleteRead, ConnectionError):
            cut = True
        headers = {name.lower(): value for name, value in response.getheaders()}
        self.leave()
        return Answer(self.api, response.status, headers, raw, time.monotonic() - self.began, cut)


class Status:
    """The answer of `GET /pool/status`."""

    def __init__(self, shown: dict[str, Any]) -> None:
        self.shown = shown

    def __str__(self) -> str:
        return json.dumps(self.shown)

    def key(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(key for key in self.shown["keys"] if key["name"] == name)
        return found

    def model(self, name: str, model: str = MODEL) -> dict[str, Any]:
        """What holds for one model on one key."""
        found: dict[str, Any] = self.key(name)["models"][model]
        return found

    def pool(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(pool for pool in self.shown["pools"] if pool["name"] == name)
        return found

    @property
    def in_flight(self) -> int:
        return sum(int(key["in_flight"]) for key in self.shown["keys"])

    @property
    def waiting(self) -> int:
        return sum(int(pool["waiting"]) for pool in self.shown["pools"])

    @property
    def states(self) -> dict[str, str]:
        return {str(key["name"]): str(key["state"]) for key in self.shown["keys"]}

    @property
    def resting(self) -> list[str]:
        """Keys that are, for all or some model, out of use for now or until an operator acts."""
        return [
            str(key["name"])
            for key in self.shown["keys"]
            if key["state"] not in ("draining", "disabled")
            and {key["state"], *(model["state"] for model in key["models"].values())} != {"active"}
        ]


def seconds_until(entry: Mapping[str, Any]) -> float:
    """Seconds from now to the `until` of an entry of the status."""
    assert str(entry["until"]).endswith(("Z", "+00:00")), entry
    return datetime.fromisoformat(str(entry["until"])).timestamp() - time.time()


class PoolClient:
    """A client of one proxy, with the master key unless another is given."""

    def __init__(self, url: str, key: str = MASTER_KEY) -> None:
        self.url = url
        self._key = key
        self._netloc = urllib.parse.urlsplit(url).netloc

    def send(
        self,
        api: Api,
        *,
        stream: bool = False,
        model: str = "glm-pool",
        text: str = "hello there",
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
        fields: Mapping[str, object] | None = None,
    ) -> Open:
        """Send a request, its body with more `fields`, and return without waiting for its answer."""
        body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 4000}
        if stream:
            body["stream"] = True
        return self.send_raw(api, PATHS[api], json.dumps(body | dict(fields or {})).encode(), headers, timeout)

    def send_raw(
        self, api: Api, path: str, body: bytes, headers: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Open:
        connection = http.client.HTTPConnection(self._netloc, timeout=timeout)
        all_headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"} | dict(headers or {})
        connection.request("POST", path, body, all_headers)
        return Open(api, connection)

    def ask(self, api: Api, **request: Any) -> Answer:
        """Send a request and return its answer; arguments as for `send`."""
        return self.send(api, **request).finish()

    def call(self, path: str, body: object = None, method: str = "", *, key: str | None = MASTER_KEY) -> Answer:
        """Call any other path; GET without a body."""
        connection = http.client.HTTPConnection(self._netloc, timeout=60)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        data = None if body is None else json.dumps(body).encode()
        connection.request(method or ("GET" if data is None else "POST"), path, data, headers)
        return Open("openai", connection).finish()

    def status(self) -> Status:
        answer = self.call("/pool/status")
        assert answer.status == 200, answer
        return Status(answer.body)

    def enable(self, key: str) -> Answer:
        return self.call(f"/pool/keys/{urllib.parse.quote(key, safe='')}/enable", method="POST")

    def metrics(self) -> dict[str, float]:
        """The samples of `GET /metrics` by name with labels, as written."""
        answer = self.call("/metrics")
        assert answer.status == 200, answer
        lines = [line for line in answer.raw.decode().splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def is_ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self.call("/health/liveliness").status == 200
        return False
