"""URLs of Redis and of its Sentinels."""

import pytest

from glm_pool.redis_connections import connection_pool
from glm_pool.redis_url import SentinelUrl, parse_sentinel, without_secrets


def test_a_sentinel_url_is_read() -> None:
    assert parse_sentinel("redis+sentinel://user:p%40ss@one,two:1234,[::1]:5/pool/3") == SentinelUrl(
        (("one", 26379), ("two", 1234), ("::1", 5)), "pool", 3, "user", "p@ss"
    )
    assert parse_sentinel("rediss+sentinel://one/pool") == SentinelUrl((("one", 26379),), "pool", tls=True)


@pytest.mark.parametrize("url", ["redis://:secret@host:6379/0", "rediss://host", "unix:///run/redis.sock"])
def test_others_are_none_of_a_sentinel(url: str) -> None:
    assert parse_sentinel(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://:secret@one,two",
        "redis+sentinel://:secret@/pool",
        "redis+sentinel://:secret@one,,two/pool",
        "redis+sentinel://:secret@one:nan/pool",
        "redis+sentinel://:secret@one/pool/first",
        "http://:secret@one/pool",
    ],
)
def test_a_wrong_url_is_refused_without_the_secret(url: str) -> None:
    with pytest.raises(ValueError, match="not the URL of a Redis") as refused:
        connection_pool(url, 1, 1.0, 1.0)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown", "secrets"),
    [
        ("redis://u:s%20x@h:1/0", "redis://h:1/0", ["s%20x", "s x"]),
        ("redis+sentinel://:abc@h1:1,h2:2/pool/0", "redis+sentinel://h1:1,h2:2/pool/0", ["abc", "abc"]),
        ("unix:///run/redis.sock?password=abc", "unix:///run/redis.sock", ["abc", "abc"]),
        ("redis://h", "redis://h", []),
    ],
)
def test_what_is_shown_has_no_secret(url: str, shown: str, secrets: list[str]) -> None:
    assert without_secrets(url) == (shown, secrets)
