"""The OpenAI-style wire format of the general and of the coding endpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence

from . import tokens
from .answers import Answer, new_id, pieces
from .dialect import Event, Usage
from .errors import Refusal, refusal
from .models import MODELS
from .prompts import (
    Prompt,
    Segment,
    Tool,
    flag,
    json_tokens,
    last_text,
    messages_of,
    parts_of,
    requested_model,
    segment,
    text_of,
    token_limit,
)

_DONE = b"data: [DONE]\n\n"


class OpenAIDialect:
    """Chat completions as Z.AI speaks them."""

    def parse(self, body: Mapping[str, object]) -> Prompt:
        """Read a chat-completions body; raises Refusal when Z.AI would not take it."""
        name, model = requested_model(body)
        messages = messages_of(body)
        if body.get("tool_choice", "auto") not in ("auto", None):
            raise refusal("1210", field="tool_choice: only auto is supported")
        response_format = _option(body, "response_format", ("text", "json_object", "json_schema"))
        thinking = _option(body, "thinking", ("enabled", "disabled"))
        text, results, rounds = _last_turn(messages)
        return Prompt(
            model=model,
            requested_model=name,
            stream=flag(body, "stream"),
            text=text,
            tool_results=results,
            tools=_tools(body.get("tools")),
            forced_tool=None,
            reasons=thinking == "enabled" or model.always_reasons,
            json_mode=response_format in ("json_object", "json_schema"),
            max_tokens=token_limit(body, "max_tokens", model),
            segments=tuple(_segments(body, messages)),
            tool_stream=flag(body, "tool_stream"),
            tool_rounds=rounds,
        )

    def whole(self, prompt: Prompt, answer: Answer, usage: Usage) -> dict[str, object]:
        """Return a ``chat.completion`` object."""
        message: dict[str, object] = {"role": "assistant", "content": answer.text}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.call is not None:
            message["tool_calls"] = [_call(answer)]
        choice = {"index": 0, "message": message, "finish_reason": _finish(answer)}
        return {**_frame(prompt, "chat.completion"), "choices": [choice], "usage": _usage(answer, usage)}

    def events(self, prompt: Prompt, answer: Answer, usage: Usage, chunks: int) -> Iterator[Event]:
        """Return ``chat.completion.chunk`` events; the last one has the usage, then comes ``[DONE]``."""
        frame = _frame(prompt, "chat.completion.chunk")

        def chunk(delta: Mapping[str, object], *, content: bool = True) -> Event:
            return Event(_sse({**frame, "choices": [{"index": 0, "delta": delta}]}), content)

        yield chunk({"role": "assistant", "content": ""}, content=False)
        for piece in pieces(answer.reasoning):
            yield chunk({"role": "assistant", "reasoning_content": piece})
        for piece in pieces(answer.text, chunks):
            yield chunk({"role": "assistant", "content": piece})
        if answer.call is not None:
            call = _call(answer)
            function = {"name": answer.call.name, "arguments": answer.call.arguments}
            if prompt.tool_stream:
                yield chunk({"tool_calls": [{**call, "function": {**function, "arguments": ""}}]})
                for piece in pieces(answer.call.arguments, chunks):
                    yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            else:
                yield chunk({"role": "assistant", "tool_calls": [call]})
        last = {"index": 0, "finish_reason": _finish(answer), "delta": {"role": "assistant", "content": ""}}
        yield Event(_sse({**frame, "choices": [last], "usage": _usage(answer, usage)}))
        yield Event(_DONE)

    def error(self, refusal: Refusal, request_id: str) -> dict[str, object]:
        """Return Z.AI's error envelope."""
        return {"error": {"code": refusal.code or str(refusal.status), "message": refusal.message}}

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the error envelope as a stream event."""
        return _sse(self.error(refusal, request_id))


def model_list() -> dict[str, object]:
    """Return the body of the OpenAI-style model list."""
    data = [{"id": model.name, "object": "model", "created": 1_760_000_000, "owned_by": "z-ai"} for model in MODELS]
    return {"object": "list", "data": data}


def _frame(prompt: Prompt, kind: str) -> dict[str, object]:
    return {
        "id": new_id(""),
        "request_id": new_id(""),
        "object": kind,
        "created": int(time.time()),
        "model": prompt.requested_model,
    }


def _sse(value: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _finish(answer: Answer) -> str:
    if answer.cut:
        return "length"
    return "stop" if answer.call is None else "tool_calls"


def _call(answer: Answer) -> dict[str, object]:
    assert answer.call is not None
    function = {"name": answer.call.name, "arguments": answer.call.arguments}
    return {"id": new_id("call_"), "index": 0, "type": "function", "function": function}


def _usage(answer: Answer, usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": answer.tokens,
        "total_tokens": usage.prompt + answer.tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
    }


def _option(body: Mapping[str, object], name: str, allowed: Sequence[str]) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind not in allowed:
        raise refusal("1214", field=f"{name}.type")
    return str(kind)


def _tools(value: object) -> tuple[Tool, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise refusal("1214", field="tools")
    tools: list[Tool] = []
    for tool in value:
        function = tool.get("function")
        if tool.get("type") != "function":
            continue  # web_search and retrieval are Z.AI's own; they call nothing at the client
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise refusal("1214", field="tools.function")
        schema = function.get("parameters")
        tools.append(Tool(function["name"], schema if isinstance(schema, Mapping) else {"type": "object"}))
    return tuple(tools)


def _last_turn(messages: Sequence[Mapping[str, object]]) -> tuple[str, tuple[str, ...], int]:
    """Return the last text a user wrote, the tool results at the end, and the rounds of them since that text."""
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        results.insert(0, text_of(parts_of(message.get("content"))))
    rounds = 0
    for message in reversed(messages):
        if message.get("role") == "user":
            return last_text(parts_of(message.get("content"))), tuple(results), rounds
        rounds += bool(message.get("tool_calls"))
    return "", tuple(results), rounds


def _segments(body: Mapping[str, object], messages: Sequence[Mapping[str, object]]) -> Iterator[Segment]:
    if body.get("tools"):
        yield segment(body["tools"], json_tokens(body["tools"]), breakpoint=True)
    for message in messages:
        if message.get("role") not in ("system", "developer", "user", "assistant", "tool"):
            raise refusal("1214", field="messages.role")
        size = tokens.TOKENS_PER_MESSAGE
        for part in parts_of(message.get("content")):
            if part.get("type") == "text":
                size += tokens.count(str(part.get("text", "")))
            elif part.get("type") in ("image_url", "video_url", "file_url"):
                size += tokens.TOKENS_PER_IMAGE
            else:
                raise refusal("1214", field="messages.content.type")
        if message.get("tool_calls"):
            size += json_tokens(message["tool_calls"])
        yield segment(message, size, breakpoint=True)
