"""The pool's own pages: status, metrics, and bringing a key back into use. All need the master key."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from glm_pool import metrics
from glm_pool.access import Access
from glm_pool.master_key import is_master_key
from glm_pool.pool import KeyPool
from glm_pool.status import snapshot, status

PATHS = ("/pool/", "/metrics")


def is_ours(path: str) -> bool:
    """Whether the application of `make_application` serves the path."""
    return path.startswith(PATHS)


def make_application(pool: KeyPool, access: Access) -> Starlette:
    """The ASGI application that serves `PATHS`."""
    gauges = metrics.KeyGauges(lambda: snapshot(pool))

    async def show_status(_: Request) -> Response:
        await pool.start()
        return JSONResponse({**status(pool), "clients": access.status()})

    async def show_metrics(_: Request) -> Response:
        await pool.start()
        return Response(metrics.exposition(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def enable(request: Request) -> Response:
        name = request.path_params["name"]
        await pool.start()
        if name not in pool.scheduler.keys:
            return JSONResponse(_error(f"There is no key {name!r}.", "not_found_error"), 404)
        return JSONResponse({"key": name, "changed": pool.enable(name)})

    return Starlette(
        routes=[
            Route("/pool/status", _with_master_key(show_status)),
            Route("/pool/keys/{name}/enable", _with_master_key(enable), methods=["POST"]),
            Route("/metrics", _with_master_key(show_metrics)),
            Route("/metrics/", _with_master_key(show_metrics)),
        ]
    )


Endpoint = Callable[[Request], Awaitable[Response]]


def _with_master_key(endpoint: Endpoint) -> Endpoint:
    async def guarded(request: Request) -> Response:
        header = request.headers.get("authorization", "")
        presented = header if header.removeprefix("Bearer ").strip() else request.headers.get("x-api-key", "")
        if not is_master_key(presented):
            return JSONResponse(
                _error(
                    "Authentication failed: send the master key as 'Authorization: Bearer KEY'.", "authentication_error"
                ),
                401,
            )
        return await endpoint(request)

    return guarded


def _error(message: str, kind: str) -> dict[str, dict[str, str]]:
    return {"error": {"message": message, "type": kind}}
