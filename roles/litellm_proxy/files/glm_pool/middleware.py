"""Around LiteLLM's application: the request's beginning and end, as only the server sees them."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import orjson

from glm_pool import body as bodies
from glm_pool import body_limit
from glm_pool.access import Access, Visit
from glm_pool.body_limit import Message, Receive, Send
from glm_pool.client_errors import ClientError, api_of
from glm_pool.clients import Client
from glm_pool.endpoints import is_ours
from glm_pool.request_state import RequestState, begin

Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

KEY_HEADER = b"x-litellm-pool-key"
ENDS = (
    "/chat/completions",
    "/completions",
    "/messages",
    "/count_tokens",
    "/responses",
    "/responses/compact",
    "/embeddings",
    ":generateContent",
    ":streamGenerateContent",
)
"""Paths whose requests name a model; all others are LiteLLM's own business."""
UNCOUNTED = "/count_tokens"
"""Paths whose requests use nothing."""
KEY_HEADERS = (
    b"x-litellm-api-key",
    b"authorization",
    b"api-key",
    b"x-api-key",
    b"x-goog-api-key",
    b"ocp-apim-subscription-key",
)
"""Where LiteLLM looks for a client's key, in its order."""
LAST_EVENTS = (b"event: message_stop\n", b"event: response.completed\n")
"""Lines that no text of an answer can hold."""
CLIENT_WENT = 499
"""Stands for the status of an answer that its client did not wait for."""
BROKEN_OFF = 502
GOODBYE_SECONDS = 5.0
"""How long LiteLLM may take to clear up after a client that has gone."""

logger = logging.getLogger("glm_pool")


