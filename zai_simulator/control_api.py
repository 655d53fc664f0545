"""The control API under ``/_control``: what tests read and change."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from .config import ConfigError, describe
from .state import State
from .stats import KEPT_REQUESTS

PREFIX = "/_control"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ControlApi:
    """The handlers; no answer holds the value of a key of the table."""

    def __init__(self, state: State) -> None:
        """Read and change this state."""
        self._state = state

    def add_routes(self, app: web.Application) -> None:
        """Put the handlers into an application."""
        routes: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "/health", self._health),
            ("GET", "/stats", self._stats),
            ("GET", "/requests", self._requests),
            ("POST", "/reset", self._reset),
            ("POST", "/clock", self._clock),
            ("PUT", "/keys/{name}", self._put_key),
            ("DELETE", "/keys/{name}", self._delete_key),
            ("PUT", "/accounts/{name}", self._put_account),
        )
        for method, path, handler in routes:
            app.router.add_route(method, PREFIX + path, handler)

    async def _health(self, request: web.Request) -> web.Response:
        return self._json({"status": "ok"})

    async def _stats(self, request: web.Request) -> web.Response:
        return self._json(self._state.stats.shown())

    async def _requests(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", str(KEPT_REQUESTS))
        if not text.isdigit():
            return self._json({"error": "limit: must be a whole number"}, 400)
        limit = int(text)
        records = list(self._state.stats.requests)[-limit:] if limit else []
        return self._json({"requests": [record.shown() for record in records]})

    async def _reset(self, request: web.Request) -> web.Response:
        self._state.reset()
        return self._json({"status": "ok"})

    async def _clock(self, request: web.Request) -> web.Response:
        body = await _body(request)
        seconds = body.get("advance") if isinstance(body, Mapping) else None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
            return self._json({"error": "advance: must be a number of seconds, at least 0"}, 400)
        self._state.clock.advance(seconds)
        return self._json({"now": self._state.clock.now()})

    async def _put_key(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        try:
            self._state.put_key(name, await _body(request))
        except ConfigError as error:
            return self._json({"error": str(error)}, 400)
        return self._json(describe(self._state.config.keys[name]))

    async def _delete_key(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if not self._state.delete_key(name):
            return self._json({"error": f"keys.{name}: no such key"}, 404)
        return self._json({"status": "ok"})

    async def _put_account(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        try:
            self._state.put_account(name, await _body(request))
        except ConfigError as error:
            return self._json({"error": str(error)}, 400)
        return self._json(describe(self._state.config.accounts[name]))

    def _json(self, body: Mapping[str, object], status: int = 200) -> web.Response:
        text = json.dumps(body)
        for key in self._state.config.keys.values():
            text = text.replace(json.dumps(key.key)[1:-1], f"[key {key.name}]")
        return web.json_response(text=text, status=status)


async def _body(request: web.Request) -> object:
    try:
        return json.loads(await request.read())
    except ValueError:
        return None
