"""Two hosts, two workers on each, one pool: what they agree on through Redis."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import requests
import testinfra
from host_support import KEY_VALUES, Proxy, hosts_of, simulator_control, simulator_host, wait_until

from zai_simulator.control_client import ControlClient

SLOTS = 2
ALL_SLOTS = SLOTS * len(KEY_VALUES)
LEASE_SECONDS = 15


@pytest.fixture(scope="module")
def proxies() -> list[Proxy]:
    return [Proxy(testinfra.get_host(name)) for name in hosts_of("litellm_proxy")]


@pytest.fixture
def upstream(proxies: list[Proxy]) -> Iterator[ControlClient]:
    """The simulator, which grants each account two requests at once, with every key in use."""
    control = simulator_control()
    settle(control, proxies)
    yield control
    settle(control, proxies)


def settle(control: ControlClient, proxies: list[Proxy]) -> None:
    control.reset()
    for name in KEY_VALUES:
        control.set_account(name.replace("key", "account"), max_parallel_requests=SLOTS, latency=0.3)
        for proxy in proxies:
            proxy.call(f"/pool/keys/{name}/enable", {})
    wait_until(lambda: all(set(states(proxy).values()) == {"active"} for proxy in proxies))


def states(proxy: Proxy) -> dict[str, str]:
    return {key["name"]: key["state"] for key in proxy.call("/pool/status").json()["keys"]}


def shared(proxy: Proxy) -> dict[str, Any]:
    found: dict[str, Any] = proxy.call("/pool/status").json()["shared"]
    return found


def takes_part(proxy: Proxy) -> bool:
    return shared(proxy) == {"kind": "redis", "connected": True, "members": 4}


def wait_for_each(proxies: list[Proxy], look: Callable[[Proxy], bool]) -> None:
    for proxy in proxies:
        wait_until(partial(look, proxy))


def load(proxies: list[Proxy], number: int, clients: int = 24) -> list[int]:
    """Statuses of so many requests, which the clients send to the hosts in turns, over both APIs."""

    def ask(turn: int) -> int:
        proxy = proxies[turn % len(proxies)]
        answer = (proxy.chat if turn % 4 < 2 else proxy.message)(stream=turn % 3 == 0)
        return answer.status_code if answer.content else 0

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(ask, range(number)))


def most_in_flight(control: ControlClient) -> int:
    return max(int(use["max_in_flight"]) for models in control.stats()["accounts"].values() for use in models.values())


def test_every_process_takes_part(proxies: list[Proxy]) -> None:
    wait_for_each(proxies, takes_part)


def test_limits_hold_over_hosts_and_workers(proxies: list[Proxy], upstream: ControlClient) -> None:
    outages = [proxy.journal().count("is away") for proxy in proxies]
    statuses = load(proxies, 150)
    seen = upstream.stats()
    print(json.dumps(seen["keys"], indent=1))
    assert statuses == [200] * 150
    assert [proxy.journal().count("is away") for proxy in proxies] == outages, "Redis answered all the time"
    assert seen["total"]["refusals"] == 0
    assert most_in_flight(upstream) == SLOTS


def test_a_key_that_one_host_parks_is_left_alone_by_the_other(proxies: list[Proxy], upstream: ControlClient) -> None:
    upstream.set_key("key-b", fault={"code": "1308", "reset_in": 3600})
    assert [proxies[0].chat().status_code for _ in range(4)] == [200] * 4
    wait_until(lambda: states(proxies[1])["key-b"] == "parked")
    assert load(proxies, 30) == [200] * 30
    # workers that asked side by side before the first of them knew
    assert upstream.stats()["keys"]["key-b"]["requests"] <= 2


def test_slots_of_a_killed_host_come_back(proxies: list[Proxy], upstream: ControlClient) -> None:
    killed, other = proxies
    for name in KEY_VALUES:
        upstream.set_key(name, fault={"hang": 60})
    with ThreadPoolExecutor(ALL_SLOTS) as clients:
        held = [clients.submit(lost, killed.chat) for _ in range(ALL_SLOTS)]
        wait_until(lambda: upstream.stats()["total"]["in_flight"] == ALL_SLOTS)
        killed.host.check_output("systemctl kill --signal KILL --kill-whom all %s", killed.unit())
        assert all(future.result() for future in held)
    for name in KEY_VALUES:
        upstream.set_key(name, fault={"hang": 2})
    with ThreadPoolExecutor(ALL_SLOTS) as clients:
        answers: list[Future[requests.Response]] = [clients.submit(other.chat) for _ in range(ALL_SLOTS)]
        wait_until(lambda: upstream.stats()["total"]["in_flight"] == ALL_SLOTS, seconds=LEASE_SECONDS + 15)
        assert [answer.result().status_code for answer in answers] == [200] * ALL_SLOTS
    wait_until(killed.alive, seconds=120)


def lost(ask: Callable[[], requests.Response]) -> bool:
    try:
        return ask().status_code >= 500
    except requests.RequestException:
        return True


def test_the_pool_goes_on_without_redis_and_recovers(proxies: list[Proxy], upstream: ControlClient) -> None:
    wait_for_each(proxies, takes_part)
    before = [proxy.journal().count("is away") for proxy in proxies]
    simulator_host().check_output("systemctl stop shared-redis")
    try:
        wait_for_each(proxies, lambda proxy: not shared(proxy)["connected"])
        assert load(proxies, 60) == [200] * 60
        assert most_in_flight(upstream) <= SLOTS
        told = [proxy.journal().count("is away") - count for proxy, count in zip(proxies, before, strict=True)]
        assert told == [2, 2], "each worker says it once"
    finally:
        simulator_host().check_output("systemctl start shared-redis")
    wait_for_each(proxies, takes_part)
    assert load(proxies, 60) == [200] * 60
    assert most_in_flight(upstream) == SLOTS
    assert all("invented-a83c51fe" not in proxy.journal() for proxy in proxies)