class PoolMiddleware:
    """Wraps an ASGI application.

    - A body above the bound in GLM_POOL_MAX_BODY, bytes, is refused by 413 before it is held; one that pauses for
      GLM_POOL_BODY_TIMEOUT seconds by 408.
    - A request that asks a model has to show a key; what its client may not do is refused, what it uses is counted.
    - Fields and headers that are the operator's are dropped before LiteLLM reads the request.
    - When the client goes, the request leaves the queue, the upstream is closed and the slot given back at once.
    - The answer names the key, and an error of the pool is written in the client's own format.

    Args:
        app: LiteLLM's application.
        pages: serves the pool's own pages; None without a pool.
        access: judges clients.
    """

    def __init__(self, app: Application, pages: Application | None, access: Access) -> None:
        self.app = app
        self.pages = pages
        self.access = access
        self.max_body = body_limit.bound_of(os.environ)
        self.patience = body_limit.patience_of(os.environ)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection event; see the ASGI specification."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if body_limit.is_declared_above(self.max_body, scope["headers"]):
            await self._refuse_body(scope, receive, send, more=True)
            return
        if self.pages is not None and is_ours(scope["path"]):
            await self.pages(scope, receive, send)
            return
        if scope["method"] != "POST" and not (self.max_body and body_limit.has_no_length(scope["headers"])):
            await self.app(scope, receive, send)
            return
        state = begin()
        asks = scope["path"].rstrip("/").endswith(ENDS)
        client: Client | None = None
        if asks and scope["method"] == "POST":
            identified = self.access.identify(_presented(scope["headers"]))
            if isinstance(identified, ClientError):
                await body_limit.refuse(receive, send, api_of(scope["path"]), identified, more=True)
                return
            client = identified
        try:
            body = await body_limit.whole_body(receive, self.max_body, self.patience)
        except body_limit.TooLarge as error:
            await self._refuse_body(scope, receive, send, more=error.more)
            return
        except body_limit.TooSlow:
            logger.warning("event=body_refused timeout=%d", self.patience)
            slow = body_limit.too_slow(self.patience)
            await body_limit.refuse(receive, send, api_of(scope["path"]), slow, more=False)
            return
        if body is None:
            return
        if asks:
            body = _prepare(scope, body, state)
        if client is None:
            await self._serve(scope, receive, Answer(send, state, api_of(scope["path"])), body, state)
            return
        counted = not scope["path"].rstrip("/").endswith(UNCOUNTED)
        visit = await self.access.admit(client, counted=counted)
        if isinstance(visit, ClientError):
            self._account(Visit(client, counted=counted), state, visit.status)
            await body_limit.refuse(receive, send, api_of(scope["path"]), visit, more=False)
            return
        state.visit = visit

        async def end(status: int) -> None:
            self._account(visit, state, BROKEN_OFF if state.broken else status)
            await visit.leave()

        answer = Answer(send, state, api_of(scope["path"]), end)
        try:
            await self._serve(scope, receive, answer, body, state)
        except Exception:
            await answer.end(500)
            raise
        finally:
            await answer.end(CLIENT_WENT)

    async def _serve(
        self, scope: MutableMapping[str, Any], receive: Receive, answer: "Answer", body: bytes, state: RequestState
    ) -> None:
        """Have LiteLLM answer."""
        gone = asyncio.Event()
        served = asyncio.ensure_future(self.app(scope, _replay(body, gone), answer.send))
        watch = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({served, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not served.done() and not answer.complete:
                gone.set()
                state.abandon()
                await asyncio.wait({served}, timeout=GOODBYE_SECONDS)
                served.cancel()
            await served
        except (asyncio.CancelledError, Exception):
            if not gone.is_set():  # nobody is left to be told
                raise
        finally:
            watch.cancel()
            served.cancel()
            state.abandon()

    def _account(self, visit: Visit, state: RequestState, status: int) -> None:
        key, model = state.answered
        self.access.account(visit, key=key, pool=state.pool, model=model, tokens=state.used, status=status)

    async def _refuse_body(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, *, more: bool) -> None:
        logger.warning("event=body_refused max_body=%d", self.max_body)
        large = body_limit.too_large(self.max_body)
        await body_limit.refuse(receive, send, api_of(scope["path"]), large, more=more)


class Answer:
    """What LiteLLM sends, on its way to the client.

    Args:
        send: takes it.
        state: of the request.
        api: that the client speaks.
        on_end: called once with the status, before the client can know that the answer is complete: the account of a
            request is settled when the next one comes.
    """

    def __init__(
        self, send: Send, state: RequestState, api: str, on_end: Callable[[int], Awaitable[None]] | None = None
    ) -> None:
        self._send = send
        self._state = state
        self._api = api
        self._on_end = on_end
        self._replaced = False
        self.complete = False
        self._status = 500  # what the server says for an application that said nothing

    async def send(self, message: Message) -> None:
        """Pass a message on, with the key's name; or the pool's own error instead of LiteLLM's."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if message["status"] >= 400 and self._state.error is not None:
                self._replaced = True
                await self._send_error(message)
                return
            if self._state.key is not None:
                message["headers"] = [*message.get("headers", ()), (KEY_HEADER, self._state.key.encode())]
        elif self._replaced:
            return
        if message["type"] == "http.response.body":
            if not message.get("more_body"):
                self.complete = True
            if self.complete or _is_last(message.get("body", b"")):
                await self.end(self._status)
        await self._send(message)

    async def end(self, status: int) -> None:
        """The answer is complete, or nobody waits for it any more."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            await on_end(status)

    async def _send_error(self, message: Message) -> None:
        error = self._state.error
        if error is None:
            return
        self._status = error.status
        body = error.body(self._api)
        ours = {b"content-length", b"content-type", b"retry-after", b"content-encoding", b"transfer-encoding"}
        headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in ours]
        headers += [(name.encode(), value.encode()) for name, value in error.headers().items()]
        headers.append((b"content-length", str(len(body)).encode()))
        if self._state.key is not None:
            headers.append((KEY_HEADER, self._state.key.encode()))
        self.complete = True
        await self.end(error.status)
        await self._send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _is_last(part: bytes) -> bool:
    """Whether a part of a stream holds its last event; the server closes the stream a moment later."""
    return part.rstrip().endswith(b"data: [DONE]") or any(event in part for event in LAST_EVENTS)


def _presented(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key that a client shows; empty for none."""
    shown = dict(reversed(list(headers)))
    return next((shown[name].decode("latin-1") for name in KEY_HEADERS if shown.get(name)), "")


def _prepare(scope: MutableMapping[str, Any], body: bytes, state: RequestState) -> bytes:
    """Drop what is the operator's; note the session."""
    body, dropped = bodies.cleaned(body)
    if dropped:
        logger.warning("event=fields_dropped fields=%s", ",".join(sorted(dropped))[:200])
    headers = [(name, value) for name, value in scope["headers"] if name not in bodies.HEADERS]
    if any(name == b"content-type" and b"json" not in value.lower() for name, value in headers):
        # LiteLLM would read a form, whose fields nobody has judged; these paths take JSON alone
        headers = [(name, value) for name, value in headers if name != b"content-type"]
        headers.append((b"content-type", b"application/json"))
    if dropped:
        headers = [(name, value) for name, value in headers if name not in (b"content-length", b"transfer-encoding")]
        headers.append((b"content-length", str(len(body)).encode()))
    scope["headers"] = headers
    texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    document: Any = None
    if b'"user_id"' in body:
        with contextlib.suppress(orjson.JSONDecodeError):
            document = orjson.loads(body)
    state.session = bodies.session_of(texts, document if isinstance(document, dict) else {})
    return body


def _replay(body: bytes, gone: asyncio.Event) -> Receive:
    """What the application receives: the body, and the disconnection when it comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
