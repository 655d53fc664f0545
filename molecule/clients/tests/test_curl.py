"""curl, on both APIs."""

import pytest
from curl_support import Call, calls, statuses
from host_support import SERVED_MODELS
from sdk_cases import NO_ROUTE, UNKNOWN
from workstation_support import Workstation

HELLO = "simulated answer to: hello"


@pytest.fixture(scope="module")
def seen(workstation: Workstation) -> dict[str, list[Call]]:
    return calls(workstation)


@pytest.mark.cell("curl", "text")
def test_text(seen: dict[str, list[Call]]) -> None:
    chat, message = (answer.json() for answer in seen["text"])
    assert chat["choices"][0]["message"]["content"] == HELLO
    assert message["content"][0]["text"] == HELLO


@pytest.mark.cell("curl", "stream")
def test_stream(seen: dict[str, list[Call]]) -> None:
    chat, message = (answer.events() for answer in seen["stream"])
    assert "".join(choice["delta"].get("content") or "" for event in chat for choice in event["choices"]) == HELLO
    assert "".join(event["delta"].get("text", "") for event in message if "delta" in event) == HELLO
    assert seen["stream"][0].body.strip().endswith("data: [DONE]")


@pytest.mark.cell("curl", "tools")
def test_tools(seen: dict[str, list[Call]]) -> None:
    first, last = (answer.json() for answer in seen["tools"])
    assert (first["stop_reason"], first["content"][0]["name"]) == ("tool_use", "weather")
    assert last["content"][0]["text"] == "simulated answer after tool result: rain"


@pytest.mark.cell("curl", "models")
def test_models(seen: dict[str, list[Call]]) -> None:
    (answer,) = seen["models"]
    assert sorted(model["id"] for model in answer.json()["data"]) == SERVED_MODELS


@pytest.mark.cell("curl", "count_tokens")
def test_count_of_tokens(seen: dict[str, list[Call]]) -> None:
    (answer,) = seen["count_tokens"]
    assert answer.json()["input_tokens"] > 0


@pytest.mark.cell("curl", "other_apis", NO_ROUTE)
def test_other_apis(seen: dict[str, list[Call]]) -> None:
    assert statuses(seen["other_apis"]) == [403, 403]
    assert {answer.json()["error"]["code"] for answer in seen["other_apis"]} == {"route_not_open"}


@pytest.mark.cell("curl", "wrong_key")
def test_wrong_key(seen: dict[str, list[Call]]) -> None:
    assert statuses(seen["wrong_key"]) == [401, 401]
    assert all("Authentication failed" in answer.json()["error"]["message"] for answer in seen["wrong_key"])


@pytest.mark.cell("curl", "unknown_model", UNKNOWN)
def test_unknown_model(seen: dict[str, list[Call]]) -> None:
    assert statuses(seen["unknown_model"]) == [400, 400]
    assert all("gpt-17" in answer.json()["error"]["message"] for answer in seen["unknown_model"])


@pytest.mark.cell("curl", "interrupted")
def test_interrupted(seen: dict[str, list[Call]]) -> None:
    """That its slot is free is seen after the last test of this file."""
    (answer,) = seen["interrupted"]
    assert answer.json()["choices"][0]["message"]["content"] == HELLO
