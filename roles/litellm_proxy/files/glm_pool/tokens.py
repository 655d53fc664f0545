"""What an answer used, as the upstream reports it, and what that costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glm_pool import sse

CHARACTERS_A_TOKEN = 4
"""For what was never reported, mostly as the answer was cut short."""

MOST = 10**9
"""Tokens that one answer can have used."""


@dataclass(frozen=True)
class Tokens:
    """Of one answer or many.

    Attributes:
        input: read anew.
        cached: read from the upstream's cache.
        output: written.
    """

    input: int = 0
    cached: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.input + self.cached + self.output

    def __add__(self, other: "Tokens") -> "Tokens":
        """Both together."""
        return Tokens(self.input + other.input, self.cached + other.cached, self.output + other.output)


def reported(usage: Any) -> Tokens:
    """Read the field `usage` of an answer or event, of the Anthropic or the OpenAI API."""
    if not isinstance(usage, Mapping):
        return Tokens()
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        details = usage.get("prompt_tokens_details")
        cached = _number(details.get("cached_tokens")) if isinstance(details, Mapping) else 0
        read = max(0, _number(usage.get("prompt_tokens")) - cached)
        return Tokens(read, cached, _number(usage.get("completion_tokens")))
    return Tokens(
        _number(usage.get("input_tokens")) + _number(usage.get("cache_creation_input_tokens")),
        _number(usage.get("cache_read_input_tokens")),
        _number(usage.get("output_tokens")),
    )


def of_answer(document: Any) -> Tokens:
    """What a whole answer used."""
    return reported(document.get("usage")) if isinstance(document, Mapping) else Tokens()


class StreamedTokens:
    """Adds up what the events of a stream report.

    Args:
        request_bytes: size of the request's body.

    Attributes:
        complete: the answer came to its end.
    """

    def __init__(self, request_bytes: int) -> None:
        self.complete = False
        self._request_bytes = request_bytes
        self._reported = Tokens()
        self._parts = 0

    def feed(self, event: bytes) -> None:
        """Take in one event."""
        self._parts += 1
        self.complete = self.complete or sse.ends(event)
        if b'"usage"' not in event:
            return
        data = sse.payload(event)
        if not isinstance(data, Mapping):
            return
        message = data.get("message")
        usage = data.get("usage") or (message.get("usage") if isinstance(message, Mapping) else None)
        now, before = reported(usage), self._reported
        # each event tells the sum until then, and some leave out what an earlier one told
        read, cached = max(before.input, now.input), max(before.cached, now.cached)
        if _tells_input(usage) and now.input + now.cached >= before.input + before.cached:
            read, cached = now.input, now.cached  # of the same input it may now know that it was cached
        self._reported = Tokens(read, cached, max(before.output, now.output))

    def used(self) -> Tokens:
        """What the stream used; of one that was cut short, or never told, at least what has come of it."""
        told = self._reported
        if self.complete and told.total:
            return told
        read = told.input or (0 if told.cached else self._request_bytes // CHARACTERS_A_TOKEN)
        return Tokens(read, told.cached, max(told.output, self._parts))


def cost(tokens: Tokens, price: Mapping[str, float]) -> float:
    """USD.

    Args:
        tokens: what was used.
        price: USD per million tokens, by kind; cached ones cost as others where their price is not there.
    """
    read = price.get("input", 0.0)
    parts = (tokens.input * read, tokens.cached * price.get("cached", read), tokens.output * price.get("output", 0.0))
    return sum(parts) / 1_000_000


def _tells_input(usage: Any) -> bool:
    return isinstance(usage, Mapping) and ("prompt_tokens" in usage or "input_tokens" in usage)


def _number(value: Any) -> int:
    """A count; 0 for what can be none, as neither an answer nor the ledger may fail for it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST:
        return 0
    return int(value)
