"""What curl asks for: the calls of each feature, over every API that has it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clients_support import PIXEL

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
BEARER, API_KEY = "Authorization: Bearer KEY", "x-api-key: KEY"
"""KEY stands for the client's own."""
NAMES = ("glm-pool", "glm-flash", "glm-5.3", "claude-sonnet-4-20250514", "claude-opus-5-5")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "input_schema": PARAMETERS}
FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
TWICE = 'call tool weather with {"city": "Bonn"}, then call tool weather with {"city": "Ulm"}'


@dataclass(frozen=True)
class Request:
    """One call.

    Attributes:
        path: below the proxy's URL.
        body: as JSON; GET where there is none.
        header: with the key.
        second: another header, if any.
        seconds: after which curl breaks it off.
    """

    path: str
    body: Mapping[str, Any] | None = None
    header: str = BEARER
    second: str = ""
    seconds: int = 60


def user(content: Any) -> dict[str, Any]:
    """A message."""
    return {"role": "user", "content": content}


def chat(*messages: Any, **more: Any) -> Request:
    """OpenAI's API; texts are messages of the user."""
    turns = [user(one) if isinstance(one, str) else one for one in messages]
    return Request(CHAT, {"model": "glm-pool", "messages": turns, **more})


def message(*messages: Any, **more: Any) -> Request:
    """Anthropic's API."""
    turns = [user(one) if isinstance(one, str) else one for one in messages]
    return Request(MESSAGES, {"model": "glm-pool", "max_tokens": 500, "messages": turns, **more}, API_KEY)


def responses(given: Any, **more: Any) -> Request:
    """OpenAI's newer API."""
    return Request(RESPONSES, {"model": "glm-pool", "input": given, **more})


def chat_turn(number: int) -> list[dict[str, Any]]:
    """A call of the tool, and its result."""
    called = {"id": f"call-{number}", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": f"call-{number}", "content": "rain"},
    ]


def message_turn(number: int) -> list[dict[str, Any]]:
    """The same in Anthropic's form."""
    called = {"type": "tool_use", "id": f"call-{number}", "name": "weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": f"call-{number}", "content": "rain"}
    return [{"role": "assistant", "content": [called]}, user([result])]


def cached(number: int) -> list[Request]:
    """The same long prompt, more often than there are keys; `number` tells one run from the next."""
    prompt = f"the same prompt, {number}, of some length, " * 20
    system = [{"type": "text", "text": prompt, "cache_control": {"type": "ephemeral"}}]
    return [*[chat(prompt) for _ in range(8)], *[message("hello", system=system) for _ in range(8)]]


IMAGE_URL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
WHAT = {"type": "text", "text": "what is this"}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a page"}}
FILE = {"type": "file", "file": {"filename": "page.txt", "file_data": "data:text/plain;base64,YSBwYWdl"}}
LONG, LONGER = "answer with 5000 words", "answer with 20000 words"
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}
MANY = {"n": 2, "seed": 1, "frequency_penalty": 0.5, "logit_bias": {}, "logprobs": True, "user": "me"}
WEB_SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def requests() -> dict[str, list[Request]]:
    """The calls by feature, in the order in which they are made."""
    return {
        "text": [chat("hello"), message("hello")],
        "stream": [chat("hello", stream=True), message("hello", stream=True)],
        "tools": [
            message("call tool weather", tools=[WEATHER]),
            message("call tool weather", *message_turn(1), tools=[WEATHER]),
            chat("call tool weather", tools=[FUNCTION]),
            chat("call tool weather", *chat_turn(1), tools=[FUNCTION]),
        ],
        "tool_loop": [
            chat(TWICE, tools=[FUNCTION]),
            chat(TWICE, *chat_turn(1), tools=[FUNCTION]),
            chat(TWICE, *chat_turn(1), *chat_turn(2), tools=[FUNCTION]),
            message(TWICE, tools=[WEATHER]),
            message(TWICE, *message_turn(1), tools=[WEATHER]),
            message(TWICE, *message_turn(1), *message_turn(2), tools=[WEATHER]),
        ],
        "forced_tool": [
            chat("anything", tools=[FUNCTION], tool_choice={"type": "function", "function": {"name": "weather"}}),
            message("anything", tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"}),
        ],
        "json_output": [chat("as JSON", response_format={"type": "json_object"})],
        "structured_output": [
            chat("as JSON", response_format=JSON_SCHEMA),
            message("as JSON", output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
        ],
        "thinking": [
            message("think", max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 1024}),
            chat("think", reasoning_effort="high"),
        ],
        "images": [chat(user([WHAT, IMAGE_URL])), message(user([IMAGE, WHAT]))],
        "documents": [message(user([DOCUMENT, WHAT])), chat(user([FILE, WHAT]))],
        "models": [Request("/v1/models")],
        "names": [chat("hello", model=name) for name in NAMES],
        "count_tokens": [Request("/v1/messages/count_tokens", {"model": "glm-pool", "messages": [user("count")]})],
        "cache": cached(time.time_ns()),
        "long_answer": [chat(LONG), message(LONG, max_tokens=32000)],
        "limited_answer": [chat("answer with 900 words", max_tokens=50), message(LONG, max_tokens=50)],
        "new_limit": [chat("answer with 900 words", max_completion_tokens=50)],
        "fields": [chat("hello", **MANY)],
        "responses": [responses("hello"), responses("hello", stream=True)],
        "responses_memory": [responses("hello", previous_response_id="resp_1")],
        "responses_stored": [Request(f"{RESPONSES}/resp_1")],
        "beta": [
            Request(MESSAGES, message("hello").body, API_KEY, "anthropic-beta: context-1m-2025-08-07"),
            Request(CHAT, chat("hello").body, BEARER, "OpenAI-Beta: assistants=v2"),
        ],
        "server_tools": [message("search", tools=[WEB_SEARCH]), responses("search", tools=[{"type": "web_search"}])],
        "other_apis": [
            Request("/v1/embeddings", {"model": "glm-pool", "input": "x"}),
            Request("/v1/files"),
            Request("/v1/batches"),
            Request("/v1/audio/speech", {"model": "glm-pool", "input": "x", "voice": "alloy"}),
            Request("/v1/images/generations", {"model": "glm-pool", "prompt": "x"}),
            Request("/v1/moderations", {"input": "x"}),
        ],
        "wrong_key": [
            Request(CHAT, chat("x").body, "Authorization: Bearer sk-wrong"),
            Request(MESSAGES, message("x").body, "x-api-key: sk-wrong"),
        ],
        "unknown_model": [chat("x", model="gpt-17"), message("x", model="gpt-17")],
        "bad_request": [chat({"role": "nobody", "content": "x"}), message({"role": "nobody", "content": "x"})],
        "interrupted": [Request(CHAT, chat(LONGER, stream=True).body, seconds=1), chat("hello")],
    }
