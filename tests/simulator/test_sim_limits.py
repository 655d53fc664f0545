"""Concurrency, rate and quota of an account."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sim_client import APIS, KEY_OF, NAME_OF, SECOND_KEY, Api, Reply

from zai_simulator.testing import ControlClient, Simulator

Ask = Callable[..., Reply]
Hold = Callable[..., http.client.HTTPConnection]
ACCOUNT_OF: dict[Api, str] = {"general": "team", "coding": "solo", "anthropic": "team"}


def in_flight(account: str, number: int, model: str = "glm-4.6") -> Callable[[dict[str, Any]], bool]:
    return lambda stats: stats["accounts"].get(account, {}).get(model, {}).get("in_flight", 0) == number


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
def test_requests_in_flight_are_limited_exactly(
    simulator: Simulator, ask: Ask, api: Api, stream: bool, hold: Hold
) -> None:
    control, account = simulator.control, ACCOUNT_OF[api]
    control.set_account(account, max_parallel_requests=2, latency=30)
    held = [hold(api, stream=stream) for _ in range(2)]
    control.wait_for(in_flight(account, 2))
    refused = ask(api, stream=stream)
    assert (refused.status, refused.error["code"]) == (429, "1302")
    for connection in held:
        connection.close()
    control.wait_for(in_flight(account, 0))
    control.set_account(account, latency=0)
    assert ask(api).status == 200
    stats = control.stats()
    assert stats["accounts"][account]["glm-4.6"] == {"in_flight": 0, "max_in_flight": 2}
    counts = stats["keys"][NAME_OF[api]]
    assert (counts["requests"], counts["answers"], counts["refusals"]) == (4, 1, {"1302": 1})
    assert stats["clients_gone"] == 2


def test_places_are_counted_for_each_account_and_model_not_for_each_key(
    simulator: Simulator, ask: Ask, hold: Hold
) -> None:
    simulator.control.set_account("team", max_parallel_requests=1, latency=30)
    held = hold("general")
    simulator.control.wait_for(in_flight("team", 1))
    simulator.control.set_account("team", latency=0)
    assert ask("general", SECOND_KEY).error["code"] == "1302"
    assert ask("anthropic", SECOND_KEY).error["code"] == "1302"
    assert ask("general", SECOND_KEY, model="GLM-4.6").error["code"] == "1302"
    assert ask("general", SECOND_KEY, model="glm-4.7").status == 200
    assert ask("coding").status == 200
    held.close()


@pytest.mark.parametrize("api", APIS)
def test_a_stream_holds_its_place_to_the_last_byte(simulator: Simulator, ask: Ask, api: Api, hold: Hold) -> None:
    control, account = simulator.control, ACCOUNT_OF[api]
    control.set_account(account, max_parallel_requests=1, token_interval=0.05, chunks=10)
    response = hold(api, stream=True).getresponse()
    seen = 0
    while line := response.readline():
        if line.startswith(b"data: ") and b"[DONE]" not in line and b"message_stop" not in line and seen < 5:
            seen += 1
            assert ask(api).error["code"] == "1302"
    assert seen == 5
    # Its last byte is here, so its place is free at once.
    assert ask(api).status == 200


@pytest.mark.parametrize("api", APIS)
def test_one_place_serves_one_request_after_the_other_without_a_refusal(
    simulator: Simulator, ask: Ask, api: Api
) -> None:
    simulator.control.set_account(ACCOUNT_OF[api], max_parallel_requests=1)
    for number in range(20):
        assert ask(api, stream=number % 2 == 0).status == 200
    counts = simulator.control.stats()["keys"][NAME_OF[api]]
    assert (counts["answers"], counts["streamed"], counts["max_in_flight"]) == (20, 10, 1)


@pytest.mark.parametrize("api", APIS)
def test_a_client_that_leaves_a_stream_frees_its_place(simulator: Simulator, ask: Ask, api: Api, hold: Hold) -> None:
    control, account = simulator.control, ACCOUNT_OF[api]
    control.set_account(account, max_parallel_requests=1, token_interval=30, chunks=10)
    connection = hold(api, stream=True)
    response = connection.getresponse()
    assert response.readline()
    assert ask(api).error["code"] == "1302"
    response.close()
    connection.close()
    stats = control.wait_for(in_flight(account, 0))
    assert stats["clients_gone"] == 1
    assert stats["keys"][NAME_OF[api]]["answers"] == 0
    assert control.requests()[0]["client_gone"] is True
    assert ask(api).status == 200


def test_a_stream_has_at_least_the_chunks_it_was_told(ask: Ask, control: ControlClient) -> None:
    control.set_account("team", chunks=100)
    events = [data for _, data in ask("general", stream=True).events][:-1]
    texts = [event["choices"][0]["delta"]["content"] for event in events[1:-1]]
    assert len(texts) == 100
    assert "".join(texts) == "simulated answer to: hello there"
    assert sum(name == "content_block_delta" for name, _ in ask("anthropic", stream=True).events) == 100


@pytest.mark.parametrize("api", APIS)
def test_requests_of_the_last_minute_are_limited(ask: Ask, control: ControlClient, api: Api) -> None:
    control.set_account(ACCOUNT_OF[api], rpm=2)
    assert ask(api).status == 200
    control.advance_clock(30)
    assert ask(api).status == 200
    refused = ask(api)
    assert (refused.status, refused.error["code"]) == (429, "1303")
    control.advance_clock(31)
    assert ask(api).status == 200
    assert ask(api).error["code"] == "1303"


@pytest.mark.parametrize("code", ["1308", "1310", *map(str, range(1316, 1322))])
@pytest.mark.parametrize("api", APIS)
def test_a_used_up_quota_says_in_utc8_when_it_resets(ask: Ask, control: ControlClient, api: Api, code: str) -> None:
    control.set_account(ACCOUNT_OF[api], quota={"requests": 1, "window": 18000, "code": int(code)})
    before = datetime.now(timezone(timedelta(hours=8)))
    assert ask(api).status == 200
    refused = ask(api)
    assert (refused.status, refused.error["code"]) == (429, code)
    _, _, stated = refused.error["message"].partition("Your limit will reset at ")
    reset = datetime.strptime(stated, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone(timedelta(hours=8)))
    assert timedelta(hours=5) <= reset - before <= timedelta(hours=5, seconds=5)
    control.advance_clock((reset - datetime.now(UTC)).total_seconds() - 2)
    assert ask(api).error["message"].endswith(stated)
    control.advance_clock(2)
    assert ask(api).status == 200


def test_a_quota_is_shared_by_the_keys_of_an_account_and_spent_by_answers_only(
    ask: Ask, control: ControlClient
) -> None:
    control.set_account("team", quota={"requests": 2, "window": 60})
    control.set_key("general", fault={"code": 1305, "times": 1})
    assert ask("general").error["code"] == "1305"
    assert ask("general", model="nosuch").error["code"] == "1211"
    assert ask("general").status == 200
    assert ask("general", SECOND_KEY, stream=True).status == 200
    assert ask("anthropic").error["code"] == "1308"
    assert ask("general", SECOND_KEY).error["message"].startswith("Usage limit reached for 1 minute.")


@pytest.mark.parametrize(("api", "code", "status"), [("general", "1220", 403), ("coding", "1311", 429)])
def test_a_model_the_account_has_not_is_refused(
    ask: Ask, control: ControlClient, api: Api, code: str, status: int
) -> None:
    control.set_account(ACCOUNT_OF[api], models=["glm-4.7"])
    refused = ask(api)
    assert (refused.status, refused.error["code"]) == (status, code)
    assert "glm-4.6" in refused.error["message"]
    assert ask(api, model="glm-4.7").status == 200


def test_counting_tokens_and_listing_models_take_no_place(simulator: Simulator) -> None:
    simulator.control.set_account("team", max_parallel_requests=0)
    host = simulator.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("GET", "/api/paas/v4/models", headers={"Authorization": f"Bearer {KEY_OF['general']}"})
    assert connection.getresponse().status == 200
    connection.close()
    counts = simulator.control.stats()["keys"]["general"]
    assert (counts["requests"], counts["other_requests"]) == (0, 1)
