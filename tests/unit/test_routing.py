"""Which API of the upstream serves a request, and how LiteLLM comes by the callback."""

import asyncio
import importlib
import logging
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from litellm_proxy_config import config
from role_settings import ENDPOINTS, KEY_A, KEY_B, KEY_C, STATE_FILE, key, pool, settings
from starlette.exceptions import HTTPException

from glm_pool import names

CHAT, MESSAGES = "http://127.0.0.1:4000/v1/chat/completions", "http://127.0.0.1:4000/v1/messages?beta=true"
RESPONSES = "http://127.0.0.1:4000/v1/responses"
KEYS = [key("a", KEY_A, weight=3), key("b", KEY_B), key("c", KEY_C)]
POOLS = [
    pool("glm-pool", "glm-5.3", "glm-5.3", "claude-*", "claude-opus-5"),
    pool("flash", "glm-5.3-flash", "claude-haiku-*"),
    pool("claude-own", "glm-5.3"),
]
STRATEGIES = {"pool_scheduler": "round-robin", "litellm_strategy": "simple-shuffle"}
"""A strategy by the callback that config.yaml names for it."""


LITELLM = ("litellm", "litellm.integrations", "litellm.integrations.custom_logger")


class CustomLogger:
    """Stands for LiteLLM's base class."""


class Router:
    """Stands for LiteLLM's router, with the deployments that the role configures."""

    def __init__(self, strategy: str = "round-robin") -> None:
        self.config = config(settings(zai_keys=KEYS, pools=POOLS, routing_strategy=strategy), ENDPOINTS, STATE_FILE)
        self.callbacks: list[str] = self.config["litellm_settings"]["callbacks"]
        self.model_list: list[dict[str, Any]] = self.config["model_list"]

    def healthy(self, model: str = "glm-pool", without: str = "") -> list[dict[str, Any]]:
        """The deployments of a model, but for those whose API is `without`."""
        return [entry for entry in self.model_list if entry["model_name"] == model and api_of(entry) != without]


def request(url: str | None = CHAT, **body: object) -> dict[str, Any]:
    """What LiteLLM knows of a client's request."""
    return {"litellm_logging_obj": object(), "proxy_server_request": {"url": url} if url else None, **body}


def api_of(deployment: dict[str, Any]) -> str:
    return str(deployment["model_info"]["api"])


@pytest.fixture(params=STRATEGIES)
def name(request: pytest.FixtureRequest) -> str:
    """The callback's name."""
    return str(request.param)


@pytest.fixture
def router(name: str) -> Iterator[Router]:
    """The deployments, whose names the plug-in has read at its start."""
    found = Router(STRATEGIES[name])
    names.learn(found.config)
    yield found
    names.learn({})


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands for the rest of the plug-in; gets an entry each time that it is installed."""
    calls: list[str] = []
    plugin = ModuleType("glm_pool.plugin")
    vars(plugin)["install"] = lambda: calls.append("installed")
    monkeypatch.setitem(sys.modules, "glm_pool.plugin", plugin)
    return calls


@pytest.fixture
def routing(router: Router, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as freshly loaded, with LiteLLM's modules as far as it uses them."""
    modules = {part: ModuleType(part) for part in LITELLM}
    for part, module in modules.items():
        monkeypatch.setitem(sys.modules, part, module)
    vars(modules[LITELLM[-1]])["CustomLogger"] = CustomLogger
    monkeypatch.delitem(sys.modules, "glm_pool.routing", raising=False)
    module = importlib.import_module("glm_pool.routing")
    monkeypatch.delitem(sys.modules, "glm_pool.routing")
    return module


@pytest.fixture
def callback(routing: ModuleType, installed: list[str], name: str) -> Any:
    return getattr(routing, name)


