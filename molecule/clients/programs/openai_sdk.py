"""The `openai` package in Python; its URL and key come from the environment, as its documentation has it."""

import json
import time
from collections.abc import Callable
from typing import Any

from openai import OpenAI
from pydantic import BaseModel
from run_features import attempt, run

# so that nothing is hidden by a second try
client = OpenAI(max_retries=0, timeout=60)
MODEL = "glm-pool"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class City(BaseModel):
    """What structured output is parsed into."""

    simulated: bool
    answer_to: str


def ask(text: str, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **more)


def text() -> Any:
    answer = ask("hello")
    return [answer.choices[0].message.content, answer.choices[0].finish_reason, answer.model]


def stream() -> Any:
    chunks = list(ask("hello", stream=True, stream_options={"include_usage": True}))
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    usage = [chunk.usage for chunk in chunks if chunk.usage]
    return ["".join(texts), len([text for text in texts if text]) > 1, usage[-1].completion_tokens > 0]


def tools() -> Any:
    asked: Any = {"role": "user", "content": 'call tool weather with {"city": "Bonn"}'}
    first = client.chat.completions.create(model=MODEL, messages=[asked], tools=[WEATHER]).choices[0]
    (call,) = first.message.tool_calls or []
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    messages: Any = [asked, first.message, result]
    last = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER]).choices[0]
    return [first.finish_reason, call.function.name, json.loads(call.function.arguments), last.message.content]


def tool_loop() -> Any:
    """Asks again with each result until there is an answer."""
    asked = 'call tool weather with {"city": "Bonn"}, then call tool weather with {"city": "Ulm"}'
    messages: Any = [{"role": "user", "content": asked}]
    cities = []
    while calls := (answer := converse(messages)).tool_calls:
        messages.append(answer)
        for call in calls:
            cities.append(json.loads(call.function.arguments)["city"])
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "rain"})
    return [cities, answer.content]


def converse(messages: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER]).choices[0].message


def forced_tool() -> Any:
    choice = {"type": "function", "function": {"name": "weather"}}
    answer = ask("anything", tools=[WEATHER], tool_choice=choice).choices[0]
    return [answer.finish_reason, [call.function.name for call in answer.message.tool_calls or []]]


def json_output() -> Any:
    return json.loads(ask("as JSON", response_format={"type": "json_object"}).choices[0].message.content)


def structured_output() -> Any:
    answer = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "as JSON"}], response_format=City
    )
    parsed = answer.choices[0].message.parsed
    return parsed.model_dump() if parsed else answer.choices[0].message.content


def thinking() -> Any:
    answer = ask("think", reasoning_effort="high").choices[0].message
    flash = client.chat.completions.create(
        model="glm-flash",
        messages=[{"role": "user", "content": "think"}],
        extra_body={"thinking": {"type": "enabled"}},
    )
    return [bool(getattr(one, "reasoning_content", None)) for one in (answer, flash.choices[0].message)]


def images() -> Any:
    content: Any = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert answer.usage
    return [answer.choices[0].message.content, answer.usage.prompt_tokens > 200]


def documents() -> Any:
    file = {"type": "file", "file": {"filename": "page.txt", "file_data": "data:text/plain;base64,YSBwYWdl"}}
    content: Any = [file, {"type": "text", "text": "read"}]
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    return answer.choices[0].message.content


def models() -> Any:
    return sorted(model.id for model in client.models.list())


def names() -> Any:
    """Who says that it answers to each name, and what."""
    answers = {
        name: client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hello"}])
        for name in ("glm-flash", "glm-5.3", "claude-sonnet-4-20250514", "claude-opus-5-5")
    }
    return [[name, answer.model, answer.choices[0].message.content] for name, answer in answers.items()]


def count_tokens() -> Any:
    return client.responses.input_tokens.count(model=MODEL, input="count me, please").input_tokens


def beta() -> Any:
    return ask("hello", extra_headers={"OpenAI-Beta": "assistants=v2"}).choices[0].message.content


def server_tools() -> Any:
    """A tool that OpenAI's own servers run."""
    answer = client.responses.create(model=MODEL, input="search", tools=[{"type": "web_search"}])
    return [item.type for item in answer.output]


