"""What clients send: nothing in a request reaches past the pool, and every endpoint of theirs works through it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.pool.pool_client import APIS, PATHS, Api, Open
from tests.pool.pool_server import Rig

Hold = Callable[..., Open]

BAD_KEY = "sk-ant-not-a-key-of-this-pool"
HARMFUL: dict[str, Any] = {
    "api_key": BAD_KEY,
    "extra_headers": {"Authorization": f"Bearer {BAD_KEY}", "x-api-key": BAD_KEY, "x-injected": "yes"},
    "headers": {"Authorization": f"Bearer {BAD_KEY}", "x-api-key": BAD_KEY, "x-injected": "yes"},
    "default_headers": {"Authorization": f"Bearer {BAD_KEY}", "x-injected": "yes"},
    "api_base": "http://127.0.0.1:1",
    "base_url": "http://127.0.0.1:1",
    "timeout": 0.001,
    "request_timeout": 0.001,
    "stream_timeout": 0.001,
    "num_retries": 9,
    "max_retries": 9,
    "mock_response": "made up",
    "mock_timeout": True,
    "mock_tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    "mock_testing_fallbacks": True,
    "mock_testing_rate_limit_error": True,
    "extra_body": {"api_key": BAD_KEY, "injected": True, "model": "glm-9"},
    "extra_query": {"injected": "yes"},
    "fallbacks": ["second", "no-such-pool"],
    "context_window_fallbacks": [{"glm-pool": ["second"]}],
    "disable_fallbacks": True,
    "custom_llm_provider": "openai",
    "model_list": [{"model_name": "glm-pool", "litellm_params": {"model": "openai/x", "api_key": BAD_KEY}}],
    "deployment_id": "nowhere",
    "specific_deployment": True,
    "organization": "org-1",
    "api_version": "2020-01-01",
    "azure_ad_token": "token",
    "workspace_id": "w",
    "user_api_key_auth_metadata": {"a": 1},
    "litellm_credential_name": "none",
    "ssl_verify": False,
    "cooldown_time": 9999,
    "rpm": 1,
    "tpm": 1,
    "max_parallel_requests": 1,
    "allowed_openai_params": ["api_key"],
    "input_cost_per_token": 9,
    "no-log": True,
    "client": "mine",
    "proxy_server_request": {"url": "http://127.0.0.1:1/v1/messages", "headers": {}, "body": {}},
    "litellm_params": {"api_key": BAD_KEY, "api_base": "http://127.0.0.1:1"},
    "litellm_call_id": "mine",
    "litellm_metadata": {"model_group": "second", "tags": ["x"], "api_base": "http://127.0.0.1:1"},
    "metadata": {"api_base": "http://127.0.0.1:1", "model_group": "second", "deployment": "x"},
    "litellm_logging_obj": "mine",
    "aws_region_name": "nowhere",
    "vertex_project": "nowhere",
}


def assert_untouched(rig: Rig, requests: int) -> None:
    """Upstream saw good requests of its own keys and nothing of the client's; no key rests."""
    stats = rig.control.stats()
    assert stats["unauthenticated"] == {}
    assert stats["total"]["answers"] == stats["total"]["requests"] == requests
    for record in rig.control.requests():
        assert "x-injected" not in record["headers"]
        assert BAD_KEY not in json.dumps(record["headers"])
        assert "injected" not in json.dumps(record["body"])
        assert record["model"] == "glm-5.3"
    assert rig.status().resting == []


@pytest.mark.parametrize("field", HARMFUL)
@pytest.mark.parametrize("api", APIS)
def test_field_of_the_body_does_no_harm(rig: Rig, api: Api, field: str) -> None:
    for stream in (False, True):
        answer = rig.client.ask(api, stream=stream, fields={field: HARMFUL[field]})
        assert answer.status == 200, answer
        assert answer.text == "simulated answer to: hello there"
        assert answer.key in rig.active
    assert_untouched(rig, 2)


@pytest.mark.parametrize("api", APIS)
def test_user_config_is_not_followed(rig: Rig, api: Api) -> None:
    deployment = {"model_name": "glm-pool", "litellm_params": {"model": "openai/x", "api_base": "http://127.0.0.1:1"}}
    answer = rig.client.ask(api, fields={"user_config": {"model_list": [deployment]}})
    assert answer.status == 200, answer
    assert answer.text == "simulated answer to: hello there"
    assert_untouched(rig, 1)


