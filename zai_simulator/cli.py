"""The command line: ``python -m zai_simulator``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .config import Config, ConfigError, load_config
from .server import serving

EXIT_CANNOT_LISTEN = 1
EXIT_BAD_CONFIG = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until SIGTERM or SIGINT.

    Args:
        arguments: The command line without the program's name; the process's own when left out.

    Returns:
        The exit status: 0 stopped, 1 cannot listen, 2 bad table or bad option.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )
    try:
        config = load_config(options.config)
    except ConfigError as error:
        print(f"zai-simulator: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    try:
        asyncio.run(_serve(config, options.host, options.port, options.pid_file))
    except OSError as error:
        what = error.filename or f"{options.host}:{options.port}"
        print(f"zai-simulator: {what}: {error.strerror or error}", file=sys.stderr)
        return EXIT_CANNOT_LISTEN
    return 0


async def _serve(config: Config, host: str, port: int, pid_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(config, host, port) as url:
        if pid_file is not None:
            pid_file.write_text(f"{os.getpid()}\n", encoding="ascii")
        print(f"zai-simulator listening on {url}", flush=True)
        try:
            await stop.wait()
        finally:
            if pid_file is not None:
                pid_file.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zai_simulator", description="A simulated Z.AI for tests: OpenAI and Anthropic endpoints."
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML or JSON table of accounts and keys")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8089, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--pid-file", type=Path, help="file that holds the process id while it serves")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port
