"""What the terminal programs cannot ask for: a server in the proxy's place sees what they send."""

import json
from typing import Any

import pytest
from workstation_support import PROGRAMS, Done, Workstation

NEVER = "no function: the program never asks for it, as what it sends shows"
PORT = 8099
RECORDER = f"""\
timeout 40 python {PROGRAMS}/recorder.py {PORT} >$HOME/../{{client}}.seen 2>&1 &
until curl --silent --output /dev/null http://127.0.0.1:{PORT}/; do sleep 0.1; done
export ANTHROPIC_BASE_URL=http://127.0.0.1:{PORT}
[ ! -e "$HOME/.codex" ] || sed -i 's#http://[^/]*#http://127.0.0.1:{PORT}#' "$HOME/.codex/config.toml"
"""
BEYOND = {"n", "seed", "logprobs", "logit_bias", "frequency_penalty", "presence_penalty", "user"}


def recorded(workstation: Workstation, client: str, done: Done) -> list[dict[str, Any]]:
    """What a program has sent; the first request is the recorder's own check."""
    seen = workstation.run(f"cat ../../{client}.seen; pkill -f recorder.py").stdout.splitlines()
    found = [json.loads(line) for line in seen][1:]
    assert found, done.stdout + done.stderr
    return found


@pytest.fixture(scope="module")
def claude(workstation: Workstation) -> list[dict[str, Any]]:
    done = workstation.claude("hello", prepare=RECORDER.format(client="claude"))
    return recorded(workstation, "claude", done)


@pytest.fixture(scope="module")
def codex(workstation: Workstation) -> list[dict[str, Any]]:
    done = workstation.codex("hello", prepare=RECORDER.format(client="codex"))
    return recorded(workstation, "codex", done)


def fields(requests: list[dict[str, Any]]) -> set[str]:
    """Names of all top-level fields that were sent."""
    return {name for request in requests for name in request["body"]}


def paths(requests: list[dict[str, Any]]) -> set[str]:
    return {request["path"] for request in requests}


@pytest.mark.cell("claude-code", "models", NEVER)
@pytest.mark.cell("claude-code", "other_apis", NEVER)
@pytest.mark.cell("claude-code", "responses", NEVER)
@pytest.mark.cell("claude-code", "responses_memory", NEVER)
@pytest.mark.cell("claude-code", "responses_stored", NEVER)
def test_claude_code_asks_for_messages_alone(claude: list[dict[str, Any]]) -> None:
    assert "/v1/messages" in paths(claude)
    assert paths(claude) <= {"/", "/v1/messages", "/v1/messages/count_tokens"}


@pytest.mark.cell("claude-code", "forced_tool", NEVER)
@pytest.mark.cell("claude-code", "json_output", NEVER)
@pytest.mark.cell("claude-code", "new_limit", NEVER)
@pytest.mark.cell("claude-code", "fields", NEVER)
def test_claude_code_sends_fields_of_its_api_alone(claude: list[dict[str, Any]]) -> None:
    assert {"model", "messages", "max_tokens"} <= fields(claude)
    assert not fields(claude) & {"tool_choice", "response_format", "max_completion_tokens", *BEYOND}


@pytest.mark.cell("codex", "count_tokens", NEVER)
@pytest.mark.cell("codex", "models", NEVER)
@pytest.mark.cell("codex", "other_apis", NEVER)
@pytest.mark.cell("codex", "responses_stored", NEVER)
def test_codex_asks_for_responses_alone(codex: list[dict[str, Any]]) -> None:
    assert paths(codex) == {"/v1/responses"}
    assert [request["body"]["store"] for request in codex] == [False]


@pytest.mark.cell("codex", "forced_tool", NEVER)
@pytest.mark.cell("codex", "json_output", NEVER)
@pytest.mark.cell("codex", "limited_answer", NEVER)
@pytest.mark.cell("codex", "new_limit", NEVER)
@pytest.mark.cell("codex", "fields", NEVER)
@pytest.mark.cell("codex", "responses_memory", NEVER)
def test_codex_sends_few_fields(codex: list[dict[str, Any]]) -> None:
    assert {"model", "input"} <= fields(codex)
    assert {request["body"]["tool_choice"] for request in codex} == {"auto"}
    limits = {"max_output_tokens", "max_completion_tokens", "max_tokens"}
    assert not fields(codex) & {"text", "response_format", "previous_response_id", *limits, *BEYOND}


@pytest.mark.cell("codex", "beta")
def test_codex_has_a_beta_header_of_its_own(codex: list[dict[str, Any]], workstation: Workstation) -> None:
    assert all("x-codex-beta-features" in request["headers"] for request in codex)
    assert "simulated answer to: hello" in workstation.codex("hello").stdout


@pytest.mark.cell("codex", "documents", NEVER)
def test_codex_takes_images_and_no_documents(workstation: Workstation) -> None:
    options = workstation.run("codex exec --help", "codex").stdout
    assert "--image" in options
    assert not {"--file", "--document", "--pdf"} & set(options.replace("=", " ").split())
