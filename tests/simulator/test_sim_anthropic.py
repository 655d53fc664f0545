"""The Anthropic endpoint as a client sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sim_client import CODING_KEY, GENERAL_KEY, Reply, call, request_for

from zai_simulator.models import MODELS
from zai_simulator.testing import Simulator

Ask = Callable[..., Reply]

READ = {
    "name": "Read",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "lines": {"type": "array"}},
        "required": ["path", "lines"],
    },
}
BASH = {"name": "Bash", "input_schema": {"type": "object", "properties": {}}}


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def names(reply: Reply) -> list[str | None]:
    return [name for name, _ in reply.events]


def test_an_answer_quotes_its_own_request_and_counts_tokens(ask: Ask) -> None:
    body = ask("anthropic").body
    assert body.pop("id").startswith("msg_")
    assert body == {
        "type": "message",
        "role": "assistant",
        "model": "glm-4.6",
        "content": [{"type": "text", "text": "simulated answer to: hello there"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 6,
        },
    }


@pytest.mark.parametrize("key", [GENERAL_KEY, CODING_KEY])
@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
def test_both_plans_and_both_headers_are_taken(simulator: Simulator, key: str, header: str) -> None:
    path, _, body = request_for("anthropic")
    value = f"Bearer {key}" if header == "Authorization" else key
    assert call(f"{simulator.url}{path}?beta=true", {header: value}, body).status == 200


def test_a_text_stream_has_exactly_anthropics_events(ask: Ask) -> None:
    reply = ask("anthropic", stream=True)
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert names(reply) == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 5,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    data = [data for _, data in reply.events]
    assert [item["type"] for item in data] == names(reply)
    assert data[0]["message"]["content"] == []
    assert data[0]["message"]["usage"]["input_tokens"] == 5
    assert data[1] == {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    assert [item["delta"] for item in data[3:8]] == [
        {"type": "text_delta", "text": text} for text in ("simulated", " answer", " to:", " hello", " there")
    ]
    assert data[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert data[-2]["usage"]["output_tokens"] == 6
    assert data[-1] == {"type": "message_stop"}


@pytest.mark.parametrize("kind", ["enabled", "adaptive"])
def test_thinking_comes_first_and_is_signed(ask: Ask, kind: str) -> None:
    thinking = {"type": kind, "budget_tokens": 1024} if kind == "enabled" else {"type": kind}
    first, second = ask("anthropic", thinking=thinking).body["content"]
    assert (first["type"], second["type"]) == ("thinking", "text")
    assert first["signature"]
    reply = ask("anthropic", thinking=thinking, stream=True)
    deltas = [d["delta"] for _, d in reply.events if d["type"] == "content_block_delta" and d["index"] == 0]
    assert {delta["type"] for delta in deltas[:-1]} == {"thinking_delta"}
    assert "".join(delta["thinking"] for delta in deltas[:-1]) == first["thinking"]
    assert deltas[-1] == {"type": "signature_delta", "signature": first["signature"]}
    starts = [d["content_block"] for _, d in reply.events if d["type"] == "content_block_start"]
    assert starts == [{"type": "thinking", "thinking": "", "signature": ""}, {"type": "text", "text": ""}]


def test_thinking_can_be_sent_back(ask: Ask) -> None:
    content = ask("anthropic", thinking={"type": "adaptive"}).body["content"]
    messages = [*user("hello"), {"role": "assistant", "content": content}, *user("and then")]
    assert ask("anthropic", messages=messages).body["content"][0]["text"] == "simulated answer to: and then"


@pytest.mark.parametrize(
    ("text", "choice", "name"),
    [
        ("use a tool", None, "Read"),
        ("call tool Bash", None, "Bash"),
        ("call tool Bash", {"type": "auto"}, "Bash"),
        ("hello", {"type": "any"}, "Read"),
        ("hello", {"type": "tool", "name": "Bash"}, "Bash"),
    ],
)
def test_a_tool_is_used_when_asked_or_forced(ask: Ask, text: str, choice: dict[str, str] | None, name: str) -> None:
    body = ask("anthropic", messages=user(text), tools=[READ, BASH], tool_choice=choice).body
    assert body["stop_reason"] == "tool_use"
    (block,) = body["content"]
    assert (block["type"], block["name"]) == ("tool_use", name)
    assert block["id"].startswith("toolu_")
    assert block["input"] == ({"path": "simulated", "lines": []} if name == "Read" else {})


def test_arguments_in_the_message_reach_the_tool(ask: Ask) -> None:
    text = 'call tool Bash with {"command": "echo {hi}"} please'
    (block,) = ask("anthropic", messages=user(text), tools=[BASH]).body["content"]
    assert block["input"] == {"command": "echo {hi}"}


def test_a_streamed_tool_use_adds_up_to_valid_input(ask: Ask) -> None:
    reply = ask("anthropic", messages=user("use a tool"), tools=[READ], stream=True)
    data = [data for _, data in reply.events]
    assert data[1]["content_block"]["input"] == {}
    deltas = [item["delta"] for item in data if item["type"] == "content_block_delta"]
    assert {delta["type"] for delta in deltas} == {"input_json_delta"}
    assert json.loads("".join(d["partial_json"] for d in deltas)) == {"path": "simulated", "lines": []}
    assert data[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize("content", ["it is noon", [{"type": "text", "text": "it is noon"}]])
def test_a_tool_result_is_quoted(ask: Ask, content: object) -> None:
    used = ask("anthropic", messages=user("use a tool"), tools=[BASH]).body["content"]
    result = {"type": "tool_result", "tool_use_id": used[0]["id"], "content": content}
    messages = [
        *user("use a tool"),
        {"role": "assistant", "content": used},
        {"role": "user", "content": [result]},
    ]
    body = ask("anthropic", messages=messages, tools=[BASH]).body
    assert body["content"] == [{"type": "text", "text": "simulated answer after tool result: it is noon"}]
    assert body["stop_reason"] == "end_turn"


def test_several_calls_come_one_after_the_other(ask: Ask) -> None:
    """The reminder that a client adds to a result begins no new turn."""
    messages = user('call tool Bash with {"command": "one"}, then call tool Read with {"path": "two"}')
    used = []
    for reminder in ([], [{"type": "text", "text": "<system-reminder>x</system-reminder>"}]):
        (block,) = ask("anthropic", messages=messages, tools=[READ, BASH]).body["content"]
        used.append((block["name"], block["input"]))
        result = {"type": "tool_result", "tool_use_id": block["id"], "content": block["name"]}
        messages += [{"role": "assistant", "content": [block]}, {"role": "user", "content": [result, *reminder]}]
    assert used == [("Bash", {"command": "one"}), ("Read", {"path": "two", "lines": []})]
    (last,) = ask("anthropic", messages=messages, tools=[READ, BASH]).body["content"]
    assert last["text"] == "simulated answer after tool result: Read"


@pytest.mark.parametrize("system", ["be brief", [{"type": "text", "text": "be brief"}]])
def test_system_is_taken_as_text_and_as_list(ask: Ask, system: object) -> None:
    assert ask("anthropic", system=system).body["usage"]["input_tokens"] == 7


def test_a_system_message_and_reminders_do_not_hide_what_the_user_wrote(ask: Ask) -> None:
    content = [
        {"type": "text", "text": "real question"},
        {"type": "text", "text": "<system-reminder>x</system-reminder>"},
    ]
    messages = [{"role": "user", "content": content}, {"role": "system", "content": "note"}]
    assert ask("anthropic", messages=messages).body["content"][0]["text"] == "simulated answer to: real question"


def test_cache_control_is_written_once_then_read_for_each_key(ask: Ask) -> None:
    system = [{"type": "text", "text": "long rules", "cache_control": {"type": "ephemeral"}}]

    def usage(key: str | None = None, text: str = "one") -> list[int]:
        found = ask("anthropic", key, system=system, messages=user(text)).body["usage"]
        return [found[f"{name}input_tokens"] for name in ("", "cache_creation_", "cache_read_")]

    assert usage() == [4, 2, 0]
    assert usage(text="two") == [4, 0, 2]
    assert usage(CODING_KEY) == [4, 2, 0]


def test_images_are_taken(ask: Ask) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    content = [image, {"type": "text", "text": "what is this"}]
    body = ask("anthropic", messages=[{"role": "user", "content": content}]).body
    assert body["content"][0]["text"] == "simulated answer to: what is this"
    assert body["usage"]["input_tokens"] == 3 + 256 + 3


def test_max_tokens_cuts_the_answer(ask: Ask) -> None:
    body = ask("anthropic", max_tokens=3).body
    assert (body["stop_reason"], body["content"][0]["text"]) == ("max_tokens", "simulated answer")
    events = ask("anthropic", max_tokens=3, stream=True).events
    assert events[-2][1]["delta"]["stop_reason"] == "max_tokens"
    assert events[-2][1]["usage"]["output_tokens"] == 3


def test_tokens_are_counted_as_an_answer_would_report_them(simulator: Simulator, ask: Ask) -> None:
    path, headers, body = request_for("anthropic", system="be brief", tools=[READ], max_tokens=None)
    reply = call(f"{simulator.url}{path}/count_tokens?beta=true", headers, body)
    answered = ask("anthropic", system="be brief", tools=[READ]).body["usage"]["input_tokens"]
    assert reply.body == {"input_tokens": answered}
    assert call(f"{simulator.url}{path}/count_tokens", headers, {**body, "model": "x"}).error["code"] == "1211"


def test_models_are_listed(simulator: Simulator) -> None:
    reply = call(f"{simulator.url}/api/anthropic/v1/models", {"x-api-key": GENERAL_KEY})
    assert [model["id"] for model in reply.body["data"]] == [model.name for model in MODELS]
    assert reply.body["has_more"] is False


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "claude-sonnet-5-5"}, "1211"),
        ({"model": "glm-5.3[1m]"}, "1211"),
        ({"max_tokens": None}, "1214"),
        ({"messages": []}, "1214"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "1214"),
        ({"thinking": {"type": "maybe"}}, "1214"),
        ({"tools": [READ], "tool_choice": {"type": "tool", "name": "nosuch"}}, "1214"),
        ({"tool_choice": {"type": "any"}}, "1214"),
        ({"tools": [{"name": "bare"}]}, "1214"),
    ],
)
def test_a_bad_request_is_refused_in_anthropics_envelope(ask: Ask, changes: dict[str, object], code: str) -> None:
    reply = ask("anthropic", **changes)
    assert reply.status == 400
    assert set(reply.body) == {"type", "error", "request_id"}
    assert reply.body["type"] == "error"
    assert reply.error["type"] == "invalid_request_error"
    assert reply.error["code"] == code


def test_a_wrong_path_is_not_found(simulator: Simulator) -> None:
    reply = call(f"{simulator.url}/api/anthropic/v1/complete", body={})
    assert reply.status == 404
    assert reply.body["type"] == "error"
    assert reply.error["type"] == "not_found_error"
