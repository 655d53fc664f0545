"""curl, over every API that has the feature."""

import json
from typing import Any

import pytest
from curl_cases import NAMES
from curl_support import Call, calls, statuses
from host_support import SERVED_MODELS
from sdk_cases import EACH_KEY, EFFORT, NO_MEMORY, NO_ROUTE, NO_TOOLS, NOT_KEPT, ONE_CHOICE, UNKNOWN
from workstation_support import Workstation

HELLO = "simulated answer to: hello"
RAIN = "simulated answer after tool result: rain"
Seen = dict[str, list[Call]]


@pytest.fixture(scope="module")
def seen(workstation: Workstation) -> Seen:
    return calls(workstation)


def choice(answer: Call) -> dict[str, Any]:
    """The one of a chat completion."""
    assert answer.status == 200, answer
    (one,) = answer.json()["choices"]
    return dict(one)


def said(answer: Call) -> str:
    """What a chat completion or a message says at its end."""
    assert answer.status == 200, answer
    body = answer.json()
    return str(body["content"][-1]["text"] if "content" in body else choice(answer)["message"]["content"])


@pytest.mark.cell("curl", "text")
def test_text(seen: Seen) -> None:
    assert [said(answer) for answer in seen["text"]] == [HELLO, HELLO]


@pytest.mark.cell("curl", "stream")
def test_stream(seen: Seen) -> None:
    chat, message = (answer.events() for answer in seen["stream"])
    assert "".join(choice["delta"].get("content") or "" for event in chat for choice in event["choices"]) == HELLO
    assert "".join(event["delta"].get("text", "") for event in message if "delta" in event) == HELLO
    assert seen["stream"][0].body.strip().endswith("data: [DONE]")


def calls_of(answer: Call) -> list[str]:
    """The tools that an answer of either API calls."""
    body = answer.json()
    if "content" in body:
        return [block["name"] for block in body["content"] if block["type"] == "tool_use"]
    return [call["function"]["name"] for call in choice(answer)["message"].get("tool_calls") or ()]


@pytest.mark.cell("curl", "tools")
def test_tools(seen: Seen) -> None:
    message, message_end, chat, chat_end = seen["tools"]
    assert calls_of(message) == calls_of(chat) == ["weather"]
    assert (message.json()["stop_reason"], choice(chat)["finish_reason"]) == ("tool_use", "tool_calls")
    assert said(message_end) == said(chat_end) == RAIN


@pytest.mark.cell("curl", "tool_loop")
def test_several_calls(seen: Seen) -> None:
    assert [calls_of(answer) for answer in seen["tool_loop"]] == 2 * [["weather"], ["weather"], []]
    assert [said(seen["tool_loop"][place]) for place in (2, 5)] == [RAIN, RAIN]


@pytest.mark.cell("curl", "forced_tool")
def test_a_tool_that_must_be_called(seen: Seen) -> None:
    assert [calls_of(answer) for answer in seen["forced_tool"]] == [["weather"], ["weather"]]


@pytest.mark.cell("curl", "json_output")
def test_json_output(seen: Seen) -> None:
    (answer,) = seen["json_output"]
    assert json.loads(said(answer)) == {"simulated": True, "answer_to": "as JSON"}


@pytest.mark.cell(
    "curl",
    "structured_output",
    "differs: over `/v1/chat/completions` Z.AI answers in JSON of any form, over `/v1/messages` in plain words",
)
def test_json_after_a_schema(seen: Seen) -> None:
    chat, message = seen["structured_output"]
    assert json.loads(said(chat)) == {"simulated": True, "answer_to": "as JSON"}
    assert said(message) == "simulated answer to: as JSON"


@pytest.mark.cell("curl", "thinking", EFFORT)
def test_thinking(seen: Seen) -> None:
    message, chat = seen["thinking"]
    assert [block["type"] for block in message.json()["content"]] == ["thinking", "text"]
    assert choice(chat)["message"]["reasoning_content"]


@pytest.mark.cell("curl", "images")
def test_images(seen: Seen) -> None:
    chat, message = seen["images"]
    assert said(chat) == said(message) == "simulated answer to: what is this"
    assert chat.json()["usage"]["prompt_tokens"] > 200
    assert message.json()["usage"]["input_tokens"] > 200


@pytest.mark.cell(
    "curl", "documents", "differs: over `/v1/messages` they work; Z.AI's OpenAI API takes no files and says 400"
)
def test_documents(seen: Seen) -> None:
    message, chat = seen["documents"]
    assert said(message) == "simulated answer to: what is this"
    assert chat.status == 400
    assert "messages.content.type" in chat.json()["error"]["message"]


@pytest.mark.cell("curl", "models")
def test_models(seen: Seen) -> None:
    (answer,) = seen["models"]
    assert sorted(model["id"] for model in answer.json()["data"]) == SERVED_MODELS


