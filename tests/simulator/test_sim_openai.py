"""The OpenAI-style endpoints as a client sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sim_client import CODING_KEY, GENERAL_KEY, Api, Reply, call

from zai_simulator.models import MODELS
from zai_simulator.testing import Simulator

Ask = Callable[..., Reply]
OPENAI: tuple[Api, ...] = ("general", "coding")

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 2},
                "unit": {"enum": ["C", "F"]},
                "note": {"type": "string"},
            },
            "required": ["city", "days", "unit"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("api", OPENAI)
def test_an_answer_quotes_its_own_request_and_counts_tokens(ask: Ask, api: Api) -> None:
    reply = ask(api)
    assert reply.status == 200
    assert reply.body["object"] == "chat.completion"
    assert reply.body["model"] == "glm-4.6"
    assert reply.body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "simulated answer to: hello there"},
            "finish_reason": "stop",
        }
    ]
    assert reply.body["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 6,
        "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


@pytest.mark.parametrize("api", OPENAI)
def test_a_stream_has_role_text_finish_with_usage_and_done_in_order(ask: Ask, api: Api) -> None:
    reply = ask(api, stream=True, stream_options={"include_usage": True})
    assert reply.headers["Content-Type"] == "text/event-stream"
    events = [data for _, data in reply.events]
    assert events[-1] == "[DONE]"
    chunks = events[:-1]
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    texts = [delta["content"] for delta in deltas[1:-1]]
    assert texts == ["simulated", " answer", " to:", " hello", " there"]
    assert [chunk["choices"][0].get("finish_reason") for chunk in chunks] == [None] * 6 + ["stop"]
    assert ["usage" in chunk for chunk in chunks] == [False] * 6 + [True]
    assert chunks[-1]["usage"]["total_tokens"] == 11


def test_a_repeated_prompt_is_read_from_the_cache_of_its_key(ask: Ask) -> None:
    assert ask("general").body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert ask("general").body["usage"]["prompt_tokens_details"]["cached_tokens"] == 5
    assert ask("coding").body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_max_tokens_cuts_the_answer(ask: Ask) -> None:
    choice = ask("general", max_tokens=3, messages=user("answer with 50 words")).body["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == "simulated answer"
    chunks = [data for _, data in ask("general", max_tokens=3, stream=True).events][:-1]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 3


def test_a_long_answer_has_as_many_words_as_asked_for(ask: Ask) -> None:
    message = ask("general", messages=user("please answer with 300 words")).body["choices"][0]["message"]
    assert len(message["content"].split()) == 300
    assert message["content"].startswith("simulated answer to: please answer with 300 words word9 ")


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("use a tool", "weather", {"city": "simulated", "days": 2, "unit": "C"}),
        ("please call tool clock now", "clock", {}),
        ('call tool weather with {"city": "Bonn"} now', "weather", {"city": "Bonn", "days": 2, "unit": "C"}),
    ],
)
def test_a_tool_is_called_when_the_message_asks(ask: Ask, text: str, name: str, arguments: dict[str, object]) -> None:
    choice = ask("general", messages=user(text), tools=[WEATHER, CLOCK]).body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (tool_call,) = choice["message"]["tool_calls"]
    assert tool_call["type"] == "function"
    assert tool_call["function"]["name"] == name
    assert json.loads(tool_call["function"]["arguments"]) == arguments


@pytest.mark.parametrize("tool_stream", [False, True])
def test_a_streamed_tool_call_adds_up_to_valid_arguments(ask: Ask, tool_stream: bool) -> None:
    reply = ask("general", messages=user("use a tool"), tools=[WEATHER], stream=True, tool_stream=tool_stream)
    chunks = [data for _, data in reply.events][:-1]
    parts = [c for chunk in chunks for c in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert (len(parts) > 1) is tool_stream
    assert parts[0]["function"]["name"] == "weather"
    assert parts[0]["id"]
    arguments = json.loads("".join(part["function"]["arguments"] for part in parts))
    assert arguments == {"city": "simulated", "days": 2, "unit": "C"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_tool_result_is_quoted(ask: Ask) -> None:
    asked = ask("general", messages=user("use a tool"), tools=[CLOCK]).body["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": asked["tool_calls"][0]["id"], "content": "it is noon"}
    messages = [*user("use a tool"), asked, result]
    choice = ask("general", messages=messages, tools=[CLOCK]).body["choices"][0]
    assert choice["message"]["content"] == "simulated answer after tool result: it is noon"
    assert choice["finish_reason"] == "stop"


def test_several_calls_come_one_after_the_other(ask: Ask) -> None:
    messages = user('call tool clock, then call tool weather with {"city": "Bonn"}')
    called = []
    for _ in range(2):
        said = ask("general", messages=messages, tools=[WEATHER, CLOCK]).body["choices"][0]["message"]
        (call,) = said["tool_calls"]
        called.append(call["function"]["name"])
        messages += [said, {"role": "tool", "tool_call_id": call["id"], "content": f"of {called[-1]}"}]
    assert called == ["clock", "weather"]
    last = ask("general", messages=messages, tools=[WEATHER, CLOCK]).body["choices"][0]["message"]
    assert last["content"] == "simulated answer after tool result: of weather"


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled"}}, True),
        ({"model": "glm-5.3"}, True),
    ],
)
def test_reasoning_is_shown_when_asked_for_or_always_on(ask: Ask, changes: dict[str, object], reasons: bool) -> None:
    body = ask("general", **changes).body
    message = body["choices"][0]["message"]
    assert ("reasoning_content" in message) is reasons
    assert (body["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0) is reasons
    deltas = [d["choices"][0]["delta"] for _, d in ask("general", stream=True, **changes).events[:-1]]
    streamed = "".join(delta.get("reasoning_content", "") for delta in deltas)
    assert streamed == message.get("reasoning_content", "")


def test_json_mode_gives_json(ask: Ask) -> None:
    message = ask("general", response_format={"type": "json_object"}).body["choices"][0]["message"]
    assert json.loads(message["content"])["answer_to"] == "hello there"


def test_images_are_taken_and_counted(ask: Ask) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content = [image, {"type": "text", "text": "what is this"}]
    body = ask("general", messages=[{"role": "user", "content": content}], model="glm-4.6v").body
    assert body["choices"][0]["message"]["content"] == "simulated answer to: what is this"
    assert body["usage"]["prompt_tokens"] == 3 + 256 + 3


@pytest.mark.parametrize("model", [model.name for model in MODELS])
def test_every_model_of_the_table_answers_under_its_own_name(ask: Ask, model: str) -> None:
    assert ask("general", model=model).body["model"] == model


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "gpt-4o"}, "1211"),
        ({"model": "glm-4.6[1m]"}, "1211"),
        ({"model": None}, "1214"),
        ({"messages": None}, "1214"),
        ({"messages": []}, "1214"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "1214"),
        ({"max_tokens": 0}, "1214"),
        ({"stream": "yes"}, "1214"),
        ({"tool_choice": "required"}, "1210"),
        ({"tool_choice": "none"}, "1210"),
        ({"tool_choice": {"type": "function", "function": {"name": "clock"}}}, "1210"),
        ({"thinking": {"type": "maybe"}}, "1214"),
    ],
)
@pytest.mark.parametrize("api", OPENAI)
def test_a_bad_request_is_refused_with_a_code(ask: Ask, api: Api, changes: dict[str, object], code: str) -> None:
    reply = ask(api, **changes)
    assert reply.status == 400
    assert set(reply.body) == {"error"}
    assert reply.error["code"] == code
    assert reply.error["message"]


def test_tool_choice_auto_is_taken(ask: Ask) -> None:
    assert ask("general", tool_choice="auto", tools=[CLOCK]).status == 200


@pytest.mark.parametrize("raw", [b"{not json", b"[]"])
def test_a_body_that_is_no_json_object_is_refused(simulator: Simulator, raw: bytes) -> None:
    url = simulator.url + "/api/paas/v4/chat/completions"
    reply = call(url, {"Authorization": f"Bearer {GENERAL_KEY}"}, raw)
    assert (reply.status, reply.error["code"]) == (400, "1210")


@pytest.mark.parametrize(("path", "key"), [("paas", GENERAL_KEY), ("coding/paas", CODING_KEY)])
def test_models_are_listed(simulator: Simulator, path: str, key: str) -> None:
    reply = call(f"{simulator.url}/api/{path}/v4/models", {"Authorization": f"Bearer {key}"})
    assert reply.body["object"] == "list"
    assert [model["id"] for model in reply.body["data"]] == [model.name for model in MODELS]
    assert call(f"{simulator.url}/api/{path}/v4/models").error["code"] == "1001"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/paas/v4/responses", 404),
        ("GET", "/", 404),
        ("GET", "/api/paas/v4/chat/completions", 405),
    ],
)
def test_a_wrong_path_is_answered_in_the_apis_style(simulator: Simulator, method: str, path: str, status: int) -> None:
    reply = call(simulator.url + path, body=b"{}" if method == "POST" else None, method=method)
    assert reply.status == status
    assert reply.error["code"] == str(status)
    assert path in reply.error["message"]
