"""Limits are used in full and never exceeded; who finds no slot waits, in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.pool.pool_client import APIS, Answer, Api, Open, together, wait_until
from tests.pool.pool_server import Key, Rig, running_rig
from tests.pool.test_pool_failures import assert_pool_error

Hold = Callable[..., Open]
ALL_PATHS = [(api, stream) for api in APIS for stream in (False, True)]


def load(rig: Rig, models: list[str], requests: int = 36, clients: int = 12) -> list[Answer]:
    """Requests of all kinds from parallel clients."""
    kinds = itertools.cycle(ALL_PATHS)
    names = itertools.cycle(models)
    calls = [
        partial(rig.client.ask, api, stream=stream, model=next(names))
        for api, stream in itertools.islice(kinds, requests)
    ]
    return together(calls, clients)


def assert_within_limits(rig: Rig, answers: list[Answer], highest: dict[str, int]) -> None:
    """All answered, none refused upstream, and each account used to its limit for the model."""
    assert [answer.status for answer in answers] == [200] * len(answers), next(a for a in answers if a.status != 200)
    assert [answer.text for answer in answers] == ["simulated answer to: hello there"] * len(answers)
    stats = rig.control.stats()
    assert stats["total"]["refusals"] == 0
    assert stats["total"]["requests"] == len(answers)
    seen = {account: stats["accounts"][account]["glm-5.3"]["max_in_flight"] for account in highest}
    assert seen == highest
    rig.wait_idle(1)


@pytest.mark.parametrize(
    "models", [["glm-pool"], ["glm-pool", "second", "claude-x", "glm-alias"]], ids=["one-pool", "two-pools-one-model"]
)
def test_twelve_clients_on_six_slots(rig: Rig, models: list[str]) -> None:
    rig.accounts(latency=0.2, token_interval=0.02)
    answers = load(rig, models)
    assert_within_limits(rig, answers, {"alpha": 2, "beta": 2, "gamma": 2})
    for key in rig.active:
        assert rig.stats_of(key)["answers"] >= 6


def test_keys_of_one_account_share_its_slots(tight: Rig) -> None:
    tight.accounts(latency=0.1)
    answers = load(tight, ["glm-pool", "second"], clients=5)
    assert_within_limits(tight, answers, {"shared": 2, "own": 1})


def test_strict_turns(rig: Rig) -> None:
    keys = [rig.client.ask("openai").key for _ in range(9)]
    assert sorted(str(key) for key in keys[:3]) == sorted(rig.active)
    assert keys == keys[:3] * 3


def test_models_have_slots_of_their_own(rig: Rig, hold: Hold) -> None:
    rig.fault(hang=50, times=2)
    for _ in range(6):
        hold(rig, "openai")
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 6)
    assert rig.client.ask("openai", model="flash").status == 200


@pytest.mark.parametrize("api", APIS)
def test_stream_holds_its_slot_to_the_last_byte(rig: Rig, hold: Hold, api: Api) -> None:
    rig.accounts(token_interval=0.5, chunks=40)
    streams = [hold(rig, api, stream=True, text="answer with 40 words") for _ in range(6)]
    for stream in streams:
        stream.first_content()
    assert rig.status().in_flight == 6
    rig.accounts(token_interval=0, chunks=4)
    late = hold(rig, api)
    wait_until(lambda: rig.status().pool("glm-pool")["waiting"] == 1, 5)
    assert rig.control.stats()["total"]["requests"] == 6
    streams[0].leave()
    assert late.finish().status == 200
    assert rig.control.stats()["total"]["refusals"] == 0


def test_first_come_first_served(rig: Rig, hold: Hold) -> None:
    rig.fault(hang=50, times=2)
    holders = [hold(rig, "openai") for _ in range(6)]
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 6)
    waiters = []
    for number, (api, stream) in enumerate([*ALL_PATHS, *ALL_PATHS], start=1):
        waiters.append(hold(rig, api, stream=stream, text=f"waiter {number}"))
        wait_until(lambda expected=number: rig.status().waiting == expected, 5)  # type: ignore[misc]
    holders[0].leave()
    for number, waiter in enumerate(waiters, start=1):
        assert waiter.finish().text == f"simulated answer to: waiter {number}"
    asked = [record["body"]["messages"][-1]["content"] for record in rig.control.requests()[6:]]
    texts = [content if isinstance(content, str) else content[-1]["text"] for content in asked]
    assert texts == [f"waiter {number}" for number in range(1, 9)]


def test_a_pool_that_waits_does_not_hold_up_another(rig: Rig, hold: Hold) -> None:
    rig.fault(hang=50, times=2)
    for _ in range(6):
        hold(rig, "openai")
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 6)
    hold(rig, "anthropic", model="second")
    wait_until(lambda: rig.status().pool("second")["waiting"] == 1, 5)
    assert rig.status().pool("glm-pool")["waiting"] == 0
    assert rig.client.ask("anthropic", model="flash").status == 200


def occupy(rig: Rig, hold: Hold) -> list[Open]:
    """Fill the three slots of the tight table with streams that go on."""
    rig.accounts(token_interval=0.5, chunks=60)
    streams = [hold(rig, "anthropic", stream=True, text="answer with 60 words") for _ in range(3)]
    for stream in streams:
        stream.first_content()
    return streams


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("api", APIS)
def test_queue_is_bounded_in_length_and_time(tight: Rig, hold: Hold, api: Api, stream: bool) -> None:
    """Three may wait, for 2 s."""
    occupy(tight, hold)
    waiting = []
    for number in range(1, 4):
        waiting.append(hold(tight, api, stream=stream))
        wait_until(lambda expected=number: tight.status().waiting == expected, 2)  # type: ignore[misc]
    refused = tight.client.ask(api, stream=stream)
    assert refused.took < 1.5
    timed_out = [request.finish() for request in waiting]
    assert all(1.9 <= answer.took < 5 for answer in timed_out)
    for answer in (refused, *timed_out):
        assert_pool_error(api, answer, 429)
        assert answer.retry_after is not None
        assert answer.retry_after >= 1
    assert tight.control.stats()["total"]["requests"] == 3
    assert tight.status().resting == []


@pytest.mark.parametrize("api", APIS)
def test_retry_after_is_when_the_next_key_returns(tight: Rig, api: Api) -> None:
    """All keys rest for 30 s, longer than anybody may wait here."""
    tight.fault(code="1305")
    for _ in range(2):
        answer = tight.client.ask(api)
        assert_pool_error(api, answer, 429)
        assert answer.retry_after is not None
        assert 15 < answer.retry_after <= 31
        assert answer.took < 5


@pytest.fixture(scope="module")
def rated_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    keys = (Key("first", "rated", rpm=10), Key("second", "rated", rpm=10))
    with running_rig(
        tmp_path_factory.mktemp("rated"), keys, routing_strategy="weighted", queue_size=20, queue_timeout=2
    ) as rig:
        yield rig


def test_requests_a_minute_are_the_accounts(rated_rig: Rig) -> None:
    """Ten a minute, of which the warm-up has used four; who would have to wait longer than 2 s is told how long."""
    answers = load(rated_rig, ["glm-pool", "flash"], requests=9, clients=9)
    good = [answer for answer in answers if answer.status == 200]
    told = [answer for answer in answers if answer.status != 200]
    assert (len(good), len(told)) == (6, 3)
    stats = rated_rig.control.stats()["total"]
    assert (stats["requests"], stats["refusals"]) == (10, 0)
    for answer in told:
        assert_pool_error(answer.api, answer, 429)
        assert answer.retry_after is not None
        assert 1 <= answer.retry_after <= 62
    assert max(key["rpm_used"] for key in rated_rig.status().shown["keys"]) == 10
    assert {key["rpm"] for key in rated_rig.status().shown["keys"]} == {10}