@pytest.mark.cell("curl", "names")
def test_names_of_models(seen: Seen) -> None:
    assert [(answer.json()["model"], said(answer)) for answer in seen["names"]] == [(name, HELLO) for name in NAMES]


@pytest.mark.cell("curl", "count_tokens")
def test_count_of_tokens(seen: Seen) -> None:
    (answer,) = seen["count_tokens"]
    assert answer.json()["input_tokens"] > 0


@pytest.mark.cell("curl", "cache", EACH_KEY)
def test_counters_of_the_cache(seen: Seen) -> None:
    """Of as many prompts as there are keys the first is not cached, and a later one is."""
    half = len(seen["cache"]) // 2
    chats = [
        answer.json()["usage"]["prompt_tokens_details"].get("cached_tokens") or 0 for answer in seen["cache"][:half]
    ]
    messages = [answer.json()["usage"] for answer in seen["cache"][half:]]
    assert chats[0] == 0
    assert max(chats) > 0
    assert messages[0]["cache_creation_input_tokens"] > 0
    assert messages[0]["cache_read_input_tokens"] == 0
    assert max(usage["cache_read_input_tokens"] for usage in messages) > 0


@pytest.mark.cell("curl", "long_answer")
def test_a_long_answer(seen: Seen) -> None:
    assert [len(said(answer).split()) for answer in seen["long_answer"]] == [5000, 5000]


@pytest.mark.cell("curl", "limited_answer")
def test_a_limit(seen: Seen) -> None:
    chat, message = seen["limited_answer"]
    assert (choice(chat)["finish_reason"], chat.json()["usage"]["completion_tokens"]) == ("length", 50)
    assert (message.json()["stop_reason"], message.json()["usage"]["output_tokens"]) == ("max_tokens", 50)


@pytest.mark.cell("curl", "new_limit")
def test_the_newer_limit(seen: Seen) -> None:
    (answer,) = seen["new_limit"]
    assert (choice(answer)["finish_reason"], answer.json()["usage"]["completion_tokens"]) == ("length", 50)


@pytest.mark.cell("curl", "fields", ONE_CHOICE)
def test_other_fields(seen: Seen) -> None:
    (answer,) = seen["fields"]
    assert choice(answer).get("logprobs") is None


@pytest.mark.cell("curl", "responses")
def test_responses(seen: Seen) -> None:
    whole, streamed = seen["responses"]
    assert [part["text"] for item in whole.json()["output"] for part in item.get("content", [])][-1] == HELLO
    events = streamed.events()
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert ("".join(deltas), events[-1]["type"]) == (HELLO, "response.completed")


@pytest.mark.cell("curl", "responses_memory", NO_MEMORY)
def test_an_answer_before(seen: Seen) -> None:
    (answer,) = seen["responses_memory"]
    assert answer.status == 400
    assert answer.json()["error"]["code"] == "previous_response_not_kept"


@pytest.mark.cell("curl", "responses_stored", NOT_KEPT)
def test_a_kept_answer(seen: Seen) -> None:
    (answer,) = seen["responses_stored"]
    assert answer.status == 403


@pytest.mark.cell("curl", "beta")
def test_beta_headers(seen: Seen) -> None:
    assert [said(answer) for answer in seen["beta"]] == [HELLO, HELLO]


@pytest.mark.cell("curl", "server_tools", NO_TOOLS)
def test_tools_of_the_provider(seen: Seen) -> None:
    message, response = seen["server_tools"]
    assert [block["type"] for block in message.json()["content"]] == ["text"]
    assert [item["type"] for item in response.json()["output"]] == ["reasoning", "message"]


@pytest.mark.cell("curl", "other_apis", NO_ROUTE)
def test_other_apis(seen: Seen) -> None:
    assert set(statuses(seen["other_apis"])) == {403}
    assert {answer.json()["error"]["code"] for answer in seen["other_apis"]} == {"route_not_open"}


@pytest.mark.cell("curl", "wrong_key")
def test_wrong_key(seen: Seen) -> None:
    assert statuses(seen["wrong_key"]) == [401, 401]
    assert all("Authentication failed" in answer.json()["error"]["message"] for answer in seen["wrong_key"])


@pytest.mark.cell("curl", "unknown_model", UNKNOWN)
def test_unknown_model(seen: Seen) -> None:
    assert statuses(seen["unknown_model"]) == [400, 400]
    assert all("gpt-17" in answer.json()["error"]["message"] for answer in seen["unknown_model"])


@pytest.mark.cell("curl", "bad_request")
def test_a_request_that_is_not_well_formed(seen: Seen) -> None:
    assert statuses(seen["bad_request"]) == [400, 400]
    assert all("messages.role" in answer.json()["error"]["message"] for answer in seen["bad_request"])


@pytest.mark.cell("curl", "interrupted")
def test_interrupted(seen: Seen) -> None:
    """That its slot is free is seen after the last test of this file."""
    _, after = seen["interrupted"]
    assert said(after) == HELLO
