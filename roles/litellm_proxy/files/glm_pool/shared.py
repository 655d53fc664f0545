"""What several processes that use the same keys have to agree on: slots, rates, probes and the health of keys.

`redis_store.RedisStore` implements `SharedStore` for any number of hosts, `local_store.LocalStore` for the processes
of one; a single process needs none.
"""

from dataclasses import dataclass
from typing import Any, Protocol


class StoreAway(Exception):
    """The store can not be reached now."""


@dataclass(frozen=True)
class Claim:
    """What one request needs before it may be sent.

    Attributes:
        lease: unique name of the request's hold on the slot.
        meter: name of what is limited in parallel: account and model.
        slots: requests in flight that the meter bears; None for any number.
        rate: name of what is limited a minute: the account.
        rpm: requests in any 60 s that the rate bears; None for any number.
        probe: name of a recovering key that only one request at a time may try; None otherwise.
        arrived: when the request came, seconds of the wall clock.
        next_arrived: when the next request came that waits in this process for the same meter; None for nobody.
        insist: take a free slot even where a request of another process has waited longer.
    """

    lease: str
    meter: str
    slots: int | None
    rate: str
    rpm: int | None
    probe: str | None
    arrived: float
    next_arrived: float | None = None
    insist: bool = False


@dataclass(frozen=True)
class Refused:
    """Why a claim is not granted.

    Attributes:
        reason: slots (all in use), rate (a minute's requests are used), probe (another one probes), turn (a request
            of another process has waited longer).
        retry_in: seconds until it is worth asking again, where that is known.
    """

    reason: str
    retry_in: float | None = None


def part_of(limit: int, members: int, rank: int, checksum: int) -> int:
    """The even part of a limit that a process may use by itself: whole numbers whose sum is the limit.

    Args:
        limit: the limit of all.
        members: processes.
        rank: the place of this one among them, from 0.
        checksum: of the limit's name, so that what does not divide goes to other processes for other names.
    """
    whole, rest = divmod(limit, members)
    return whole + ((rank + checksum) % members < rest)


class Listener(Protocol):
    """Hears, in the event loop, what other processes do."""

    def on_shares(self) -> None:
        """What was set aside for others may be used again."""

    def on_room(self, meter: str) -> None:
        """A slot of the meter may be free."""

    def on_health(self, name: str, record: dict[str, Any] | None) -> None:
        """Another process wrote (or removed) the health record of a key."""

    def on_connection(self, connected: bool) -> None:
        """The store came back or went away."""


class SharedStore(Protocol):
    """The agreement between processes; see `Claim` for the names.

    Attributes:
        kind: redis or local.
        connected: whether the store answers now.
        return_grace: seconds after it came (back) in which others may not have told it yet what they sent meanwhile.
        members: live processes, this one included, and those that vanished with their host a short time ago; the
            last known number while the store is away.
        rank: this process's place among them, from 0.
        quiet_until: monotonic moment until which, should the store go away, others may still use all of a limit.
    """

    kind: str
    connected: bool
    return_grace: float
    members: int
    rank: int
    quiet_until: float

    async def start(self, listener: Listener) -> None:
        """Connect, announce this process, begin to hear; does not raise when the store is away."""

    async def stop(self) -> None:
        """Give back every lease and leave."""

    async def take(self, claim: Claim) -> Refused | None:
        """Take a slot, a place in the minute and the probe, all or none; None when granted. Raises StoreAway."""

    def adopt(self, claim: Claim) -> None:
        """Count what was sent while the store was away; ends with `give` as well."""

    def queued(self, meter: str, arrived: float | None) -> None:
        """Say since when a request of this process waits for the meter; None when none does."""

    async def give(self, lease: str) -> None:
        """Give back what the lease holds; never raises."""

    def elsewhere(self, meter: str) -> int:
        """Slots of the meter that other processes hold, as last heard."""

    def surplus(self, meter: str, limit: int) -> int:
        """What other processes hold of the meter's slots beyond their even parts, as last heard."""

    def rate_surplus(self, rate: str, limit: int) -> int:
        """Of the last minute, what other processes began beyond their even parts, as last heard."""

    def rate_kept(self, rate: str) -> int:
        """Of the last minute, what this process had begun when the store went away."""

    def aside(self, name: str, limit: int) -> int:
        """What of a limit is set aside for processes that vanished, beyond the slots that they are known to hold."""

    async def write_health(self, name: str, record: dict[str, Any] | None) -> None:
        """Store and announce the health record of a key; None removes it. Never raises."""

    async def read_health(self) -> dict[str, dict[str, Any]]:
        """All stored health records by name. Raises StoreAway."""
