"""LiteLLM's routings and the role's scheduler under the same load, side by side: `python -m bench.pool`.

Every row is a LiteLLM of its own before a simulated Z.AI of its own. Exits 1 when the scheduler misses a goal.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from role_settings import MASTER_KEY

from tests.ports import free_port
from zai_simulator.control_client import ControlClient

from .cases import CASES, Case
from .load import Clients, Measured, measured
from .routings import ROUTINGS, Place, Routing
from .services import BenchError, Processor, Service, listens, serves, start_redis, start_simulator

START_SECONDS = 180.0
STARTS_AT_ONCE = os.cpu_count() or 1
"""A start takes one core for some ten seconds."""
WARM_UP_SECONDS = 4.0
LIMIT_SECONDS = 25 * 60

QUIET_CORES = 0.2
"""Other work on the machine that leaves the figures alone."""

GOAL_SHARE = 0.98
GOAL_CALLS = 1.02


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    routing: Routing
    result: Measured

    def cells(self) -> list[str]:
        """Its cells as text, in the order of `HEADINGS`."""
        found = self.result
        return [
            found.case.title,
            self.routing.title,
            str(found.answers),
            f"{found.case.ideal:.0f}",
            f"{found.share:.1%}",
            _counted(found.errors),
            _counted(found.refusals),
            f"{found.calls_per_answer:.2f}",
            f"{found.wait(50):.2f}",
            f"{found.wait(95):.2f}",
            " ".join(f"{found.most_in_flight[key.name]}/{key.slots}" for key in found.case.keys),
        ]

    def misses(self) -> list[str]:
        """What it falls short of; only the role's own scheduler has goals."""
        found = self.result
        if self.routing.name != "ours":
            return []
        return [
            f"{found.case.name}: {text}"
            for missed, text in (
                (found.share < GOAL_SHARE, f"{found.share:.1%} of the ideal answers, goal {GOAL_SHARE:.0%}"),
                (found.errors.total() > 0, f"{found.errors.total()} client errors, goal 0"),
                (
                    found.calls_per_answer > GOAL_CALLS,
                    f"{found.calls_per_answer:.3f} calls an answer, goal {GOAL_CALLS}",
                ),
            )
            if missed
        ]


HEADINGS = (
    "case", "routing", "answers", "ideal", "% of ideal", "client errors", "upstream refusals", "calls ÷ answers",
    "wait p50 s", "wait p95 s", "most in flight / slots",
)  # fmt: skip


def _counted(counter: Counter[str]) -> str:
    parts = ", ".join(f"{name}: {count}" for name, count in counter.most_common())
    return f"{counter.total()} ({parts})" if parts else "0"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, in columns of even width."""
    lines = [list(HEADINGS), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]])


@dataclass(frozen=True)
class Arena:
    """A LiteLLM that is ready, and the simulator behind it.

    Attributes:
        groups: process groups of all parts, the clients included.
        stop: ends them.
    """

    case: Case
    routing: Routing
    url: str
    proxy: Service
    groups: frozenset[int]
    control: ControlClient
    stop: ExitStack

    async def measure(self, warm_up: float) -> Measured:
        """Put the case's load on it and count what happens in the window."""
        clients = Clients(self.case, self.url, MASTER_KEY)
        await clients.first_request()
        load = asyncio.create_task(clients.run())
        try:
            await self._while_running(load, warm_up)
            spent_before = Processor.now()
            before = await asyncio.to_thread(self.control.stats)
            begin = time.monotonic()
            await self._while_running(load, self.case.seconds)
            end = time.monotonic()
            after = await asyncio.to_thread(self.control.stats)
            spent_after = Processor.now()
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
        cores = {
            group: (seconds - spent_before.groups.get(group, 0)) / (end - begin)
            for group, seconds in spent_after.groups.items()
            if group in self.groups
        }
        machine = (spent_after.machine - spent_before.machine) / (end - begin)
        return measured(
            replace(self.case, seconds=end - begin),
            clients.between(begin, end),
            before,
            after,
            proxy_cores=cores.get(self.proxy.group, 0),
            other_cores=max(0.0, machine - sum(cores.values())),
        )

    @staticmethod
    async def _while_running(load: "asyncio.Task[None]", seconds: float) -> None:
        await asyncio.wait([load], timeout=seconds)
        if load.done():
            load.result()


