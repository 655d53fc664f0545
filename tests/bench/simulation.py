"""Many hosts, keys and clients in simulated time: `python -m bench.simulation`.

The plug-in's own pool, scheduler and shared store run once for each host, in one process, against a real Redis that
nobody else uses; hosts, clients and the upstream are simulated (see `virtual_time` and `virtual_redis`). Left out:
what LiteLLM itself costs, faults, and the time that Redis takes for a command (it is measured instead). Exits 1 when a
limit was exceeded or a goal is missed.
"""

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from redis import Redis

from glm_pool import redis_scripts
from glm_pool.clock import Clock
from glm_pool.pool import KeyPool, Unavailable
from glm_pool.redis_store import RedisStore
from glm_pool.settings import Key, Pool, Settings
from glm_pool.tickets import Lease
from tests.load.report import percentile

from .fairness import Spread, jain
from .services import start_redis_on_socket
from .virtual_redis import Engine, VirtualRedis
from .virtual_time import virtual_time

POOL = "pool"
SCRIPTS = {
    getattr(redis_scripts, name): name.lower()
    for name in ("TAKE", "GIVE", "BEAT", "STARTS", "LEAVE", "HEALTH", "SPENT")
}
RETRY_AT_LEAST = 1.0
"""Seconds that a refused client waits before it asks again."""
MESSAGES, AT_A_TIME = 300, 20
"""To find what a message costs Redis, and how many it sends before they are read."""
GOAL_EFFICIENCY = 0.98


@dataclass(frozen=True)
class Plan:
    """What is simulated; times are simulated seconds.

    Attributes:
        slots: requests in flight that each key bears.
        latency: mean of what an answer takes.
        demand: what the clients would ask for if nobody ever waited, by what the keys bear.
        warm_up: before the window that is measured.
    """

    title: str
    hosts: int = 50
    keys: int = 200
    slots: int = 2
    clients: int = 10_000
    latency: float = 10.0
    demand: float = 1.2
    warm_up: float = 30.0
    seconds: float = 30.0
    strategy: str = "round-robin"

    @property
    def all_slots(self) -> int:
        """Of all keys."""
        return self.keys * self.slots

    @property
    def think(self) -> float:
        """Mean seconds between a client's answer and its next request."""
        return max(0.0, self.clients / (self.demand * self.all_slots / self.latency) - self.latency)

    @property
    def waiting(self) -> float:
        """Share of the clients that do not think when the demand has found its level."""
        cycle = max(self.think + self.latency, self.clients * self.latency / self.all_slots)
        return 1 - self.think / cycle


@dataclass
class Upstream:
    """The keys as the upstream sees them.

    Attributes:
        most: requests in flight on one key at a time, ever.
        busy: slot seconds in use within the window so far.
        answers: by key, within the window.
    """

    clock: Clock
    most: int = 0
    busy: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    _in_flight: Counter[str] = field(default_factory=Counter)
    _since: float = 0.0

    def began(self, key: str) -> None:
        """A request came."""
        self._pass()
        self._in_flight[key] += 1
        self.most = max(self.most, self._in_flight[key])

    def ended(self, key: str) -> None:
        """It is answered."""
        self._pass()
        self._in_flight[key] -= 1
        self.answers[key] += 1

    def reset(self) -> None:
        """The window begins."""
        self._pass()
        self.busy = 0.0
        self.answers.clear()

    def used(self) -> float:
        """Slot seconds in use until now."""
        self._pass()
        return self.busy

    def _pass(self) -> None:
        now = self.clock.monotonic()
        self.busy += self._in_flight.total() * (now - self._since)
        self._since = now


@dataclass(frozen=True)
class Answer:
    """One answer in the window; `wait` is what the client waited for a slot, in simulated seconds."""

    client: int
    host: int
    wait: float


