"""Codex CLI, as `codex exec`, over /v1/responses."""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from clients_support import PIXEL
from sdk_cases import NO_TOOLS
from slots_support import assert_slot_comes_back
from workstation_support import CODEX, Done, Workstation, events

from zai_simulator.control_client import ControlClient


def run(command: str) -> str:
    return f"call tool exec_command with {json.dumps({'cmd': command})}"


SCHEMA = {"type": "object", "properties": {"simulated": {"type": "boolean"}}, "additionalProperties": False}
BEHIND = {"glm-5.3": "glm-5.3", "glm-flash": "glm-5.3-flash", "claude-sonnet-4-20250514": "glm-5.3"}
ASKED: dict[str, tuple[str, ...]] = {
    "text": ("hello",),
    "tool": (run("echo from the shell | tr a-z A-Z"),),
    "loop": (", then ".join([run("echo one >made.txt"), run("echo two >>made.txt"), run("cat made.txt | wc -l")]),),
    "image": ("what is this", "--image", "/home/dev/codex.png"),
    "schema": ("as JSON", "--output-schema", "/home/dev/schema.json"),
    "long": ("answer with 5000 words",),
    "search": ("look it up", "--config", "tools.web_search=true"),
}


@pytest.fixture(scope="module")
def asked(workstation: Workstation) -> dict[str, "Future[Done]"]:
    """All of it, two at a time."""
    made = workstation.run(
        f"base64 -d <<<{PIXEL} >/home/dev/codex.png; printf %s '{json.dumps(SCHEMA)}' >/home/dev/schema.json"
    )
    assert made.returncode == 0, made.stderr
    with ThreadPoolExecutor(2) as runs:
        found = {name: runs.submit(workstation.codex, *options) for name, options in ASKED.items()}
        for model in BEHIND:
            found[model] = runs.submit(workstation.codex, f"by the name {model}", model=model)
        found["unknown"] = runs.submit(workstation.codex, "hello", model="gpt-17")
        return found


def items(asked: dict[str, "Future[Done]"], name: str) -> list[dict[str, Any]]:
    """What Codex has done, an item each."""
    done = asked[name].result()
    assert done.returncode == 0, done.stdout + done.stderr
    return [event["item"] for event in events(done) if event["type"] == "item.completed"]


def said(asked: dict[str, "Future[Done]"], name: str) -> str:
    """Its last words."""
    return str([item["text"] for item in items(asked, name) if item["type"] == "agent_message"][-1])


@pytest.mark.cell("codex", "text")
@pytest.mark.cell("codex", "responses")
def test_text(asked: dict[str, "Future[Done]"]) -> None:
    assert said(asked, "text") == "simulated answer to: hello"


@pytest.mark.cell("codex", "stream")
@pytest.mark.cell("codex", "thinking", "differs: GLM-5.3 always reasons; the effort that Codex asks for is dropped")
def test_it_streams_and_shows_reasoning(asked: dict[str, "Future[Done]"], simulator: ControlClient) -> None:
    assert [item["type"] for item in items(asked, "text") if item["type"] != "error"] == ["reasoning", "agent_message"]
    upstream = simulator.requests()
    assert upstream
    assert all(seen["body"]["stream"] and "reasoning_effort" not in seen["body"] for seen in upstream)


@pytest.mark.cell("codex", "tools")
def test_a_command(asked: dict[str, "Future[Done]"]) -> None:
    (command,) = [item for item in items(asked, "tool") if item["type"] == "command_execution"]
    assert "FROM THE SHELL" in command["aggregated_output"]
    assert "FROM THE SHELL" in said(asked, "tool")


@pytest.mark.cell("codex", "tool_loop")
@pytest.mark.cell("codex", "cache", "differs: Z.AI caches by itself, for each key; `cached_tokens` tells when it did")
def test_a_loop_of_commands(asked: dict[str, "Future[Done]"]) -> None:
    """Four requests over three keys: one of them meets what was cached before."""
    assert len([item for item in items(asked, "loop") if item["type"] == "command_execution"]) == 3
    assert "2" in said(asked, "loop")
    (usage,) = [event["usage"] for event in events(asked["loop"].result()) if event["type"] == "turn.completed"]
    assert usage["cached_input_tokens"] > 0


@pytest.mark.cell("codex", "images")
def test_an_image(asked: dict[str, "Future[Done]"], simulator: ControlClient) -> None:
    assert said(asked, "image") == "simulated answer to: what is this"
    assert PIXEL[:20] in json.dumps([seen["body"] for seen in simulator.requests()])


@pytest.mark.cell(
    "codex",
    "structured_output",
    "differs: the schema reaches Z.AI, whose API has `json_object` alone: check what comes back",
)
def test_a_schema(asked: dict[str, "Future[Done]"]) -> None:
    assert json.loads(said(asked, "schema")) == {"simulated": True, "answer_to": "as JSON"}


@pytest.mark.cell("codex", "names")
def test_names_of_models(asked: dict[str, "Future[Done]"], simulator: ControlClient) -> None:
    for model, behind in BEHIND.items():
        assert said(asked, model) == f"simulated answer to: by the name {model}"
        found = {one["model"] for one in simulator.requests() if f"by the name {model}" in json.dumps(one["body"])}
        assert found == {behind}


@pytest.mark.cell("codex", "server_tools", NO_TOOLS)
def test_web_search(asked: dict[str, "Future[Done]"]) -> None:
    assert said(asked, "search") == "simulated answer to: look it up"
    assert "web_search" not in {item["type"] for item in items(asked, "search")}


@pytest.mark.cell("codex", "bad_request")
@pytest.mark.usefixtures("refusing")
def test_a_request_that_is_refused_as_malformed(workstation: Workstation) -> None:
    done = workstation.codex("hello")
    assert done.returncode == 1
    assert "parameter is invalid" in done.stdout


@pytest.mark.cell("codex", "long_answer")
def test_a_long_answer(asked: dict[str, "Future[Done]"]) -> None:
    assert len(said(asked, "long").split()) == 5000


@pytest.mark.cell("codex", "unknown_model")
def test_an_unknown_model(asked: dict[str, "Future[Done]"]) -> None:
    done = asked["unknown"].result()
    assert done.returncode == 1
    assert "gpt-17" in done.stdout


@pytest.mark.cell("codex", "wrong_key")
def test_a_wrong_key(workstation: Workstation) -> None:
    done = replace(workstation, key="sk-wrong").codex("hello")
    assert done.returncode == 1
    assert "401" in done.stdout
    assert "sk-wrong" not in done.stdout + done.stderr


@pytest.mark.cell("codex", "interrupted")
def test_a_killed_program_gives_its_slot_back(workstation: Workstation, simulator: ControlClient) -> None:
    assert_slot_comes_back(
        workstation,
        simulator,
        "codex",
        "codex exec --json --skip-git-repo-check --model glm-pool 'answer with 20000 words'",
        f'mkdir "$HOME/.codex"; cat >"$HOME/.codex/config.toml" <<END\n{CODEX.format(url=workstation.url)}\nEND',
    )
    assert "simulated answer to: hello" in workstation.codex("hello").stdout
