"""The control API and its client."""

from __future__ import annotations

import http.client
from collections.abc import Callable

import pytest
from sim_client import CODING_KEY, GENERAL_KEY, SECOND_KEY, Reply, call

from zai_simulator.testing import ControlClient, ControlError, Simulator

Ask = Callable[..., Reply]
Hold = Callable[..., http.client.HTTPConnection]
NEW_KEY = "0123456789abcdef0123456789abcdef.new"


def test_health(control: ControlClient) -> None:
    assert control.health() == {"status": "ok"}


def test_stats_start_at_zero_for_every_key(control: ControlClient) -> None:
    zero = {
        "requests": 0,
        "answers": 0,
        "refusals": {},
        "streamed": 0,
        "other_requests": 0,
        "tokens": {"input": 0, "cached": 0, "output": 0},
        "in_flight": 0,
        "max_in_flight": 0,
    }
    stats = control.stats()
    assert stats["keys"] == {"general": zero, "second": zero, "coding": zero}
    assert stats["total"] == {"requests": 0, "answers": 0, "refusals": 0, "streamed": 0, "in_flight": 0}
    assert (stats["paths"], stats["unauthenticated"], stats["clients_gone"]) == ({}, {}, 0)


def test_stats_count_by_key_path_and_in_total(ask: Ask, control: ControlClient) -> None:
    ask("general")
    ask("general", stream=True)
    ask("coding", model="nosuch")
    ask("anthropic", "x" * 20)
    stats = control.stats()
    assert stats["total"] == {"requests": 4, "answers": 2, "refusals": 2, "streamed": 1, "in_flight": 0}
    assert stats["keys"]["general"]["answers"] == 2
    assert stats["keys"]["coding"]["refusals"] == {"1211": 1}
    assert stats["paths"] == {
        "/api/paas/v4/chat/completions": 2,
        "/api/coding/paas/v4/chat/completions": 1,
        "/api/anthropic/v1/messages": 1,
    }


def test_requests_show_what_reached_the_upstream(simulator: Simulator) -> None:
    body = {
        "model": "glm-4.6",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": f"my key is {GENERAL_KEY}"}],
    }
    headers = {"x-api-key": GENERAL_KEY, "anthropic-beta": "one,two", "Cookie": "a=b"}
    call(f"{simulator.url}/api/anthropic/v1/messages?beta=true", headers, body)
    (record,) = simulator.control.requests()
    assert record["path"] == "/api/anthropic/v1/messages"
    assert (record["key"], record["model"], record["stream"]) == ("general", "glm-4.6", False)
    assert (record["status"], record["code"], record["client_gone"]) == (200, None, False)
    assert record["duration"] >= 0
    seen = {name.lower(): value for name, value in record["headers"].items()}
    assert seen["anthropic-beta"] == "one,two"
    assert not {"x-api-key", "authorization", "cookie"} & set(seen)
    assert sorted(record["credentials"]) == ["cookie", "x-api-key"]
    assert record["body"]["max_tokens"] == 9
    assert record["body"]["messages"][0]["content"] == "my key is [key general]"


def test_requests_are_the_last_ones_and_at_most_1000(simulator: Simulator, control: ControlClient) -> None:
    connection = http.client.HTTPConnection(simulator.url.removeprefix("http://"), timeout=10)
    for number in range(1002):
        connection.request("GET", f"/nowhere/{number}")
        connection.getresponse().read()
    connection.close()
    assert [record["path"] for record in control.requests(limit=2)] == ["/nowhere/1000", "/nowhere/1001"]
    assert control.requests()[0]["path"] == "/nowhere/2"
    assert len(control.requests()) == 1000
    assert control.requests(limit=0) == []


def test_a_request_under_way_is_listed_without_a_status(simulator: Simulator, hold: Hold) -> None:
    simulator.control.set_account("team", latency=30)
    held = hold("general")
    simulator.control.wait_for(lambda stats: stats["total"]["in_flight"] == 1)
    (record,) = simulator.control.requests()
    assert (record["status"], record["duration"]) == (None, None)
    held.close()


