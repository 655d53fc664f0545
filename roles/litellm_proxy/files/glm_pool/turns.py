"""Whose turn it is among the keys that have a free slot: the order on one model.

Every choice costs the logarithm of the number of keys. All three strategies are one: the lane with the smallest
rank is next, and what the rank is made of differs.
"""

import heapq
import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Generic, Protocol, TypeVar


class Chooseable(Protocol):
    """What the order needs to know of a lane."""

    @property
    def weight(self) -> float:
        """Share under `weighted`, above 0."""

    @property
    def key_in_flight(self) -> int:
        """Requests in flight on the lane's key."""

    @property
    def last_use(self) -> int:
        """A number that grew with the last use of the lane's key on any model; 0 when it was never used."""


Lane = TypeVar("Lane", bound=Chooseable)
Rank = tuple[Fraction | float, ...]

ROUND_ROBIN, LEAST_CONNECTIONS, WEIGHTED = "round-robin", "least-connections", "weighted"
STRATEGIES = (ROUND_ROBIN, LEAST_CONNECTIONS, WEIGHTED)


class Turns(Generic[Lane]):
    """The order of the free lanes of one model.

    A turn moves a lane forward by its stride: 1 in strict turns, 1 ÷ weight in weighted ones (stride scheduling,
    which spreads the turns of a heavy lane evenly). A lane that was away joins at the place of those that stayed,
    so that it makes up for nothing. Equal places go to the lane whose key was used longest ago on any model.
    """

    def __init__(self, strategy: str) -> None:
        self._strategy = strategy
        self._place: dict[Lane, Fraction | int] = {}
        self._front: Fraction | int = 0  # the place of the lane that was chosen last
        self._heap: list[tuple[Rank, int, Lane]] = []
        self._entry: dict[Lane, int] = {}  # the one entry of a lane in the heap that counts
        self._numbers = itertools.count(1)

    def offer(self, lane: Lane) -> None:
        """Take in a lane that has a free slot, or whose rank has changed."""
        if lane not in self._place:
            self._place[lane] = self._start(lane)
        if lane not in self._entry:
            self._place[lane] = max(self._place[lane], self._front)
            self._push(lane)
        elif self._strategy == LEAST_CONNECTIONS:  # its rank may have fallen; others only grow, `choose` sees to that
            self._push(lane)

    def withdraw(self, lane: Lane) -> None:
        """Take out a lane that has no free slot any more."""
        self._entry.pop(lane, None)

    def choose(self, accept: Callable[[Lane], bool]) -> Lane | None:
        """The next lane that is acceptable, or None; `taken` must be told when it is used."""
        passed: list[Lane] = []
        found: Lane | None = None
        while self._heap:
            rank, number, lane = self._heap[0]
            if self._entry.get(lane) != number:
                heapq.heappop(self._heap)
            elif (now := self._rank(lane)) != rank:
                heapq.heapreplace(self._heap, (now, number, lane))
            elif accept(lane):
                found = lane
                break
            else:
                heapq.heappop(self._heap)
                passed.append(lane)
        for lane in passed:
            self._push(lane)
        return found

    def taken(self, lane: Lane) -> None:
        """Charge the lane for a turn."""
        place = self._place.setdefault(lane, self._start(lane))
        self._front = max(self._front, place)
        self._place[lane] = place + self._stride(lane)

    def _push(self, lane: Lane) -> None:
        number = next(self._numbers)
        self._entry[lane] = number
        heapq.heappush(self._heap, (self._rank(lane), number, lane))
        if len(self._heap) > 64 + 4 * len(self._entry):
            self._heap = [item for item in self._heap if self._entry.get(item[2]) == item[1]]
            heapq.heapify(self._heap)

    def _start(self, lane: Lane) -> Fraction | int:
        """Half a stride: the first turn of a light lane comes between those of the heavy ones."""
        return Fraction(self._stride(lane)) / 2 if self._strategy == WEIGHTED else 0

    def _stride(self, lane: Lane) -> Fraction | int:
        # exact, as equal places are told apart by more than chance
        return Fraction(1) / Fraction(lane.weight).limit_denominator(1000) if self._strategy == WEIGHTED else 1

    def _rank(self, lane: Lane) -> Rank:
        place = self._place[lane]
        if self._strategy == LEAST_CONNECTIONS:
            return (lane.key_in_flight, place, lane.last_use)
        if self._strategy == WEIGHTED:
            return (place, -lane.weight, lane.last_use)
        return (place, lane.last_use)
