"""Puts the pool scheduler into LiteLLM: below it the transport, around it the ASGI wrapper, beside it the log."""

import asyncio
import atexit
import contextlib
import logging
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.proxy import proxy_server

from glm_pool import names
from glm_pool.access import Access, SharedSpending, the_access
from glm_pool.endpoints import make_application
from glm_pool.masking import Masker, mask_logs
from glm_pool.master_key import MASTER_KEY_VARIABLE
from glm_pool.middleware import PoolMiddleware
from glm_pool.pool import KeyPool
from glm_pool.redis_url import without_secrets
from glm_pool.settings import REFERENCE, Settings, parse
from glm_pool.shared import SharedStore
from glm_pool.transport import MaskingTransport, PoolTransport

WORKERS_VARIABLE = "GLM_POOL_WORKERS"
SECTION = "glm_pool"
LEAVE_SECONDS = 3.0
"""For the goodbye; the shared store may be away."""

logger = logging.getLogger("glm_pool")


@cache
def install() -> KeyPool | None:
    """Install the plug-in as config.yaml says, once; returns the pool, None with a strategy of LiteLLM's own.

    Raises:
        RuntimeError: a key's value is missing in the environment.
    """
    config = yaml.safe_load(Path(proxy_server.user_config_file_path).read_text())
    names.learn(config)
    access = the_access()
    section = config.get(SECTION)
    settings = parse(section, os.environ) if section else None
    masker = Masker(_secrets(settings))
    _set_up_log()
    mask_logs(masker)
    if settings is None:
        keys = _keys_by_value(config)
        _replace_transport(lambda direct: MaskingTransport(direct, masker, keys))
        _wrap_application(lambda app: PoolMiddleware(app, None, access))
        atexit.register(access.ledger.close)
        return None
    _require_values(settings)
    pool = KeyPool(settings, _store(settings), int(os.environ.get(WORKERS_VARIABLE, "1")))
    _share(access, pool)
    upstream = httpx.AsyncHTTPTransport(
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30)
    )
    _replace_transport(lambda direct: PoolTransport(lambda: pool, upstream, direct, masker, access))
    _wrap_application(lambda app: PoolMiddleware(app, make_application(pool, access), access))
    _leave_at_the_end(pool)
    atexit.register(pool.save_now)
    atexit.register(access.ledger.close)
    with contextlib.suppress(RuntimeError):  # no event loop where LiteLLM only checks the file
        pool.start_soon()
    return pool


def _share(access: Access, pool: KeyPool) -> None:
    """Let limits and budgets of clients hold for all processes."""
    if pool.store is None:
        return
    spending: SharedSpending | None = None
    if pool.settings.redis_url:
        from glm_pool.redis_store import RedisStore

        spending = pool.store if isinstance(pool.store, RedisStore) else None
    access.share(pool.store, pool.start, spending)
    pool.on_return.append(access.tell_all)


def _leave_at_the_end(pool: KeyPool) -> None:
    """Say goodbye to the other processes after the last request, or what is this one's would be set aside for long.

    LiteLLM ends by this function of its module, whatever serves it.
    """
    end = proxy_server.proxy_shutdown_event

    async def leave(*arguments: Any, **named: Any) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(pool.stop(), LEAVE_SECONDS)
        await end(*arguments, **named)

    proxy_server.proxy_shutdown_event = leave


def _keys_by_value(config: dict[str, Any]) -> dict[str, str]:
    """Names of the keys that LiteLLM itself chooses from, by value."""
    found = {}
    for entry in config.get("model_list") or ():
        reference, name = str(entry["litellm_params"].get("api_key")), entry.get("model_info", {}).get("key")
        if name and (value := os.environ.get(reference.removeprefix(REFERENCE))):
            found[value] = str(name)
    return found


def _secrets(settings: Settings | None) -> list[str]:
    """Every value that no client and no log may see."""
    keys = [value for name, value in os.environ.items() if name.startswith("ZAI_API_KEY_")]
    redis = without_secrets(settings.redis_url)[1] if settings else []
    return [*keys, os.environ.get(MASTER_KEY_VARIABLE, ""), *redis]


def _require_values(settings: Settings) -> None:
    """LiteLLM's own check of the file runs without the credentials; the service does not."""
    missing = [key.name for key in settings.keys if key.state == "active" and not key.value]
    if missing and "--validate_config" not in sys.argv:
        raise RuntimeError(f"no value for the keys {', '.join(missing)}; run the playbook again")


def _store(settings: Settings) -> SharedStore | None:
    if settings.redis_url:
        from glm_pool.redis_store import RedisStore

        place = Path(settings.state_file).with_name("place.json") if settings.state_file else None
        return RedisStore(settings.redis_url, ca=settings.redis_ca, host=settings.host or None, place_file=place)
    if settings.local_store:
        from glm_pool.local_store import LocalStore

        return LocalStore(Path(settings.local_store))
    return None


def _replace_transport(wrap: Any) -> None:
    """LiteLLM makes the transport of every HTTP client of its own by one function."""
    make = AsyncHTTPHandler.create_async_transport

    def make_wrapped(*args: Any, **kwargs: Any) -> httpx.AsyncBaseTransport:
        transport: httpx.AsyncBaseTransport = wrap(make(*args, **kwargs) or httpx.AsyncHTTPTransport())
        return transport

    for name in ("create_async_transport", "_create_async_transport"):
        if hasattr(AsyncHTTPHandler, name):
            setattr(AsyncHTTPHandler, name, staticmethod(make_wrapped))


def _wrap_application(wrap: Any) -> None:
    """Outermost, around LiteLLM's own middleware, which is built by the time that config.yaml is read."""
    app = proxy_server.app
    app.middleware_stack = wrap(app.middleware_stack or app.build_middleware_stack())


def _set_up_log() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s glm_pool %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    logger.addHandler(handler)
    logger.setLevel(os.environ.get("LITELLM_LOG", "INFO"))
    logger.propagate = False
