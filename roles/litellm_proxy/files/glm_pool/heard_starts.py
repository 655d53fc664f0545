"""Starts of requests by other processes, as their messages tell: what they used of the last minute."""

import time
from collections import Counter, deque

from glm_pool.limits import WINDOW


class HeardStarts:
    """Starts within the window, by rate and process."""

    def __init__(self) -> None:
        self._starts: dict[str, deque[tuple[float, str]]] = {}
        self._unheard: dict[str, tuple[float, int]] = {}

    def hear(self, rate: str, process: str) -> None:
        """A process began a request just now."""
        self._within(rate).append((time.monotonic(), process))

    def compare(self, rate: str, used: int, own: int) -> None:
        """Note how many starts nobody told of.

        Args:
            rate: its name.
            used: starts of all processes within the window, as the store has them.
            own: those of this process.
        """
        self._unheard[rate] = (time.monotonic(), max(0, used - own - len(self._within(rate))))

    def by_process(self, rate: str) -> Counter[str]:
        """Starts of each process that was heard of."""
        return Counter(process for _, process in self._within(rate))

    def unheard(self, rate: str) -> int:
        """Starts of whoever it was, which can still count."""
        moment, count = self._unheard.get(rate, (0.0, 0))
        return count if time.monotonic() < moment + WINDOW else 0

    def _within(self, rate: str) -> deque[tuple[float, str]]:
        starts = self._starts.setdefault(rate, deque())
        while starts and starts[0][0] <= time.monotonic() - WINDOW:
            starts.popleft()
        return starts
