"""A key that failed comes back by one probing request, after a rest that grows while it fails."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.pool.pool_client import Api, seconds_until, wait_until
from tests.pool.pool_server import Rig


@contextmanager
def steady_load(rig: Rig, clients: int = 8, api: Api = "openai") -> Iterator[list[int]]:
    """Clients that ask one request after the other while the context is open; yields the statuses they got."""
    over = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        while not over.is_set():
            statuses.append(rig.client.ask(api).status)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join()


def fail_once(rig: Rig, key: str) -> None:
    """Meet the key's fault by one request after the other, so that none meets it side by side."""
    while not rig.stats_of(key)["requests"]:
        assert rig.client.ask("openai").status == 200


def requests_of(rig: Rig, key: str) -> list[dict[str, Any]]:
    return [record for record in rig.control.requests() if record["key"] == key]


def test_cooled_key_returns_by_one_probe(rig: Rig) -> None:
    rig.accounts(latency=0.3)
    rig.control.set_key("one", fault={"code": "1302", "times": 1})
    fail_once(rig, "one")
    assert rig.status().model("one")["state"] == "cooling"
    with steady_load(rig) as statuses:
        rest = seconds_until(rig.status().model("one"))
        assert 0 < rest < 6
        # long enough for others to come while it is under way
        rig.control.set_account("alpha", latency=1.5)
        wait_until(lambda: rig.status().model("one")["state"] == "probing", rest + 5, rig.status)
        wait_until(lambda: rig.stats_of("one")["answers"] >= 3, 10, rig.status)
        assert rig.status().model("one")["state"] == "active"
    assert set(statuses) == {200}
    refusal, probe, *later = requests_of(rig, "one")
    assert refusal["code"] == "1302"
    assert 4.5 < probe["time"] - refusal["time"] < 10
    assert later
    assert all(record["time"] >= probe["time"] + probe["duration"] - 0.05 for record in later)


def test_probe_that_fails_is_no_error_and_a_longer_rest(rig: Rig) -> None:
    rig.accounts(latency=0.2)
    rig.control.set_key("one", fault={"code": "1302", "times": 2})
    fail_once(rig, "one")
    with steady_load(rig) as statuses:
        wait_until(lambda: rig.stats_of("one")["requests"] == 2, 12)
        wait_until(lambda: rig.status().model("one")["state"] == "cooling", 5, rig.status)
        assert 8 < seconds_until(rig.status().model("one")) < 11
    assert set(statuses) == {200}
    assert rig.stats_of("one")["requests"] == 2


def test_rest_of_a_broken_upstream_grows(rig: Rig) -> None:
    """1, 2, 4 seconds."""
    rig.accounts(latency=0.1)
    rig.control.set_key("one", fault={"http_status": 502})
    fail_once(rig, "one")
    with steady_load(rig, clients=3) as statuses:
        wait_until(lambda: rig.stats_of("one")["requests"] >= 4, 20)
    assert set(statuses) == {200}
    times = [record["time"] for record in requests_of(rig, "one")]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] >= 0.9
    assert gaps[1] >= 1.8
    assert gaps[2] >= 3.6


def test_client_that_leaves_during_the_probe_does_not_keep_the_key_out(rig: Rig) -> None:
    """The probe says nothing then; another request probes."""
    rig.control.set_key("one", fault={"http_status": 502, "times": 1})
    for key in ("two", "three"):
        rig.control.set_key(key, fault={"code": "1113"})
    assert rig.client.ask("openai").status == 502
    rig.control.set_key("one", fault={"hang": 50, "times": 1})
    prober = rig.client.send("openai")
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 1, 10)
    assert rig.status().model("one")["state"] == "probing"
    prober.leave()
    rig.wait_idle(1)
    answer = rig.client.ask("openai")
    assert (answer.status, answer.key) == (200, "one")
    assert rig.status().model("one")["state"] == "active"
