"""An upstream that repeats the key: no client and no log gets it. Nor does the log get a prompt."""

from __future__ import annotations

import json

import pytest

from tests.pool.pool_client import APIS, Answer, Api
from tests.pool.pool_server import Rig

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
ECHOES: dict[str, dict[str, object]] = {
    "request": {"code": "1210"},
    "request as 200": {"code": "1214", "as_200": True},
    "account": {"code": "1000"},
    "transient": {"code": "1302"},
    "quota": {"code": "1308"},
    "unknown 4xx": {"code": "9999", "status": 418, "message": "no"},
    "unknown 5xx": {"code": "9998", "status": 500, "message": "no"},
    "gateway page": {"http_status": 502},
    "gateway page 4xx": {"http_status": 404},
    "as 200": {"code": "1113", "as_200": True},
    "mid-stream": {"code": "1305", "mid_stream": True},
}


def assert_no_key(rig: Rig, answer: Answer) -> None:
    told = answer.raw + json.dumps(dict(answer.headers)).encode()
    for key in rig.keys:
        assert key.value.encode() not in told
        # nor either half of it
        assert key.value.split(".")[1].encode() not in told
    rig.assert_no_secret_in_log()


@pytest.mark.parametrize("echo", ECHOES)
@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_echoed_key_is_masked_where_every_key_fails(rig: Rig, api: Api, stream: bool, echo: str) -> None:
    rig.fault(**ECHOES[echo], echo_key=True)
    answer = rig.client.ask(api, stream=stream)
    assert_no_key(rig, answer)
    if echo == "mid-stream" and stream:
        assert b"error" in answer.raw


@pytest.mark.parametrize("echo", ["account", "quota", "gateway page"])
@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_echoed_key_is_masked_where_another_key_answers(rig: Rig, api: Api, stream: bool, echo: str) -> None:
    rig.control.set_key("two", fault={**ECHOES[echo], "echo_key": True})
    for _ in range(3):
        answer = rig.client.ask(api, stream=stream)
        assert answer.status == 200, answer
        assert_no_key(rig, answer)
    status = rig.client.call("/pool/status")
    assert_no_key(rig, status)
    assert_no_key(rig, rig.client.call("/metrics"))


def test_echoed_key_in_a_token_count_is_masked(rig: Rig) -> None:
    rig.fault(code="1210", echo_key=True)
    body = {"model": "glm-pool", "messages": [{"role": "user", "content": "hello there"}]}
    assert_no_key(rig, rig.client.call("/v1/messages/count_tokens", body))


@STREAMED
def test_echoed_key_in_the_responses_api_is_masked(rig: Rig, stream: bool) -> None:
    rig.fault(code="1210", echo_key=True)
    answer = rig.client.call("/v1/responses", {"model": "glm-pool", "input": "hello there", "stream": stream})
    assert answer.status == 400, answer
    assert_no_key(rig, answer)


@pytest.mark.parametrize("api", APIS)
def test_model_echoing_a_key_is_masked_too(rig: Rig, api: Api) -> None:
    """A key value in an answer's text, as when somebody pasted it into the prompt, is an upstream's word as well."""
    for stream in (False, True):
        assert rig.client.ask(api, stream=stream, text="nothing secret").status == 200
    rig.assert_no_secret_in_log()


@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_log_has_no_prompt(rig: Rig, api: Api, stream: bool) -> None:
    mark = rig.server.log_mark()
    assert rig.client.ask(api, stream=stream, text="peculiar-prompt-words").status == 200
    rig.control.set_key("one", fault={"code": "1302"})
    rig.control.set_key("two", fault={"code": "1210"})
    rig.control.set_key("three", fault={"http_status": 502})
    rig.client.ask(api, stream=stream, text="peculiar-prompt-words")
    rig.fault(code="1210")
    rig.client.ask(api, stream=stream, text="peculiar-prompt-words")
    log = rig.server.log_since(mark)
    assert not [line for line in log if "peculiar-prompt-words" in line]


def test_status_and_models_name_no_key_value(rig: Rig) -> None:
    for path in ("/pool/status", "/metrics", "/v1/models", "/model/info", "/v1/model/info"):
        assert_no_key(rig, rig.client.call(path))
