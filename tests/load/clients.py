"""The clients of the load: each sends its next request as soon as the last one is over, and repeats nothing."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Self

import aiohttp

from .questions import WORDS, Api, Connection, Fault, Form, Kind, Question
from .report import Report, Sample

REQUEST_SECONDS = 120.0
"""Longer than a request may wait in the proxy's queue."""

FAILURE_PAUSE = 0.2
"""Seconds that a client rests after a failure, so that a server which is away is not asked thousands of times."""

LONG_SECONDS = 10.0
"""What a long stream takes, about."""

KEY_HEADER = "x-litellm-pool-key"


@dataclass(frozen=True)
class Target:
    """Where the load goes.

    Attributes:
        url: base URL, http or https, without a path.
        api_key: sent as a bearer token.
        model: what is asked for; one without reasoning, whose answer is the text alone.
        trust: for https, certificates to trust as PEM text; empty: every certificate is taken.
        paths: of the two APIs.
    """

    url: str
    api_key: str
    model: str = "glm-flash"
    trust: str = ""
    paths: tuple[str, str] = ("/v1/chat/completions", "/v1/messages")

    def path(self, api: Api) -> str:
        """Path of an API."""
        return self.paths[0 if api == "openai" else 1]

    def ssl(self) -> ssl.SSLContext | bool:
        """What the connections need for https."""
        if not self.url.startswith("https:"):
            return True
        if self.trust:
            return ssl.create_default_context(cadata=self.trust)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True)
