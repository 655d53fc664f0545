"""A request of either API in one common form, and the prompt cache that both report."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import tokens
from .errors import refusal
from .models import Model, find_model

CACHED_PREFIXES = 4096
"""How many prompt beginnings a key's cache holds before the oldest is dropped."""

ANY_TOOL = ""
"""Value of ``Prompt.forced_tool`` when some tool must be called and the choice is free."""


@dataclass(frozen=True)
class Tool:
    """A tool the client offers: its name and the JSON schema of its arguments."""

    name: str
    schema: Mapping[str, object]


@dataclass(frozen=True)
class Segment:
    """A piece of the prompt, in the order in which the model reads it.

    Attributes:
        content: Text form by which equal pieces are recognised.
        tokens: Its size.
        breakpoint: Whether the prompt up to and with this piece is to be cached.
    """

    content: str
    tokens: int
    breakpoint: bool = False


@dataclass(frozen=True)
class Prompt:
    """What the simulator needs to know of a request.

    Attributes:
        model: The model that answers.
        requested_model: Its name as the client wrote it; answers repeat it.
        stream: Whether the answer is to be streamed.
        text: Last text of the last user message.
        tool_results: Texts of the tool results in the last message; not empty means their turn.
        tool_rounds: How many times tools were called, and their results sent, since that text.
        tools: The tools on offer.
        forced_tool: Name of the tool that must be called, ``ANY_TOOL``, or None.
        reasons: Whether the answer shows reasoning.
        json_mode: Whether the answer must be a JSON text.
        max_tokens: Largest answer in tokens; None for the model's own limit.
        segments: The whole prompt in pieces.
        tool_stream: Whether tool arguments are streamed in pieces (OpenAI format).
    """

    model: Model
    requested_model: str
    stream: bool
    text: str
    tool_results: tuple[str, ...]
    tools: tuple[Tool, ...]
    forced_tool: str | None
    reasons: bool
    json_mode: bool
    max_tokens: int | None
    segments: tuple[Segment, ...]
    tool_stream: bool = False
    tool_rounds: int = 0

    @property
    def tokens(self) -> int:
        """Size of the whole prompt."""
        return sum(segment.tokens for segment in self.segments)


class PromptCache:
    """The prompt beginnings that one key has sent before."""

    def __init__(self) -> None:
        """Start empty."""
        self._seen: OrderedDict[str, None] = OrderedDict()

    def use(self, prompt: Prompt) -> tuple[int, int]:
        """Look the prompt up and remember its breakpoints.

        Returns:
            Tokens read from the cache, and tokens newly written to it.
        """
        digest = hashlib.sha256(prompt.model.name.encode())
        size = read = marked = 0
        marks: list[str] = []
        for segment in prompt.segments:
            digest.update(segment.content.encode() + b"\0")
            size += segment.tokens
            mark = digest.hexdigest()
            if mark in self._seen:
                read = size
            if segment.breakpoint:
                marked = size
                marks.append(mark)
        for mark in marks:
            self._seen[mark] = None
            self._seen.move_to_end(mark)
        while len(self._seen) > CACHED_PREFIXES:
            self._seen.popitem(last=False)
        return read, max(marked - read, 0)


def requested_model(body: Mapping[str, object]) -> tuple[str, Model]:
    """Return the model a body asks for, as written and as known.

    Raises:
        Refusal: 1214 when the field is missing, 1211 when the model is unknown.
    """
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise refusal("1214", field="model")
    model = find_model(name)
    if model is None:
        raise refusal("1211")
    return name, model


def messages_of(body: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the messages of a body.

    Raises:
        Refusal: 1214 when they are missing, empty or not objects.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, Mapping) for m in messages):
        raise refusal("1214", field="messages")
    return messages


def flag(body: Mapping[str, object], name: str) -> bool:
    """Return a true-or-false field of a body, false when it is not there.

    Raises:
        Refusal: 1214 when it is something else.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise refusal("1214", field=name)
    return bool(value)


def token_limit(body: Mapping[str, object], name: str, model: Model) -> int | None:
    """Return the answer's token limit from a body, at most what the model can give.

    Raises:
        Refusal: 1214 when it is not a whole number of at least 1.
    """
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise refusal("1214", field=name)
    return min(value, model.max_output)


def parts_of(content: object) -> list[Mapping[str, object]]:
    """Return a message's content as a list of parts; a plain text becomes one text part.

    Raises:
        Refusal: 1214 when it is neither a text nor a list of objects.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content):
        return [part for part in content if isinstance(part, Mapping)]
    raise refusal("1214", field="messages.content")


def text_of(parts: Sequence[Mapping[str, object]]) -> str:
    """Return the text of all text parts, one after the other."""
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


def is_reminder(text: str) -> bool:
    """Return whether a client added the text itself, in tags."""
    return text.lstrip().startswith("<system-reminder>")


def last_text(parts: Sequence[Mapping[str, object]]) -> str:
    """Return the last text part that a person wrote: reminders that clients add in tags are skipped."""
    texts = [str(part.get("text", "")) for part in parts if part.get("type") == "text"]
    written = [text for text in texts if text.strip() and not is_reminder(text)]
    return (written or texts or [""])[-1].strip()


def segment(value: object, size: int, *, breakpoint: bool = False) -> Segment:
    """Make a piece of the prompt from a JSON value of a given size in tokens."""
    return Segment(json.dumps(value, sort_keys=True, ensure_ascii=False), size, breakpoint)


def json_tokens(value: object) -> int:
    """Return the size of a JSON value in its compact text form."""
    return tokens.count(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
