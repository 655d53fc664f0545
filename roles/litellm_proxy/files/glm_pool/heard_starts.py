"""Starts of requests by other processes, as they are heard of: what they used of the last minute."""

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping

from glm_pool.limits import WINDOW


class _Starts:
    """Those of one rate, within the window."""

    def __init__(self, moments: Iterable[tuple[float, str]] = ()) -> None:
        self._moments = deque(sorted(moments))
        self._counts = Counter(process for _, process in self._moments)

    def add(self, process: str) -> None:
        self._moments.append((time.monotonic(), process))
        self._counts[process] += 1

    def counts(self) -> Mapping[str, int]:
        while self._moments and self._moments[0][0] <= time.monotonic() - WINDOW:
            _, process = self._moments.popleft()
            self._counts[process] -= 1
            if not self._counts[process]:
                del self._counts[process]
        return self._counts


class HeardStarts:
    """Starts within the window, by rate and process."""

    def __init__(self) -> None:
        self._rates: dict[str, _Starts] = {}
        self._unheard: dict[str, tuple[float, int]] = {}

    def learn(self, found: Mapping[str, Iterable[tuple[float, str]]]) -> None:
        """Take in all there are, by rate: monotonic moment and process of each."""
        self._rates = {rate: _Starts(moments) for rate, moments in found.items()}
        self._unheard.clear()

    def hear(self, rate: str, process: str) -> None:
        """A process began a request just now."""
        self._rates.setdefault(rate, _Starts()).add(process)

    def compare(self, rate: str, used: int, own: int) -> None:
        """Note how many starts nobody told of.

        Args:
            rate: its name.
            used: starts of all processes within the window, as the store has them.
            own: those of this process.
        """
        self._unheard[rate] = (time.monotonic(), max(0, used - own - sum(self.by_process(rate).values())))

    def by_process(self, rate: str) -> Mapping[str, int]:
        """Starts of each process that was heard of."""
        return self._rates[rate].counts() if rate in self._rates else {}

    def unheard(self, rate: str) -> int:
        """Starts of whoever it was, which can still count."""
        moment, count = self._unheard.get(rate, (0.0, 0))
        return count if time.monotonic() < moment + WINDOW else 0
