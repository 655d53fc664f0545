"""The Anthropic Messages wire format."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from . import tokens
from .answers import Answer, new_id, pieces
from .dialect import Event, Usage
from .errors import Refusal, anthropic_type, refusal
from .models import MODELS
from .prompts import (
    ANY_TOOL,
    Prompt,
    Segment,
    Tool,
    flag,
    is_reminder,
    json_tokens,
    last_text,
    messages_of,
    parts_of,
    requested_model,
    segment,
    text_of,
    token_limit,
)


class AnthropicDialect:
    """Messages as Z.AI's Anthropic endpoint speaks them."""

    def parse(self, body: Mapping[str, object]) -> Prompt:
        """Read a Messages body; raises Refusal when the endpoint would not take it."""
        prompt = self.parse_for_counting(body)
        if prompt.max_tokens is None:
            raise refusal("1214", field="max_tokens")
        return prompt

    def parse_for_counting(self, body: Mapping[str, object]) -> Prompt:
        """Read a body that need not say how long the answer may be."""
        name, model = requested_model(body)
        messages = messages_of(body)
        tools = _tools(body.get("tools"))
        text, results, rounds = _last_turn(messages)
        return Prompt(
            model=model,
            requested_model=name,
            stream=flag(body, "stream"),
            text=text,
            tool_results=results,
            tools=tools,
            forced_tool=_forced(body.get("tool_choice"), tools),
            reasons=_thinks(body.get("thinking")),
            json_mode=False,
            max_tokens=token_limit(body, "max_tokens", model),
            segments=tuple(_segments(body, messages)),
            tool_rounds=rounds,
        )

    def whole(self, prompt: Prompt, answer: Answer, usage: Usage) -> dict[str, object]:
        """Return a ``message`` object."""
        return {
            **_message(prompt),
            "content": [block for block, _ in _blocks(answer)],
            "stop_reason": _stop_reason(answer),
            "usage": _usage(usage, answer.tokens),
        }

    def events(self, prompt: Prompt, answer: Answer, usage: Usage, chunks: int) -> Iterator[Event]:
        """Return the events from ``message_start`` to ``message_stop``."""
        yield _event("message_start", message={**_message(prompt), "usage": _usage(usage, 1)})
        for index, (block, empty) in enumerate(_blocks(answer)):
            yield _event("content_block_start", index=index, content_block=empty)
            if index == 0:
                yield _event("ping")
            for delta in _deltas(block, chunks):
                yield _event("content_block_delta", content=True, index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
        yield _event("message_delta", delta=delta, usage=_usage(usage, answer.tokens))
        yield _event("message_stop")

    def error(self, refusal: Refusal, request_id: str) -> dict[str, object]:
        """Return the Anthropic error envelope with Z.AI's code in it."""
        inner = {
            "type": anthropic_type(refusal.status),
            "code": refusal.code or str(refusal.status),
            "message": refusal.message,
        }
        return {"type": "error", "error": inner, "request_id": request_id}

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the error envelope as an ``error`` event."""
        return _sse("error", self.error(refusal, request_id))


def model_list() -> dict[str, object]:
    """Return the body of the Anthropic-style model list."""
    data = [
        {
            "type": "model",
            "id": model.name,
            "display_name": model.name.upper(),
            "created_at": "2025-10-09T08:53:20Z",
        }
        for model in MODELS
    ]
    return {"data": data, "has_more": False, "first_id": MODELS[0].name, "last_id": MODELS[-1].name}


def _sse(name: str, value: Mapping[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _event(name: str, *, content: bool = False, **values: object) -> Event:
    return Event(_sse(name, {"type": name, **values}), content)


def _message(prompt: Prompt) -> dict[str, object]:
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": prompt.requested_model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(usage: Usage, output: int) -> dict[str, object]:
    return {
        "input_tokens": usage.prompt - usage.cache_read - usage.cache_written,
        "cache_creation_input_tokens": usage.cache_written,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": output,
    }


def _stop_reason(answer: Answer) -> str:
    if answer.cut:
        return "max_tokens"
    return "end_turn" if answer.call is None else "tool_use"


def _blocks(answer: Answer) -> Iterator[tuple[dict[str, object], dict[str, object]]]:
    """Yield each content block twice: whole, and as a stream announces it."""
    if answer.reasoning:
        signature = base64.b64encode(hashlib.sha256(answer.reasoning.encode()).digest()).decode()
        block: dict[str, object] = {"type": "thinking", "thinking": answer.reasoning, "signature": signature}
        yield block, {**block, "thinking": "", "signature": ""}
    if answer.call is not None:
        call: dict[str, object] = {"type": "tool_use", "id": new_id("toolu_"), "name": answer.call.name}
        yield {**call, "input": json.loads(answer.call.arguments)}, {**call, "input": {}}
    elif answer.text or not answer.reasoning:
        yield {"type": "text", "text": answer.text}, {"type": "text", "text": ""}


def _deltas(block: Mapping[str, object], chunks: int) -> Iterator[dict[str, object]]:
    if block["type"] == "thinking":
        for piece in pieces(str(block["thinking"])):
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": block["signature"]}
    elif block["type"] == "tool_use":
        for piece in pieces(json.dumps(block["input"], ensure_ascii=False), chunks):
            yield {"type": "input_json_delta", "partial_json": piece}
    else:
        for piece in pieces(str(block["text"]), chunks):
            yield {"type": "text_delta", "text": piece}


def _tools(value: object) -> tuple[Tool, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise refusal("1214", field="tools")
    tools: list[Tool] = []
    for tool in value:
        if not isinstance(tool.get("name"), str):
            raise refusal("1214", field="tools.name")
        schema = tool.get("input_schema")
        if isinstance(schema, Mapping):
            tools.append(Tool(tool["name"], schema))
        elif tool.get("type", "custom") == "custom":
            raise refusal("1214", field="tools.input_schema")
    return tuple(tools)


def _forced(choice: object, tools: Sequence[Tool]) -> str | None:
    if choice is None:
        return None
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if kind in ("auto", "none"):
        return None
    if kind == "any" and tools:
        return ANY_TOOL
    if kind == "tool" and isinstance(choice, Mapping):
        name = choice.get("name")
        if name in {tool.name for tool in tools}:
            return str(name)
    raise refusal("1214", field="tool_choice")


def _thinks(thinking: object) -> bool:
    if thinking is None:
        return False
    kind = thinking.get("type") if isinstance(thinking, Mapping) else None
    if kind not in ("enabled", "adaptive", "disabled"):
        raise refusal("1214", field="thinking.type")
    return str(kind) != "disabled"


def _last_turn(messages: Sequence[Mapping[str, object]]) -> tuple[str, tuple[str, ...], int]:
    """Return the last text a user wrote, the tool results of the last user message, and their rounds since that text.

    A message that carries tool results, and no text but reminders, does not hide the text of the one before it.
    """
    turns = [parts_of(m.get("content")) for m in messages if m.get("role") == "user"]
    results = tuple(
        text_of(parts_of(part.get("content")))
        for part in (turns[-1] if turns else [])
        if part.get("type") == "tool_result"
    )
    rounds = 0
    for turn in reversed(turns):
        carries = any(part.get("type") == "tool_result" for part in turn)
        text = last_text(turn)
        rounds += carries
        if text and not (carries and is_reminder(text)):
            return text, results, rounds
    return "", results, rounds


def _segments(body: Mapping[str, object], messages: Sequence[Mapping[str, object]]) -> Iterator[Segment]:
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else []:
        yield _segment(tool, json_tokens(tool))
    for part in parts_of(body.get("system")):
        yield _segment({"system": part}, tokens.count(str(part.get("text", ""))), part)
    for message in messages:
        role = message.get("role")
        if role not in ("user", "assistant", "system"):
            raise refusal("1214", field="messages.role")
        yield segment({"role": role}, tokens.TOKENS_PER_MESSAGE)
        for part in parts_of(message.get("content")):
            yield _segment(part, _part_tokens(part))


def _segment(value: Mapping[str, object], size: int, marked: Mapping[str, object] | None = None) -> Segment:
    source = value if marked is None else marked
    shown = {k: v for k, v in source.items() if k != "cache_control"}
    content: object = shown if marked is None else {"system": shown}
    return segment(content, size, breakpoint=source.get("cache_control") is not None)


def _part_tokens(part: Mapping[str, object]) -> int:
    kind = part.get("type")
    if kind == "text":
        return tokens.count(str(part.get("text", "")))
    if kind == "thinking":
        return tokens.count(str(part.get("thinking", "")))
    if kind in ("image", "document"):
        return tokens.TOKENS_PER_IMAGE
    if kind == "tool_use":
        return json_tokens(part.get("input"))
    if kind == "tool_result":
        return sum(_part_tokens(inner) for inner in parts_of(part.get("content")))
    if isinstance(kind, str):
        return json_tokens({k: v for k, v in part.items() if k != "cache_control"})
    raise refusal("1214", field="messages.content.type")
