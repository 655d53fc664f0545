"""Every code of Z.AI, on each of its three paths, streamed and not: what the client, the key and the log see."""

from __future__ import annotations

import pytest

from tests.pool.pool_client import APIS, MODEL, Answer, Api, seconds_until
from tests.pool.pool_server import Rig
from zai_simulator.errors import ERROR_CODES

HOUR = 3600
TRANSIENT = {"1302": 5, "1303": 5, "1305": 30}
QUOTA_FALLBACK = {
    "1308": 5 * HOUR, "1310": 24 * HOUR, "1316": 24 * HOUR, "1317": 5 * HOUR,
    "1318": 24 * HOUR, "1319": 24 * HOUR, "1320": 5 * HOUR, "1321": 24 * HOUR,
}  # fmt: skip
OUT_FOR_THE_KEY = ["1000", "1001", "1002", "1003", "1004", "1005", "1113", "1309", "1313", "1314", "1315"]
OUT_FOR_THE_MODEL = ["1220", "1311"]
REQUEST = ["1210", "1211", "1214", "1301"]

PATHS = pytest.mark.parametrize(
    ("api", "bad"),
    [("openai", "one"), ("openai", "two"), ("anthropic", "one")],
    ids=["chat-general", "chat-coding", "messages"],
)
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


def meet(rig: Rig, bad: str, api: Api, stream: bool) -> list[str]:
    """Ask until strict turns have met the bad key and would meet it again; return the log of it."""
    mark = rig.server.log_mark()
    for _ in range(2 * len(rig.active) - 1):
        answer = rig.client.ask(api, stream=stream)
        assert answer.status == 200, answer
        assert answer.text == "simulated answer to: hello there"
        assert answer.key in set(rig.active) - {bad}
    assert rig.stats_of(bad)["requests"] == 1
    assert rig.stats_of(bad)["answers"] == 0
    return rig.server.log_since(mark)


def naming(lines: list[str], *words: str) -> list[str]:
    return [line for line in lines if all(word in line for word in words)]


def assert_told(lines: list[str], bad: str, code: str, errors: int) -> None:
    """One line says which key was refused with which code; an ERROR line wakes an operator, exactly once."""
    assert naming(lines, f"key={bad}", code), lines
    assert len(naming(lines, f"key={bad}", code, "ERROR")) == errors, lines
    assert len(naming(lines, "ERROR")) == errors, lines


def test_the_cases_are_all_there_are() -> None:
    cases = [*TRANSIENT, *QUOTA_FALLBACK, *OUT_FOR_THE_KEY, *OUT_FOR_THE_MODEL, *REQUEST]
    assert sorted(cases) == sorted(entry.code for entry in ERROR_CODES)


@pytest.mark.parametrize("code", TRANSIENT)
@STREAMED
@PATHS
def test_transient_code_cools_key_and_model(rig: Rig, api: Api, bad: str, stream: bool, code: str) -> None:
    rig.control.set_key(bad, fault={"code": code})
    lines = meet(rig, bad, api, stream)
    status = rig.status()
    shown = status.model(bad)
    assert shown["state"] == "cooling"
    assert code in shown["reason"]
    assert TRANSIENT[code] - 5 < seconds_until(shown) < TRANSIENT[code] + 1
    assert status.model(bad, "glm-5.3-flash")["state"] == "active"
    assert_told(lines, bad, code, errors=0)


@pytest.mark.parametrize("code", QUOTA_FALLBACK)
@STREAMED
@PATHS
def test_quota_code_parks_until_the_stated_time(rig: Rig, api: Api, bad: str, stream: bool, code: str) -> None:
    rig.control.set_key(bad, fault={"code": code, "reset_in": 2 * HOUR})
    lines = meet(rig, bad, api, stream)
    status = rig.status()
    shown = status.key(bad)
    assert shown["state"] == "parked"
    assert code in shown["reason"]
    assert 2 * HOUR - 20 < seconds_until(shown) < 2 * HOUR + 5
    assert {model["state"] for model in shown["models"].values()} == {"parked"}
    assert_told(lines, bad, code, errors=0)


@pytest.mark.parametrize("code", QUOTA_FALLBACK)
def test_quota_code_without_a_time_parks_for_its_window(rig: Rig, code: str) -> None:
    rig.control.set_key("one", fault={"code": code, "message": "Limit exhausted, no time stated"})
    meet(rig, "one", "openai", stream=False)
    shown = rig.status().key("one")
    assert shown["state"] == "parked"
    assert QUOTA_FALLBACK[code] - 20 < seconds_until(shown) < QUOTA_FALLBACK[code] + 5


