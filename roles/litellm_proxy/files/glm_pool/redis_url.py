"""URLs of a Redis, or of the Sentinels that know where it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
SENTINEL_PORT = 26379


@dataclass(frozen=True)
class SentinelUrl:
    """`redis+sentinel://[USER][:PASSWORD]@HOST[:PORT],HOST[:PORT],…/NAME[/DATABASE]`; rediss+sentinel for TLS.

    Attributes:
        sentinels: host and port of each.
        name: under which the Sentinels know the master.
        database: its number.
        username: of Redis; empty for the default user.
        password: of Redis and of the Sentinels; empty for none.
        tls: to Redis and to the Sentinels.
    """

    sentinels: tuple[tuple[str, int], ...]
    name: str
    database: int = 0
    username: str = ""
    password: str = ""
    tls: bool = False


def parse_sentinel(url: str) -> SentinelUrl | None:
    """Read the URL; None for one of a plain Redis.

    Raises:
        ValueError: malformed.
    """
    parts = _split(url)
    if parts.scheme not in SENTINEL_SCHEMES:
        return None
    username, _, password = parts.user.partition(":")
    name, _, database = parts.path.strip("/").partition("/")
    sentinels = tuple(_address(host) for host in parts.hosts.split(","))
    if not name or not all(host for host, _ in sentinels):
        raise ValueError("Sentinels and the master's name are needed")
    return SentinelUrl(
        sentinels, name, int(database or 0), unquote(username), unquote(password), parts.scheme.startswith("rediss")
    )


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "", parts.port or SENTINEL_PORT


class _Parts(NamedTuple):
    scheme: str
    user: str
    hosts: str
    path: str
    query: str


def _split(url: str) -> _Parts:
    """By hand: `urlsplit` refuses an IPv6 address that is one of several."""
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    where, slash, path = rest.partition("/")
    user, _, hosts = where.rpartition("@")
    return _Parts(scheme, user, hosts, slash + path, query)


def without_secrets(url: str) -> tuple[str, list[str]]:
    """The URL as it may be shown, and what may not be."""
    parts = _split(url)
    password = parts.user.partition(":")[2]
    found = [password, *parse_qs(parts.query).get("password", [])]
    both: Iterable[str] = (form for secret in found for form in (secret, unquote(secret)))
    return f"{parts.scheme}://{parts.hosts}{parts.path}", [secret for secret in both if secret]
