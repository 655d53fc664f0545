"""The agreement between processes over a Redis that speaks TLS alone, with an authority of its own."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.asyncio import Redis as Asked
from redis.exceptions import ConnectionError as Refused
from redis.exceptions import RedisError

from glm_pool.redis_connections import connection_pool
from tests.certificates import self_signed
from tests.pool.redis_cluster import PASSWORD, wait_until
from tests.ports import free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URL of the server, and the authority that it needs."""
    certificate, key = self_signed(address="127.0.0.1")
    (tmp_path / "certificate.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text(key)
    port = free_port()
    tls = [f"--tls-{name}-file" for name in ("cert", "key", "ca-cert")]
    files = [tmp_path / name for name in ("certificate.pem", "key.pem", "certificate.pem")]
    options = [str(part) for pair in zip(tls, files, strict=True) for part in pair]
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD,
         "--dir", str(tmp_path), "--save", "", "--tls-auth-clients", "no", *options],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        asked = Redis(port=port, password=PASSWORD, ssl=True, ssl_ca_certs=str(files[0]), ssl_check_hostname=False)
        wait_until(asked.ping)
        yield f"rediss://:{PASSWORD}@127.0.0.1:{port}/0", certificate
    finally:
        process.kill()
        process.wait()


async def ping(url: str, ca: str) -> bool:
    client = Asked.from_pool(connection_pool(url, 1, 5.0, 5.0, ca))
    try:
        return bool(await client.ping())
    finally:
        await client.aclose()


def test_the_authority_is_trusted_where_it_is_given(server: tuple[str, str]) -> None:
    url, authority = server
    assert asyncio.run(ping(url, authority))


def test_a_certificate_of_someone_else_is_refused(server: tuple[str, str]) -> None:
    with pytest.raises(Refused, match="certificate verify failed"):
        asyncio.run(ping(server[0], self_signed(address="127.0.0.1")[0]))


def test_who_speaks_without_tls_gets_no_answer(server: tuple[str, str]) -> None:
    with pytest.raises(RedisError):
        asyncio.run(ping(server[0].replace("rediss", "redis"), server[1]))
