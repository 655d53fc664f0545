"""Faulty settings of workstations are refused on the controller: each message names the variable and the fix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from litellm_client_answer import refusal
from litellm_client_validate import LIMITS, MODELS, SCOPES, STATES, TOOLS, VERIFY, faults, warnings

ROLE = Path(__file__).resolve().parents[2] / "roles" / "litellm_client"
TOKEN = "sk-1b9f4c7e2d8a6053aa77"
URL = "https://llm.example.com:4000"


def load(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROLE / path).read_text())
    return content


DEFAULTS = load("defaults/main.yml")
OPTIONS: dict[str, dict[str, Any]] = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
SETTINGS: dict[str, str] = load("vars/main.yml")["__litellm_client_settings"]


def settings(**changes: object) -> dict[str, Any]:
    """Settings that can work; `changes` go by the names without `litellm_client_`."""
    found = {name: DEFAULTS[name] for name in SETTINGS}
    found |= {"litellm_client_url": URL, "litellm_client_token": TOKEN}
    for name, value in changes.items():
        assert f"litellm_client_{name}" in found, f"the role hands no {name} to its filters"
        found[f"litellm_client_{name}"] = value
    return found


@pytest.mark.parametrize(
    "good",
    [
        settings(),
        settings(url="http://10.0.0.1:4000"),
        settings(url="http://[fd00::1]:4000"),
        settings(url="https://llm"),
        settings(scope="user", users=["alice", "bob.b"]),
        settings(models={}),
        settings(models={"opus": "glm-5.3[1m]", "default": "zai/glm-5.3"}),
        settings(claude_directory="/Library/Application Support/ClaudeCode", profile_file=""),
        settings(claude_env={"CLAUDE_CODE_MAX_RETRIES": 4}, environment={"A": True}, codex_config={"tui": {"a": 1}}),
    ],
)
def test_what_can_work_is_taken(good: dict[str, Any]) -> None:
    assert faults(good) == []


def case(starts_with: str, says: str, **changes: object) -> Any:
    return pytest.param(settings(**changes), f"litellm_client_{starts_with}", says, id=f"{changes}"[:60])


FAULTS = [
    case("state is 'gone'", "present, absent", state="gone"),
    case("scope is 'all'", "machine, user", scope="all"),
    case("verify is True", "fail, warn, off", verify=True),
    case("tools is", "claude, codex, environment", tools=["cursor"]),
    case("tools is", "a list", tools="claude"),
    case("tools is", "a list", tools=[]),
    case("url is not set", "http://HOST:PORT", url=""),
    case("url is 'llm.example.com:4000'", "http://HOST:PORT", url="llm.example.com:4000"),
    case("url is 'ftp://", "http://HOST:PORT", url="ftp://llm.example.com"),
    case("url ends with /v1", "leave it out", url=f"{URL}/v1"),
    case("url ends with /v1", "leave it out", url=f"{URL}/v1/"),
    case("url is", "behind host and port", url=f"{URL}/"),
    case("url is", "behind host and port", url=f"{URL}/anthropic"),
    case("url is", "behind host and port", url=f"{URL}?a=b"),
    case("url is", "behind host and port", url=f"{URL}#"),
    case("url holds a user", "litellm_client_token", url=f"https://me:{TOKEN}@llm.example.com"),
    case("url is", "http://HOST:PORT", url="http://llm example.com"),
    case("url is malformed", "http://HOST:PORT", url="http://llm:port"),
    case("url is malformed", "http://HOST:PORT", url="http://llm:99999"),
    case("url is", "http://HOST:PORT", url="http://"),
    case("url is a placeholder", "http://HOST:PORT", url="http://your-server:4000"),
    case("token is not set", "the vault", token=""),
    case("token is a placeholder", "the vault", token="CHANGE-ME"),
    case("token is no text", "quote it", token=12345),
    case("token has white space", "copy it again", token="sk-abc def ghijklmnopqrst"),
    case("token has white space", "copy it again", token=f"{TOKEN}\n"),
    case("token is too short", "20 characters", token="sk-1234"),
    case("token is too short", "8 of them", token="sk-aaaaaaaaaaaaaaaaaaaaaa"),
    case("models must", "opus, sonnet, haiku, default", models="glm-5.3"),
    case("models has an unknown key 'fable'", "opus, sonnet, haiku, default", models={"fable": "glm-5.3"}),
    case("models.opus is ''", "/v1/models", models={"opus": ""}),
    case("models.opus is 'glm 5'", "/v1/models", models={"opus": "glm 5"}),
    case("users must", "list", users="alice"),
    case("users[0] is '../x'", "name of a user", users=["../x"]),
    case("users has alice twice", "remove one", users=["alice", "alice"]),
    case("users is empty", "machine", scope="user"),
    case("directory is 'etc'", "absolute path", directory="etc"),
    case("directory is", "absolute path", directory="/etc/../root"),
    case("claude_directory is ''", "absolute path", claude_directory=""),
    case("ca_bundle is 'ca.pem'", "absolute path", ca_bundle="ca.pem"),
    case("group is ''", "name of the group", group=""),
    case("codex_provider is 'openai'", "Codex's own", codex_provider="openai"),
    case("codex_provider is 'a b'", "letters", codex_provider="a b"),
    case("claude_env must", "mapping", claude_env=["A=1"]),
    case("claude_env has 'A-B'", "letters", claude_env={"A-B": 1}),
    case("claude_env has ANTHROPIC_AUTH_TOKEN", "litellm_client_token", claude_env={"ANTHROPIC_AUTH_TOKEN": "x"}),
    case("environment has OPENAI_API_KEY", "litellm_client_token", environment={"OPENAI_API_KEY": "x"}),
    case("environment.A must", "one line", environment={"A": "1\n2"}),
    case("environment.A must", "one line", environment={"A": None}),
    case("environment.A holds the token", "remove it", environment={"A": f"Bearer {TOKEN}"}),
    case("codex_config must", "mapping", codex_config=[]),
    case("codex_config holds the token", "remove it", codex_config={"a": {"b": TOKEN}}),
    *(
        case(f"{name.removeprefix('litellm_client_')} is", f"{low} to {high}", **{name[15:]: value})
        for name, (low, high) in LIMITS.items()
        for value in (low - 1, high + 1, "many", 1.5, None, True)
    ),
]


@pytest.mark.parametrize(("given", "starts_with", "says"), FAULTS)
def test_a_fault_names_the_variable_and_the_fix(given: dict[str, Any], starts_with: str, says: str) -> None:
    found = faults(given)
    assert [fault for fault in found if fault.startswith(starts_with) and says in fault], found
    assert all(re.fullmatch(r"litellm_client_[^\n]+\.", fault) for fault in found)
    assert TOKEN not in "".join(found)


def test_all_faults_are_reported_at_once() -> None:
    assert len(faults(settings(url="", token="", models={"x": "y"}, scope="all"))) == 4


def test_absent_needs_neither_address_nor_token() -> None:
    assert faults(settings(state="absent", url="", token="", models="x", scope="user")) == []


def test_absent_needs_users_and_places_that_can_be() -> None:
    found = faults(settings(state="absent", users=["a b"], directory="x"))
    assert [fault.split()[0] for fault in found] == ["litellm_client_users[0]", "litellm_client_directory"]


def test_a_token_in_the_clear_is_warned_of() -> None:
    assert "in the clear" in warnings(settings(url="http://llm.example.com:4000"))[0]
    assert warnings(settings()) == warnings(settings(url="http://127.0.0.1:4000")) == []


# what the endpoint says ---------------------------------------------------------


def models(*names: str) -> dict[str, Any]:
    return {"status": 200, "json": {"data": [{"id": name} for name in names]}}


def test_an_endpoint_that_serves_the_models_is_taken() -> None:
    assert refusal(models("glm-5.3", "glm-5.3-flash", "other"), settings()) == ""
    assert refusal(models("glm-5.3"), settings(models={"opus": "glm-5.3[1m]"})) == ""
    assert refusal(models(), settings(models={})) == ""


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"status": 401, "content": TOKEN}, "refuses the token (HTTP 401)"),
        ({"status": 403}, "litellm_client_token must be"),
        ({"status": 421}, "litellm_gateway_server_names"),
        ({"status": 308}, "https"),
        ({"status": 404, "content": "<html>"}, "is litellm_client_url the address"),
        ({"status": 200, "content": "<html>"}, "is litellm_client_url the address"),
        ({"status": 200, "content": "[]"}, "is litellm_client_url the address"),
        (models("glm-4"), "does not serve glm-5.3, glm-5.3-flash"),
        (models(), "it serves nothing"),
        ({"status": -1, "msg": "<urlopen error [Errno 111] Connection refused>"}, "nothing listens there"),
        ({"status": -1, "msg": "Request failed: timed out"}, "litellm_client_verify_timeout"),
        ({"status": -1, "msg": "[SSL: WRONG_VERSION_NUMBER] wrong version number"}, "speaks no TLS"),
        ({"status": -1, "msg": "[Errno 2] No such file or directory"}, "litellm_client_ca_bundle is no file"),
        ({"status": -1, "msg": "CERTIFICATE_VERIFY_FAILED"}, "litellm_client_ca_bundle"),
        ({"status": -1, "msg": "Name or service not known"}, "name is not known"),
        ({"status": -1, "msg": f"odd {TOKEN}"}, "cannot be reached"),
        ({"status": None}, "cannot be reached"),
        ({"msg": f"odd {TOKEN}"}, "was not asked"),
    ],
)
def test_a_refusal_says_why_and_no_token(answer: dict[str, Any], says: str) -> None:
    said = refusal(answer, settings())
    assert said.startswith(URL) and says in said and said.endswith((".", "?"))
    assert TOKEN not in said


# the variables, everywhere the same -----------------------------------------------


def test_specification_and_defaults_have_the_same_variables() -> None:
    assert sorted(OPTIONS) == sorted(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_is_the_one_of_the_role(name: str) -> None:
    assert OPTIONS[name]["default"] == DEFAULTS[name]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_a_type_and_a_description_of_one_to_three_sentences(name: str) -> None:
    option = OPTIONS[name]
    assert option["type"] in {"str", "int", "bool", "list", "dict"}
    assert option["description"].endswith(".")
    assert 1 <= len(re.findall(r"\.(?:\s|$)", option["description"])) <= 3
    assert not {"choices", "required"} & set(option)


def test_the_token_is_marked_as_secret() -> None:
    assert {name for name, option in OPTIONS.items() if option.get("no_log")} == {"litellm_client_token"}


@pytest.mark.parametrize(
    ("name", "values"), [("state", STATES), ("scope", SCOPES), ("tools", TOOLS), ("verify", VERIFY)]
)
def test_descriptions_say_what_the_validator_takes(name: str, values: tuple[str, ...]) -> None:
    assert all(f"`{value}`" in OPTIONS[f"litellm_client_{name}"]["description"] for value in values)
    assert set(OPTIONS["litellm_client_models"]["options"]) == set(MODELS)


def test_filters_get_every_variable_that_they_read() -> None:
    sources = "".join(path.read_text() for path in (ROLE / "filter_plugins").glob("*.py"))
    read = set(re.findall(r"settings\[\"(litellm_client_\w+)\"\]", sources)) | set(LIMITS)
    assert read <= set(SETTINGS) <= set(DEFAULTS)
    assert {name: f"{{{{ {name} }}}}" for name in SETTINGS} == SETTINGS
