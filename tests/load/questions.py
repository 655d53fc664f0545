"""What the load asks of the simulated Z.AI, and how it knows that an answer is whole and its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Api = Literal["openai", "anthropic"]
Form = Literal["json", "stream", "long"]
Connection = Literal["kept", "new"]

WORDS: dict[Form, int] = {"json": 4, "stream": 4, "long": 101}
"""Length of the answers: the fewest that hold the question's number, and one word in each of a long stream's steps."""

MAX_TOKENS = 2000


@dataclass(frozen=True)
class Kind:
    """One kind of request: over which API, in which form, on a connection that is kept or made for it."""

    api: Api
    form: Form
    connection: Connection

    @property
    def streamed(self) -> bool:
        """Whether the answer comes as server-sent events."""
        return self.form != "json"

    def __str__(self) -> str:
        return f"{self.api} {self.form}, {self.connection} connection"


class Fault(Exception):
    """An answer is not what it must be.

    Attributes:
        failure: `truncated` or `content`.
    """

    def __init__(self, failure: str, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure


@dataclass(frozen=True)
class Question:
    """One request; its number is in the answer, so that an answer to somebody else is noticed."""

    kind: Kind
    number: int
    words: int

    @property
    def text(self) -> str:
        """The user's message. The number begins it, as an answer of four words ends with it."""
        return f"#{self.number}. answer with {self.words} words"

    @property
    def expected(self) -> str:
        """The simulator's answer by its rule: an echo, filled up or cut to the number of words."""
        words = f"simulated answer to: {self.text}".split()
        words += [f"word{number}" for number in range(len(words) + 1, self.words + 1)]
        return " ".join(words[: self.words])

    def body(self, model: str) -> bytes:
        """The request's body."""
        body: dict[str, object] = {
            "model": model,
            "max_tokens": MAX_TOKENS,
            "messages": [{"role": "user", "content": self.text}],
        }
        if self.kind.streamed:
            body["stream"] = True
        return json.dumps(body).encode()

    def judge(self, raw: bytes) -> None:
        """Look at a whole body with status 200.

        Raises:
            Fault: it ends too early, is not of its API's form, or says something else than it must.
        """
        try:
            text, finish = _READ[self.kind.api, self.kind.streamed](raw)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise Fault("content", f"{type(error).__name__}: {error} in {_excerpt(raw)}") from None
        if finish not in ("stop", "end_turn"):
            raise Fault("content", f"finished by {finish!r}: {_excerpt(raw)}")
        if text != self.expected:
            raise Fault("content", f"expected {self.expected[-60:]!r}, got {text[-60:]!r}")


def _excerpt(raw: bytes) -> str:
    return repr(raw[-160:].decode(errors="replace"))


def _openai_json(raw: bytes) -> tuple[str, Any]:
    choice = _parse(raw)["choices"][0]
    return str(choice["message"]["content"]), choice["finish_reason"]


def _anthropic_json(raw: bytes) -> tuple[str, Any]:
    body = _parse(raw)
    return "".join(str(block["text"]) for block in body["content"]), body["stop_reason"]


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise Fault("truncated", f"no complete JSON: {_excerpt(raw)}") from None


def _openai_stream(raw: bytes) -> tuple[str, Any]:
    if not raw.endswith(b"data: [DONE]\n\n"):
        raise Fault("truncated", f"no [DONE] at the end: {_excerpt(raw)}")
    text, finish = "", None
    for event in _events(raw):
        for choice in event["choices"]:
            text += choice["delta"].get("content") or ""
            finish = choice.get("finish_reason") or finish
    return text, finish


def _anthropic_stream(raw: bytes) -> tuple[str, Any]:
    text, finish, name = "", None, None
    for event in _events(raw):
        name = event["type"]
        if name == "content_block_delta":
            text += event["delta"].get("text") or ""
        elif name == "message_delta":
            finish = event["delta"].get("stop_reason") or finish
    if name != "message_stop" or not raw.endswith(b"\n\n"):
        raise Fault("truncated", f"no message_stop at the end: {_excerpt(raw)}")
    return text, finish


def _events(raw: bytes) -> Iterator[dict[str, Any]]:
    for line in raw.splitlines():
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            try:
                event = json.loads(line[6:])
            except ValueError:
                raise Fault("truncated", f"no complete event: {_excerpt(line)}") from None
            if "error" in event:
                raise Fault("content", f"an error in the stream: {_excerpt(line)}")
            yield event


_READ = {
    ("openai", False): _openai_json,
    ("openai", True): _openai_stream,
    ("anthropic", False): _anthropic_json,
    ("anthropic", True): _anthropic_stream,
}