async def _start(case: Case, routing: Routing, venv: Path, directory: Path, stop: ExitStack) -> Arena:
    directory.mkdir()
    upstream_port, port = free_port(), free_port()
    upstream = f"http://127.0.0.1:{upstream_port}"
    simulator = stop.enter_context(start_simulator(case, upstream_port, directory))
    await simulator.ready(lambda: listens(upstream_port), 30)
    groups = {os.getpgrp(), simulator.group}
    redis_port = None
    if case.workers > 1:
        redis_port = free_port()
        redis = stop.enter_context(start_redis(redis_port, directory))
        groups.add(redis.group)
        await redis.ready(lambda: listens(redis_port), 30)
    command = routing.prepare(case, Place(directory, venv, port, upstream, redis_port))
    url = f"http://127.0.0.1:{port}"
    proxy = stop.enter_context(
        Service(command.arguments, directory / f"{routing.name}.log", cwd=directory, environment=command.environment)
    )
    await proxy.ready(lambda: serves(url, MASTER_KEY, case.pools, proxy, case.workers), START_SECONDS)
    return Arena(case, routing, url, proxy, frozenset({*groups, proxy.group}), ControlClient(upstream), stop)


async def _run_case(
    case: Case, routings: Sequence[Routing], venv: Path, work: Path, warm_up: float, rows: list[Row]
) -> None:
    say(f"{case.name}: {case.title}; starting {len(routings)} proxies")
    places = asyncio.Semaphore(STARTS_AT_ONCE)

    async def start(routing: Routing, stop: ExitStack) -> Arena:
        async with places:
            return await _start(case, routing, venv, work / f"{case.name}-{routing.name}", stop)

    with ExitStack() as all_stops:
        stops = [all_stops.enter_context(ExitStack()) for _ in routings]
        for arena in await asyncio.gather(*map(start, routings, stops)):
            result = await arena.measure(warm_up)
            arena.stop.close()
            rows.append(Row(arena.routing, result))
            say(
                f"  {arena.routing.name:<15} {result.answers:>4} of {case.ideal:.0f} answers, "
                f"{result.errors.total()} client errors, {result.refusals.total()} refusals, "
                f"{result.proxy_cores:.2f} cores, other work {result.other_cores:.2f}"
            )


async def run(cases: Sequence[Case], routings: Sequence[Routing], venv: Path, work: Path, warm_up: float) -> list[Row]:
    """Measure every routing in every case."""
    rows: list[Row] = []
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            for case in cases:
                await _run_case(case, routings, venv, work, warm_up, rows)
    finally:
        if rows:
            print("\n" + table(rows), flush=True)
    return rows


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> int:
    """Parse the arguments, measure, judge; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.pool", description=__doc__)
    parser.add_argument("--venv", type=Path, required=True, help="LiteLLM's, from scripts/litellm-venv.sh")
    parser.add_argument("--quick", action="store_true", help="windows of 8 s and the first two cases: for trying")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="may be repeated")
    parser.add_argument("--routing", action="append", choices=[routing.name for routing in ROUTINGS])
    parser.add_argument("--keep", type=Path, help="an empty directory for the configurations and logs")
    arguments = parser.parse_args()
    cases = [case for case in CASES if not arguments.case or case.name in arguments.case]
    routings = [routing for routing in ROUTINGS if not arguments.routing or routing.name in arguments.routing]
    if arguments.quick:
        cases = [replace(case, seconds=8) for case in (cases if arguments.case else cases[:2])]
    with tempfile.TemporaryDirectory(prefix="pool-bench-") as temporary:
        work = arguments.keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        try:
            rows = asyncio.run(run(cases, routings, arguments.venv, work, WARM_UP_SECONDS))
        except BenchError as failure:
            print(f"bench: {failure}", file=sys.stderr)
            return 1
        except asyncio.CancelledError:
            print("bench: stopped", file=sys.stderr)
            return 130
        except TimeoutError:
            print(f"bench: not done after {LIMIT_SECONDS / 60:.0f} minutes", file=sys.stderr)
            return 1
    misses = [miss for row in rows for miss in row.misses()]
    for miss in misses:
        print(f"bench: this role misses a goal in {miss}", file=sys.stderr)
    if misses and (others := max(row.result.other_cores for row in rows)) > QUIET_CORES:
        print(f"bench: other work took up to {others:.1f} cores meanwhile; measure on a quiet machine", file=sys.stderr)
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
