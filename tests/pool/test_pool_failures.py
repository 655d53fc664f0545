"""Upstreams that break: before the first content another key answers, after it the client is told properly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pool.pool_client import APIS, Answer, Api, Open
from tests.pool.pool_server import Rig

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
BROKEN: dict[str, dict[str, object]] = {
    "500": {"http_status": 500},
    "502": {"http_status": 502},
    "503": {"http_status": 503},
    "529": {"http_status": 529},
    "closed": {"stage": "close"},
}


@pytest.mark.parametrize("broken", BROKEN)
@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_another_key_answers(rig: Rig, api: Api, stream: bool, broken: str) -> None:
    rig.control.set_key("one", fault=BROKEN[broken])
    answers = [rig.client.ask(api, stream=stream) for _ in range(3)]
    assert [answer.text for answer in answers] == ["simulated answer to: hello there"] * 3
    assert {answer.key for answer in answers} == {"two", "three"}
    # one second of rest at first; it may be over, and a probe have failed, before three answers are there
    assert 1 <= rig.stats_of("one")["requests"] <= 2
    assert rig.status().model("one")["state"] in ("cooling", "probing")


@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_another_key_answers_when_one_hangs(tight: Rig, api: Api, stream: bool) -> None:
    """request_timeout is 2 s here."""
    tight.control.set_key("lone", fault={"hang": 20})
    while not tight.stats_of("lone")["requests"]:  # keys that earlier tests used less come first
        answer = tight.client.ask(api, stream=stream)
        assert answer.text == "simulated answer to: hello there"
        assert answer.key in ("left", "right")
    assert 1.9 < answer.took < 6
    assert tight.stats_of("lone")["requests"] == 1
    assert tight.status().model("lone")["state"] in ("cooling", "probing")
    assert tight.control.stats()["total"]["in_flight"] == 0


@STREAMED
def test_a_slow_stream_is_no_hang(tight: Rig, stream: bool) -> None:
    """The timeout is one of silence, not of the whole answer."""
    tight.accounts(latency=1, token_interval=0.4, chunks=6)
    answer = tight.client.ask("anthropic", stream=stream)
    assert answer.status == 200, answer
    assert tight.control.stats()["total"]["requests"] == 1
    assert tight.status().resting == []


def assert_ends_with_error(api: Api, answer: Answer) -> None:
    """A stream that was content and then one error of the client's API."""
    assert answer.status == 200
    assert not answer.cut
    events = [event for event in answer.events if event[1] != "[DONE]"]
    name, last = events[-1]
    if api == "anthropic":
        assert [other for other, _ in events].count("content_block_delta") == 2
        assert name == last["type"] == "error"
        assert last["error"]["type"].endswith("_error")
    else:
        assert sum(bool(data.get("choices")) for _, data in events) >= 2
        assert {"message", "type", "param", "code"} <= set(last["error"])
    assert last["error"]["message"]
    assert sum("error" in data for _, data in events) == 1


@pytest.mark.parametrize("fault", [{"code": "1305"}, {"stage": "close"}], ids=["error-event", "closed"])
@pytest.mark.parametrize("api", APIS)
def test_broken_stream_ends_with_an_error_event(rig: Rig, api: Api, fault: dict[str, object]) -> None:
    rig.fault(**fault, mid_stream=True)
    answer = rig.client.ask(api, stream=True, text="answer with 30 words")
    assert_ends_with_error(api, answer)
    assert rig.control.stats()["total"]["requests"] == 1
    rig.wait_idle(1)


@pytest.mark.parametrize("api", APIS)
def test_silent_stream_ends_with_an_error_event(tight: Rig, api: Api, hold: Callable[..., Open]) -> None:
    """request_timeout is 2 s here."""
    tight.accounts(token_interval=30, chunks=20)
    request = hold(tight, api, stream=True, text="answer with 30 words")
    request.first_content()
    answer = request.finish()
    assert answer.took < 10
    assert b"error" in answer.raw.splitlines()[-2] or b"error" in answer.raw.splitlines()[-4], answer
    tight.control.reset()
    tight.wait_idle(1)


def assert_pool_error(api: Api, answer: Answer, status: int) -> None:
    """The pool's own error, in exactly the form of the client's API."""
    assert answer.status == status, answer
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.body
    if api == "anthropic":
        assert set(body) <= {"type", "error", "request_id"}
        assert body["type"] == "error"
        assert set(body["error"]) == {"type", "code", "message"}
        assert body["error"]["type"] == {429: "rate_limit_error", 529: "overloaded_error"}.get(status, "api_error")
    else:
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
    message = body["error"]["message"]
    assert message
    assert "Traceback" not in message
    assert "litellm" not in message.lower(), message
    assert "glm-pool.invalid" not in message


@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_all_keys_parked(rig: Rig, api: Api, stream: bool) -> None:
    for key, reset_in in (("one", 600), ("two", 1800), ("three", 1200)):
        rig.control.set_key(key, fault={"code": "1308", "reset_in": reset_in})
    for _ in range(2):  # the first tries all of them, the second none
        answer = rig.client.ask(api, stream=stream)
        assert_pool_error(api, answer, 429)
        assert answer.retry_after is not None
        assert 570 <= answer.retry_after <= 602
        assert answer.took < 10
        assert [rig.stats_of(key)["requests"] for key in rig.active] == [1, 1, 1]


@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_all_keys_out(rig: Rig, api: Api, stream: bool) -> None:
    rig.fault(code="1113")
    for _ in range(2):
        answer = rig.client.ask(api, stream=stream)
        assert_pool_error(api, answer, 503)
        assert answer.retry_after is None
        assert [rig.stats_of(key)["requests"] for key in rig.active] == [1, 1, 1]


@pytest.mark.parametrize("broken", [*BROKEN, "1302", "1305"])
@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_all_keys_broken_for_now(rig: Rig, api: Api, stream: bool, broken: str) -> None:
    rig.fault(**BROKEN.get(broken) or {"code": broken})
    answer = rig.client.ask(api, stream=stream)
    # limits are the pool's to report; a broken upstream is reported as it is
    assert_pool_error(api, answer, {"1302": 429, "1305": 429, "closed": 502}.get(broken) or int(broken))
    assert answer.retry_after is not None
    longest = {"1302": 6, "1305": 31}.get(broken, 2)
    assert 1 <= answer.retry_after <= longest
    assert [rig.stats_of(key)["requests"] for key in rig.active] == [1, 1, 1]
    rig.wait_idle(1)


def test_a_request_waits_for_keys_that_return_soon(rig: Rig) -> None:
    """No error that a wait could have spared: all keys rest for 5 s, the queue's time is 60 s."""
    for key in rig.active:
        rig.control.set_key(key, fault={"code": "1302", "times": 1})
    assert rig.client.ask("openai").status == 429
    answer = rig.client.ask("openai")
    assert answer.status == 200, answer
    assert 3 < answer.took < 15
