"""The HTTP transport below LiteLLM: requests to the pool's host get a key, all others pass.

LiteLLM's deployments of a pool have the base URL `https://glm-pool.invalid/<pool>/<api>`; that name can not be
resolved, so that nothing is sent anywhere should this transport ever be missing.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

from glm_pool import client_errors, faults
from glm_pool.access import Access
from glm_pool.client_errors import ClientError
from glm_pool.clock import Clock
from glm_pool.closed_connections import closed_under_write
from glm_pool.faults import Fault, Kind
from glm_pool.masking import Masker
from glm_pool.pool import KeyPool, Unavailable
from glm_pool.request_state import RequestState, current
from glm_pool.settings import Key
from glm_pool.streams import MaskedStream, PooledStream, words
from glm_pool.tickets import Lease, Reason, Refusal
from glm_pool.tokens import StreamedTokens, of_answer

HOST = "glm-pool.invalid"
CONNECT_SECONDS = 10.0
ERROR_BYTES = 1_000_000
FORWARDED = {"accept", "content-type", "user-agent", "anthropic-version", "anthropic-beta", "accept-language"}
"""Request headers that reach the upstream; whatever else a client managed to add does not."""
RETURNED = {"content-type", "x-request-id", "request-id", "x-log-id", "date"}

logger = logging.getLogger("glm_pool")


@dataclass(frozen=True)
class Target:
    """Where a request goes: the pool, the API and the path below the API's base URL."""

    pool: str
    api: str
    path: bytes

    @property
    def counts_tokens(self) -> bool:
        """A token count takes no slot."""
        return self.path.split(b"?")[0].endswith(b"/count_tokens")


def target_of(url: httpx.URL) -> Target:
    """Read the pool's own URL: `/<pool>/<api>/<path>?<query>`."""
    _, pool, api, path = url.raw_path.split(b"/", 3)
    return Target(unquote(pool.decode()), api.decode(), b"/" + path)


