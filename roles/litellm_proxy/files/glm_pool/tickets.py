"""Requests that want a lane, the queues they wait in, and what comes of them."""

import enum
import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from glm_pool.health import Health
from glm_pool.settings import Pool

if TYPE_CHECKING:
    from glm_pool.lanes import Lane

BORROWED = "borrowed"


class Reason(enum.Enum):
    """Why a ticket gets no lane."""

    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    TRIED = "every_key_failed"  # each key was tried, or can not return in time
    RESTING = "keys_resting"  # no key returns in time
    NO_KEY = "no_key_in_service"


@dataclass(frozen=True)
class Refusal:
    """A ticket's end without a lane; `retry_after` in seconds, None when no key returns by itself."""

    reason: Reason
    retry_after: float | None


@dataclass(eq=False)
class Ticket:
    """A request that wants a lane.

    Attributes:
        pool: name of the pool.
        notify: called with the lease or the refusal when the ticket had to wait.
        tried: names of keys that failed it; they are not used again.
        session: keeps to one key while that has a slot; None for no wish.
        arrived: seconds since the epoch.
        waited: seconds spent waiting in earlier tries.
    """

    pool: str
    notify: "Callable[[Lease | Refusal], None]"
    arrived: float
    tried: set[str] = field(default_factory=set)
    session: str | None = None
    waited: float = 0.0
    number: int = 0
    waiting: bool = False
    began: float = 0.0
    deadline: float = math.inf


@dataclass(eq=False)
class Lease:
    """A ticket's hold on a slot; ends with `Scheduler.release`."""

    number: int
    ticket: Ticket
    lane: "Lane"
    began: float
    waited: float
    probes: tuple[Health, ...]
    choice: str
    open: bool = True

    @property
    def counted(self) -> bool:
        """False for a lease without a slot, see `Scheduler.borrow`."""
        return self.choice != BORROWED


class Waiting:
    """The waiting tickets of one pool, first come first served."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.count = 0
        self._fresh: list[tuple[int, Ticket]] = []
        self._again: list[tuple[int, Ticket]] = []  # those that failed with some key: few, and choosy

    def add(self, ticket: Ticket) -> None:
        """Take in a ticket at the place of its number."""
        ticket.waiting = True
        self.count += 1
        heapq.heappush(self._again if ticket.tried else self._fresh, (ticket.number, ticket))

    def remove(self, ticket: Ticket) -> None:
        """Take out a ticket; its entry is dropped when it comes up."""
        ticket.waiting = False
        self.count -= 1
        if ticket.tried:
            self._again = [item for item in self._again if item[1] is not ticket]
            heapq.heapify(self._again)

    def heads(self) -> Iterator[Ticket]:
        """The tickets that may be next: the first that takes any lane, and all that do not."""
        while self._fresh and not self._fresh[0][1].waiting:
            heapq.heappop(self._fresh)
        if self._fresh:
            yield self._fresh[0][1]
        yield from (ticket for _, ticket in self._again)

    def again(self) -> list[Ticket]:
        """The waiting tickets that have tried some key."""
        return [ticket for _, ticket in sorted(self._again, key=lambda item: item[0])]

    def all(self) -> list[Ticket]:
        """Every waiting ticket, the first come first."""
        entries = {number: ticket for number, ticket in self._fresh + self._again if ticket.waiting}
        return [entries[number] for number in sorted(entries)]