@pytest.mark.parametrize("name", [r"\u0061pi_key", r"api\u005fkey", r"api_ke\u0079"])
@pytest.mark.parametrize("api", APIS)
def test_escaped_field_name_is_the_same_field(rig: Rig, api: Api, name: str) -> None:
    body = json.dumps({"model": "glm-pool", "max_tokens": 99, "messages": [{"role": "user", "content": "hello there"}]})
    raw = f'{{"{name}": "{BAD_KEY}", {body[1:]}'.encode()
    answer = rig.client.send_raw(api, PATHS[api], raw).finish()
    assert answer.status == 200, answer
    assert_untouched(rig, 1)


HEADERS = {
    "x-litellm-timeout": "0.001",
    "x-litellm-stream-timeout": "0.001",
    "x-litellm-num-retries": "9",
    "x-litellm-tags": "one,two",
    "x-litellm-model-id": "nowhere",
    "x-injected": "yes",
    "x-pass-x-injected": "yes",
    "x-litellm-enable-message-redaction": "true",
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("api", APIS)
def test_header_does_no_harm(rig: Rig, api: Api, header: str) -> None:
    answer = rig.client.ask(api, headers={header: HEADERS[header]})
    assert answer.status == 200, answer
    assert_untouched(rig, 1)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null", b'{"model": "glm-pool"}', b'{"model": 7}'])
@pytest.mark.parametrize("api", APIS)
def test_body_that_is_none_is_an_error_of_the_client(rig: Rig, api: Api, body: bytes) -> None:
    answer = rig.client.send_raw(api, PATHS[api], body).finish()
    assert 400 <= answer.status <= 500
    assert rig.control.stats()["total"]["answers"] == 0
    assert rig.status().resting == []


def test_large_body_passes(rig: Rig) -> None:
    answer = rig.client.ask("anthropic", text="word " * 400_000 + "answer with 3 words")
    assert answer.status == 200, answer.status
    assert rig.status().resting == []


@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
@pytest.mark.parametrize("api", APIS)
def test_both_ways_to_send_the_proxys_key(rig: Rig, api: Api, header: str) -> None:
    master_key = rig.server.secrets[0]
    headers = {"Authorization": f"Bearer {master_key}"} if header == "Authorization" else {}
    if header == "x-api-key":
        headers = {"Authorization": "", "x-api-key": master_key}
    assert rig.client.ask(api, headers=headers).status == 200


@pytest.mark.parametrize("api", APIS)
def test_wrong_key_of_the_proxy(rig: Rig, api: Api) -> None:
    answer = rig.client.ask(api, headers={"Authorization": f"Bearer {BAD_KEY}"})
    assert answer.status == 401, answer
    assert BAD_KEY.encode() not in answer.raw
    assert rig.control.stats()["total"]["requests"] == 0


def test_unknown_model_is_an_error_of_the_client(rig: Rig) -> None:
    for api in APIS:
        answer = rig.client.ask(api, model="gpt-nothing")
        assert 400 <= answer.status < 500
        assert "error" in answer.body
    assert rig.control.stats()["total"]["requests"] == 0
    assert rig.status().resting == []


@pytest.mark.parametrize("model", ["glm-pool", "glm-alias", "claude-opus-5-5"])
def test_count_tokens_takes_no_slot(rig: Rig, hold: Hold, model: str) -> None:
    rig.fault(hang=50, times=2)
    for _ in range(6):
        hold(rig, "openai")
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 6)
    body = {"model": model, "messages": [{"role": "user", "content": "hello there"}]}
    answer = rig.client.call("/v1/messages/count_tokens", body)
    assert answer.status == 200, answer
    assert answer.body["input_tokens"] > 0
    status = rig.status()
    assert (status.in_flight, status.waiting) == (6, 0)


def test_count_tokens_of_a_bad_key_harms_nobody(rig: Rig) -> None:
    """A count that one key refuses is answered by another, or estimated."""
    rig.control.set_key("one", fault={"code": "1113"})
    body = {"model": "glm-pool", "messages": [{"role": "user", "content": "hello there"}]}
    for _ in range(4):
        answer = rig.client.call("/v1/messages/count_tokens", body)
        assert answer.status == 200, answer
        assert answer.body["input_tokens"] > 0
    rig.wait_idle(1)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_responses_api(rig: Rig, stream: bool) -> None:
    rig.control.set_key("one", fault={"code": "1113"})
    for _ in range(3):
        answer = rig.client.call("/v1/responses", {"model": "glm-pool", "input": "hello there", "stream": stream})
        assert answer.status == 200, answer
        assert answer.key in ("two", "three")
        assert b"simulated answer to: hello there" in answer.raw or stream
        if stream:
            events = [data for _, data in answer.events if data != "[DONE]"]
            texts = [data["delta"] for data in events if data.get("type") == "response.output_text.delta"]
            assert "".join(texts) == "simulated answer to: hello there"
    assert rig.stats_of("one")["requests"] == 1
    rig.wait_idle(1)


