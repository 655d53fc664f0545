"""One, two and three proxy hosts behind a gateway, in one run: `python -m bench.cluster`.

All are processes of this machine: the simulated Z.AI, Redis, LiteLLM once a host, HAProxy as the role configures it,
the clients. Twice for each number of hosts: with all cores for everybody, and with a fixed part of a core for each
host, as separate machines would have it. That needs root and a cgroup file system that can be written.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redis import Redis
from role_settings import MASTER_KEY

from tests.load.report import percentile
from tests.ports import free_port
from zai_simulator.control_client import ControlClient

from .cases import LATENCY, Case, Key
from .haproxy import HAPROXY, config
from .load import Clients
from .quota import Quota
from .routings import ROUTINGS, Place
from .services import BenchError, Processor, Service, listens, serves, start_redis, start_simulator

HOSTS = (1, 2, 3)
START_SECONDS = 180.0
WARM_UP_SECONDS = 5.0
CASE = Case(
    "cluster", "", tuple(Key(f"k{index}", 8) for index in range(1, 21)), clients=0, seconds=0
)  # fmt: skip
"""More slots than the machine can keep busy, so that hosts are what there is too little of."""
CLIENTS, CLIENTS_OF_A_PART = 45, 20
"""For each host: enough to keep it busy while an answer takes a second, and few enough to see soon how it goes on."""


@dataclass(frozen=True)
class Asked:
    """What Redis was asked within the window.

    Attributes:
        commands: that came over the network.
        scripted: commands that its scripts ran.
        p50: microseconds of a script, as Redis counts them.
        p99: the same.
    """

    commands: int
    scripted: int
    p50: float
    p99: float

    @classmethod
    def of(cls, commands: dict[str, Any], latencies: dict[str, Any]) -> "Asked":
        """From the sections commandstats and latencystats of INFO, with `CONFIG RESETSTAT` before the window."""
        calls = {name.removeprefix("cmdstat_"): int(entry["calls"]) for name, entry in commands.items()}
        own = ("info", "config|resetstat")
        direct = ("evalsha", "ping")
        scripts = latencies.get("latency_percentiles_usec_evalsha", {"p50": 0.0, "p99": 0.0})
        return cls(
            commands=sum(count for name, count in calls.items() if name in direct),
            scripted=sum(count for name, count in calls.items() if name not in (*direct, *own)),
            p50=float(scripts["p50"]),
            p99=float(scripts["p99"]),
        )


@dataclass(frozen=True)
class Row:
    """One number of hosts in the window; processor use in cores.

    Attributes:
        part: cores that each host may use; 0 for as many as it gets.
        waits: seconds of each answer beyond the upstream's own time.
        cores: by part of the measurement.
        other: cores that everything else on the machine used.
        most: requests in flight on any key, by the slots of a key, since the simulator's start.
    """

    hosts: int
    part: float
    seconds: float
    answers: int
    errors: int
    waits: Sequence[float]
    cores: dict[str, float]
    other: float
    most: float
    asked: Asked

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    def cells(self, one: "Row") -> list[str]:
        """Its line; `one` is the row of one host under the same conditions."""
        ratio = self.rate / one.rate if one.rate else float("nan")
        return [
            "all there are" if not self.part else f"{self.part:g} of a core",
            str(self.hosts),
            f"{self.rate:.1f}",
            f"{ratio:.2f}",
            f"{ratio / self.hosts:.0%}",
            str(self.errors),
            f"{percentile(self.waits, 50):.2f} / {percentile(self.waits, 99):.2f}",
            *(f"{self.cores[name]:.2f}" for name in PARTS),
            f"{self.other:.2f}",
            f"{sum(self.cores.values()) / self.rate * 1000:.0f}" if self.answers else "",
            f"{self.most:.2f}",
        ]

    def redis_cells(self) -> list[str]:
        """Its line of the table about Redis."""
        answers = max(1, self.answers)
        return [
            "all there are" if not self.part else f"{self.part:g} of a core",
            str(self.hosts),
            f"{self.asked.commands / answers:.2f}",
            f"{self.asked.scripted / answers:.1f}",
            f"{self.asked.commands / self.seconds:.0f}",
            f"{self.asked.p50:.0f} / {self.asked.p99:.0f}",
            f"{self.cores['Redis']:.3f}",
        ]


PARTS = ("proxies", "gateway", "Redis", "simulator", "clients")
HEADINGS = (
    "cores for a host", "hosts", "answers/s", "to one host", "of linear", "errors", "wait p50 / p99 s",
    *(f"{name}, cores" for name in PARTS), "other work, cores", "processor ms an answer", "most in flight ÷ slots",
)  # fmt: skip
REDIS_HEADINGS = (
    "cores for a host", "hosts", "commands an answer", "commands in scripts an answer", "commands/s",
    "script p50 / p99 µs", "Redis, cores",
)  # fmt: skip


def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as Markdown."""
    text = ["| " + " | ".join(line) + " |" for line in (headings, *lines)]
    return "\n".join([text[0], "|" + "---|" * len(headings), *text[1:]])