class Mix:
    """How many clients of which sort; half of each keep their connection, half make one for each request.

    Attributes:
        short: clients that take both APIs in turns, three JSON answers for one short stream.
        long: clients that hold streams of `long_words` words.
        rate: most requests a second over all clients; None: as many as are answered.
        long_words: at the simulator's `token_interval` of 0.1 s the default takes 10 s.
    """

    short: int = 20
    long: int = 8
    rate: float | None = None
    long_words: int = WORDS["long"]

    def clients(self) -> list[list[Kind]]:
        """The kinds of each client, which it takes in turns."""
        found = []
        for index in range(self.short + self.long):
            connection: Connection = "kept" if index % 2 == 0 else "new"
            # a stream costs LiteLLM half as much again as JSON
            forms: list[Form] = ["json", "json", "json", "stream"] if index < self.short else ["long"]
            apis: list[Api] = ["openai", "anthropic"]
            kinds = [Kind(api, form, connection) for form in forms for api in apis]
            # clients of a sort begin at different kinds
            begin = (index // 2) % len(kinds)
            found.append(kinds[begin:] + kinds[:begin])
        return found


@dataclass
class Open:
    """A request that is under way; the attributes are those of `Sample`."""

    kind: Kind
    began: float
    key: str = ""


class Load:
    """A load in a thread of its own, from `start` (or the context's beginning) to `stop`.

    Leaving the context without `stop` ends it at once.

    Args:
        target: where it goes.
        mix: which clients.
    """

    def __init__(self, target: Target, mix: Mix | None = None) -> None:
        self.target = target
        self.mix = mix or Mix()
        self.samples: list[Sample] = []
        self.open: dict[int, Open] = {}
        self._numbers = itertools.count(1)
        self._started = 0
        self._least: int | None = None
        self._next_turn = 0.0
        self._began = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="load", daemon=True)
        self._running: Future[None] | None = None
        self._clients: list[asyncio.Task[None]] = []

    def start(self) -> Self:
        """Begin to send."""
        self._began = time.time()
        self._thread.start()
        self._running = asyncio.run_coroutine_threadsafe(self._run(), self._loop)
        return self

    def wait_for(self, requests: int, within: float = 120.0) -> None:
        """Return when so many more requests are over.

        Raises:
            TimeoutError: they are not within so many seconds.
        """
        wanted = len(self.samples) + requests
        end = time.monotonic() + within
        while len(self.samples) < wanted:
            if time.monotonic() > end:
                raise TimeoutError(f"{requests - (wanted - len(self.samples))} of {requests} requests in {within} s")
            self._check()
            time.sleep(0.05)

    def stop(self, least: int = 0, more: int = 0, within: float = 300.0) -> Report:
        """Go on until enough requests were sent, let what is under way finish, and report.

        Args:
            least: requests from the load's beginning on.
            more: requests from now on, so that what was done before is seen to last.
            within: seconds after which what is under way is cut and reported as `unfinished`.
        """
        assert self._running is not None, "it was not started"
        asyncio.run_coroutine_threadsafe(self._limit(least, more), self._loop).result()
        try:
            self._running.result(within)
        except TimeoutError:
            pass
        finally:
            self._end()
        return Report(self._began, time.time() - self._began, list(self.samples))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _check(self) -> None:
        # an error of the load itself, which would look like silence
        if self._running is not None and self._running.done():
            self._running.result()

    def _end(self) -> None:
        if self._loop.is_closed():
            return

        async def cancel() -> None:
            for client in self._clients:
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _limit(self, least: int, more: int) -> None:
        self._least = max(least, len(self.samples) + more)

    async def _run(self) -> None:
        trust = self.target.ssl()
        long = range(self.mix.short, self.mix.short + self.mix.long)
        self._clients = [
            asyncio.create_task(self._client(kinds, trust, holds=index in long and self.mix.short > 0))
            for index, kinds in enumerate(self.mix.clients())
        ]
        await asyncio.gather(*self._clients)

    def _wanted(self, holds: bool) -> bool:
        """Whether a client shall send another request; the end is not to wait for long streams that begin late."""
        if self._least is None:
            return True
        seconds = LONG_SECONDS if holds else 0.0
        rate = len(self.samples) / (time.time() - self._began)
        return self._started + rate * seconds < self._least

    async def _client(self, kinds: list[Kind], trust: ssl.SSLContext | bool, *, holds: bool) -> None:
        connected: list[float] = []
        turns: Iterator[Kind] = itertools.cycle(kinds)
        kept = kinds[0].connection == "kept"
        async with aiohttp.ClientSession(
            # one connection of its own for each client
            connector=aiohttp.TCPConnector(limit=1, ssl=trust, force_close=not kept),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            headers={"Authorization": f"Bearer {self.target.api_key}", "Content-Type": "application/json"},
            trace_configs=[_connections(connected)],
            auto_decompress=False,
        ) as session:
            while self._wanted(holds):
                self._started += 1
                await self._turn()
                if not kept:
                    connected.clear()
                sample = await self._ask(session, next(turns), connected)
                self.samples.append(sample)
                if sample.failure:
                    if sample.failure not in ("status", "content"):  # then it was read to its end, and goes on
                        connected.clear()
                    await asyncio.sleep(FAILURE_PAUSE)

    async def _turn(self) -> None:
        if self.mix.rate:
            now = time.monotonic()
            self._next_turn = max(now, self._next_turn + 1 / self.mix.rate)
            await asyncio.sleep(self._next_turn - now)

    async def _ask(self, session: aiohttp.ClientSession, kind: Kind, connected: list[float]) -> Sample:
        number = next(self._numbers)
        question = Question(kind, number, self.mix.long_words if kind.form == "long" else WORDS[kind.form])
        request = self.open[number] = Open(kind, time.time())
        begin, failure, detail, answering = time.monotonic(), "", "", False
        try:
            async with session.post(
                self.target.url + self.target.path(kind.api),
                data=question.body(self.target.model),
                allow_redirects=False,
            ) as response:
                answering = True
                request.key = response.headers.get(KEY_HEADER, "")
                raw = b"".join([piece async for piece in response.content.iter_any()])
                if response.status == 200:
                    question.judge(raw)
                else:
                    failure, detail = "status", f"{response.status} {raw[:300].decode(errors='replace')}"
        except asyncio.CancelledError:
            # the load's own end; the client notes it and its task ends
            self.samples.append(self._sample(request, begin, "unfinished", "", connected))
            raise
        except Fault as fault:
            failure, detail = fault.failure, str(fault)
        except TimeoutError as error:
            failure, detail = "timeout", str(error) or f"{REQUEST_SECONDS:.0f} s"
        except aiohttp.ClientConnectorError as error:
            failure, detail = "connect", str(error)
        except (aiohttp.ClientError, OSError) as error:
            failure, detail = "truncated" if answering else "reset", f"{type(error).__name__}: {error}"
        finally:
            del self.open[number]
        return self._sample(request, begin, failure, detail, connected)

    @staticmethod
    def _sample(request: Open, begin: float, failure: str, detail: str, connected: list[float]) -> Sample:
        now = time.monotonic()
        age = now - connected[-1] if connected else None
        return Sample(request.kind, request.began, now - begin, failure, detail, age, request.key)


def _connections(connected: list[float]) -> aiohttp.TraceConfig:
    """Notes the moment of each new connection."""

    async def made(
        session: aiohttp.ClientSession, context: SimpleNamespace, what: aiohttp.TraceConnectionCreateEndParams
    ) -> None:
        connected[:] = [time.monotonic()]

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(made)
    return trace
