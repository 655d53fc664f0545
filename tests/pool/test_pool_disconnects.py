"""Clients that hang up: within a second nothing of theirs is left, and no key has suffered."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.pool.pool_client import APIS, Api, Open, wait_until
from tests.pool.pool_server import Rig

Hold = Callable[..., Open]
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
RESET = pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])


@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_while_waiting(rig: Rig, hold: Hold, api: Api, stream: bool) -> None:
    rig.fault(hang=50, times=2)
    holders = [hold(rig, "openai") for _ in range(6)]
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 6)
    waiters = [hold(rig, api, stream=stream) for _ in range(3)]
    wait_until(lambda: rig.status().waiting == 3, 5)
    for waiter in waiters:
        waiter.leave()
    wait_until(lambda: rig.status().waiting == 0, 1)
    assert rig.status().in_flight == 6
    for holder in holders:
        holder.leave()
    rig.wait_idle(1)
    assert rig.control.stats()["total"]["requests"] == 6
    assert rig.status().resting == []


@RESET
@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_before_the_first_byte(rig: Rig, hold: Hold, api: Api, stream: bool, reset: bool) -> None:
    rig.fault(hang=50)
    requests = [hold(rig, api, stream=stream) for _ in range(4)]
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 4)
    for request in requests:
        request.leave(reset=reset)
    rig.wait_idle(1)
    assert rig.control.stats()["clients_gone"] == 4
    assert rig.control.stats()["total"]["requests"] == 4
    assert rig.status().resting == []


@STREAMED
def test_before_the_first_byte_of_the_responses_api(rig: Rig, stream: bool) -> None:
    rig.fault(hang=50)
    body = json.dumps({"model": "glm-pool", "input": "hello there", "stream": stream}).encode()
    request = rig.client.send_raw("openai", "/v1/responses", body)
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 1)
    request.leave()
    rig.wait_idle(1)
    assert rig.status().resting == []


@RESET
@pytest.mark.parametrize("api", APIS)
def test_in_the_middle_of_a_stream(rig: Rig, hold: Hold, api: Api, reset: bool) -> None:
    rig.accounts(token_interval=0.3, chunks=60)
    requests = [hold(rig, api, stream=True, text="answer with 60 words") for _ in range(4)]
    for request in requests:
        request.first_content()
    for request in requests:
        request.leave(reset=reset)
    rig.wait_idle(1)
    assert rig.control.stats()["clients_gone"] == 4
    assert rig.status().resting == []


def test_while_another_key_is_tried(rig: Rig, hold: Hold) -> None:
    """The client leaves during the second try; the first key's refusal stands, no other key is met."""
    rig.control.set_key("one", fault={"http_status": 502})
    rig.control.set_key("two", fault={"hang": 50})
    rig.control.set_key("three", fault={"hang": 50})
    requests = [hold(rig, "anthropic") for _ in range(3)]
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 3)
    for request in requests:
        request.leave()
    rig.wait_idle(1)
    assert set(rig.status().resting) <= {"one"}


def test_slots_serve_others_at_once(rig: Rig, hold: Hold) -> None:
    rig.fault(hang=50, times=2)
    requests = [hold(rig, "openai") for _ in range(6)]
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 6)
    late = hold(rig, "anthropic")
    wait_until(lambda: rig.status().waiting == 1, 5)
    for request in requests:
        request.leave()
    answer = late.finish()
    assert answer.text == "simulated answer to: hello there"
    rig.wait_idle(1)


def test_many_that_leave_leave_nothing(rig: Rig, hold: Hold) -> None:
    """Clients that give up at any moment between sending and reading, under load."""
    rig.accounts(latency=0.05, token_interval=0.02, chunks=10)
    for number in range(60):
        request = hold(rig, APIS[number % 2], stream=number % 3 != 0)
        if number % 5 == 0 and number % 3 != 0:
            request.first_content()
        if number >= 8:
            request.leave(reset=number % 4 == 0)
    rig.wait_idle(10)
    assert rig.control.stats()["total"]["refusals"] == 0
    assert rig.status().resting == []
    assert rig.client.ask("openai").status == 200
