"""How much of each limit a process may use beside others."""

import math
import os
import time
import zlib

from glm_pool.shared import SharedStore

OUTAGE_GRACE_SECONDS = 5.0
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

    def connection_changed(self) -> float:
        """Note that the store came back or went away; returns the seconds until the share changes once more."""
        self._changed = time.monotonic()
        return self._store.return_grace if self._store.connected else OUTAGE_GRACE_SECONDS

    def slots(self, meter: str, limit: int) -> int:
        """See `limits.Share`."""
        elsewhere = self._store.elsewhere(meter)
        since = time.monotonic() - self._changed
        part = self._part(meter, limit)
        if self._store.connected:
            return limit - elsewhere if since >= self._store.return_grace else min(part, limit - elsewhere)
        return part - max(0, elsewhere - (limit - part)) if since < OUTAGE_GRACE_SECONDS else part

    def rpm(self, rate: str, limit: int) -> int:
        """See `limits.Share`."""
        return limit if self._store.connected else self._part(rate, limit)

    def _part(self, name: str, limit: int) -> int:
        members = max(self._store.members, self._least_members, 1)
        whole, rest = divmod(limit, members)
        # what does not divide goes to other processes for other names; before the store was reached nobody has a rank
        rank = self._store.rank if self._store.members > 1 else os.getpid()
        return whole + ((rank + zlib.crc32(name.encode())) % members < rest)