@pytest.mark.parametrize("code", OUT_FOR_THE_KEY)
@STREAMED
@PATHS
def test_account_code_takes_the_key_out(rig: Rig, api: Api, bad: str, stream: bool, code: str) -> None:
    rig.control.set_key(bad, fault={"code": code})
    lines = meet(rig, bad, api, stream)
    shown = rig.status().key(bad)
    assert shown["state"] == "out"
    assert shown["until"] is None
    assert code in shown["reason"]
    assert {model["state"] for model in shown["models"].values()} == {"out"}
    assert_told(lines, bad, code, errors=1)


@pytest.mark.parametrize("code", OUT_FOR_THE_MODEL)
@STREAMED
@PATHS
def test_missing_entitlement_takes_the_model_out(rig: Rig, api: Api, bad: str, stream: bool, code: str) -> None:
    rig.control.set_key(bad, fault={"code": code})
    lines = meet(rig, bad, api, stream)
    status = rig.status()
    assert status.model(bad)["state"] == "out"
    assert code in status.model(bad)["reason"]
    assert status.model(bad, "glm-5.3-flash")["state"] == "active"
    assert_told(lines, bad, code, errors=1)


def test_the_other_model_of_a_key_goes_on(rig: Rig) -> None:
    rig.control.set_key("one", fault={"code": "1302", "times": 1})
    meet(rig, "one", "openai", stream=False)
    assert {rig.client.ask("openai", model="flash").key for _ in range(3)} == {"one", "two", "three"}


@pytest.mark.parametrize("model", ["glm-alias", "claude-anything", "claude-opus-5-5"])
@pytest.mark.parametrize("api", APIS)
def test_aliases_and_wildcards_use_the_pool_and_cool_alike(rig: Rig, api: Api, model: str) -> None:
    rig.control.set_key("two", fault={"code": "1113"})
    answers = [rig.client.ask(api, model=model) for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 6
    assert {answer.key for answer in answers} == {"one", "three"}
    assert rig.stats_of("two")["requests"] == 1
    assert rig.status().key("two")["state"] == "out"


@pytest.mark.parametrize("code", REQUEST)
@STREAMED
@PATHS
def test_request_fault_goes_back_at_once(rig: Rig, api: Api, bad: str, stream: bool, code: str) -> None:
    rig.fault(code=code)
    answer = rig.client.ask(api, stream=stream)
    assert answer.status == 400
    assert_error(api, answer)
    assert str(answer.error["code"]) == code
    assert rig.control.stats()["total"]["requests"] == 1
    assert rig.status().resting == []


@pytest.mark.parametrize("status", [400, 404, 413, 422])
@pytest.mark.parametrize("api", APIS)
def test_unknown_code_with_a_client_status_goes_back_at_once(rig: Rig, api: Api, status: int) -> None:
    rig.fault(code="9999", status=status, message="not as it should be")
    answer = rig.client.ask(api)
    assert answer.status == status
    assert_error(api, answer)
    assert "not as it should be" in answer.error["message"]
    assert rig.control.stats()["total"]["requests"] == 1
    assert rig.status().resting == []


def assert_error(api: Api, answer: Answer) -> None:
    """The body is one error of the client's own API."""
    if api == "anthropic":
        assert answer.body["type"] == "error"
        assert {"type", "message"} <= set(answer.error)
    else:
        assert {"message", "type", "param", "code"} <= set(answer.error)
    assert answer.error["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("code", ["1302", "1308", "1113"])
def test_error_body_with_status_200_counts_as_its_code(rig: Rig, code: str, api: Api, stream: bool) -> None:
    rig.control.set_key("one", fault={"code": code, "as_200": True})
    meet(rig, "one", api, stream)
    assert rig.status().model("one", MODEL)["state"] == {"1302": "cooling", "1308": "parked", "1113": "out"}[code]


def test_refusals_are_counted_by_code(rig: Rig) -> None:
    def counted(code: str) -> int:
        return int(rig.status().key("one")["refusals"].get(code, 0))

    before = counted("1302"), counted("1113"), int(rig.status().key("two")["answers"])
    rig.control.set_key("one", fault={"code": "1113"})
    meet(rig, "one", "openai", stream=False)
    after = counted("1302"), counted("1113"), int(rig.status().key("two")["answers"])
    assert (after[0] - before[0], after[1] - before[1]) == (0, 1)
    assert after[2] - before[2] == rig.stats_of("two")["answers"]