@dataclass(frozen=True)
class Result:
    """What came of a plan, in its window only.

    Attributes:
        busy: slot seconds in use.
        most: requests in flight on one key at a time, since the beginning.
        refused: clients' refusals by reason.
        by_key: answers of each key.
        calls: commands sent to Redis, by kind.
        outcomes: of `take`.
        published: messages, each of which goes to every host.
        redis_seconds: processor time of Redis, with one host that hears its messages.
        message_seconds: processor time of Redis for handing a message to one host.
        times: median of the real seconds of a command by kind, the way there and back included.
        real_seconds: that the simulation took, warm-up included.
    """

    plan: Plan
    answers: Sequence[Answer]
    busy: float
    most: int
    refused: Counter[str]
    by_key: dict[str, int]
    calls: Counter[str]
    outcomes: Counter[str]
    published: int
    redis_seconds: float
    message_seconds: float
    times: dict[str, float]
    real_seconds: float

    @property
    def efficiency(self) -> float:
        """Slots in use, by all of them: of all slot seconds, as latencies differ."""
        return self.busy / (self.plan.all_slots * self.plan.seconds)

    @property
    def waits(self) -> Spread:
        """Seconds that clients waited."""
        return Spread.of([answer.wait for answer in self.answers])

    @property
    def host_waits(self) -> Spread:
        """Mean wait of each host."""
        return Spread.of(list(_means((answer.host, answer.wait) for answer in self.answers).values()))

    @property
    def waits_index(self) -> float:
        """Jain's index of the clients' waits, the mean answer added so that a wait of nothing counts as one."""
        return jain([answer.wait + self.plan.latency for answer in self.answers])

    @property
    def operations(self) -> float:
        """Commands that Redis gets in a second, all hosts together."""
        return self.calls.total() / self.plan.seconds

    @property
    def operations_per_answer(self) -> float:
        """Commands to take and give back slots, the heartbeat not counted."""
        return (self.calls["take"] + self.calls["give"]) / max(1, len(self.answers))

    @property
    def deliveries(self) -> float:
        """Messages that Redis sends in a second, to all hosts together."""
        return self.published * self.plan.hosts / self.plan.seconds

    @property
    def redis_cores(self) -> float:
        """Processor cores that Redis needs, the messages to all hosts included."""
        others = self.published * (self.plan.hosts - 1) * self.message_seconds
        return (self.redis_seconds + others) / self.plan.seconds

    def misses(self) -> list[str]:
        """What is not as it should be."""
        saturated = self.plan.demand > 1
        return [
            f"{self.plan.title}: {text}"
            for missed, text in (
                (self.most > self.plan.slots, f"{self.most} requests at once on a key of {self.plan.slots} slots"),
                (
                    saturated and self.efficiency < GOAL_EFFICIENCY,
                    f"{self.efficiency:.1%} of the slots used, goal {GOAL_EFFICIENCY:.0%}",
                ),
            )
            if missed
        ]

    def lines(self) -> list[tuple[str, str]]:
        """What the table says of it: name and value."""
        plan, waits, hosts = self.plan, self.waits, self.host_waits
        keys = Spread.of(list(self.by_key.values()))
        answers = max(1, len(self.answers))
        kinds = ", ".join(f"{kind} {seconds * 1e6:.0f}" for kind, seconds in sorted(self.times.items()))
        return [
            ("hosts / keys / slots / clients", f"{plan.hosts} / {plan.keys} / {plan.all_slots} / {plan.clients}"),
            ("demand ÷ slots; mean answer s", f"{plan.demand:.1f}; {plan.latency:g}"),
            ("answers in the window; refused", f"{len(self.answers)} in {plan.seconds:g} s; {self.refused.total()}"),
            ("efficiency: slots in use", f"{self.efficiency:.2%}"),
            ("most at once on a key ÷ its slots", f"{self.most} / {plan.slots}"),
            ("wait s: p50 / p99 / most", f"{waits.p50:.2f} / {waits.p99:.2f} / {waits.most:.2f}"),
            ("clients: Jain's index of wait + answer", f"{self.waits_index:.3f}"),
            ("hosts: mean wait s, least / mean / most", f"{hosts.least:.2f} / {hosts.mean:.2f} / {hosts.most:.2f}"),
            ("keys: answers, least / mean / most", f"{keys.least:.0f} / {keys.mean:.1f} / {keys.most:.0f}"),
            ("keys: Jain's index", f"{jain(list(self.by_key.values())):.3f}"),
            ("Redis: commands/s, all / a host", f"{self.operations:.0f} / {self.operations / plan.hosts:.1f}"),
            ("of them heartbeats/s", f"{self.calls['beat'] / plan.seconds:.0f}"),
            ("Redis: takes and gives an answer", f"{self.operations_per_answer:.2f}"),
            ("refused takes an answer", f"{(self.calls['take'] - self.outcomes['granted']) / answers:.2f}"),
            ("Redis: messages sent/s, all / a host", f"{self.deliveries:.0f} / {self.deliveries / plan.hosts:.0f}"),
            ("Redis: cores", f"{self.redis_cores:.2f}"),
            ("µs a command, median, way included", kinds),
            ("the simulation took s", f"{self.real_seconds:.0f}"),
        ]


