"""Authentication, every error code, and failures on purpose."""

from __future__ import annotations

import http.client
from collections.abc import Callable

import pytest
from sim_client import (
    APIS,
    CODING_KEY,
    GENERAL_KEY,
    KEY_OF,
    NAME_OF,
    SECOND_KEY,
    Api,
    Reply,
    call,
    request_for,
)

from zai_simulator.errors import ERROR_CODES, ErrorCode
from zai_simulator.testing import ControlClient, Simulator

Ask = Callable[..., Reply]
Hold = Callable[..., http.client.HTTPConnection]

STATUS_OF = {
    401: [*range(1000, 1006)],
    429: [1113, 1302, 1303, 1305, 1308, 1309, 1310, 1311, 1313, 1314, 1315, *range(1316, 1322)],
    400: [1210, 1211, 1214, 1301],
    403: [1220],
}
TYPE_OF = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def test_the_table_has_every_known_code_with_its_status() -> None:
    assert {int(entry.code): entry.status for entry in ERROR_CODES} == {
        code: status for status, codes in STATUS_OF.items() for code in codes
    }


@pytest.mark.parametrize("entry", ERROR_CODES, ids=lambda entry: entry.code)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
def test_every_code_comes_with_its_status_and_envelope(
    ask: Ask, control: ControlClient, api: Api, stream: bool, entry: ErrorCode
) -> None:
    control.set_key(NAME_OF[api], fault={"code": int(entry.code)})
    reply = ask(api, stream=stream)
    assert reply.status == entry.status
    assert reply.error["code"] == entry.code
    assert reply.error["message"]
    assert "{" not in reply.error["message"]
    assert ("Your limit will reset at 20" in reply.error["message"]) is (entry.window is not None)
    if api == "anthropic":
        assert reply.body["type"] == "error"
        assert reply.error["type"] == TYPE_OF[entry.status]
        assert reply.body["request_id"]
    else:
        assert set(reply.error) == {"code", "message"}
    counts = control.stats()["keys"][NAME_OF[api]]
    assert (counts["requests"], counts["answers"], counts["refusals"]) == (1, 0, {entry.code: 1})


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "1001"),
        ({"Authorization": GENERAL_KEY}, "1002"),
        ({"Authorization": "Bearer "}, "1002"),
        ({"Authorization": "Bearer two words"}, "1002"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "1002"),
        ({"Authorization": "Bearer 0123456789abcdef0123456789abcdef.nobody"}, "1000"),
    ],
)
@pytest.mark.parametrize("api", APIS)
def test_a_bad_key_is_unauthorized(simulator: Simulator, api: Api, headers: dict[str, str], code: str) -> None:
    path, _, body = request_for(api)
    reply = call(simulator.url + path, headers, body)
    assert (reply.status, reply.error["code"]) == (401, code)
    assert simulator.control.stats()["unauthenticated"] == {code: 1}


@pytest.mark.parametrize("api", APIS)
def test_a_revoked_key_is_unauthorized(ask: Ask, control: ControlClient, api: Api) -> None:
    control.set_key(NAME_OF[api], revoked=True)
    reply = ask(api)
    assert (reply.status, reply.error["code"]) == (401, "1004")


def test_x_api_key_is_for_the_anthropic_endpoint_only(simulator: Simulator) -> None:
    path, _, body = request_for("general")
    assert call(simulator.url + path, {"x-api-key": GENERAL_KEY}, body).error["code"] == "1001"


@pytest.mark.parametrize(("api", "key"), [("general", CODING_KEY), ("coding", GENERAL_KEY)])
def test_a_key_of_the_other_plan_has_no_balance(ask: Ask, api: Api, key: str) -> None:
    reply = ask(api, key)
    assert (reply.status, reply.error["code"]) == (429, "1113")


@pytest.mark.parametrize("api", APIS)
def test_a_fault_can_strike_a_number_of_times(ask: Ask, control: ControlClient, api: Api) -> None:
    control.set_key(NAME_OF[api], fault={"code": "1305", "times": 2})
    assert [ask(api).status for _ in range(4)] == [429, 429, 200, 200]


def test_an_accounts_fault_strikes_all_its_keys_until_it_is_removed(ask: Ask, control: ControlClient) -> None:
    control.set_account("team", fault={"code": 1313})
    assert [ask("general", key).error["code"] for key in (GENERAL_KEY, SECOND_KEY)] == ["1313", "1313"]
    assert ask("coding").status == 200
    control.set_key("general", fault={"code": 1309})
    assert ask("general").error["code"] == "1309"
    control.set_account("team", fault=None)
    control.set_key("general", fault=None)
    assert ask("general").status == 200