def tables(rows: Sequence[Row]) -> str:
    """Throughput and Redis, each with the first row of the same conditions as the measure."""
    first: dict[float, Row] = {}
    for row in rows:
        first.setdefault(row.part, row)
    ordered = sorted(rows, key=lambda row: (row.part, row.hosts))
    return (
        table(HEADINGS, [row.cells(first[row.part]) for row in ordered])
        + "\n\n"
        + table(REDIS_HEADINGS, [row.redis_cells() for row in ordered])
    )


@dataclass
class Arena:
    """What runs beside the hosts, and the hosts that have been started."""

    venv: Path
    directory: Path
    stop: ExitStack
    simulator: Service
    redis: Service
    upstream_port: int
    redis_port: int
    proxies: list[tuple[int, Service]]
    quotas: list[Quota]

    async def add_host(self) -> None:
        """Start one more LiteLLM."""
        place = self.directory / f"host{len(self.proxies) + 1}"
        place.mkdir()
        port = free_port()
        (ours,) = (routing for routing in ROUTINGS if routing.name == "ours")
        upstream = f"http://127.0.0.1:{self.upstream_port}"
        command = ours.prepare(CASE, Place(place, self.venv, port, upstream, self.redis_port))
        proxy = self.stop.enter_context(
            Service(command.arguments, place / "litellm.log", cwd=place, environment=command.environment)
        )
        if Quota.possible():
            number = len(self.proxies) + 1
            self.quotas.append(self.stop.enter_context(Quota(f"bench-{os.getpid()}-{number}", proxy.group)))
        await proxy.ready(lambda: serves(f"http://127.0.0.1:{port}", MASTER_KEY, CASE.pools, proxy, 1), START_SECONDS)
        self.proxies.append((port, proxy))

    @contextmanager
    def gateway(self) -> Iterator[tuple[int, Service]]:
        """HAProxy before the hosts."""
        place = self.directory / f"gateway-{time.monotonic_ns()}"
        place.mkdir()
        port = free_port()
        path = place / "haproxy.cfg"
        path.write_text(config(place, port, [number for number, _ in self.proxies], scope="cluster"))
        with Service((HAPROXY, "-db", "-f", path), place / "haproxy.log", cwd=place, environment={}) as service:
            yield port, service

    async def measure(self, part: float, seconds: float) -> Row:
        """Put the load on all hosts and count what happens in the window."""
        with ExitStack() as stop:
            for quota in self.quotas:
                quota.limit(part)
            port, front = stop.enter_context(self.gateway())
            await front.ready(lambda: listens(port), START_SECONDS)
            groups = {
                "gateway": [front.group],
                "Redis": [self.redis.group],
                "simulator": [self.simulator.group],
                "clients": [os.getpgrp()],
                "proxies": [proxy.group for _, proxy in self.proxies],
            }
            case = replace(CASE, clients=len(self.proxies) * (CLIENTS_OF_A_PART if part else CLIENTS))
            clients = Clients(case, f"http://127.0.0.1:{port}", MASTER_KEY)
            return await self._window(clients, groups, part, seconds)

    async def _window(self, clients: Clients, groups: dict[str, list[int]], part: float, seconds: float) -> Row:
        control = ControlClient(f"http://127.0.0.1:{self.upstream_port}")
        for _ in range(4 * len(self.proxies)):  # each host imports much on its first request
            await clients.first_request()
        load = asyncio.create_task(clients.run())
        with Redis(port=self.redis_port, decode_responses=True) as redis:
            try:
                await asyncio.sleep(WARM_UP_SECONDS)
                redis.config_resetstat()
                before, begin = Processor.now(), time.monotonic()
                await asyncio.wait([load], timeout=seconds)
                after, end = Processor.now(), time.monotonic()
                asked = Asked.of(redis.info("commandstats"), redis.info("latencystats"))
            finally:
                load.cancel()
                await asyncio.gather(load, return_exceptions=True)
        spent = {
            name: sum(after.groups.get(group, 0) - before.groups.get(group, 0) for group in members) / (end - begin)
            for name, members in groups.items()
        }
        samples = clients.between(begin, end)
        keys = (await asyncio.to_thread(control.stats))["keys"]
        return Row(
            hosts=len(self.proxies),
            part=part,
            seconds=end - begin,
            answers=sum(not sample.error for sample in samples),
            errors=sum(bool(sample.error) for sample in samples),
            waits=[sample.end - sample.begin - LATENCY for sample in samples if not sample.error],
            cores=spent,
            other=max(0.0, (after.machine - before.machine) / (end - begin) - sum(spent.values())),
            most=max(keys[key.name]["max_in_flight"] / key.slots for key in CASE.keys),
            asked=asked,
        )


