"""What the parts of the plug-in know of one client's request; it goes with the request's context."""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from glm_pool.client_errors import ClientError
from glm_pool.faults import Fault
from glm_pool.tokens import StreamedTokens, Tokens

if TYPE_CHECKING:
    from glm_pool.access import Visit


class Closable(Protocol):
    """Something that must not outlive the request."""

    def abandon(self) -> None:
        """End it now."""


@dataclass(eq=False)
class RequestState:
    """One request.

    Attributes:
        session: of the client, for session affinity.
        tried: names of the keys that failed this request.
        faults: key name and fault of each failed try.
        key: name of the key that was used last.
        error: what the client is told if LiteLLM ends the request with an error.
        ended: the error by which each pool has ended the request, by the pool's name.
        works: tasks that wait for a key or for the upstream.
        streams: answers that are being read.
        visit: the client's, once it was let in.
        pool: name of the pool that was asked for, where that is known.
        answered: name of the key and upstream model that answered; empty for none.
        tokens: what whole answers used.
        meters: what streamed answers use.
        broken: an answer broke off.
    """

    session: str | None = None
    tried: set[str] = field(default_factory=set)
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    key: str | None = None
    error: ClientError | None = None
    ended: dict[str, ClientError] = field(default_factory=dict)
    works: "set[asyncio.Task[object]]" = field(default_factory=set)
    streams: set[Closable] = field(default_factory=set)
    visit: "Visit | None" = None
    pool: str = ""
    answered: tuple[str, str] = ("", "")
    tokens: Tokens = field(default_factory=Tokens)
    meters: list[StreamedTokens] = field(default_factory=list)
    broken: bool = False

    @property
    def used(self) -> Tokens:
        """What the request used until now."""
        return sum((meter.used() for meter in self.meters), self.tokens)

    def abandon(self) -> None:
        """Leave every queue and give back every slot: the request is over."""
        for work in list(self.works):
            work.cancel()
        for stream in list(self.streams):
            stream.abandon()


_current: ContextVar[RequestState | None] = ContextVar("glm_pool_request", default=None)


def begin() -> RequestState:
    """Start a request in this context."""
    state = RequestState()
    _current.set(state)
    return state


def current() -> RequestState:
    """The request of this context; a new one where LiteLLM asks by itself."""
    return _current.get() or RequestState()
