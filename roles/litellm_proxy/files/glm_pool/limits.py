"""What an account bears: requests in flight for each model, requests a minute."""

import contextlib
from collections import deque
from typing import Protocol

WINDOW = 61.0
"""Seconds of the sliding minute; one more than the upstream's, as requests do not travel equally long."""

LOOK_AGAIN = 1.0
"""Seconds after which a share of nothing is looked at anew: others may have come or gone."""


class Share(Protocol):
    """How much of each limit is this process's to use; see `shared.SharedStore`."""

    def slots(self, meter: str, limit: int) -> int:
        """Requests in flight that this process may have."""

    def rpm(self, rate: str, limit: int) -> int:
        """Requests a minute that this process may start."""


class Whole:
    """A single process uses every limit alone."""

    def slots(self, meter: str, limit: int) -> int:
        """All of it."""
        return limit

    def rpm(self, rate: str, limit: int) -> int:
        """All of it."""
        return limit


class Meter:
    """Requests in flight of one account on one model.

    Attributes:
        limit: how many there may be; None for any number.
        in_flight: how many this process has.
        closed_until: monotonic moment before which the shared store need not be asked again.
        insist: the next claim takes a free slot whoever has waited longer elsewhere.
    """

    def __init__(self, name: str, limit: int | None, share: Share) -> None:
        self.name = name
        self.limit = limit
        self.in_flight = 0
        self.closed_until = 0.0
        self.insist = False
        self._share = share

    @property
    def full(self) -> bool:
        """No slot is free for this process."""
        return self.limit is not None and self.in_flight >= self._share.slots(self.name, self.limit)


class Rate:
    """Starts of requests of one account within the last minute.

    Attributes:
        rpm: how many there may be; None for any number.
        closed_until: monotonic moment before which the shared store need not be asked again.
    """

    def __init__(self, name: str, rpm: int | None, share: Share) -> None:
        self.name = name
        self.rpm = rpm
        self.closed_until = 0.0
        self._share = share
        self._starts: deque[float] = deque()

    def used(self, now: float) -> int:
        """Starts within the window that ends now."""
        while self._starts and self._starts[0] <= now - WINDOW:
            self._starts.popleft()
        return len(self._starts)

    def wait(self, now: float) -> float:
        """Seconds until it is worth looking whether the next start is allowed."""
        closed = max(0.0, self.closed_until - now)
        if self.rpm is None:
            return closed
        allowed = self._share.rpm(self.name, self.rpm)
        used = self.used(now)
        if used < allowed:
            return closed
        wait = self._starts[used - allowed] + WINDOW - now if allowed > 0 else LOOK_AGAIN
        return max(closed, min(wait, LOOK_AGAIN) if self.is_shared else wait)

    @property
    def is_shared(self) -> bool:
        """Others may use some of it, which can be this process's again at any time."""
        return self.rpm is not None and self._share.rpm(self.name, self.rpm) < self.rpm

    def start(self, now: float) -> None:
        """Count a start."""
        if self.rpm is not None:
            self._starts.append(now)

    def undo(self, moment: float) -> None:
        """Take back a start: nothing was sent."""
        with contextlib.suppress(ValueError):
            self._starts.remove(moment)