async def run(venv: Path, directory: Path, seconds: float, part: float, say: Callable[[str], None]) -> list[Row]:
    """Measure each number of hosts, without and with a limit."""
    rows = []
    with ExitStack() as stop:
        upstream_port, redis_port = free_port(), free_port()
        simulator = stop.enter_context(start_simulator(CASE, upstream_port, directory))
        redis = stop.enter_context(start_redis(redis_port, directory))
        await simulator.ready(lambda: listens(upstream_port), 30)
        await redis.ready(lambda: listens(redis_port), 30)
        arena = Arena(venv, directory, stop, simulator, redis, upstream_port, redis_port, [], [])
        for hosts in HOSTS:
            await arena.add_host()
            for limit in (0.0, part) if part else (0.0,):
                rows.append(row := await arena.measure(limit, seconds))
                for quota in arena.quotas:
                    quota.limit(0)
                say(f"{hosts} hosts, {limit or 'all'} cores each: {row.rate:.1f} answers/s, {row.errors} errors")
    return rows


def main() -> int:
    """Parse the arguments, measure, print the tables; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.cluster", description=__doc__)
    parser.add_argument("--venv", type=Path, required=True, help="LiteLLM's, from scripts/litellm-venv.sh")
    parser.add_argument("--seconds", type=float, default=20, help="length of a window (default: %(default)s)")
    parser.add_argument(
        "--part", type=float, default=0.25, help="of a core for each host, 0 for no such rows (default: %(default)s)"
    )
    arguments = parser.parse_args()
    part = arguments.part
    if part and not Quota.possible():
        print("bench: without root and a writable cgroup file system hosts can not be given parts of a core")
        part = 0.0
    with tempfile.TemporaryDirectory(prefix="cluster-bench-") as directory:
        try:
            rows = asyncio.run(
                run(
                    arguments.venv, Path(directory), arguments.seconds, part,
                    lambda text: print(f"{time.strftime('%H:%M:%S')} {text}", flush=True),
                )
            )  # fmt: skip
        except BenchError as failure:
            print(f"bench: {failure}", file=sys.stderr)
            return 1
    print(f"\n{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}\n\n{tables(rows)}")
    over = [row for row in rows if row.most > 1 or row.errors]
    for row in over:
        print(f"bench: {row.hosts} hosts: {row.errors} errors, a key at {row.most:.2f} of its slots", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
