"""The way of a request through the simulator, the same for both APIs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web

from .answers import Answer, answer, new_id
from .auth import authenticate, check_usable
from .config import Account, Key
from .dialect import Dialect, Usage
from .errors import Refusal, refusal
from .faults import ConnectionDrop, Strike
from .limits import Admission
from .prompts import Prompt
from .state import State
from .stats import CREDENTIAL_HEADERS, Gauge, Record

log = logging.getLogger(__name__)

Run = Callable[["Exchange"], Awaitable[web.StreamResponse]]
MakeReply = Callable[[object], Mapping[str, object]]
"""Makes the body of a model list or a token count from the body of the request."""

CHUNKS_BEFORE_FAULT = 2
"""How many content chunks of a stream come before a fault in the middle of it."""


@dataclass(frozen=True)
class Endpoint:
    """One path of the API.

    Attributes:
        dialect: Its wire format.
        plans: The plans that pay for it.
        x_api_key: Whether it takes the ``x-api-key`` header.
        asks: Whether it gives answers, unlike model lists and token counts.
    """

    dialect: Dialect
    plans: tuple[str, ...]
    x_api_key: bool = False
    asks: bool = True


class Place:
    """A request's place in flight, held as a context manager and freed at most once."""

    def __init__(self, admission: Admission, gauges: tuple[Gauge, ...]) -> None:
        """Hold what leaving has to give back."""
        self._admission = admission
        self._gauges = gauges
        self._held = True

    def leave(self, *, charged: bool) -> None:
        """Free the place; the quota keeps the answer when ``charged``."""
        if self._held:
            self._held = False
            self._admission.leave(charged=charged)
            for gauge in self._gauges:
                gauge.down()

    def __enter__(self) -> Self:
        """Return the place."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place if nothing else has; a client that left has still had its answer made."""
        self.leave(charged=not isinstance(error, Refusal | ConnectionDrop))


