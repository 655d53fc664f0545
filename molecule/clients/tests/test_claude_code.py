"""Claude Code, as `claude --print`."""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from clients_support import PAGE, PIXEL
from sdk_cases import NO_TOOLS
from slots_support import assert_slot_comes_back
from workstation_support import Done, Workstation, events

from zai_simulator.control_client import ControlClient

FLASH, FLAGSHIP = "glm-5.3-flash", "glm-5.3"
BEHIND = {
    "sonnet": FLAGSHIP,
    "opus": FLAGSHIP,
    "haiku": FLASH,
    "glm-5.3": FLAGSHIP,
    "glm-5.3[1m]": FLAGSHIP,
    "claude-sonnet-4-20250514": FLAGSHIP,
}


def bash(command: str) -> str:
    return f"call tool Bash with {json.dumps({'command': command, 'description': 'as asked'})}"


def read(path: str) -> str:
    return f"call tool Read with {json.dumps({'file_path': path})}"


TOOLS = ("--allowedTools", "Bash,Read")
JSON = ("--output-format", "json")
STREAM = ("--output-format", "stream-json", "--verbose", "--include-partial-messages")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LOOP = ", then ".join(
    [bash("echo one >made.txt"), bash("echo two >>made.txt"), read("/etc/debian_version"), bash("wc -l <made.txt")]
)
ASKED: dict[str, tuple[str, ...]] = {
    "text": ("hello",),
    "stream": ("hello", *STREAM),
    "bash": (bash("echo from the shell | tr a-z A-Z"), *TOOLS),
    "loop": (LOOP, *TOOLS, *JSON),
    "image": (read("/home/dev/pixel.png"), *TOOLS),
    "document": (read("/home/dev/page.pdf"), *TOOLS),
    "schema": ('call tool StructuredOutput with {"city": "Bonn"}', "--json-schema", json.dumps(SCHEMA), *JSON),
    "search": ('call tool WebSearch with {"query": "rain"}', "--tools", "WebSearch", "--allowedTools", "WebSearch"),
    "context": ("/context",),
    "long": ("answer with 5000 words",),
    "unknown": ("hello", "--model", "gpt-17"),
    **{model: (f"by the name {model}", "--model", model) for model in BEHIND},
}


@pytest.fixture(scope="module")
def asked(workstation: Workstation) -> dict[str, "Future[Done]"]:
    """All of it, two at a time."""
    made = workstation.run(f"base64 -d <<<{PIXEL} >/home/dev/pixel.png; base64 -d <<<{PAGE} >/home/dev/page.pdf")
    assert made.returncode == 0, made.stderr
    with ThreadPoolExecutor(2) as runs:
        found = {name: runs.submit(workstation.claude, *options) for name, options in ASKED.items()}
        limit = "export CLAUDE_CODE_MAX_OUTPUT_TOKENS=50"
        found["limit"] = runs.submit(workstation.claude, "answer with 900 words", prepare=limit)
        return found


def answer(asked: dict[str, "Future[Done]"], name: str) -> str:
    done = asked[name].result()
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.mark.cell("claude-code", "text")
def test_text(asked: dict[str, "Future[Done]"]) -> None:
    assert answer(asked, "text") == "simulated answer to: hello"


@pytest.mark.cell("claude-code", "stream")
@pytest.mark.cell("claude-code", "thinking")
@pytest.mark.cell("claude-code", "beta")
def test_stream_with_thinking(asked: dict[str, "Future[Done]"], simulator: ControlClient) -> None:
    answer(asked, "stream")
    told = events(asked["stream"].result())
    deltas = [one["event"]["delta"] for one in told if one.get("event", {}).get("type") == "content_block_delta"]
    texts = [delta["text"] for delta in deltas if delta["type"] == "text_delta"]
    assert "".join(texts) == "simulated answer to: hello"
    assert len(texts) > 1
    assert "".join(delta["thinking"] for delta in deltas if delta["type"] == "thinking_delta")
    assert told[-1]["result"] == "simulated answer to: hello"
    upstream = [seen for seen in simulator.requests() if seen["path"].startswith("/api/anthropic")]
    assert any("anthropic-beta" in {name.lower() for name in seen["headers"]} for seen in upstream)


@pytest.mark.cell("claude-code", "tools")
def test_bash_tool(asked: dict[str, "Future[Done]"]) -> None:
    assert "FROM THE SHELL" in answer(asked, "bash")


