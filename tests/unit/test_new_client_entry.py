"""What an operator may ask for a client, and where it is sent."""

from datetime import date, datetime, timezone
from typing import Any

import pytest
from client_endpoint import models, pool_names, url
from client_key_entry import limits, name_fault, url_fault
from litellm_proxy_clients import expiry

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
POOLS = ["glm-pool", "glm-5.3-flash"]


@pytest.mark.parametrize("name", ["alice", "a", "0", "build-7.example_x", "a" * 63])
def test_a_name_can_be_used(name: str) -> None:
    assert name_fault(name) == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "Give a name: -e name=alice"),
        ("Alice", "name is 'Alice': use up to 63 lower-case letters"),
        ("-a", "a letter or digit first"),
        ("a b", "use up to 63"),
        ("alice\n", "use up to 63"),
        ("a" * 64, "use up to 63"),
        ("master", "stands for the master key"),
    ],
)
def test_a_name_is_refused(name: str, told: str) -> None:
    assert told in name_fault(name)


@pytest.mark.parametrize(
    ("given", "entry"),
    [
        ({}, {}),
        ({"rpm": "", "pools": None}, {}),
        ({"rpm": "60", "max_parallel_requests": 4}, {"rpm": 60, "max_parallel_requests": 4}),
        ({"monthly_tokens": 50_000_000}, {"monthly_tokens": 50_000_000}),
        ({"monthly_budget": "12.5"}, {"monthly_budget": 12.5}),
        ({"pools": "glm-pool, glm-5.3-flash"}, {"pools": ["glm-pool", "glm-5.3-flash"]}),
        ({"pools": ["glm-pool"]}, {"pools": ["glm-pool"]}),
        ({"expires": "2026-11-23"}, {"expires": "2026-11-23"}),
        ({"expires": date(2027, 1, 31)}, {"expires": "2027-01-31"}),
        ({"expires": "2027-01-31T18:00:00Z"}, {"expires": "2027-01-31T18:00:00Z"}),
        ({"rpm": 1, "pools": ["glm-pool"]}, {"pools": ["glm-pool"], "rpm": 1}),
    ],
)  # fmt: skip
def test_limits_become_an_entry(given: dict[str, Any], entry: dict[str, Any]) -> None:
    found, faults = limits(given, POOLS, NOW)
    assert faults == []
    assert list(found.items()) == list(entry.items())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rpm": "0"}, "rpm is '0': use a whole number of 1 or more"),
        ({"rpm": True}, "rpm is True: use a whole number"),
        ({"max_parallel_requests": 1.5}, "max_parallel_requests is 1.5: use a whole number"),
        ({"monthly_tokens": "5M"}, "monthly_tokens is '5M': use a whole number"),
        ({"monthly_tokens": 10**16}, "use a whole number"),
        ({"monthly_budget": "-1"}, "monthly_budget is '-1': use US dollars above 0"),
        ({"monthly_budget": "nan"}, "use US dollars above 0"),
        ({"monthly_budget": "inf"}, "use US dollars above 0"),
        ({"monthly_budget": False}, "use US dollars above 0"),
        ({"expires": "tomorrow"}, "expires is 'tomorrow': use a date such as 2027-01-31"),
        ({"expires": "2027-02-30"}, "use a date such as"),
        ({"expires": "2026-11-22"}, "this is over already"),
        ({"expires": "2027-01-31T18:00:00"}, "say in which time zone"),
        ({"pools": "glm-9"}, "there is no pool glm-9 in litellm_proxy_pools, which has glm-pool, glm-5.3-flash"),
        ({"pools": []}, "name at least one pool"),
        ({"pools": ["glm-pool", "glm-pool"]}, "name each pool once"),
        ({"pools": {"glm-pool": 1}}, "as a list or with commas"),
        ({"pools": "glm-pool,,"}, "as a list or with commas"),
    ],
)
def test_limits_are_refused(given: dict[str, Any], told: str) -> None:
    _, faults = limits(given, POOLS, NOW)
    assert len(faults) == 1
    assert told in faults[0]


def test_all_faults_are_told_at_once() -> None:
    _, faults = limits({"rpm": 0, "monthly_budget": 0, "expires": "x", "pools": ["x"]}, [], NOW)
    assert [fault.split()[0] for fault in faults] == ["rpm", "monthly_budget", "expires"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "http://llm-1.example.com:4000"),
        ({"litellm_proxy_port": 8000}, "http://llm-1.example.com:8000"),
        ({"litellm_gateway_port": 443, "litellm_gateway_certificate": "PEM"}, "https://llm-1.example.com:443"),
        (
            {"litellm_gateway_certificate_file": "/x", "litellm_gateway_server_names": ["*.x.org", "llm.example.com"]},
            "https://llm.example.com:4000",
        ),
        ({"litellm_gateway_certificate": "PEM", "litellm_proxy_front": "none"}, "http://llm-1.example.com:4000"),
        ({"litellm_proxy_mode": "process", "litellm_proxy_host": "127.0.0.1"}, "http://127.0.0.1:4000"),
        ({"litellm_gateway_host": "::"}, "http://llm-1.example.com:4000"),
        ({"litellm_gateway_host": "2001:db8::1"}, "http://[2001:db8::1]:4000"),
        ({"inventory_hostname": "llm", "ansible_host": "192.0.2.7"}, "http://192.0.2.7:4000"),
        ({"inventory_hostname": "llm"}, "http://llm:4000"),
        ({"inventory_hostname": "local", "ansible_connection": "local"}, "http://127.0.0.1:4000"),
    ],
)  # fmt: skip
def test_the_address_follows_from_the_settings_of_a_host(settings: dict[str, Any], expected: str) -> None:
    assert url({"inventory_hostname": "llm-1.example.com", **settings}) == expected
    assert url_fault(expected) == ""


@pytest.mark.parametrize(
    "given", ["llm.example.com", "ftp://x", 'http://x"y', "http://x/$(id)", "http://u:p@x", "http://x/?a"]
)
def test_an_address_is_refused(given: str) -> None:
    assert "use the endpoint's address" in url_fault(given)


def test_models_are_those_that_the_client_may_use() -> None:
    host = {
        "litellm_proxy_pools": [
            {"name": "glm-pool", "model": "glm-5.3", "aliases": ["claude-*"]},
            {"name": "glm-5.3-flash", "model": "glm-5.3-flash", "aliases": ["claude-haiku-*"]},
        ]
    }
    assert pool_names(host) == POOLS
    assert models(host, []) == ("glm-pool", "glm-5.3-flash")
    assert models(host, ["glm-pool"]) == ("glm-pool", "glm-pool")
    assert models(host, ["glm-5.3-flash"]) == ("glm-5.3-flash", "glm-5.3-flash")
    assert models({}, ["x"]) == ("x", "x")
    assert models({}, []) == ("glm-pool", "glm-pool")


@pytest.mark.parametrize("given", ["9999-12-31", "2027-01-31", "2027-01-31T18:00:00Z", "2027-01-31 18:00+01:00"])
def test_the_role_takes_every_expiry_that_is_written(given: str) -> None:
    assert limits({"expires": given}, POOLS, NOW) == ({"expires": given}, [])
    assert expiry(given) > NOW.timestamp()


@pytest.mark.parametrize("given", ["20270131", "2027-W04-7", "20270131T180000Z", "2027-01-31+00:00"])
def test_forms_that_not_every_python_reads_are_refused(given: str) -> None:
    _, (fault,) = limits({"expires": given}, POOLS, NOW)
    assert "use a date such as 2027-01-31" in fault
