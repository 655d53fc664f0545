"""Streamed answers on their way through the transport."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import httpx

from glm_pool import client_errors, faults, sse
from glm_pool.clock import Clock
from glm_pool.faults import Fault
from glm_pool.masking import Masker
from glm_pool.pool import MAKE_WAY_SECONDS, KeyPool
from glm_pool.request_state import RequestState
from glm_pool.tickets import Lease
from glm_pool.tokens import StreamedTokens

TAIL_SECONDS = 0.25
"""How long the upstream may take to close a stream after its last event."""

logger = logging.getLogger("glm_pool")


class PooledStream(httpx.AsyncByteStream):
    """A streamed answer that holds its slot until the last byte."""

    def __init__(
        self,
        pool: KeyPool,
        lease: Lease,
        upstream: httpx.Response,
        api: str,
        state: RequestState,
        masker: Masker,
        clock: Clock,
        meter: StreamedTokens,
    ) -> None:
        self._pool = pool
        self._lease = lease
        self._upstream = upstream
        self._api = api
        self._state = state
        self._masker = masker
        self._clock = clock
        self._meter = meter
        self._events = sse.Events()
        self._parts = upstream.aiter_bytes()
        self._head: list[bytes] = []
        self._exhausted = False  # the upstream has closed after it
        self._over = False
        self._closing: asyncio.Task[None] | None = None

    async def open(self) -> Fault | None:
        """Read up to the first content; a fault until then can still be helped by another key."""
        async for part in self._parts:
            for event in self._events.feed(part):
                if fault := self._fault_in(event):
                    return fault
                self._head.append(event)
                self._meter.feed(event)
            if any(sse.has_content(event) for event in self._head):
                self._pool.answered(self._lease)
                self._state.streams.add(self)
                self._state.meters.append(self._meter)
                if self._meter.complete:
                    await self._drain()
                return None
        rest = self._events.rest().strip()
        # an error may come without its blank line, or without being an event at all
        if fault := self._fault_in(rest) or self._fault_in(b"data: " + rest):
            return fault
        return faults.connection("the upstream closed the stream before any content")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The events as they come; a failure of the upstream becomes the error event of the API."""
        try:
            for event in self._head:
                yield event
            while not self._meter.complete and not self._over:
                events, fault = await self._more()
                for event in events:
                    yield event
                if fault is not None:
                    if not self._over:
                        yield self._report(fault)
                    return
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Give back the slot; a second time does nothing."""
        self._finish()
        if self._closing:
            await asyncio.shield(self._closing)

    def abandon(self) -> None:
        """The client has gone."""
        self._finish()

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        self._state.streams.discard(self)
        self._pool.release(self._lease, settle=not self._exhausted)
        self._closing = asyncio.ensure_future(self._upstream.aclose())

    async def _more(self) -> tuple[list[bytes], Fault | None]:
        """The next whole events, and the fault after which there are no more."""
        try:
            part = await anext(self._parts)
        except StopAsyncIteration:
            rest = self._events.rest().strip()
            if rest and (fault := self._fault_in(rest)):
                return [], fault
            if sse.ends(rest):
                self._meter.feed(rest)
                return [rest + b"\n\n"], None
            return [], faults.connection("the upstream closed the stream too early")
        except httpx.TimeoutException as error:
            return [], faults.connection(words(error), timeout=True)
        except (httpx.HTTPError, httpx.StreamError) as error:
            return [], faults.connection(words(error))
        except Exception:
            if self._over:  # closed under the reader's hands, as the client has gone
                return [], None
            raise
        events: list[bytes] = []
        for event in self._events.feed(part):
            if fault := self._fault_in(event):
                return events, fault
            events.append(event)
            self._meter.feed(event)
        if self._meter.complete:
            await self._drain()
        return events, None

    async def _drain(self) -> None:
        """Let the upstream close first, so that the slot is free there when it is free here."""
        with contextlib.suppress(asyncio.TimeoutError, httpx.HTTPError, httpx.StreamError):
            await asyncio.wait_for(self._exhaust(), TAIL_SECONDS)
        crowded = self._pool.crowded(self._lease)
        self._finish()
        if crowded:
            await asyncio.sleep(MAKE_WAY_SECONDS)

    async def _exhaust(self) -> None:
        async for _ in self._parts:
            pass
        self._exhausted = True

    def _fault_in(self, event: bytes) -> Fault | None:
        if not sse.may_be_error(event):
            return None
        fault = faults.from_success(sse.payload(event), self._clock.wall())
        return fault and fault.masked(self._masker)

    def _report(self, fault: Fault) -> bytes:
        self._pool.failed(self._lease, fault)
        self._state.broken = True
        logger.warning(
            "event=broken_off pool=%s key=%s code=%s",
            self._lease.ticket.pool,
            self._lease.lane.key.name,
            fault.code,
        )
        return client_errors.in_stream(fault).event(self._api)


class MaskedStream(httpx.AsyncByteStream):
    """The events of an answer without secrets."""

    def __init__(self, answer: httpx.Response, masker: Masker, meter: StreamedTokens) -> None:
        self._answer = answer
        self._masker = masker
        self._meter = meter

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Whole events, as a secret may be cut in two otherwise."""
        events = sse.Events()
        async for part in self._answer.aiter_bytes():
            for event in events.feed(part):
                self._meter.feed(event)
                yield self._masker.data(event)
        yield self._masker.data(events.rest())

    async def aclose(self) -> None:
        """Close the answer."""
        await self._answer.aclose()


def words(error: Exception) -> str:
    """What an error of the connection says."""
    return f"{type(error).__name__} {error}".strip()