def test_a_key_can_be_added_changed_and_deleted(ask: Ask, control: ControlClient) -> None:
    shown = control.set_key("new", key=NEW_KEY, account="team")
    assert shown == {"name": "new", "account": "team", "plan": "general", "revoked": False, "fault": None}
    assert ask("general", NEW_KEY).status == 200
    control.set_key("new", plan="coding")
    assert ask("general", NEW_KEY).error["code"] == "1113"
    assert ask("coding", NEW_KEY).status == 200
    control.delete_key("new")
    assert ask("coding", NEW_KEY).error["code"] == "1000"
    with pytest.raises(ControlError, match="new"):
        control.delete_key("new")


def test_an_account_can_be_added_and_changed(ask: Ask, control: ControlClient) -> None:
    control.set_account("fresh", rpm=0)
    control.set_key("new", key=NEW_KEY, account="fresh")
    assert ask("general", NEW_KEY).error["code"] == "1303"
    control.set_account("fresh", rpm=None)
    assert ask("general", NEW_KEY).status == 200


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"key": NEW_KEY}, "keys.new.account"),
        ({"account": "team"}, "keys.new.key"),
        ({"key": NEW_KEY, "account": "nosuch"}, "keys.new.account"),
        ({"key": "short", "account": "team"}, "keys.new.key"),
        ({"key": GENERAL_KEY, "account": "team"}, "keys.new.key"),
        ({"key": NEW_KEY, "account": "team", "plan": "free"}, "keys.new.plan"),
        ({"key": NEW_KEY, "account": "team", "fault": {}}, "keys.new.fault"),
        ({"key": NEW_KEY, "account": "team", "fault": {"code": 4711}}, "keys.new.fault.code"),
        ({"key": NEW_KEY, "account": "team", "colour": "red"}, "keys.new.colour"),
    ],
)
def test_a_bad_change_names_the_field_and_changes_nothing(
    ask: Ask, control: ControlClient, fields: dict[str, object], named: str
) -> None:
    with pytest.raises(ControlError) as caught:
        control.set_key("new", **fields)
    assert named in str(caught.value)
    assert not any(key in str(caught.value) for key in (NEW_KEY, GENERAL_KEY))
    assert ask("general", NEW_KEY).error["code"] == "1000"


def test_reset_takes_back_changes_faults_windows_and_counts(ask: Ask, control: ControlClient) -> None:
    control.set_key("new", key=NEW_KEY, account="team")
    control.set_key("general", fault={"code": 1313})
    control.set_account("team", rpm=1, quota={"requests": 1, "window": 3600})
    control.delete_key("second")
    assert ask("general").error["code"] == "1313"
    control.reset()
    assert control.stats()["total"]["requests"] == 0
    assert control.requests() == []
    assert [ask("general", key).status for key in (GENERAL_KEY, SECOND_KEY, NEW_KEY)] == [200, 200, 401]


def test_reset_keeps_count_of_requests_under_way(simulator: Simulator, control: ControlClient, hold: Hold) -> None:
    control.set_account("team", latency=30)
    held = hold("general")
    control.wait_for(lambda stats: stats["total"]["in_flight"] == 1)
    control.reset()
    stats = control.stats()
    assert stats["keys"]["general"]["in_flight"] == stats["keys"]["general"]["max_in_flight"] == 1
    held.close()
    stats = control.wait_for(lambda stats: stats["total"]["in_flight"] == 0)
    assert (stats["clients_gone"], stats["keys"]["general"]["answers"]) == (0, 0)


def test_no_control_answer_holds_a_key(simulator: Simulator, ask: Ask) -> None:
    ask("general")
    simulator.control.set_key("general", fault={"code": 1000, "message": f"bad {GENERAL_KEY}"})
    for path in ("stats", "requests", "health"):
        raw = call(f"{simulator.url}/_control/{path}").raw.decode()
        assert not any(key in raw for key in (GENERAL_KEY, SECOND_KEY, CODING_KEY))


@pytest.mark.parametrize("advance", [-1, "x", None, True])
def test_time_only_goes_forward(control: ControlClient, advance: object) -> None:
    with pytest.raises(ControlError, match="advance"):
        control.advance_clock(advance)  # type: ignore[arg-type]


def test_waiting_for_what_never_comes_ends(control: ControlClient) -> None:
    with pytest.raises(TimeoutError):
        control.wait_for(lambda stats: False, timeout=0)