def cache() -> Any:
    """Whether the first time nothing is read from the cache, and some is when as many have asked as there are keys."""
    prompt = f"the same prompt at {time.time()}, of some length, " * 20
    counted = [ask(prompt).usage.prompt_tokens_details.cached_tokens for _ in range(8)]
    return [counted[0] == 0, max(counted) > 0]


def long_answer() -> Any:
    """Without a limit of its own."""
    answer = ask("answer with 5000 words").choices[0]
    return [len(answer.message.content.split()), answer.finish_reason]


def limited_answer() -> Any:
    answer = ask("answer with 900 words", max_tokens=50)
    return [answer.choices[0].finish_reason, answer.usage.completion_tokens]


def new_limit() -> Any:
    answer = ask("answer with 900 words", max_completion_tokens=50)
    return [answer.choices[0].finish_reason, answer.usage.completion_tokens]


def fields() -> Any:
    answer = ask("hello", n=2, seed=1, frequency_penalty=0.5, logit_bias={}, logprobs=True, user="me")
    return [len(answer.choices), answer.choices[0].logprobs is not None]


def responses() -> Any:
    answer = client.responses.create(model=MODEL, input="hello")
    events = list(client.responses.create(model=MODEL, input="hello", stream=True))
    streamed = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    tool: Any = {"type": "function", "name": "weather", "parameters": WEATHER["function"]["parameters"]}
    asked = {"role": "user", "content": 'call tool weather with {"city": "Bonn"}'}
    first: Any = client.responses.create(model=MODEL, input=[asked], tools=[tool])
    (call,) = [item for item in first.output if item.type == "function_call"]
    given: Any = [
        asked,
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
    ]
    last = client.responses.create(model=MODEL, input=given, tools=[tool])
    return [answer.output_text, answer.status, streamed, events[-1].type, json.loads(call.arguments), last.output_text]


def responses_memory() -> Any:
    first = client.responses.create(model=MODEL, input="remember me")
    return client.responses.create(model=MODEL, input="and now", previous_response_id=first.id).output_text


def responses_stored() -> Any:
    first = client.responses.create(model=MODEL, input="keep me")
    return client.responses.retrieve(first.id).output_text


def other_apis() -> Any:
    """The errors that they end with."""
    calls: dict[str, Callable[[], Any]] = {
        "embeddings": lambda: client.embeddings.create(model=MODEL, input="embed me"),
        "files": lambda: client.files.list(),
        "batches": lambda: client.batches.list(),
        "speech": lambda: client.audio.speech.create(model=MODEL, voice="alloy", input="say"),
        "images": lambda: client.images.generate(model=MODEL, prompt="paint"),
        "moderations": lambda: client.moderations.create(input="judge"),
    }
    seen = {name: attempt(call) for name, call in calls.items()}
    return [{name: found["error"] if isinstance(found, dict) else "answered" for name, found in seen.items()}]


def interrupted() -> Any:
    """Leaves a stream of many seconds after its first words, and asks again."""
    with ask("answer with 20000 words", stream=True) as streamed:
        first = next(chunk.choices[0].delta for chunk in streamed if chunk.choices)
    return [first.role, text()[0]]


def wrong_key() -> Any:
    wrong = client.with_options(api_key="sk-wrong")
    return wrong.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}]).id


def unknown_model() -> Any:
    return client.chat.completions.create(model="gpt-17", messages=[{"role": "user", "content": "x"}]).id


def bad_request() -> Any:
    messages: Any = [{"role": "nobody", "content": "x"}]
    return client.chat.completions.create(model=MODEL, messages=messages).id


FEATURES = [
    text, stream, tools, tool_loop, forced_tool, json_output, structured_output, thinking, images, documents, models,
    names, count_tokens, cache, long_answer, limited_answer, new_limit, fields, responses, responses_memory,
    responses_stored, beta, server_tools, other_apis, wrong_key, unknown_model, bad_request, interrupted,
]  # fmt: skip

if __name__ == "__main__":
    run({feature.__name__: feature for feature in FEATURES})
