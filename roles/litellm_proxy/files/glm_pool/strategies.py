"""How the next key is chosen among the usable ones. Pure state, no input or output, no clock."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Strategy(Protocol):
    """Chooses one key name; `candidates` is never empty and holds each name once."""

    def pick(self, pool: str, candidates: Sequence[str], in_flight: Mapping[str, int]) -> str:
        """Return the name to use next for `pool`; `in_flight` counts running requests by name."""
        ...


class RoundRobin:
    """Strict turns: within a pool no usable key is used twice before each was used once.

    Between keys that are due in the pool, the one that any pool used longest ago comes first, so that
    pools taking turns do not pair up with keys.
    """

    def __init__(self) -> None:
        self._served: dict[str, set[str]] = {}
        self._last_use: dict[str, int] = {}
        self._uses = 0

    def pick(self, pool: str, candidates: Sequence[str], in_flight: Mapping[str, int]) -> str:
        """Return the due key; see `Strategy`."""
        served = self._served.setdefault(pool, set())
        due = [name for name in candidates if name not in served]
        if not due:
            served.clear()
            due = list(candidates)
        chosen = min(due, key=lambda name: self._last_use.get(name, 0))
        served.add(chosen)
        self._uses += 1
        self._last_use[chosen] = self._uses
        return chosen


class LeastConnections:
    """The key with the fewest requests in flight; equal ones take turns."""

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def pick(self, pool: str, candidates: Sequence[str], in_flight: Mapping[str, int]) -> str:
        """Return the least busy key; see `Strategy`."""
        fewest = min(in_flight.get(name, 0) for name in candidates)
        idle = [name for name in candidates if in_flight.get(name, 0) == fewest]
        return self._turns.pick(pool, idle, in_flight)


class Weighted:
    """Smooth weighted turns, as nginx does them: weights 3:1 give a a b a, never a a a b.

    Args:
        weights: positive weight by key name; a name that is not listed weighs 1.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._credit: dict[tuple[str, str], float] = {}

    def pick(self, pool: str, candidates: Sequence[str], in_flight: Mapping[str, int]) -> str:
        """Return the key with the most credit and charge it one full turn; see `Strategy`."""
        for name in candidates:
            self._credit[pool, name] = self._credit.get((pool, name), 0) + self._weights.get(name, 1)
        chosen = max(candidates, key=lambda name: self._credit[pool, name])
        self._credit[pool, chosen] -= sum(self._weights.get(name, 1) for name in candidates)
        return chosen