@pytest.mark.cell("claude-code", "tool_loop")
@pytest.mark.cell(
    "claude-code",
    "cache",
    "differs: each of the pool's keys has a cache of its own, so a prompt is written as often as there are keys",
)
def test_a_loop_of_tools_told_as_json(asked: dict[str, "Future[Done]"]) -> None:
    """Five requests over three keys: two of them meet what was cached before."""
    told = json.loads(answer(asked, "loop"))
    assert told["result"] == "simulated answer after tool result: 2"
    assert (told["num_turns"], told["is_error"], told["stop_reason"]) == (5, False, "end_turn")
    assert told["usage"]["cache_creation_input_tokens"] > 0
    assert told["usage"]["cache_read_input_tokens"] > 0


@pytest.mark.cell("claude-code", "images")
def test_the_read_tool_sends_an_image(asked: dict[str, "Future[Done]"], simulator: ControlClient) -> None:
    answer(asked, "image")
    sent = json.dumps([seen["body"] for seen in simulator.requests() if "pixel.png" in json.dumps(seen["body"])])
    assert '"type": "image"' in sent
    assert PIXEL[:20] in sent


@pytest.mark.cell("claude-code", "documents")
def test_the_read_tool_sends_a_document(asked: dict[str, "Future[Done]"], simulator: ControlClient) -> None:
    answer(asked, "document")
    sent = json.dumps([seen["body"] for seen in simulator.requests() if "page.pdf" in json.dumps(seen["body"])])
    assert '"type": "document"' in sent
    assert PAGE[:20] in sent


@pytest.mark.cell("claude-code", "structured_output")
def test_an_answer_after_a_schema(asked: dict[str, "Future[Done]"]) -> None:
    """Claude Code has the model call a tool for it."""
    assert json.loads(answer(asked, "schema"))["structured_output"] == {"city": "Bonn"}


@pytest.mark.cell("claude-code", "server_tools", NO_TOOLS)
def test_web_search(asked: dict[str, "Future[Done]"], simulator: ControlClient) -> None:
    assert 'Web search results for query: "rain"' in answer(asked, "search")
    searches = [tool for seen in simulator.requests() for tool in seen["body"].get("tools", []) if "type" in tool]
    assert "web_search" in {tool["name"] for tool in searches}


@pytest.mark.cell("claude-code", "count_tokens")
def test_its_context_is_counted(asked: dict[str, "Future[Done]"], simulator: ControlClient) -> None:
    assert "**Tokens:**" in answer(asked, "context")
    assert any(seen["path"] == "/api/anthropic/v1/messages/count_tokens" for seen in simulator.requests())


@pytest.mark.cell("claude-code", "limited_answer")
def test_an_answer_cut_by_a_limit_is_gone_on_with(asked: dict[str, "Future[Done]"], simulator: ControlClient) -> None:
    assert answer(asked, "limit").startswith("simulated answer to: Output token limit hit.")
    assert 50 in {seen["body"].get("max_tokens") for seen in simulator.requests()}


@pytest.mark.cell("claude-code", "bad_request")
@pytest.mark.usefixtures("refusing")
def test_a_request_that_is_refused_as_malformed(workstation: Workstation) -> None:
    done = workstation.claude("hello")
    assert done.returncode == 1
    assert "API Error: 400" in done.stdout
    assert "parameter is invalid" in done.stdout


@pytest.mark.cell("claude-code", "long_answer")
def test_a_long_answer(asked: dict[str, "Future[Done]"]) -> None:
    assert len(answer(asked, "long").split()) == 5000


@pytest.mark.cell("claude-code", "names")
def test_names_of_models(asked: dict[str, "Future[Done]"], simulator: ControlClient) -> None:
    for model, behind in BEHIND.items():
        assert answer(asked, model) == f"simulated answer to: by the name {model}"
        found = {
            seen["model"]
            for seen in simulator.requests()
            if f"by the name {model}" in [part.get("text") for part in last_user(seen["body"])]
        }
        assert found == {behind}, model


def last_user(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Parts of the last message of the user."""
    content = [message["content"] for message in body.get("messages", []) if message["role"] == "user"][-1]
    return [{"text": content}] if isinstance(content, str) else content


@pytest.mark.cell("claude-code", "unknown_model")
def test_an_unknown_model(asked: dict[str, "Future[Done]"]) -> None:
    done = asked["unknown"].result()
    assert done.returncode == 1
    assert "gpt-17" in done.stdout


@pytest.mark.cell("claude-code", "wrong_key")
def test_a_wrong_key(workstation: Workstation) -> None:
    done = replace(workstation, key="sk-wrong").claude("hello")
    assert done.returncode == 1
    assert "Please run /login" in done.stdout
    assert "sk-wrong" not in done.stdout + done.stderr


@pytest.mark.cell("claude-code", "interrupted")
def test_a_killed_program_gives_its_slot_back(workstation: Workstation, simulator: ControlClient) -> None:
    assert_slot_comes_back(workstation, simulator, "claude-code", "claude --print 'answer with 20000 words'")
    assert workstation.claude("hello").stdout.strip() == "simulated answer to: hello"