class PoolTransport(httpx.AsyncBaseTransport):
    """Serves requests to `HOST` with the keys of the pool.

    Args:
        pool: gives the keys.
        upstream: sends to the upstream.
        direct: sends everything else.
        masker: knows the keys' values.
        access: knows what clients may use.
        clock: the time.
    """

    def __init__(
        self,
        pool: Callable[[], KeyPool],
        upstream: httpx.AsyncBaseTransport,
        direct: httpx.AsyncBaseTransport,
        masker: Masker,
        access: Access,
        clock: Clock | None = None,
    ) -> None:
        self._pool = pool
        self._upstream = upstream
        self._direct = direct
        self._masker = masker
        self._access = access
        self._clock = clock or Clock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request of LiteLLM; failures of the upstream come as answers, not as exceptions."""
        if request.url.host != HOST:
            return await self._direct.handle_async_request(request)
        state = current()
        body = await request.aread()
        work = asyncio.ensure_future(self._serve(request, body, target_of(request.url), state))
        state.works.add(work)
        try:
            return await work
        except asyncio.CancelledError:
            if work.done() and not work.cancelled() and work.exception() is None:
                await work.result().aclose()  # the answer came as the client went
            raise
        finally:
            state.works.discard(work)

    async def aclose(self) -> None:
        """LiteLLM closes the clients that it caches; the upstream's connections are shared by all of them."""
        await self._direct.aclose()

    async def _serve(self, request: httpx.Request, body: bytes, target: Target, state: RequestState) -> httpx.Response:
        pool = self._pool()
        await pool.start()
        state.pool = target.pool
        if state.visit and (refused := self._access.refusal(state.visit.client, target.pool)):
            return self._end(refused, target, state)
        if target.pool in state.ended:  # LiteLLM tries again with a request that it changed: the answer stands
            return self._end(state.ended[target.pool], target, state)
        ticket = pool.ticket(target.pool, state.tried, state.session)
        while True:
            try:
                if len(state.tried) > pool.settings.num_retries:
                    raise Unavailable(pool.out_of_tries(ticket))
                lease = await pool.acquire(ticket, counted=not target.counts_tokens)
            except Unavailable as error:
                refusal = error.refusal
                if refusal.reason is Reason.RESTING and state.faults:
                    refusal = Refusal(Reason.TRIED, refusal.retry_after)
                return self._end(client_errors.unavailable(target.pool, refusal, state.faults), target, state)
            if state.visit and (refused := self._access.over_budget_by_now(state.visit)):
                pool.put_back_unused(lease)
                return self._end(refused, target, state)
            state.key = lease.lane.key.name
            outcome = await self._try(pool, lease, request, body, target, state)
            if isinstance(outcome, httpx.Response):
                state.error = None
                return outcome
            pool.failed(lease, outcome)
            pool.release(lease, settle=outcome.code in ("timeout", "connection"))
            if outcome.kind is Kind.REQUEST:
                return self._end(client_errors.of_request(outcome), target, state)
            state.faults.append((lease.lane.key.name, outcome))

    def _end(self, error: ClientError, target: Target, state: RequestState) -> httpx.Response:
        state.error = state.ended[target.pool] = error
        # the client is told the status itself; to some, such as 422, LiteLLM has answers of its own
        status = 400 if 400 < error.status < 500 and error.status != 429 else error.status
        return httpx.Response(status, headers=error.headers(), content=error.body(target.api))

    async def _send(self, request: httpx.Request) -> httpx.Response:
        with closed_under_write(httpx.WriteError):
            return await self._upstream.handle_async_request(request)

    async def _try(
        self, pool: KeyPool, lease: Lease, request: httpx.Request, body: bytes, target: Target, state: RequestState
    ) -> httpx.Response | Fault:
        """One request with one key. A returned stream owns the lease; otherwise the caller still does or it is over."""
        upstream: httpx.Response | None = None
        try:
            sent = self._addressed(lease.lane.key.settings, request, body, target, pool.settings.request_timeout)
            upstream = await self._send(sent)
            upstream.request = sent
            outcome = await self._read(pool, lease, upstream, target, state, len(body))
        except httpx.TimeoutException as error:
            outcome = faults.connection(words(error), timeout=True)
        except httpx.HTTPError as error:
            outcome = faults.connection(words(error))
        except BaseException:
            pool.release(lease, settle=True)
            if upstream is not None:
                await asyncio.shield(upstream.aclose())
            raise
        if isinstance(outcome, Fault):
            if upstream is not None:
                await upstream.aclose()
            return outcome.masked(self._masker)
        return outcome

    async def _read(
        self,
        pool: KeyPool,
        lease: Lease,
        upstream: httpx.Response,
        target: Target,
        state: RequestState,
        request_bytes: int,
    ) -> httpx.Response | Fault:
        kind = upstream.headers.get("content-type", "")
        if upstream.status_code == 200 and kind.startswith("text/event-stream"):
            meter = StreamedTokens(request_bytes)
            stream = PooledStream(pool, lease, upstream, target.api, state, self._masker, self._clock, meter)
            fault = await stream.open()
            if fault is None:
                state.answered = lease.lane.key.name, lease.lane.model
            return fault or httpx.Response(200, headers=_returned(upstream), stream=stream)
        if upstream.status_code != 200:
            content = b""
            async for part in upstream.aiter_bytes():
                content += part
                if len(content) > ERROR_BYTES:
                    break
            return faults.from_answer(upstream.status_code, content, self._clock.wall())
        content = await upstream.aread()
        document = None
        try:
            document = json.loads(content)
            fault = faults.from_success(document, self._clock.wall())
        except ValueError:
            fault = Fault(Kind.SERVER, "no_json", 502, "the upstream's answer is no JSON")
        if fault:
            return fault
        pool.answered(lease)
        state.answered = lease.lane.key.name, lease.lane.model
        state.tokens += of_answer(document)
        await pool.hand_on(lease)
        return httpx.Response(200, headers=_returned(upstream), content=content)

    def _addressed(
        self, key: Key, request: httpx.Request, body: bytes, target: Target, timeout: float
    ) -> httpx.Request:
        base = key.anthropic_api_base if target.api == client_errors.ANTHROPIC else key.openai_api_base
        headers = {name: value for name, value in request.headers.items() if name.lower() in FORWARDED}
        if target.api == client_errors.ANTHROPIC:
            headers["x-api-key"] = key.value
        else:
            headers["authorization"] = f"Bearer {key.value}"
        headers["accept-encoding"] = "identity"  # a stream is read event by event
        limits = {"connect": min(CONNECT_SECONDS, timeout), "read": timeout, "write": timeout, "pool": None}
        # the client's own timeouts are no fault of the key
        return httpx.Request(
            request.method,
            base.rstrip("/") + target.path.decode(),
            headers=headers,
            content=body,
            extensions={"timeout": limits},
        )


class MaskingTransport(httpx.AsyncBaseTransport):
    """Keeps secrets out of answers where LiteLLM itself chooses the keys.

    Args:
        direct: sends.
        masker: knows the secrets.
        keys: names of the keys by value.
    """

    def __init__(self, direct: httpx.AsyncBaseTransport, masker: Masker, keys: Mapping[str, str]) -> None:
        self._direct = direct
        self._masker = masker
        self._keys = keys

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request of LiteLLM."""
        state = current()
        body = await request.aread()
        answer = await self._direct.handle_async_request(request)
        if answer.status_code == 200:
            state.answered = self._key_of(request), _model_of(body)
        headers = [(n, v) for n, v in answer.headers.multi_items() if n not in ("content-length", "content-encoding")]
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            meter = StreamedTokens(len(body))
            if answer.status_code == 200:
                state.meters.append(meter)
            stream = MaskedStream(answer, self._masker, meter)
            return httpx.Response(answer.status_code, headers=headers, stream=stream)
        content = self._masker.data(await answer.aread())
        await answer.aclose()
        if answer.status_code == 200:
            with contextlib.suppress(ValueError):
                state.tokens += of_answer(json.loads(content))
        return httpx.Response(answer.status_code, headers=headers, content=content)

    def _key_of(self, request: httpx.Request) -> str:
        presented = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self._keys.get(presented) or self._keys.get(request.headers.get("x-api-key", ""), "")

    async def aclose(self) -> None:
        """Close what sends."""
        await self._direct.aclose()


def _returned(upstream: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in upstream.headers.items() if name.lower() in RETURNED}


def _model_of(body: bytes) -> str:
    """The model that a request names."""
    with contextlib.suppress(ValueError):
        document = json.loads(body)
        if isinstance(document, dict):
            return str(document.get("model", ""))
    return ""
