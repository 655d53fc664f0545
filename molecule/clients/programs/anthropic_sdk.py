"""The `anthropic` package in Python; its URL and token come from the environment, as for Claude Code."""

import inspect
import json
import time
from collections.abc import Callable
from typing import Any

from anthropic import Anthropic
from run_features import attempt, run

# so that nothing is hidden by a second try
client = Anthropic(max_retries=0, timeout=60)
MODEL = "glm-pool"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER: Any = {
    "name": "weather",
    "description": "Weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


PARAMETERS = inspect.signature(client.messages.create).parameters.keys()
"""What the SDK lets its user ask for."""


def ask(text: Any, **more: Any) -> Any:
    return client.messages.create(
        **{"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": text}], **more}
    )


def text() -> Any:
    answer = ask("hello")
    return [answer.content[0].text, answer.stop_reason, answer.model]


def stream() -> Any:
    with client.messages.stream(
        model=MODEL, max_tokens=500, messages=[{"role": "user", "content": "hello"}]
    ) as streamed:
        texts = list(streamed.text_stream)
        last = streamed.get_final_message()
    return ["".join(texts), len(texts) > 1, last.usage.output_tokens > 0]


def tools() -> Any:
    asked: Any = {"role": "user", "content": 'call tool weather with {"city": "Bonn"}'}
    first = ask("", messages=[asked], tools=[WEATHER])
    (call,) = [block for block in first.content if block.type == "tool_use"]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]}
    last = ask("", messages=[asked, {"role": "assistant", "content": first.content}, result], tools=[WEATHER])
    return [first.stop_reason, call.name, call.input, last.content[-1].text]


def tool_loop() -> Any:
    """Asks again with each result until there is an answer."""
    asked = 'call tool weather with {"city": "Bonn"}, then call tool weather with {"city": "Ulm"}'
    messages: Any = [{"role": "user", "content": asked}]
    cities = []
    while (answer := ask("", messages=messages, tools=[WEATHER])).stop_reason == "tool_use":
        calls = [block for block in answer.content if block.type == "tool_use"]
        cities += [call.input["city"] for call in calls]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"} for call in calls]
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    return [cities, answer.content[-1].text]


def forced_tool() -> Any:
    answer = ask("anything", tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"})
    return [answer.stop_reason, [block.name for block in answer.content if block.type == "tool_use"]]


def json_output() -> Any:
    return "response_format" in PARAMETERS


def new_limit() -> Any:
    return "max_completion_tokens" in PARAMETERS


def fields() -> Any:
    return sorted({"n", "seed", "logprobs", "logit_bias", "frequency_penalty", "user"} & PARAMETERS)


def responses() -> Any:
    return hasattr(client, "responses")


def responses_memory() -> Any:
    return "previous_response_id" in PARAMETERS


def responses_stored() -> Any:
    return hasattr(client.messages, "retrieve")


def names() -> Any:
    """Who says that it answers to each name, and what."""
    asked = ("glm-flash", "glm-5.3", "claude-sonnet-4-20250514", "claude-opus-5-5")
    answers = {name: ask("hello", model=name) for name in asked}
    return [[name, answer.model, answer.content[-1].text] for name, answer in answers.items()]


def structured_output() -> Any:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    answer = ask("as JSON", output_config={"format": {"type": "json_schema", "schema": schema}})
    return json.loads(answer.content[-1].text)


def thinking() -> Any:
    answer = ask("think", max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 1024})
    thought = answer.content[0]
    again = ask(
        "",
        max_tokens=4000,
        thinking={"type": "adaptive"},
        messages=[
            {"role": "user", "content": "think"},
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": "go on"},
        ],
    )
    return [thought.type, bool(thought.thinking), bool(thought.signature), again.content[-1].text]


def images() -> Any:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    answer = ask([image, {"type": "text", "text": "what is this"}])
    return [answer.content[0].text, answer.usage.input_tokens > 200]


def documents() -> Any:
    source = {"type": "text", "media_type": "text/plain", "data": "a page"}
    return ask([{"type": "document", "source": source}, {"type": "text", "text": "read"}]).content[0].text


def models() -> Any:
    return sorted(model.id for model in client.models.list())


def count_tokens() -> Any:
    counted = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "count me, please"}])
    return counted.input_tokens > 3


def cache() -> Any:
    """Whether the first prompt is written to the cache and not read, and a later one read and not written."""
    text = f"rules of the house at {time.time()} " * 20
    system = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
    usages = [ask("hello", system=system).usage for _ in range(8)]
    first, last = usages[0], max(usages, key=lambda usage: usage.cache_read_input_tokens)
    return [
        [first.cache_creation_input_tokens > 0, first.cache_read_input_tokens == 0],
        [last.cache_creation_input_tokens == 0, last.cache_read_input_tokens > 0],
    ]


def long_answer() -> Any:
    with client.messages.stream(
        model=MODEL, max_tokens=32000, messages=[{"role": "user", "content": "answer with 5000 words"}]
    ) as streamed:
        last = streamed.get_final_message()
    return [len(last.content[0].text.split()), last.stop_reason]


def limited_answer() -> Any:
    answer = ask("answer with 900 words", max_tokens=50)
    return [answer.stop_reason, answer.usage.output_tokens]


def beta() -> Any:
    answer = client.beta.messages.create(
        model=MODEL,
        max_tokens=500,
        messages=[{"role": "user", "content": "hello"}],
        betas=["context-1m-2025-08-07"],
    )
    return answer.content[0].text


def server_tools() -> Any:
    """A tool that Anthropic's own servers run."""
    answer = ask("search", tools=[{"type": "web_search_20250305", "name": "web_search"}])
    return [block.type for block in answer.content]


def other_apis() -> Any:
    """The errors that they end with."""
    calls: dict[str, Callable[[], Any]] = {
        "batches": lambda: client.messages.batches.list(),
        "files": lambda: client.beta.files.list(),
    }
    seen = {name: attempt(call) for name, call in calls.items()}
    return [{name: found["error"] if isinstance(found, dict) else "answered" for name, found in seen.items()}]


def interrupted() -> Any:
    """Leaves a stream of many seconds after its first words, and asks again."""
    messages: Any = [{"role": "user", "content": "answer with 20000 words"}]
    with client.messages.stream(model=MODEL, max_tokens=100000, messages=messages) as streamed:
        first = next(iter(streamed))
    return [first.type, text()[0]]


def wrong_key() -> Any:
    wrong = client.with_options(auth_token="sk-wrong")
    return wrong.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "x"}]).id


def unknown_model() -> Any:
    return ask("x", model="gpt-17").id


def bad_request() -> Any:
    return ask("x", messages=[{"role": "nobody", "content": "x"}]).id


FEATURES = [
    text, stream, tools, tool_loop, forced_tool, json_output, structured_output, thinking, images, documents, models,
    names, count_tokens, cache, long_answer, limited_answer, new_limit, fields, responses, responses_memory,
    responses_stored, beta, server_tools, other_apis, wrong_key, unknown_model, bad_request, interrupted,
]  # fmt: skip

if __name__ == "__main__":
    run({feature.__name__: feature for feature in FEATURES})
