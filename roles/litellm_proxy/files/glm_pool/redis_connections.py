"""Connections to one Redis, or to whichever Redis its Sentinels say is the master."""

import asyncio
from contextlib import suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Sentinel
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from glm_pool.redis_url import parse_sentinel


class OneByOne(Sentinel):
    """Asks for the master once at a time: of two at once, the library can lose a Sentinel from its list for good."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()

    async def discover_master(self, service_name: str) -> Any:
        """Host and port; raises MasterNotFoundError."""
        async with self._asking:
            try:
                return await super().discover_master(service_name)
            except MasterNotFoundError as error:  # what follows describes every connection at length
                raise MasterNotFoundError(str(error).partition(" : ")[0]) from None


def connection_pool(url: str, most: int, timeout: float, patience: float, ca: str = "") -> ConnectionPool:
    """Connections that neither wait nor try again by themselves.

    Args:
        url: redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://.
        most: connections at once; the caller keeps to it where Sentinels are asked.
        timeout: seconds within which the caller wants an answer.
        patience: seconds after which a connection gives up by itself, by the clock alone.
        ca: authorities that are trusted besides the system's, as PEM text; for TLS.

    Raises:
        ValueError: the URL is none of Redis; the message does not repeat it.
    """
    # No retries: a claim that is made twice would count twice. RESP2 knows no push messages, which the commands'
    # connections would have to sort out.
    options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "protocol": 2}
    trust = {"ssl_ca_data": ca} if ca and url.startswith("rediss") else {}
    times = {"socket_timeout": patience, "socket_connect_timeout": patience}
    try:
        found = parse_sentinel(url)
        if found is None:
            return BlockingConnectionPool.from_url(
                url, max_connections=most, timeout=patience, decode_responses=True, **times, **options, **trust
            )
    except (ValueError, RedisError):
        raise ValueError(
            "not the URL of a Redis: redis://, rediss://, unix:// or redis+sentinel:// is expected"
        ) from None
    # all of them have to be asked within the caller's time, should the others be away
    soon = timeout / (len(found.sentinels) + 1)
    access = {"password": found.password or None, "ssl": found.tls, **trust}
    asked = {**access, "decode_responses": True, "socket_timeout": soon, "socket_connect_timeout": soon, **options}
    sentinels = OneByOne(found.sentinels, sentinel_kwargs=asked)
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        found.name, sentinels, username=found.username or None, db=found.database, decode_responses=True,
        **access, **times, **options,
    )  # fmt: skip


def server_of(pool: ConnectionPool) -> tuple[str, int] | None:
    """The master that the Sentinels named last; None where no Sentinel is asked."""
    return pool.master_address if isinstance(pool, SentinelConnectionPool) else None


async def close(pool: ConnectionPool) -> None:
    """End all connections, those to the Sentinels too."""
    with suppress(RedisError, OSError):
        await pool.disconnect()
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            with suppress(RedisError, OSError):
                await sentinel.aclose(close_connection_pool=True)
