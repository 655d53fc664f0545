"""Helpers for tests: a simulator inside the test's process, and the control client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .config import load_config, parse_config
from .control_client import ControlClient, ControlError
from .server import serving

__all__ = ["ControlClient", "ControlError", "Simulator", "running_simulator"]


@dataclass(frozen=True)
class Simulator:
    """A running simulator.

    Attributes:
        url: Its base URL.
        control: A client of its control API.
    """

    url: str
    control: ControlClient


@contextmanager
def running_simulator(
    config: Mapping[str, object] | Path, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Simulator]:
    """Run a simulator in a thread of its own while the context is open.

    Args:
        config: The table as data, or the path of its file.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Raises:
        ConfigError: The table is not usable.
        OSError: The address cannot be listened on.
    """
    table = load_config(config) if isinstance(config, Path) else parse_config(config)
    loop = asyncio.new_event_loop()
    server = serving(table, host, port)
    thread = threading.Thread(target=loop.run_forever, name="zai-simulator", daemon=True)
    thread.start()
    try:
        url = asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
        try:
            yield Simulator(url, ControlClient(url))
        finally:
            asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