def test_models_are_listed(rig: Rig) -> None:
    models = {entry["id"] for entry in rig.client.call("/v1/models").body["data"]}
    assert {"glm-pool", "glm-alias", "second", "flash"} <= models


def test_tool_calls_pass_on_both_apis(rig: Rig) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    chat = rig.client.ask(
        "openai",
        text="use a tool",
        fields={"tools": [{"type": "function", "function": {"name": "weather", "parameters": schema}}]},
    )
    assert chat.body["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "weather"
    messages = rig.client.ask(
        "anthropic", text="use a tool", fields={"tools": [{"name": "weather", "input_schema": schema}]}
    )
    assert messages.body["content"][-1]["name"] == "weather"


def test_forced_tool_choice_of_openai_clients_is_served(rig: Rig) -> None:
    """Z.AI's OpenAI API takes none but auto; its Anthropic API does."""
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    chosen = {"type": "function", "function": {"name": "weather"}}
    answer = rig.client.ask("openai", fields={"tools": [tool], "tool_choice": chosen})
    assert answer.status == 200, answer
    assert answer.body["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "weather"
    assert answer.key in rig.active


def test_anthropic_bodies_pass_unchanged(rig: Rig) -> None:
    """Thinking, cache marks and the betas of Claude Code reach the upstream."""
    system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    answer = rig.client.ask(
        "anthropic",
        fields={"system": system, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        headers={"anthropic-beta": "interleaved-thinking-2025-05-14", "anthropic-version": "2023-06-01"},
    )
    assert answer.status == 200, answer
    record = rig.control.requests()[-1]
    assert record["path"] == "/api/anthropic/v1/messages"
    assert record["body"]["system"] == system
    assert record["body"]["thinking"]["type"] == "enabled"
    assert "interleaved-thinking-2025-05-14" in {k.lower(): v for k, v in record["headers"].items()}["anthropic-beta"]


UUID = "3f2b8c1e-5a4d-4e6f-9b7a-{:012d}"


def session(form: str, number: int) -> dict[str, Any]:
    """What makes a request one of a session, in one of the forms that clients use."""
    uuid = UUID.format(number)
    if form == "x-session-id":
        return {"headers": {"x-session-id": f"session {number}"}}
    if form == "user_id":
        user = f"user_{'ab' * 32}_account_{UUID.format(0)}_session_{uuid}"
    else:
        user = json.dumps({"device_id": "ab" * 32, "account_uuid": UUID.format(0), "session_id": uuid})
    return {"fields": {"metadata": {"user_id": user}}}


@pytest.mark.parametrize("form", ["user_id", "user_id as JSON", "x-session-id"])
def test_session_stays_on_one_key_while_it_has_a_slot(tight: Rig, hold: Hold, form: str) -> None:
    keys: dict[int, set[str | None]] = {}
    for number in [1, 2, 3, 4, 5, 6] * 3:
        answer = tight.client.ask("anthropic", stream=number % 2 == 0, **session(form, number))
        assert answer.status == 200, answer
        keys.setdefault(number, set()).add(answer.key)
    assert all(len(used) == 1 for used in keys.values()), keys
    assert len(set().union(*keys.values())) > 1, "the sessions spread over the keys"
    # its key has no slot left: the session goes elsewhere rather than wait
    (home,) = keys[1]
    account = next(key.account for key in tight.keys if key.name == home)
    tight.accounts(token_interval=0.5, chunks=60)
    busy: list[Open] = []
    while tight.status().key(str(home))["in_flight"] < 1 or len(busy) < (2 if account == "shared" else 1):
        busy.append(hold(tight, "anthropic", stream=True, text="answer with 60 words", **session(form, 1)))
        busy[-1].first_content()
    tight.accounts(token_interval=0, chunks=4)
    away = tight.client.ask("anthropic", **session(form, 1))
    assert away.status == 200, away
    assert next(key.account for key in tight.keys if key.name == away.key) != account


@pytest.mark.parametrize("api", APIS)
def test_x_session_id_works_for_both_apis(tight: Rig, api: Api) -> None:
    keys = {tight.client.ask(api, **session("x-session-id", 7)).key for _ in range(6)}
    assert len(keys) == 1


def test_without_affinity_sessions_take_turns(rig: Rig) -> None:
    keys = {rig.client.ask("anthropic", **session("user_id", 1)).key for _ in range(3)}
    assert keys == {"one", "two", "three"}
