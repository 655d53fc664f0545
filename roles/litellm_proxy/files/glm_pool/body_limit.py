"""The bounds on a request's body: no client fills the instance's memory, and none holds it for ever."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from glm_pool.client_errors import ClientError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

VARIABLE = "GLM_POOL_MAX_BODY"
PATIENCE_VARIABLE = "GLM_POOL_BODY_TIMEOUT"
LINGER_SECONDS = 2.0
"""How long the rest of a refused body is thrown away; a connection closed over it takes the answer along."""


class TooLarge(Exception):
    """The body is larger than the bound.

    Args:
        more: whether the client is still sending.
    """

    def __init__(self, more: bool) -> None:
        super().__init__()
        self.more = more


class TooSlow(Exception):
    """The client has stopped in the middle of its body."""


def bound_of(environment: Mapping[str, str]) -> int:
    """The bound in bytes, 0 for none.

    Raises:
        ValueError: the variable is no number of bytes.
    """
    return _number(environment, VARIABLE, "bytes")


def patience_of(environment: Mapping[str, str]) -> int:
    """Seconds that a client may pause within its body, 0 for any number.

    Raises:
        ValueError: the variable is no number of seconds.
    """
    return _number(environment, PATIENCE_VARIABLE, "seconds")


def _number(environment: Mapping[str, str], variable: str, unit: str) -> int:
    value = environment.get(variable) or "0"
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{variable} is {value!r}; give a number of {unit}, 0 for no bound")
    return int(value)


def is_declared_above(bound: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the request says itself that its body is larger."""
    lengths = [value for name, value in headers if name == b"content-length"]
    return bool(bound) and any(value.isdigit() and int(value) > bound for value in lengths)


def has_no_length(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether there is a body whose length only its end tells."""
    return any(name == b"transfer-encoding" for name, _ in headers)


async def whole_body(receive: Receive, bound: int, patience: float = 0) -> bytes | None:
    """The request's body; None when the client has gone before its end.

    Raises:
        TooLarge: as soon as there are more bytes than `bound`, where that is not 0.
        TooSlow: nothing came for `patience` seconds, where that is not 0.
    """
    parts = []
    length = 0
    while True:
        try:
            message = await asyncio.wait_for(receive(), patience or None)
        except asyncio.TimeoutError:
            raise TooSlow from None
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        length += len(part)
        if bound and length > bound:
            raise TooLarge(bool(message.get("more_body")))
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def too_large(bound: int) -> ClientError:
    """What the client of a body above `bound` bytes is told."""
    return ClientError(
        413, "request_too_large", f"The request is larger than the {bound:,} bytes that this proxy takes; send less."
    )


def too_slow(patience: int) -> ClientError:
    """What a client is told that paused for `patience` seconds."""
    return ClientError(408, "request_timeout", f"The request paused for {patience} s before its end; send it again.")


async def refuse(receive: Receive, send: Send, api: str, error: ClientError, *, more: bool) -> None:
    """Answer with the error in the format of `api` at once, then close the connection.

    Args:
        receive: gives what the client still sends, with `more`.
        send: takes the answer.
        api: `openai` or `anthropic`.
        error: why.
        more: whether the client is still sending.
    """
    body = error.body(api)
    headers = {**error.headers(), "content-length": str(len(body)), "connection": "close"}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if more:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_discard(receive), LINGER_SECONDS)
    await send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive) -> None:
    more = True
    while more:
        message = await receive()
        more = message["type"] != "http.disconnect" and bool(message.get("more_body"))