class Gateway:
    """Takes requests for answers, token counts and model lists."""

    def __init__(self, state: State) -> None:
        """Serve from this state."""
        self._state = state

    async def answer(self, request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
        """Answer a request for an answer."""
        return await self._guarded(request, endpoint, self._answer)

    async def reply(self, request: web.Request, endpoint: Endpoint, make: MakeReply) -> web.StreamResponse:
        """Answer a model list or a token count, which no limit holds up."""

        async def run(exchange: Exchange) -> web.StreamResponse:
            self._fault_at_the_door(exchange, streamed=False)
            return exchange.finish(make(exchange.record.body))

        return await self._guarded(request, endpoint, run)

    async def _guarded(self, request: web.Request, endpoint: Endpoint, run: Run) -> web.StreamResponse:
        record = new_record(request, asks=endpoint.asks)
        self._state.stats.begin(record)
        exchange = Exchange(self._state, request, endpoint, record)
        try:
            await exchange.read()
            return await run(exchange)
        except Refusal as error:
            return exchange.refuse(error)
        except ConnectionDrop as drop:
            return exchange.drop(drop)
        except (asyncio.CancelledError, ConnectionError):
            if record.open:
                self._state.stats.client_gone(record)
            raise
        finally:
            _log(request.method, record)

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        body = exchange.record.body
        streamed = isinstance(body, Mapping) and body.get("stream") is True
        exchange.record.stream = streamed
        self._fault_at_the_door(exchange, streamed=streamed)
        if not isinstance(body, Mapping):
            raise refusal("1210", field="The body is not a JSON object.")
        prompt = exchange.endpoint.dialect.parse(body)
        key, account = exchange.key, exchange.account
        if account.models is not None and prompt.model.name not in account.models:
            raise refusal("1311" if key.plan == "coding" else "1220", model=prompt.model.name)
        admission = self._state.limits(account.name).admit(account, prompt.model.name)
        with Place(admission, self._state.stats.enter(key.name, account.name, prompt.model.name)) as place:
            strike = self._state.faults.strike(key, account, at_the_door=False, streamed=streamed)
            if strike is not None and strike.fault.hang is not None:
                await asyncio.sleep(strike.fault.hang)
            if strike is not None and strike.fault.fails and not strike.fault.mid_stream:
                raise strike.error(prompt.model.name)
            await asyncio.sleep(account.latency)
            read, written = self._state.cache(key.name).use(prompt)
            usage = Usage(prompt.tokens, read, written)
            said = answer(prompt)
            if prompt.stream:
                return await exchange.stream(prompt, said, usage, strike, place)
            response = exchange.finish(exchange.endpoint.dialect.whole(prompt, said, usage))
            exchange.count(usage, said)
            # From here to the last byte nothing waits, so a client that has it finds the place free.
            place.leave(charged=True)
            return response

    def _fault_at_the_door(self, exchange: Exchange, *, streamed: bool) -> None:
        strike = self._state.faults.strike(exchange.key, exchange.account, at_the_door=True, streamed=streamed)
        if strike is not None:
            raise strike.error(exchange.record.model or "this model")


class Exchange:
    """One request and its answer.

    Attributes:
        endpoint: Where it came in.
        record: What the statistics note of it.
        key: Its key; set once read.
        account: The key's account; set once read.
    """

    key: Key
    account: Account

    def __init__(self, state: State, request: web.Request, endpoint: Endpoint, record: Record) -> None:
        """Start with nothing read."""
        self._state = state
        self._request = request
        self._id = new_id("")
        self.endpoint = endpoint
        self.record = record

    async def read(self) -> None:
        """Read the body and find the key.

        Raises:
            Refusal: The key is not good, or not for this endpoint.
        """
        self.record.body = _parse(await self._request.read())
        if isinstance(self.record.body, Mapping) and isinstance(self.record.body.get("model"), str):
            self.record.model = self.record.body["model"]
        config = self._state.config
        key = authenticate(self._request.headers, config, x_api_key=self.endpoint.x_api_key)
        self._state.stats.known(self.record, key.name)
        self.key = key
        self.account = config.accounts[key.account]
        check_usable(key, self.endpoint.plans)

    def finish(self, body: Mapping[str, object]) -> web.Response:
        """Make the whole answer and count it."""
        self._state.stats.answered(self.record, 200)
        return web.json_response(body, headers=self._headers())

    def count(self, usage: Usage, said: Answer) -> None:
        """Count the tokens of a whole answer."""
        read = usage.prompt - usage.cache_read
        self._state.stats.used(self.record, read=read, cached=usage.cache_read, written=said.tokens)

    def refuse(self, error: Refusal) -> web.Response:
        """Make the error answer and count it."""
        self._state.stats.refused(self.record, error.status, error.label)
        if error.code is None:
            page = f"<html><body><h1>{error.status}</h1><p>{error.message}</p></body></html>\n"
            return web.Response(text=page, status=error.status, content_type="text/html")
        body = self.endpoint.dialect.error(error, self._id)
        return web.json_response(body, status=error.status, headers=self._headers())

    def drop(self, drop: ConnectionDrop) -> web.Response:
        """Close the connection and count it; what is returned reaches nobody."""
        self._state.stats.refused(self.record, None, drop.label)
        if self._request.transport is not None:
            self._request.transport.close()
        return web.Response()

    async def stream(
        self, prompt: Prompt, said: Answer, usage: Usage, strike: Strike | None, place: Place
    ) -> web.StreamResponse:
        """Write a streamed answer; its place is free when the client has the last byte."""
        dialect, account = self.endpoint.dialect, self.account
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", **self._headers()}
        )
        self.record.status = 200
        await response.prepare(self._request)
        broken = strike if strike is not None and strike.fault.mid_stream else None
        last = b""
        content = 0
        for event in dialect.events(prompt, said, usage, account.chunks):
            if last:
                await response.write(last)
            if event.content:
                if broken is not None and content == CHUNKS_BEFORE_FAULT:
                    break
                if content:
                    await asyncio.sleep(account.token_interval)
                content += 1
            last = event.data
        if broken is None:
            self._state.stats.answered(self.record, 200)
            self.count(usage, said)
            place.leave(charged=True)
            await response.write_eof(last)
            return response
        error = broken.error(prompt.model.name)
        self._state.stats.refused(self.record, 200, error.label)
        place.leave(charged=False)
        if isinstance(error, Refusal):
            await response.write_eof(dialect.error_event(error, self._id))
        elif self._request.transport is not None:
            self._request.transport.close()
        return response

    def _headers(self) -> dict[str, str]:
        return {"X-Log-Id": self._id, "request-id": self._id}


def new_record(request: web.Request, *, asks: bool) -> Record:
    """Make the note of a request that has just come in."""
    return Record(
        path=request.path,
        asks=asks,
        headers={k: v for k, v in request.headers.items() if k.lower() not in CREDENTIAL_HEADERS},
        credentials=[k.lower() for k in request.headers if k.lower() in CREDENTIAL_HEADERS],
    )


def _parse(raw: bytes) -> object:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None


def _log(method: str, record: Record) -> None:
    log.info(
        "%s %s key=%s model=%s stream=%s status=%s code=%s gone=%s %.3fs",
        method,
        record.path,
        record.key,
        record.model,
        record.stream,
        record.status,
        record.code,
        record.gone,
        record.duration or 0.0,
    )
