"""Listening on a port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from .app import make_app
from .config import Config

PATIENCE = 0.5
"""Seconds for which answers under way may go on when the server stops."""


@asynccontextmanager
async def serving(config: Config, host: str, port: int) -> AsyncIterator[str]:
    """Serve while the context is open.

    Args:
        config: The table of accounts and keys.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Yields:
        The server's base URL.

    Raises:
        OSError: The address cannot be listened on.
    """
    # Handlers must end with their client, or its place would stay taken.
    runner = web.AppRunner(make_app(config), handler_cancellation=True, access_log=None, shutdown_timeout=PATIENCE)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0][1]
        yield f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
    finally:
        await runner.cleanup()
