"""Server-sent events as far as the pool has to understand them."""

import json
import re
from typing import Any

_END = re.compile(rb"\r?\n\r?\n")
_QUIET = ("message_start", "ping")
"""Anthropic events that come before any content."""


class Events:
    """Cuts a stream of bytes into whole events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take in bytes; returns the events that are complete, each with its blank line."""
        data = self._rest + data
        events, begin = [], 0
        for end in _END.finditer(data):
            events.append(data[begin : end.end()])
            begin = end.end()
        self._rest = data[begin:]
        return events

    def rest(self) -> bytes:
        """What came after the last whole event."""
        return self._rest


def payload(event: bytes) -> Any:
    """The JSON of an event's data; None when there is none."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    try:
        return json.loads(b"\n".join(lines)) if lines else None
    except ValueError:
        return None


def ends(event: bytes) -> bool:
    """The event is the last of a whole answer."""
    if b"[DONE]" in event:
        return any(line.startswith(b"data:") and line[5:].strip() == b"[DONE]" for line in event.splitlines())
    return b"message_stop" in event and _type(payload(event)) == "message_stop"


def may_be_error(event: bytes) -> bool:
    """Cheap test before `payload` is asked."""
    return b'"error"' in event or b'"success"' in event or event.startswith(b"event: error")


def has_content(event: bytes) -> bool:
    """The event carries a part of the answer, so that another key can not take over after it."""
    data = payload(event)
    if not isinstance(data, dict):
        return b"[DONE]" in event
    if "type" in data:
        return data["type"] not in _QUIET
    choices = data.get("choices")
    if not isinstance(choices, list):
        return True
    return any(_says(choice) for choice in choices if isinstance(choice, dict)) or bool(data.get("usage"))


def _says(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return bool(delta or choice.get("finish_reason"))
    return bool(choice.get("finish_reason")) or any(value for name, value in delta.items() if name != "role")


def _type(data: Any) -> str:
    return str(data.get("type")) if isinstance(data, dict) else ""
