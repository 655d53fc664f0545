"""What the simulated model says: text made from the prompt by fixed rules and triggers."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from . import tokens
from .prompts import ANY_TOOL, Prompt, Tool
from .schemas import example

ECHO_LENGTH = 1000
"""How many characters of the prompt or of a tool result an answer repeats."""

MOST_WORDS = 200_000
"""The longest answer that the trigger can ask for, in words."""

_WORDS = re.compile(r"answer with (\d+) words", re.IGNORECASE)
_CALL = re.compile(r"call tool ([\w.-]+)(?:\s+with\s+(?=\{))?", re.IGNORECASE)
_ANY = re.compile(r"use a tool", re.IGNORECASE)


@dataclass(frozen=True)
class ToolCall:
    """A call the model makes: the tool's name and the arguments as a JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Answer:
    """What the model says.

    Attributes:
        reasoning: Text of its reasoning, empty for none.
        text: Text for the user, empty beside a tool call.
        call: The tool call, or None.
        cut: Whether the token limit cut it short.
        reasoning_tokens: Size of the reasoning.
        tokens: Size of everything.
    """

    reasoning: str
    text: str
    call: ToolCall | None
    cut: bool
    reasoning_tokens: int
    tokens: int


def answer(prompt: Prompt) -> Answer:
    """Return the answer to a prompt; the same prompt always gets the same one."""
    limit = prompt.max_tokens or prompt.model.max_output
    reasoning = f"simulated reasoning about: {prompt.text[:60]}".rstrip() if prompt.reasons else ""
    kept_reasoning = tokens.truncate(reasoning, limit)
    reasoning_tokens = tokens.count(kept_reasoning)
    left = limit - reasoning_tokens
    call = _tool_call(prompt)
    if call is not None:
        size = tokens.count(call.name) + tokens.count(call.arguments)
        if size <= left:
            return Answer(kept_reasoning, "", call, False, reasoning_tokens, reasoning_tokens + size)
        return Answer(kept_reasoning, "", None, True, reasoning_tokens, limit)
    text = _text(prompt)
    kept = tokens.truncate(text, left)
    size = tokens.count(kept)
    return Answer(kept_reasoning, kept, None, kept != text, reasoning_tokens, reasoning_tokens + size)


def pieces(text: str, least: int = 1) -> list[str]:
    """Cut a text into stream chunks: one a word, or more when ``least`` asks for it.

    When the text has too few characters for that, empty chunks follow.
    """
    words = re.findall(r"\s*\S+\s*$|\s*\S+", text)
    if len(words) >= least or not text:
        return words
    count = min(least, len(text))
    bounds = [len(text) * i // count for i in range(count + 1)]
    return [text[start:end] for start, end in pairwise(bounds)] + [""] * (least - count)


def new_id(prefix: str) -> str:
    """Return an identifier that no other answer has."""
    return prefix + uuid.uuid4().hex


def _text(prompt: Prompt) -> str:
    if prompt.json_mode:
        return json.dumps({"simulated": True, "answer_to": prompt.text[:ECHO_LENGTH]}, ensure_ascii=False)
    if prompt.tool_results:
        quoted = " | ".join(prompt.tool_results)[:ECHO_LENGTH]
        return f"simulated answer after tool result: {quoted}"
    text = f"simulated answer to: {prompt.text[:ECHO_LENGTH]}"
    wanted = _WORDS.search(prompt.text)
    if wanted is None:
        return text
    count = min(int(wanted.group(1)[:9]), MOST_WORDS)
    words = text.split()
    words += [f"word{number}" for number in range(len(words) + 1, count + 1)]
    return " ".join(words[:count])


def _tool_call(prompt: Prompt) -> ToolCall | None:
    tools = {tool.name: tool for tool in prompt.tools}
    if not tools:
        return None
    asked = [(tools.get(found.group(1).rstrip(".")), found) for found in _CALL.finditer(prompt.text)]
    calls = [_call(tool, _given_arguments(prompt.text, found)) for tool, found in asked if tool]
    if prompt.forced_tool is not None:
        first = calls[0] if calls else None
        if prompt.forced_tool != ANY_TOOL and (first is None or first.name != prompt.forced_tool):
            return _call(tools[prompt.forced_tool])
        return first or _call(prompt.tools[0])
    if prompt.tool_rounds < len(calls):
        return calls[prompt.tool_rounds]
    if calls or prompt.tool_results:
        return None
    return _call(prompt.tools[0]) if _ANY.search(prompt.text) else None


def _given_arguments(text: str, asked: re.Match[str]) -> Mapping[str, object] | None:
    try:
        value, _ = json.JSONDecoder().raw_decode(text, asked.end())
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _call(tool: Tool, given: Mapping[str, object] | None = None) -> ToolCall:
    made = example(tool.schema)
    arguments = {**(made if isinstance(made, dict) else {}), **(given or {})}
    return ToolCall(tool.name, json.dumps(arguments, ensure_ascii=False))
