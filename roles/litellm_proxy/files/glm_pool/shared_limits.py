"""How much of each limit a process may use beside others."""

import math
import os
import time
import zlib
from collections.abc import Sequence

from glm_pool.shared import SharedStore, part_of

OUTAGE_GRACE_SECONDS = 30.0
"""How long slots that other processes held when the store went away are taken to be held."""


class SharedLimits:
    """This process's share of the limits: what others leave while the store answers, an even part while not.

    Args:
        store: the shared store.
        least_members: processes that there are at least, for the time before the store was ever reached.
    """

    def __init__(self, store: SharedStore, least_members: int) -> None:
        self._store = store
        self._least_members = least_members
        self._changed = -math.inf

    def connection_changed(self) -> Sequence[float]:
        """Note that the store came back or went away; returns the seconds until the share changes once more."""
        self._changed = time.monotonic()
        if self._store.connected:
            return (self._store.return_grace,)
        return max(0.0, self._store.quiet_until - self._changed), OUTAGE_GRACE_SECONDS

    def slots(self, meter: str, limit: int) -> int:
        """See `limits.Share`."""
        part = self._part(meter, limit)
        if self._store.connected:
            left = limit - self._store.elsewhere(meter) - self._store.aside(meter, limit)
            return min(part, left) if self._changed_within(self._store.return_grace) else left
        # who is cut off notices it before the others do
        if time.monotonic() < self._store.quiet_until:
            return 0
        return part - self._store.surplus(meter, limit) if self._changed_within(OUTAGE_GRACE_SECONDS) else part

    def rpm(self, rate: str, limit: int) -> int:
        """See `limits.Share`."""
        part = self._part(rate, limit)
        if not self._store.connected:
            if time.monotonic() < self._store.quiet_until:
                return 0
            # what the others began counts for a minute; what this process had begun was left to it
            return max(part - self._store.rate_surplus(rate, limit), min(part, self._store.rate_kept(rate)))
        left = limit - self._store.aside(rate, limit)
        return min(part, left) if self._changed_within(self._store.return_grace) else left

    def _changed_within(self, seconds: float) -> bool:
        return time.monotonic() - self._changed < seconds

    def _part(self, name: str, limit: int) -> int:
        members = max(self._store.members, self._least_members, 1)
        # before the store was reached nobody has a rank
        rank = self._store.rank if self._store.members > 1 else os.getpid()
        return part_of(limit, members, rank, zlib.crc32(name.encode()))