@pytest.mark.parametrize("api", APIS)
def test_status_and_message_can_be_replaced(ask: Ask, control: ControlClient, api: Api) -> None:
    control.set_key(NAME_OF[api], fault={"code": 9999, "status": 418, "message": "short and stout"})
    reply = ask(api)
    assert reply.status == 418
    assert (reply.error["code"], reply.error["message"]) == ("9999", "short and stout")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
def test_an_error_can_come_with_status_200(ask: Ask, control: ControlClient, api: Api, stream: bool) -> None:
    control.set_key(NAME_OF[api], fault={"code": 1302, "as_200": True})
    reply = ask(api, stream=stream)
    assert (reply.status, reply.error["code"]) == (200, "1302")
    assert control.stats()["keys"][NAME_OF[api]]["answers"] == 0


@pytest.mark.parametrize("api", APIS)
def test_an_error_can_come_in_the_middle_of_a_stream(ask: Ask, control: ControlClient, api: Api) -> None:
    control.set_key(NAME_OF[api], fault={"code": 1305, "mid_stream": True, "times": 1})
    assert ask(api).status == 200
    reply = ask(api, stream=True)
    assert reply.status == 200
    name, last = reply.events[-1]
    assert last["error"]["code"] == "1305"
    if api == "anthropic":
        assert name == last["type"] == "error"
        assert [n for n, _ in reply.events].count("content_block_delta") == 2
    else:
        assert len(reply.events) == 1 + 2 + 1
        assert b"[DONE]" not in reply.raw
    stats = control.stats()
    assert stats["keys"][NAME_OF[api]]["refusals"] == {"1305": 1}
    assert stats["total"]["in_flight"] == 0
    assert stats["clients_gone"] == 0


@pytest.mark.parametrize("api", APIS)
def test_a_connection_can_drop_without_an_answer(simulator: Simulator, ask: Ask, api: Api, hold: Hold) -> None:
    simulator.control.set_key(NAME_OF[api], fault={"stage": "close", "times": 1})
    connection = hold(api)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    assert ask(api).status == 200
    stats = simulator.control.stats()
    assert stats["keys"][NAME_OF[api]]["refusals"] == {"closed": 1}
    assert stats["clients_gone"] == 0


@pytest.mark.parametrize("api", APIS)
def test_a_connection_can_drop_in_the_middle_of_a_stream(simulator: Simulator, api: Api, hold: Hold) -> None:
    simulator.control.set_key(NAME_OF[api], fault={"stage": "close", "mid_stream": True})
    response = hold(api, stream=True).getresponse()
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    stats = simulator.control.wait_for(lambda stats: stats["total"]["in_flight"] == 0)
    assert stats["keys"][NAME_OF[api]]["refusals"] == {"closed": 1}


@pytest.mark.parametrize("api", APIS)
def test_a_hanging_request_holds_its_place(simulator: Simulator, ask: Ask, api: Api, hold: Hold) -> None:
    control = simulator.control
    control.set_key(NAME_OF[api], fault={"hang": 30, "times": 1})
    held = hold(api)
    control.wait_for(lambda stats: stats["total"]["in_flight"] == 1)
    assert ask(api).status == 200
    held.close()
    control.wait_for(lambda stats: stats["total"]["in_flight"] == 0)


def test_a_hanging_request_then_answers_or_fails(ask: Ask, control: ControlClient) -> None:
    control.set_key("general", fault={"hang": 0.05})
    assert ask("general").status == 200
    control.set_key("general", fault={"hang": 0.05, "code": 1305})
    assert ask("general").error["code"] == "1305"
    assert all(record["duration"] >= 0.05 for record in control.requests())


@pytest.mark.parametrize("api", APIS)
def test_an_error_can_repeat_the_key(ask: Ask, control: ControlClient, api: Api) -> None:
    control.set_key(NAME_OF[api], fault={"code": 1000, "echo_key": True})
    assert KEY_OF[api] in ask(api).error["message"]


@pytest.mark.parametrize("status", [500, 502, 503, 529])
@pytest.mark.parametrize("api", APIS)
def test_a_gateway_page_has_no_code(ask: Ask, control: ControlClient, api: Api, status: int) -> None:
    control.set_key(NAME_OF[api], fault={"http_status": status})
    reply = ask(api)
    assert reply.status == status
    assert reply.headers["Content-Type"].startswith("text/html")
    assert control.stats()["keys"][NAME_OF[api]]["refusals"] == {f"http_{status}": 1}


def test_a_quota_codes_reset_time_can_be_set(ask: Ask, control: ControlClient) -> None:
    control.set_key("general", fault={"code": 1308, "reset_in": 0})
    first = ask("general").error["message"]
    control.set_key("general", fault={"code": 1308, "reset_in": 86400})
    assert ask("general").error["message"] != first