def _means(pairs: Any) -> dict[int, float]:
    sums: dict[int, list[float]] = {}
    for name, value in pairs:
        entry = sums.setdefault(name, [0.0, 0])
        entry[0] += value
        entry[1] += 1
    return {name: total / count for name, (total, count) in sums.items()}


class Simulation:
    """The hosts and clients of a plan.

    Args:
        plan: what is simulated.
        redis: a client, in text, of a Redis that nobody else uses; what it holds is removed.
        seed: the same one gives the same run, where PYTHONHASHSEED is fixed too.
    """

    def __init__(self, plan: Plan, redis: "Redis", seed: int = 1) -> None:
        self.plan = plan
        self._redis = redis
        self._random = random.Random(seed)  # noqa: S311 -- the same run every time, no secret
        self._answers: list[Answer] = []
        self._refused: Counter[str] = Counter()
        self._open: list[int] = [0] * plan.hosts
        self._last = -1
        self._pools: list[KeyPool] = []

    def run(self) -> Result:
        """Simulate the warm-up and the window."""
        self._redis.flushall()
        with virtual_time() as (loop, clock):
            return loop.run_until_complete(self._run(clock))

    async def _run(self, clock: Clock) -> Result:
        begin = time.perf_counter()
        engine = Engine(self._redis, asyncio.get_running_loop())
        settings = Settings(
            pools=(Pool(POOL, "model"),),
            keys=tuple(
                Key(f"k{i}", f"a{i}", f"value-{i}", max_parallel_requests=self.plan.slots)
                for i in range(self.plan.keys)
            ),
            strategy=self.plan.strategy,
        )
        for host in range(self.plan.hosts):
            self._pools.append(KeyPool(settings, self._store(engine, host), clock=clock))
        # hosts were not started at the same moment, and their heartbeats do not come at once
        await asyncio.gather(*(self._start(pool, index / self.plan.hosts) for index, pool in enumerate(self._pools)))
        upstream = Upstream(clock)
        clients = [asyncio.create_task(self._client(number, clock, upstream)) for number in range(self.plan.clients)]
        await self._pass(self.plan.warm_up, clients)
        self._answers.clear()
        self._refused.clear()
        engine.reset()
        upstream.reset()
        before = _processor(self._redis)
        await self._pass(self.plan.seconds, clients)
        spent = _processor(self._redis) - before
        found = Result(
            plan=self.plan,
            answers=tuple(self._answers),
            busy=upstream.used(),
            most=upstream.most,
            refused=Counter(self._refused),
            by_key={f"k{i}": upstream.answers[f"k{i}"] for i in range(self.plan.keys)},
            calls=Counter(engine.calls),
            outcomes=Counter(engine.outcomes),
            published=engine.published,
            redis_seconds=spent,
            message_seconds=message_cost(self._redis, self.plan.hosts),
            times={kind: percentile(found, 50) for kind, found in engine.times.items()},
            real_seconds=time.perf_counter() - begin,
        )
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await asyncio.gather(*(pool.stop() for pool in self._pools))
        return found

    @staticmethod
    async def _pass(seconds: float, clients: "Sequence[asyncio.Task[None]]") -> None:
        ended, _ = await asyncio.wait(clients, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for client in ended:
            client.result()

    @staticmethod
    async def _start(pool: KeyPool, after: float) -> None:
        await asyncio.sleep(after)
        await pool.start()

    @staticmethod
    def _store(engine: Engine, host: int) -> RedisStore:
        store = RedisStore("redis://simulated")
        store._process = f"{host:012x}"
        connection: Any = VirtualRedis(engine, SCRIPTS)
        store._redis = connection
        for kind, attribute in (
            (redis_scripts.TAKE, "_take"), (redis_scripts.GIVE, "_give"), (redis_scripts.BEAT, "_beat"),
            (redis_scripts.STARTS, "_read_starts"), (redis_scripts.LEAVE, "_leave"), (redis_scripts.HEALTH, "_write"),
        ):  # fmt: skip
            setattr(store, attribute, connection.register_script(kind))
        return store

    async def _client(self, number: int, clock: Clock, upstream: Upstream) -> None:
        """Think, ask, wait for the answer, again and again; some have asked when the simulation begins."""
        asked = self._random.random() < self.plan.waiting
        await asyncio.sleep(self._random.uniform(0, 1 if asked else self.plan.think))
        while True:
            await self._answer(number, clock, upstream)
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * self.plan.think)

    async def _answer(self, number: int, clock: Clock, upstream: Upstream) -> None:
        """Ask until there is an answer, as clients do that heed Retry-After."""
        begin = clock.monotonic()
        while True:
            host = self._least_connections()
            pool = self._pools[host]
            self._open[host] += 1
            try:
                lease = await pool.acquire(pool.ticket(POOL, set(), None))
                wait = clock.monotonic() - begin
                await self._use(pool, lease, upstream)
                self._answers.append(Answer(number, host, wait))
                return
            except Unavailable as unavailable:
                self._refused[unavailable.refusal.reason.value] += 1
                pause = max(RETRY_AT_LEAST, unavailable.refusal.retry_after or 0)
            finally:
                self._open[host] -= 1
            await asyncio.sleep(pause)

    def _least_connections(self) -> int:
        """As the gateway chooses: among equals in turns."""
        self._last = min(
            range(self.plan.hosts), key=lambda host: (self._open[host], (host - self._last - 1) % self.plan.hosts)
        )
        return self._last

    async def _use(self, pool: KeyPool, lease: Lease, upstream: Upstream) -> None:
        upstream.began(lease.lane.key.name)
        await asyncio.sleep(self._random.uniform(0.5, 1.5) * self.plan.latency)
        upstream.ended(lease.lane.key.name)
        pool.answered(lease)
        pool.release(lease)


