"""Two instances on one host, as during a handover, keep one set of limits without Redis, whichever of them ends how."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.pool.pool_client import APIS, Answer, Open, PoolClient, together, wait_until
from tests.pool.pool_server import Key, PoolServer, Rig, make_settings, table
from zai_simulator.testing import running_simulator

KEYS = (Key("one", "alpha", slots=2), Key("two", "beta", slots=2))
LIMITS = {"alpha": 2, "beta": 2}
CLIENTS = 20
"""For each instance, at the same time."""


class Pair:
    """The old instance and the new one, before one Z.AI."""

    def __init__(self, rigs: Sequence[Rig]) -> None:
        self.old, self.new = self.rigs = rigs
        self.control = self.old.control

    @property
    def clients(self) -> list[PoolClient]:
        return [rig.client for rig in self.rigs]

    def shared(self) -> list[dict[str, object]]:
        return [client.status().shown["shared"] for client in self.clients]

    def settle(self) -> None:
        together_now = {"kind": "local", "connected": True, "members": 2}
        wait_until(lambda: self.shared() == [together_now] * 2, 10, self.shared)
        for rig in self.rigs:
            rig.settle()


@contextmanager
def running_pair(directory: Path, keys: Sequence[Key], **changes: object) -> Iterator[Pair]:
    with running_simulator(table(keys)) as simulator, ExitStack() as stack:
        rigs = []
        for name in ("old", "new"):
            settings = make_settings(keys, simulator.url, **changes)
            server = PoolServer(directory / name, settings, directory / "run")
            stack.callback(server.stop)
            server.start(wait=False)
            rigs.append(Rig(simulator, server, keys))
        for rig in rigs:
            rig.server.wait_until_ready()
        yield Pair(rigs)
        for rig in rigs:
            rig.assert_no_secret_in_log()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("overlap"), KEYS) as pair:
        for rig in pair.rigs:
            rig.warm_up()
        yield pair


@pytest.fixture
def pair(both: Pair) -> Pair:
    both.settle()
    return both


def load(clients: Sequence[PoolClient], requests: int, parallel: int) -> list[Answer]:
    calls = [partial(clients[n % len(clients)].ask, APIS[n // 2 % 2], stream=n // 4 % 2 == 0) for n in range(requests)]
    return together(calls, parallel)


def assert_within_limits(rig: Rig, answers: Sequence[Answer]) -> None:
    """All answered, none refused upstream, and each account used to its limit, not beyond."""
    assert [answer.status for answer in answers] == [200] * len(answers), next(a for a in answers if a.status != 200)
    stats = rig.control.stats()
    assert stats["total"]["refusals"] == 0
    assert {account: stats["accounts"][account]["glm-5.3"]["max_in_flight"] for account in LIMITS} == LIMITS


def test_both_use_the_limits_and_never_exceed_them(pair: Pair) -> None:
    pair.old.accounts(latency=0.15, token_interval=0.01)
    answers = load(pair.clients, requests=4 * CLIENTS, parallel=2 * CLIENTS)
    assert_within_limits(pair.old, answers)
    for rig in pair.rigs:
        rig.wait_idle(2)


def test_who_came_first_is_first_on_whichever_he_came(pair: Pair, hold: Callable[..., Open]) -> None:
    pair.old.fault(hang=50, times=2)
    holders = [hold(pair.old, "openai") for _ in range(4)]
    pair.control.wait_for(lambda stats: stats["total"]["in_flight"] == 4)
    waiters = []
    for number in range(6):
        rig = pair.rigs[number % 2]
        waiters.append(hold(rig, "openai", text=f"waiter {number}"))
        wait_until(lambda rig=rig, expected=number // 2 + 1: rig.status().waiting == expected, 5)  # type: ignore[misc]
    holders[0].leave()
    for number, waiter in enumerate(waiters):
        assert waiter.finish().text == f"simulated answer to: waiter {number}"
    asked = [record["body"]["messages"][-1]["content"] for record in pair.control.requests()[4:]]
    assert asked == [f"waiter {number}" for number in range(6)]


def test_key_that_one_finds_out_of_service_is_out_for_the_other(pair: Pair) -> None:
    for finder, other, key in ((pair.old, pair.new, "one"), (pair.new, pair.old, "two")):
        pair.control.set_key(key, fault={"code": "1113"})
        while finder.status().states[key] != "out":
            assert finder.client.ask("openai").status == 200
        wait_until(lambda other=other, key=key: other.status().states[key] == "out", 5)  # type: ignore[misc]
        pair.control.reset()
        assert other.client.enable(key).status == 200
        wait_until(lambda finder=finder, key=key: finder.status().states[key] == "active", 5)  # type: ignore[misc]


def test_streams_of_the_one_that_stops_finish(pair: Pair, hold: Callable[..., Open]) -> None:
    """Its slots stay taken until then, and are the other's after it."""
    pair.old.accounts(token_interval=0.1, chunks=30)
    streams = [hold(pair.old, APIS[n % 2], stream=True, text="answer with 30 words") for n in range(4)]
    for stream in streams:
        stream.first_content()
    pair.old.accounts(token_interval=0, chunks=4)
    pid = pair.old.server.pid
    late = [hold(pair.new, "anthropic", text=f"late {n}") for n in range(8)]
    wait_until(lambda: pair.new.status().waiting == 8, 5)
    pair.old.server.send_signal(signal.SIGTERM)
    for stream in streams:
        answer = stream.finish()
        assert (answer.status, answer.cut) == (200, False)
        assert answer.text.endswith("word30")
    assert_within_limits(pair.new, [request.finish() for request in late])
    pair.old.server.stop()
    wait_until(lambda: pair.new.status().shown["shared"]["members"] == 1, 5)
    assert_within_limits(pair.new, load([pair.new.client], requests=12, parallel=12))
    pair.old.server.start()
    pair.old.warm_up()
    assert pair.old.server.pid != pid


def test_slots_of_one_that_is_killed_are_the_others(pair: Pair, hold: Callable[..., Open]) -> None:
    """The last of the pair's tests: one is gone after it."""
    pair.old.fault(hang=50, times=2)
    lost = [hold(pair.old, "openai") for _ in range(4)]
    pair.control.wait_for(lambda stats: stats["total"]["in_flight"] == 4)
    waiting = [hold(pair.new, APIS[n % 2]) for n in range(8)]
    wait_until(lambda: pair.new.status().waiting == 8, 5)
    pair.old.server.kill()
    killed = time.monotonic()
    pair.control.wait_for(lambda stats: stats["total"]["answers"] >= 1)
    print(f"first answer of the other {time.monotonic() - killed:.2f} s after kill -9")
    answers = [request.finish() for request in waiting]
    for request in lost:
        request.leave()
    assert_within_limits(pair.new, answers)
    pair.new.accounts(latency=0.2)
    assert_within_limits(pair.new, load([pair.new.client], requests=12, parallel=12))
    assert pair.new.status().shown["shared"]["members"] == 1


def test_minute_is_one_for_both(tmp_path: Path) -> None:
    keys = (Key("one", "alpha", slots=5, rpm=10),)
    with running_pair(tmp_path, keys, queue_timeout=5) as pair:
        answers = load(pair.clients, requests=2 * CLIENTS, parallel=2 * CLIENTS)
        stats = pair.control.stats()["total"]
    assert (stats["requests"], stats["refusals"]) == (10, 0)
    assert sorted(answer.status for answer in answers) == [200] * 10 + [429] * (2 * CLIENTS - 10)
    assert all(0 < (answer.retry_after or 0) <= 61 for answer in answers if answer.status == 429)