def choose(callback: Any, healthy: list[dict[str, Any]], asked: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What LiteLLM asks before each try; token counting comes without a request."""
    chosen: list[dict[str, Any]] = asyncio.run(callback.async_filter_deployments("model", healthy, None, asked))
    return chosen


def resolve(callback: Any, model: object) -> object:
    data = {"model": model, "messages": []}
    found = asyncio.run(callback.async_pre_call_hook(object(), object(), data, "completion"))
    assert found["messages"] == []
    return found["model"]


# The way into the pool -----------------------------------------------------------------


def test_callback_that_config_names_installs_the_plug_in(
    routing: ModuleType, router: Router, installed: list[str]
) -> None:
    (path,) = router.callbacks
    module, _, name = path.rpartition(".")
    assert (module, installed) == ("glm_pool.routing", [])
    assert isinstance(getattr(routing, name), CustomLogger)
    assert installed == ["installed"]


def test_other_names_are_none_of_the_module(routing: ModuleType, installed: list[str]) -> None:
    for other in ("round_robin", "least_connections", "install", "__path__"):
        with pytest.raises(AttributeError):
            getattr(routing, other)
    assert installed == []


# The API -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "tool_choice", "api"),
    [
        (CHAT, None, "openai"),
        (CHAT, "auto", "openai"),
        (CHAT, "none", "openai"),
        (CHAT, "required", "anthropic"),
        (CHAT, {"type": "function", "function": {"name": "look_up"}}, "anthropic"),
        (RESPONSES, None, "openai"),
        (f"{CHAT}?next=/v1/messages", None, "openai"),
        (MESSAGES, None, "anthropic"),
        (MESSAGES, {"type": "auto"}, "anthropic"),
        (None, None, "openai"),
    ],
)
def test_api_is_the_clients_own_unless_it_lacks_what_is_asked(
    callback: Any, router: Router, url: str | None, tool_choice: object, api: str
) -> None:
    asked = request(url, **({"tool_choice": tool_choice} if tool_choice else {}))
    chosen = choose(callback, router.healthy(), asked)
    assert chosen == [entry for entry in router.healthy() if api_of(entry) == api]
    assert chosen


@pytest.mark.parametrize(("url", "gone", "left"), [(CHAT, "openai", "anthropic"), (MESSAGES, "anthropic", "openai")])
def test_other_api_serves_when_none_of_the_wanted_one_is_healthy(
    callback: Any, router: Router, url: str, gone: str, left: str
) -> None:
    chosen = choose(callback, router.healthy(without=gone), request(url))
    assert {api_of(entry) for entry in chosen} == {left}


def test_tokens_are_counted_by_the_anthropic_api(callback: Any, router: Router) -> None:
    assert {api_of(entry) for entry in choose(callback, router.healthy(), None)} == {"anthropic"}


def test_one_deployment_is_left_of_a_pool_and_one_of_each_key_elsewhere(
    callback: Any, router: Router, name: str
) -> None:
    for url in (CHAT, MESSAGES, RESPONSES):
        assert len(choose(callback, router.healthy(), request(url))) == (1 if name == "pool_scheduler" else 3)


def test_foreign_deployments_are_untouched(callback: Any) -> None:
    foreign = [
        {"model_name": "other", "litellm_params": {}, "model_info": {"id": "1"}},
        {"model_name": "other", "litellm_params": {}},
    ]
    assert choose(callback, foreign, request()) == foreign
    assert choose(callback, [], request()) == []


# Wildcards -----------------------------------------------------------------------------


def test_wildcard_is_resolved_to_its_pool(callback: Any) -> None:
    assert resolve(callback, "claude-sonnet-5") == "glm-pool"


def test_longest_wildcard_wins(callback: Any) -> None:
    assert resolve(callback, "claude-haiku-4-5-20251001") == "flash"


@pytest.mark.parametrize(
    "model", ["claude-own", "claude-opus-5", "glm-5.3", "glm-pool", "claude-*", "gpt-4o", "", None, 7, ["claude-x"]]
)
def test_other_names_are_left_to_litellm(callback: Any, model: object) -> None:
    assert resolve(callback, model) == model


def test_request_without_a_model_is_left_to_litellm(callback: Any) -> None:
    assert asyncio.run(callback.async_pre_call_hook(object(), object(), {"input": "x"}, "x")) == {"input": "x"}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"max_completion_tokens": 50}, {"max_tokens": 50}),
        ({"max_completion_tokens": 50, "max_tokens": None}, {"max_tokens": 50}),
        ({"max_completion_tokens": 50, "max_tokens": 40}, {"max_tokens": 40}),
        ({"max_tokens": 40}, {"max_tokens": 40}),
    ],
)
def test_the_newer_name_of_the_limit_is_kept(callback: Any, sent: dict[str, Any], kept: dict[str, Any]) -> None:
    found = asyncio.run(callback.async_pre_call_hook(object(), object(), {"model": "glm-pool", **sent}, "completion"))
    assert found == {"model": "glm-pool", **kept}


def test_a_conversation_that_the_proxy_should_remember_is_refused(callback: Any) -> None:
    asked = {"model": "claude-sonnet-5", "input": "and now", "previous_response_id": "resp_1"}
    with pytest.raises(HTTPException) as refused:
        asyncio.run(callback.async_pre_call_hook(object(), object(), asked, "aresponses"))
    assert refused.value.status_code == 400
    assert "previous_response_id" in refused.value.detail


@pytest.mark.parametrize(
    "field", [{"previous_response_id": None}, {"model": "gpt-4o", "previous_response_id": "resp_1"}]
)
def test_other_conversations_go_on(callback: Any, field: dict[str, Any]) -> None:
    asked = {"model": "glm-pool", "input": "and now", **field}
    assert asyncio.run(callback.async_pre_call_hook(object(), object(), dict(asked), "aresponses")) == asked


# Failures ------------------------------------------------------------------------------


class UpstreamError(Exception):
    """An error of the upstream that repeats the key."""

    status_code = 429


def lines(callback: Any, data: dict[str, Any], error: Exception, caplog: pytest.LogCaptureFixture) -> list[str]:
    hook = callback.async_post_call_failure_deployment_hook
    with caplog.at_level(logging.DEBUG, logger="LiteLLM Router"):
        asyncio.run(hook(data, error, "completion", fallback_depth=0))
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_failure_is_logged_with_the_name_of_the_key_that_litellm_chose(
    callback: Any, router: Router, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = lines(callback, router.healthy()[0], UpstreamError(f"invalid key {KEY_A}"), caplog)
    if name == "pool_scheduler":  # the pool knows better
        assert found == []
    else:
        assert found == ["WARNING pool key failed: key=a pool=glm-pool api=openai status=429 error=UpstreamError"]
    assert KEY_A not in caplog.text


def test_failure_of_a_foreign_deployment_is_not_the_pools(callback: Any, caplog: pytest.LogCaptureFixture) -> None:
    for data in ({}, {"model_info": None}, {"model_info": {"id": "1"}}):
        assert lines(callback, data, OSError("text"), caplog) == []
