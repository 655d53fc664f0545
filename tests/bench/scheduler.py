"""What the scheduler itself costs, without LiteLLM and network: `python -m bench.scheduler`.

All slots are in use and a queue waits, so each request costs its arrival (it joins the queue), one grant (it leaves
the queue as a slot comes free) and one release. Time, a decision: all of that for one request. The clock is simulated
and moves on by what an answer takes on that many slots. Exits 1 when a goal is missed.
"""

import argparse
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from glm_pool.clock import Clock
from glm_pool.faults import Fault, Kind
from glm_pool.scheduler import Scheduler
from glm_pool.settings import Key, Pool, Settings
from glm_pool.tickets import Lease, Refusal, Ticket
from glm_pool.turns import LEAST_CONNECTIONS, ROUND_ROBIN, WEIGHTED

KEYS = (5, 10, 50, 100, 400)
WAITING = (10, 100, 500, 1000, 4000)
SLOTS = 2
ANSWER_SECONDS = 1.0
FAILING = 0.05
"""Share of the tries that the upstream refuses in the last rows, which show these requests only."""
OVERLOADED = Fault(Kind.TRANSIENT, "1302", 429, "too many requests", of_model=True)

GOAL_AT = (50, 500)
GOAL_P99 = 1000.0
"""Microseconds."""
NOISE = 1.25
"""By how much a quotient of two measured times may be off."""


class SteppedClock(Clock):
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1e6

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def wall(self) -> float:
        """Seconds since the epoch."""
        return 1.7e9 + self.now


class Bench:
    """A scheduler with every slot in use and a full queue.

    Args:
        failing: share of the tries that fail; the request then goes on with another key.
    """

    def __init__(self, strategy: str, keys: int, waiting: int, failing: float) -> None:
        self._random = random.Random(1)  # noqa: S311 -- the same run every time, no secret
        self._clock = SteppedClock()
        self._step = ANSWER_SECONDS / (keys * SLOTS)
        self._failing = failing
        self._running: list[Lease] = []
        self.scheduler = Scheduler(
            Settings(
                pools=(Pool("pool", "model"),),
                keys=tuple(
                    Key(f"k{i}", f"a{i}", f"value-{i}", weight=1 + i % 3, max_parallel_requests=SLOTS)
                    for i in range(keys)
                ),
                strategy=strategy,
                queue_size=2 * (waiting + keys * SLOTS),
                queue_timeout=1e6,
            ),
            self._clock,
        )
        for _ in range(keys * SLOTS + waiting):
            self._arrive()

    def times(self, requests: int) -> list[float]:
        """Microseconds that the decisions of one request take, for so many; of the failing ones where some fail."""
        for _ in range(requests // 10):
            self._time_one(fails=False)
        found: list[float] = []
        while len(found) < requests:
            fails = self._random.random() < self._failing
            spent = self._time_one(fails=fails)
            if fails or not self._failing:
                found.append(spent)
        return found

    def _time_one(self, *, fails: bool) -> float:
        self._clock.now += self._step
        lease = self._finish_one()
        begin = time.perf_counter_ns()
        if fails:
            self._fail(lease)
        else:
            self._succeed(lease)
            self._arrive()
        return (time.perf_counter_ns() - begin) / 1000

    def _finish_one(self) -> Lease:
        while not self._running:  # every key rests
            self._clock.now += self.scheduler.poll() or self._step
        index = self._random.randrange(len(self._running))
        self._running[index], self._running[-1] = self._running[-1], self._running[index]
        return self._running.pop()

    def _succeed(self, lease: Lease) -> None:
        self.scheduler.succeed(lease)
        self.scheduler.release(lease)
        self.scheduler.poll()

    def _fail(self, lease: Lease) -> None:
        lease.ticket.tried.add(lease.lane.key.name)
        self.scheduler.fail(lease, OVERLOADED)
        self.scheduler.release(lease)
        self.scheduler.poll()
        self._take(self.scheduler.enter(lease.ticket))

    def _arrive(self) -> None:
        self._take(self.scheduler.enter(Ticket("pool", self._take, self._clock.wall())))
        self.scheduler.poll()

    def _take(self, outcome: Lease | Refusal | None) -> None:
        if isinstance(outcome, Lease):
            self._running.append(outcome)
        elif isinstance(outcome, Refusal):  # it failed with every key: its client asks anew
            self._arrive()


@dataclass(frozen=True)
class Cost:
    """Microseconds a decision: the median, and what 99 of 100 do not exceed."""

    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.p50:.0f} / {self.p99:.0f}"


def measure(strategy: str, keys: int, waiting: int, failing: float, requests: int) -> Cost:
    """The cost with so many keys and waiting requests."""
    times = sorted(Bench(strategy, keys, waiting, failing).times(requests // 5 if failing else requests))
    return Cost(times[len(times) // 2], times[len(times) * 99 // 100])


Grid = dict[tuple[int, int], Cost]
"""By keys and waiting requests."""


def misses(name: str, grid: Grid) -> Iterator[str]:
    """Which goals the costs miss."""
    if grid[GOAL_AT].p99 >= GOAL_P99:
        where = f"with {GOAL_AT[0]} keys and {GOAL_AT[1]} waiting"
        yield f"{name}: p99 {grid[GOAL_AT].p99:.0f} µs {where}, goal {GOAL_P99:.0f}"
    for waiting in WAITING:
        yield from _growth(name, KEYS, [grid[keys, waiting] for keys in KEYS], f"keys, {waiting} waiting")
    for keys in KEYS:
        yield from _growth(name, WAITING, [grid[keys, waiting] for waiting in WAITING], f"waiting, {keys} keys")


def _growth(name: str, sizes: tuple[int, ...], costs: list[Cost], what: str) -> Iterator[str]:
    allowed = math.log2(sizes[-1] + 1) / math.log2(sizes[0] + 1)
    found = costs[-1].p50 / costs[0].p50
    if found > allowed * NOISE:
        yield f"{name}: cost grows {found:.1f} times from {sizes[0]} to {sizes[-1]} {what}; a logarithm {allowed:.1f}"


def main() -> int:
    """Measure, print the table, judge; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.scheduler", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="measured requests a cell (default: %(default)s)")
    arguments = parser.parse_args()
    rows = [(strategy, strategy, 0.0) for strategy in (ROUND_ROBIN, LEAST_CONNECTIONS, WEIGHTED)]
    rows.append((f"{ROUND_ROBIN}, after a failed try", ROUND_ROBIN, FAILING))
    missed: list[str] = []
    print("µs a decision, p50 / p99\n")
    print(f"| {'strategy':<33} | {'keys':>4} | " + " | ".join(f"{f'{w} waiting':<13}" for w in WAITING) + " |")
    print(f"|{'-' * 35}|{'-' * 6}|" + f"{'-' * 15}|" * len(WAITING))
    for name, strategy, failing in rows:
        grid: Grid = {}
        for keys in KEYS:
            for waiting in WAITING:
                grid[keys, waiting] = measure(strategy, keys, waiting, failing, arguments.requests)
            cells = " | ".join(f"{grid[keys, waiting]!s:<13}" for waiting in WAITING)
            print(f"| {name:<33} | {keys:>4} | {cells} |", flush=True)
        missed += misses(name, grid)
    for miss in missed:
        print(f"bench: the scheduler misses a goal: {miss}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
