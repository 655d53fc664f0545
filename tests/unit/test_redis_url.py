"""The URL of the shared Redis, made from the hosts of the store."""

from typing import Any

import litellm_proxy_validate as validator
import pytest
from litellm_proxy_config import config
from litellm_proxy_redis import NAME, PORT, SENTINEL_PORT, redis_ca, redis_url
from litellm_proxy_validate import faults
from role_settings import ENDPOINTS, ROOT, SHIPPED, settings
from yaml import safe_load

from glm_pool.redis_url import SentinelUrl, parse_sentinel

PASSWORD = "9f2c81d09be74a36a1b2c3d4e5f60718"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
STORE = safe_load((ROOT / "roles" / "litellm_datastore" / "defaults" / "main.yml").read_text())


def host(host_name: str, **changes: object) -> dict[str, Any]:
    """What `hostvars` has of one host; `changes` go by the names without `litellm_datastore_`."""
    named = {f"litellm_datastore_{key}": value for key, value in changes.items()}
    return {"inventory_hostname": host_name, "litellm_datastore_password": PASSWORD, **named}


def test_the_defaults_are_those_of_the_role() -> None:
    names = ("port", "sentinel_port", "name")
    assert [STORE[f"litellm_datastore_{name}"] for name in names] == [PORT, SENTINEL_PORT, NAME]


def test_without_hosts_there_is_none() -> None:
    assert (redis_url([]), redis_ca([])) == ("", "")


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, f"redis://:{PASSWORD}@one:6379/0"),
        ({"address": "10.0.0.5", "port": 7000}, f"redis://:{PASSWORD}@10.0.0.5:7000/0"),
        ({"address": "fd00::5"}, f"redis://:{PASSWORD}@[fd00::5]:6379/0"),
        ({"certificate": PEM}, f"rediss://:{PASSWORD}@one:6379/0"),
        ({"password": "a@b/c"}, "redis://:a%40b%2Fc@one:6379/0"),
    ],
)
def test_one_host_is_asked_itself(changes: dict[str, object], url: str) -> None:
    assert redis_url([host("one", **changes)]) == url
    assert validator.REDIS_URL.fullmatch(url)


def test_a_host_is_reached_by_what_ansible_reaches_it_by_where_it_has_no_address() -> None:
    assert redis_url([host("one") | {"ansible_host": "10.0.0.6"}]) == f"redis://:{PASSWORD}@10.0.0.6:6379/0"


def test_of_three_hosts_the_sentinels_are_asked() -> None:
    url = redis_url([host("one", address="10.0.0.1"), host("two", address="fd00::2"), host("three", name="other")])
    found = (("10.0.0.1", 26379), ("fd00::2", 26379), ("three", 26379))
    assert parse_sentinel(url) == SentinelUrl(found, NAME, password=PASSWORD)
    changed = [host(name, name="other", sentinel_port=7001, certificate=PEM) for name in ("one", "two", "three")]
    assert parse_sentinel(redis_url(changed)) == SentinelUrl(
        (("one", 7001), ("two", 7001), ("three", 7001)), "other", password=PASSWORD, tls=True
    )
    assert validator.SENTINEL_URL.fullmatch(url)


def test_a_store_without_a_password_is_refused() -> None:
    url = redis_url([host("one", password="")])
    (fault,) = faults(settings(redis_url=url, redis_hosts=["one"]), SHIPPED)
    assert fault.startswith("litellm_datastore_password is not set for one:")


def test_a_url_that_hides_the_store_is_refused() -> None:
    (fault,) = faults(settings(redis_url="", redis_hosts=["one"]), SHIPPED)
    assert fault.startswith("litellm_proxy_redis_url is empty")


def test_the_authority_reaches_the_pool() -> None:
    assert redis_ca([host("one", ca=PEM)]) == PEM
    url = redis_url([host("one", certificate=PEM)])
    built = config(settings(redis_url=url, redis_hosts=["one"], redis_ca=PEM), ENDPOINTS, "/state", "")
    assert built["glm_pool"]["redis_ca"] == PEM
    assert "redis_ca" not in config(settings(redis_url=url), ENDPOINTS, "/state", "")["glm_pool"]
    (fault,) = faults(settings(redis_url=url, redis_ca="/etc/ssl/ca.pem"), SHIPPED)
    assert fault.startswith("litellm_proxy_redis_ca is no certificate")
