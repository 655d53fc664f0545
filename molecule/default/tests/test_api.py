"""The endpoint as its clients see it."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from host_support import KEY_VALUES, MASTER_KEY, SERVED_MODELS, Proxy, events, hosts_of, simulator_host, wait_until

from zai_simulator.control_client import ControlClient

testinfra_hosts = hosts_of("litellm_proxy")

ASKED_NAMES = ["glm-pool", "glm-5.3", "claude-opus-5-5", "claude-sonnet-4-20250514", "glm-flash", "claude-haiku-5-5"]
MODEL_BEHIND = {"glm-flash": "glm-5.3-flash", "claude-haiku-5-5": "glm-5.3-flash"}


def served_by(pool: ControlClient) -> Counter[str]:
    return Counter({name: seen["requests"] for name, seen in pool.stats()["keys"].items() if seen["requests"]})


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/readiness"])
def test_health_answers_without_a_key(proxy: Proxy, path: str) -> None:
    assert proxy.call(path, headers={}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/metrics", "/model/info"])
def test_needs_a_key(proxy: Proxy, path: str) -> None:
    assert proxy.call(path, headers={}).status_code == 401


@pytest.mark.parametrize("header", [{"Authorization": "Bearer sk-wrong"}, {"x-api-key": "sk-wrong"}, {}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_wrong_key_is_401(proxy: Proxy, path: str, header: dict[str, str]) -> None:
    answer = proxy.call(path, {"model": "glm-pool", "max_tokens": 9, "messages": []}, headers=header)
    assert answer.status_code == 401
    assert "Authentication failed" in answer.json()["error"]["message"]
    assert "sk-wrong" not in answer.text


@pytest.mark.parametrize("header", [{"Authorization": f"Bearer {MASTER_KEY}"}, {"x-api-key": MASTER_KEY}])
def test_both_headers_of_the_clients_are_accepted(proxy: Proxy, header: dict[str, str]) -> None:
    assert proxy.call("/v1/models", headers=header).status_code == 200


def test_models_are_exactly_the_pools_and_their_aliases(proxy: Proxy) -> None:
    assert sorted(entry["id"] for entry in proxy.call("/v1/models").json()["data"]) == SERVED_MODELS


def test_unknown_model_is_refused(proxy: Proxy, pool: ControlClient) -> None:
    answer = proxy.chat(model="gpt-17")
    assert answer.status_code in (400, 404)
    assert "gpt-17" in answer.json()["error"]["message"]
    assert pool.stats()["total"]["requests"] == 0


@pytest.mark.parametrize("model", ASKED_NAMES)
def test_chat_completion_on_every_name(proxy: Proxy, pool: ControlClient, model: str) -> None:
    answer = proxy.chat(f"for {model}", model=model).json()
    assert answer["choices"][0]["message"]["content"] == f"simulated answer to: for {model}"
    assert answer["model"] == model
    (upstream,) = pool.requests()
    assert upstream["path"] == "/api/paas/v4/chat/completions"
    assert upstream["model"] == MODEL_BEHIND.get(model, "glm-5.3")


@pytest.mark.parametrize("model", ASKED_NAMES)
def test_streamed_message_on_every_name(proxy: Proxy, pool: ControlClient, model: str) -> None:
    seen = events(proxy.message(f"for {model}", model=model, stream=True))
    names = [name for name, _ in seen]
    assert names[0] == "message_start"
    assert names[-2:] == ["message_delta", "message_stop"]
    text = "".join(data["delta"].get("text", "") for name, data in seen if name == "content_block_delta")
    assert text == f"simulated answer to: for {model}"
    (upstream,) = pool.requests()
    assert (upstream["path"], upstream["stream"]) == ("/api/anthropic/v1/messages", True)
    assert upstream["model"] == MODEL_BEHIND.get(model, "glm-5.3")


def test_streamed_chat_completion(proxy: Proxy, pool: ControlClient) -> None:
    lines = [raw.decode() for raw in proxy.chat("stream", stream=True).iter_lines()]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    text = "".join(
        choice["delta"].get("content") or "" for chunk in data[:-1] for choice in json.loads(chunk)["choices"]
    )
    assert text == "simulated answer to: stream"


def test_thinking_and_cache_marks_reach_the_upstream_unchanged(proxy: Proxy, pool: ControlClient) -> None:
    system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    answer = proxy.message("think", system=system, thinking=thinking, max_tokens=2000)
    assert [block["type"] for block in answer.json()["content"]] == ["thinking", "text"]
    (upstream,) = pool.requests()
    assert upstream["body"]["system"] == system
    assert upstream["body"]["thinking"] == thinking


def test_forced_tool_choice_works_for_openai_clients(proxy: Proxy, pool: ControlClient) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    choice = {"type": "function", "function": {"name": "look"}}
    answer = proxy.chat("anything", tools=[tool], tool_choice=choice)
    assert answer.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "look"


@pytest.mark.parametrize("model", ["glm-pool", "claude-sonnet-4-20250514"])
def test_tokens_are_counted_by_the_upstream(proxy: Proxy, pool: ControlClient, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "count me"}]}
    assert proxy.call("/v1/messages/count_tokens", body).json()["input_tokens"] > 0
    assert [seen["path"] for seen in pool.requests()] == ["/api/anthropic/v1/messages/count_tokens"]


def test_responses_api(proxy: Proxy, pool: ControlClient) -> None:
    answer = proxy.call("/v1/responses", {"model": "glm-pool", "input": "respond"})
    assert answer.status_code == 200
    assert "simulated answer to: respond" in answer.text


def test_thirty_requests_are_ten_for_each_key(proxy: Proxy, pool: ControlClient) -> None:
    for turn in range(30):
        ask = (proxy.chat, proxy.message)[turn % 2]
        assert ask(model=ASKED_NAMES[turn % 4]).status_code == 200
    assert served_by(pool) == Counter(dict.fromkeys(KEY_VALUES, 10))


def test_thirty_parallel_requests_are_ten_for_each_key(proxy: Proxy, pool: ControlClient) -> None:
    with ThreadPoolExecutor(10) as clients:
        answers = list(clients.map(lambda _: proxy.chat(), range(30)))
    assert [answer.status_code for answer in answers] == [200] * 30
    assert served_by(pool) == Counter(dict.fromkeys(KEY_VALUES, 10))


@pytest.mark.parametrize("api", ["chat", "message"])
def test_a_revoked_key_is_not_noticed_by_clients(proxy: Proxy, pool: ControlClient, api: str) -> None:
    pool.set_key("key-b", revoked=True)
    try:
        answers = [getattr(proxy, api)() for _ in range(12)]
        refused = pool.stats()["keys"]["key-b"]
    finally:
        pool.set_key("key-b", revoked=False)
    assert [answer.status_code for answer in answers] == [200] * 12
    assert refused["answers"] == 0
    assert refused["requests"] == 1
    assert "event=out key=key-b" in proxy.journal()


def test_a_request_meets_each_key_once_before_it_fails(proxy: Proxy, pool: ControlClient) -> None:
    for name in ("key-a", "key-b"):
        pool.set_key(name, fault={"http_status": 502})
    assert proxy.chat().status_code == 200
    assert all(count <= 1 for count in served_by(pool).values())


def test_all_keys_refused_gives_the_upstreams_reason(proxy: Proxy, pool: ControlClient) -> None:
    for name in KEY_VALUES:
        pool.set_key(name, fault={"code": 1305})
    answer = proxy.chat()
    assert answer.status_code == 429
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("api", ["chat", "message"])
def test_unreachable_upstream_gives_a_clear_error(proxy: Proxy, pool: ControlClient, api: str) -> None:
    simulator = simulator_host()
    simulator.check_output("systemctl stop zai-simulator")
    try:
        answer = getattr(proxy, api)()
    finally:
        simulator.check_output("systemctl start zai-simulator")
        wait_until(lambda: simulator.socket("tcp://0.0.0.0:8080").is_listening)
    assert answer.status_code in (500, 502, 503)
    assert "connect" in answer.json()["error"]["message"].lower()


def test_a_request_fault_returns_at_once(proxy: Proxy, pool: ControlClient) -> None:
    for name in KEY_VALUES:
        pool.set_key(name, fault={"code": 1210})
    assert proxy.chat().status_code == 400
    assert pool.stats()["total"]["requests"] == 1
