"""What the simulator's tests use as a client: plain HTTP, and a server-sent-event reader."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Literal

Api = Literal["general", "coding", "anthropic"]

GENERAL_KEY = "0123456789abcdef0123456789abcdef.general"
SECOND_KEY = "0123456789abcdef0123456789abcdef.second"
CODING_KEY = "0123456789abcdef0123456789abcdef.coding"

PATHS: dict[Api, str] = {
    "general": "/api/paas/v4/chat/completions",
    "coding": "/api/coding/paas/v4/chat/completions",
    "anthropic": "/api/anthropic/v1/messages",
}
APIS: tuple[Api, ...] = ("general", "coding", "anthropic")
KEY_OF: dict[Api, str] = {"general": GENERAL_KEY, "coding": CODING_KEY, "anthropic": GENERAL_KEY}
NAME_OF: dict[Api, str] = {"general": "general", "coding": "coding", "anthropic": "general"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw)
        return found

    @property
    def error(self) -> dict[str, str]:
        found: dict[str, str] = self.body["error"]
        return found

    @property
    def events(self) -> list[tuple[str | None, Any]]:
        """The stream's events as (name, data); data that is not JSON stays text."""
        return parse_events(self.raw)


def parse_events(raw: bytes) -> list[tuple[str | None, Any]]:
    events: list[tuple[str | None, Any]] = []
    for block in raw.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if "data" in fields:
            data = fields["data"]
            events.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
    return events


def request_for(api: Api, key: str | None = None, **changes: object) -> tuple[str, dict[str, str], Any]:
    """Return path, headers and body of a request that the API answers; None takes a field out."""
    body: dict[str, object] = {"model": "glm-4.6", "messages": [{"role": "user", "content": "hello there"}]}
    if api == "anthropic":
        body["max_tokens"] = 1000
    body.update(changes)
    body = {name: value for name, value in body.items() if value is not None}
    return PATHS[api], {"Authorization": f"Bearer {key or KEY_OF[api]}"}, body


def call(url: str, headers: dict[str, str] | None = None, body: object = None, method: str = "") -> Reply:
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers or {})
    request.method = method or ("GET" if data is None else "POST")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return Reply(response.status, dict(response.headers), response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, dict(error.headers), error.read())


def open_request(url: str, api: Api, key: str | None = None, **changes: object) -> http.client.HTTPConnection:
    """Send a request and return without waiting for its answer."""
    path, headers, body = request_for(api, key, **changes)
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=10)
    connection.request("POST", path, json.dumps(body), {**headers, "Content-Type": "application/json"})
    return connection