def _processor(redis: "Redis") -> float:
    """Seconds of processor time that Redis has spent."""
    found: Any = redis.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def message_cost(redis: "Redis", hosts: int) -> float:
    """Seconds of processor time in which Redis hands a message to one of so many hosts."""
    text = "x" * 200  # as long as most are
    with ExitStack() as stop:
        ears = [stop.enter_context(redis.pubsub()) for _ in range(hosts)]  # type: ignore[no-untyped-call]
        for ear in ears:
            ear.subscribe("simulation-cost")
            ear.get_message(timeout=1.0)
        before = _processor(redis)
        for _ in range(MESSAGES // AT_A_TIME):
            for _ in range(AT_A_TIME):
                redis.publish("simulation-cost", text)
            for ear in ears:
                for _ in range(AT_A_TIME):
                    ear.get_message(timeout=1.0)
        return (_processor(redis) - before) / (MESSAGES * hosts)


def table(results: Sequence[Result]) -> str:
    """Results side by side, as Markdown."""
    columns = [result.lines() for result in results]
    rows = [["", *(result.plan.title for result in results)]]
    rows += [[cells[0][0], *(value for _, value in cells)] for cells in zip(*columns, strict=True)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> int:
    """Parse the arguments, simulate, print the table, judge; return the exit status."""
    plan = Plan("saturated")
    parser = argparse.ArgumentParser(prog="bench.simulation", description=__doc__)
    for name in ("hosts", "keys", "slots", "clients"):
        parser.add_argument(f"--{name}", type=int, default=getattr(plan, name), help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=plan.seconds, help="of the window (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=plan.warm_up, help="before it (default: %(default)s)")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    plan = replace(plan, **vars(arguments))
    results = []
    with tempfile.TemporaryDirectory(prefix="simulation-") as directory:
        socket = Path(directory) / "redis.sock"
        with (
            start_redis_on_socket(Path(directory)) as server,
            Redis(unix_socket_path=str(socket), decode_responses=True) as redis,
        ):
            asyncio.run(server.ready(lambda: exists(socket), 10))
            for one in (plan, replace(plan, title="half of that demand", demand=plan.demand / 2)):
                results.append(result := Simulation(one, redis).run())
                print(f"{time.strftime('%H:%M:%S')} {one.title}: done in {result.real_seconds:.0f} s", flush=True)
    print(f"\n{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}\n\n{table(results)}")
    misses = [miss for result in results for miss in result.misses()]
    for miss in misses:
        print(f"bench: the simulation misses a goal: {miss}", file=sys.stderr)
    return 1 if misses else 0


async def exists(path: Path) -> bool:
    """Whether a file is there."""
    return path.exists()


if __name__ == "__main__":
    sys.exit(main())
