"""A stand-in for a LiteLLM instance that does what the request's query says."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from aiohttp import web


class Upstream:
    """An HTTP server in a thread of its own; it can stop listening and come back on the same port.

    `?do=` is one of `echo` (the request as JSON, the default), `quiet` (`seconds` of silence before the head of the
    answer and again in its middle), `gate` (a part, then the rest once `gate` is set; with `head=late` the gate is
    before the head too) and `flood` (parts without an end).
    """

    def __init__(self, name: str, port: int) -> None:
        self.name, self.port = name, port
        self.gate = threading.Event()
        self.asked = threading.Event()
        """A gated request has arrived."""
        self.left = threading.Event()
        """A client has left before its answer was complete."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Upstream:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.gate.set()
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reset(self) -> None:
        """Forget what was before."""
        for event in (self.gate, self.asked, self.left):
            event.clear()

    def listen(self) -> None:
        """Begin to listen."""
        self._run(self._listen)

    def close(self) -> None:
        """Refuse connections and cut those that are open, as a crash does."""
        self._run(self._close)

    def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await work()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    async def _listen(self) -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def _close(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/health/liveliness" and not request.query:
            return web.Response(text="alive")
        try:
            return await self._do(request, request.query.get("do", "echo"))
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    async def _do(self, request: web.Request, what: str) -> web.StreamResponse:
        if what == "echo":
            return await self._echo(request)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        if what == "quiet":
            seconds = float(request.query["seconds"])
            await asyncio.sleep(seconds)
            await response.prepare(request)
            await response.write(b"first\n")
            await asyncio.sleep(seconds)
        elif what == "gate":
            self.asked.set()
            if "head" in request.query:
                await self._gate()
            await response.prepare(request)
            await response.write(b"first\n")
            await self._gate()
        else:
            await response.prepare(request)
            while True:
                await response.write(b"x" * 65536)
        await response.write(b"last\n")
        return response

    async def _gate(self) -> None:
        while not self.gate.is_set():
            await asyncio.sleep(0.01)

    async def _echo(self, request: web.Request) -> web.Response:
        size = 0
        async for part in request.content.iter_any():
            size += len(part)
        told: dict[str, Any] = {
            "server": self.name,
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name.lower(), value] for name, value in request.headers.items()],
            "body": size,
        }
        return web.Response(body=b"" if request.method == "HEAD" else json.dumps(told).encode())
