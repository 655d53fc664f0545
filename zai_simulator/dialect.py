"""What the two APIs have in common: the parts in which their wire formats differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from .answers import Answer
from .errors import Refusal
from .prompts import Prompt


@dataclass(frozen=True)
class Usage:
    """The token counts of one answer.

    Attributes:
        prompt: Size of the whole prompt.
        cache_read: How much of it came from the prompt cache.
        cache_written: How much of it was newly written to the cache.
    """

    prompt: int
    cache_read: int
    cache_written: int


@dataclass(frozen=True)
class Event:
    """One server-sent event, ready for the wire; only content is paced by ``token_interval``."""

    data: bytes
    content: bool = False


class Dialect(Protocol):
    """The wire format of one API."""

    def parse(self, body: Mapping[str, object]) -> Prompt:
        """Read a request body; raises Refusal when the API would not take it."""

    def whole(self, prompt: Prompt, answer: Answer, usage: Usage) -> dict[str, object]:
        """Return the body of an answer that is not streamed."""

    def events(self, prompt: Prompt, answer: Answer, usage: Usage, chunks: int) -> Iterator[Event]:
        """Return the events of a streamed answer, its text in at least ``chunks`` pieces."""

    def error(self, refusal: Refusal, request_id: str) -> dict[str, object]:
        """Return the body of an error answer."""

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the event that reports an error inside a stream."""
