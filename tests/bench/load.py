"""The clients: each sends its next request as soon as the last one is over, and repeats nothing."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .cases import LATENCY, Case

REQUEST_TIMEOUT = 120.0


@dataclass(frozen=True)
class Sample:
    """One request of a client; times in seconds of the monotonic clock, `error` empty for an answer."""

    begin: float
    end: float
    error: str


@dataclass
class Clients:
    """The running clients of a case.

    Attributes:
        samples: every request that is over.
    """

    case: Case
    url: str
    master_key: str
    samples: list[Sample] = field(default_factory=list)

    async def first_request(self) -> None:
        """Ask each pool as often as there are workers: LiteLLM imports much on a process's first request."""
        for pool in self.case.pools:
            async with asyncio.TaskGroup() as group:
                for _ in range(2 * self.case.workers if self.case.workers > 1 else 1):
                    group.create_task(self._once(pool))
        self.samples.clear()

    async def run(self) -> None:
        """Send requests until cancelled; the clients begin one after the other, so that answers come evenly."""
        async with asyncio.TaskGroup() as group:
            for index in range(self.case.clients):
                group.create_task(self._client(index))

    def between(self, begin: float, end: float) -> list[Sample]:
        """The requests that ended in the window."""
        return [sample for sample in self.samples if begin <= sample.end < end]

    async def _once(self, pool: str) -> None:
        async with self._session() as session:
            await self._request(session, pool)

    async def _client(self, index: int) -> None:
        await asyncio.sleep(index * LATENCY / self.case.live_slots)
        pool = self.case.pools[index % len(self.case.pools)]
        async with self._session() as session:
            while True:
                await self._request(session, pool)

    def _session(self) -> aiohttp.ClientSession:
        # a connection of its own for each client
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(REQUEST_TIMEOUT), headers={"Authorization": f"Bearer {self.master_key}"}
        )

    async def _request(self, session: aiohttp.ClientSession, pool: str) -> None:
        body = {"model": pool, "messages": [{"role": "user", "content": "Which key answers?"}]}
        begin = time.monotonic()
        try:
            async with session.post(f"{self.url}/v1/chat/completions", json=body) as response:
                answer: Any = await response.json()
                error = "" if response.status == 200 and answer.get("choices") else str(response.status)
        except (aiohttp.ClientError, TimeoutError, ValueError) as failure:
            error = type(failure).__name__
        self.samples.append(Sample(begin, time.monotonic(), error))


@dataclass(frozen=True)
class Measured:
    """What one routing made of one case, in the window only.

    Attributes:
        errors: error answers to clients by status.
        refusals: refusals of the upstream by code.
        calls: requests that ended at the upstream.
        waits: seconds of each answer beyond the upstream's own time, sorted.
        most_in_flight: by key, since the start.
        proxy_cores: processor cores that the proxy used.
        other_cores: those that everything used that is no part of the measurement; it should be near 0.
    """

    case: Case
    answers: int
    errors: Counter[str]
    refusals: Counter[str]
    calls: int
    waits: list[float]
    most_in_flight: dict[str, int]
    proxy_cores: float
    other_cores: float

    @property
    def share(self) -> float:
        """Answers by the ideal number of them."""
        return self.answers / self.case.ideal

    @property
    def calls_per_answer(self) -> float:
        """Upstream calls that one answer took."""
        return self.calls / self.answers if self.answers else float("inf")

    def wait(self, percent: int) -> float:
        """The wait that `percent` of the answers did not exceed, in seconds."""
        return self.waits[min(len(self.waits) - 1, len(self.waits) * percent // 100)] if self.waits else float("nan")


def measured(
    case: Case,
    samples: list[Sample],
    before: dict[str, Any],
    after: dict[str, Any],
    *,
    proxy_cores: float,
    other_cores: float,
) -> Measured:
    """Put together the clients' requests of the window and the simulator's counts around it."""
    refusals: Counter[str] = Counter()
    for counts in after["keys"].values():
        refusals.update(counts["refusals"])
    for counts in before["keys"].values():
        refusals.subtract(counts["refusals"])
    began = after["total"]["requests"] - before["total"]["requests"]
    still_running = after["total"]["in_flight"] - before["total"]["in_flight"]
    answers = [sample for sample in samples if not sample.error]
    return Measured(
        case=case,
        answers=len(answers),
        errors=Counter(sample.error for sample in samples if sample.error),
        refusals=+refusals,
        calls=began - still_running,
        waits=sorted(sample.end - sample.begin - LATENCY for sample in answers),
        most_in_flight={name: counts["max_in_flight"] for name, counts in after["keys"].items()},
        proxy_cores=proxy_cores,
        other_cores=other_cores,
    )
