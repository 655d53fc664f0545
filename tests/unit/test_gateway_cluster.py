"""A cluster's servers and addresses from the inventory, and the table of what a gateway knows of them."""

from typing import Any

import pytest
from litellm_gateway_cluster import FilterModule as ClusterFilters
from litellm_gateway_cluster import addresses, server_name, servers, which_have
from litellm_gateway_status import FilterModule as StatusFilters
from litellm_gateway_status import servers_table


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("llm-1.example.com", "llm-1.example.com"),
        ("LLM_1", "llm_1"),
        ("user@llm 1", "user-llm-1"),
        ("fd00::1", "fd00--1"),
    ],
)
def test_a_host_is_a_server_by_its_name_in_letters_that_haproxy_takes(host: str, name: str) -> None:
    assert server_name(host) == name


@pytest.mark.parametrize(
    ("known", "address", "port"),
    [
        ({}, "llm-1", 4000),
        ({"ansible_host": "10.0.0.21"}, "10.0.0.21", 4000),
        ({"ansible_host": "203.0.113.1", "litellm_proxy_address": "10.0.0.21"}, "10.0.0.21", 4000),
        ({"litellm_proxy_port": "8080"}, "llm-1", "8080"),
    ],
)
def test_a_server_is_where_the_inventory_says(known: dict[str, Any], address: str, port: object) -> None:
    assert servers(["llm-1"], {"llm-1": known}) == [{"name": "llm-1", "address": address, "port": port}]


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ({"litellm_gateway_certificate": "PEM", "ansible_host": "10.0.0.21"}, "llm-1.example.com"),
        ({"litellm_gateway_certificate_file": "/etc/a.pem", "ansible_host": "proxy.internal"}, "proxy.internal"),
        ({"litellm_gateway_certificate": "PEM", "litellm_proxy_tls_name": "llm.example.com"}, "llm.example.com"),
    ],
)
def test_a_proxy_with_a_certificate_is_spoken_to_by_tls(known: dict[str, Any], name: str) -> None:
    (server,) = servers(["llm-1.example.com"], {"llm-1.example.com": known})
    assert (server["tls"], server["tls_name"]) == (True, name)


def test_gateways_are_known_by_the_address_that_the_proxies_see() -> None:
    known = {"gw-1": {}, "gw-2": {"ansible_host": "10.0.0.12"}, "gw-3": {"litellm_gateway_address": "10.1.0.3"}}
    assert addresses(list(known), known) == ["gw-1", "10.0.0.12", "10.1.0.3"]


def test_gateways_that_do_not_answer_have_no_server() -> None:
    answers = [
        {"item": "gw-1", "running": True, "servers": [{"name": "llm-1"}, {"name": "llm-2"}]},
        {"item": "gw-2", "running": True, "servers": [{"name": "llm-1"}]},
        {"item": "gw-3", "running": False, "servers": []},
        {"item": "gw-4", "unreachable": True},
    ]
    assert which_have(answers, ["LLM-2"]) == ["gw-1"]
    assert which_have(answers, ["llm-1", "llm-2"]) == ["gw-1", "gw-2"]


def test_the_table_has_a_line_for_each_server() -> None:
    up = {
        "name": "llm-1.example.com", "address": "10.0.0.21:4000", "state": "UP", "since": 7300, "sessions": 12,
        "queue": 0, "requests": 4711, "check": "L7OK 200 OK",
    }  # fmt: skip
    drained = up | {"name": "llm-2", "address": "", "state": "DRAIN", "since": 0, "sessions": 0, "check": ""}
    assert servers_table([up, drained, up | {"name": "c", "since": 200000}]).splitlines() == [
        "SERVER             ADDRESS         STATE  SINCE  SESSIONS  QUEUE  REQUESTS  CHECK",
        "llm-1.example.com  10.0.0.21:4000  UP     2 h    12        0      4711      L7OK 200 OK",
        "llm-2              -               DRAIN  0 s    0         0      4711      -",
        "c                  10.0.0.21:4000  UP     2 d    12        0      4711      L7OK 200 OK",
    ]


def test_ansible_finds_the_filters() -> None:
    assert set(ClusterFilters().filters()) == {
        "litellm_gateway_cluster_addresses",
        "litellm_gateway_cluster_servers",
        "litellm_gateway_server_name",
        "litellm_gateway_which_have",
    }
    assert set(StatusFilters().filters()) == {"litellm_gateway_servers_table"}
