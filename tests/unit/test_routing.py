"""Which key and which API of the upstream serves a request."""

import asyncio
import gc
import importlib
import logging
import sys
from collections import Counter
from types import ModuleType
from typing import Any

import pytest
from litellm_proxy_config import config
from role_settings import ENDPOINTS, KEY_A, KEY_B, KEY_C, key, pool, settings

CHAT, MESSAGES = "http://127.0.0.1:4000/v1/chat/completions", "http://127.0.0.1:4000/v1/messages?beta=true"
KEYS = [key("a", KEY_A, weight=3), key("b", KEY_B), key("c", KEY_C)]
POOLS = [
    pool("glm-pool", "glm-5.3", "glm-5.3", "claude-*", "claude-opus-5"),
    pool("flash", "glm-5.3-flash", "claude-haiku-*"),
    pool("claude-own", "glm-5.3"),
]


class CustomLogger:
    """Stands for LiteLLM's base class."""


class Router:
    """Stands for LiteLLM's router, with the deployments that the role configures."""

    def __init__(self) -> None:
        rendered = config(settings(zai_keys=KEYS, pools=POOLS), ENDPOINTS)
        self.model_list: list[dict[str, Any]] = rendered["model_list"]
        self.model_group_alias: dict[str, str] = rendered["router_settings"]["model_group_alias"]
        self.model_names = {entry["model_name"] for entry in self.model_list}

    def healthy(self, model: str = "glm-pool", without: str = "") -> list[dict[str, Any]]:
        """The deployments of a model, but for those that `without` names by `key:api`, `key` or `api`."""
        return [
            entry
            for entry in self.model_list
            if entry["model_name"] == model
            and without not in {api_of(entry), key_of(entry), f"{key_of(entry)}:{api_of(entry)}"}
        ]


class Request:
    """A client's request, whose logging object LiteLLM keeps over all tries."""

    class Logging:
        """Stands for LiteLLM's logging object."""

        def __init__(self, call_id: str) -> None:
            self.litellm_call_id = call_id

    count = 0

    def __init__(self, url: str = CHAT, **body: object) -> None:
        Request.count += 1
        self.call_id = f"call-{Request.count}"
        self.kwargs: dict[str, Any] = {
            "litellm_logging_obj": self.Logging(self.call_id),
            "proxy_server_request": {"url": url},
            **body,
        }


def key_of(deployment: dict[str, Any]) -> str:
    return str(deployment["model_info"]["key"])


def api_of(deployment: dict[str, Any]) -> str:
    return str(deployment["model_info"]["api"])


@pytest.fixture
def proxy_server(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """LiteLLM's modules as far as the plug-in uses them; gives the one that holds the router."""
    names = ["litellm", "litellm.integrations", "litellm.integrations.custom_logger"]
    names += ["litellm.proxy", "litellm.proxy.proxy_server"]
    modules = {name: ModuleType(name) for name in names}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    vars(modules["litellm.integrations.custom_logger"])["CustomLogger"] = CustomLogger
    vars(modules["litellm.proxy"])["proxy_server"] = modules["litellm.proxy.proxy_server"]
    vars(modules["litellm.proxy.proxy_server"])["llm_router"] = Router()
    return modules["litellm.proxy.proxy_server"]


@pytest.fixture
def router(proxy_server: ModuleType) -> Router:
    found: Router = proxy_server.llm_router
    return found


@pytest.fixture
def routing(proxy_server: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The plug-in as freshly loaded, without a turn taken."""
    monkeypatch.delitem(sys.modules, "glm_pool.routing", raising=False)
    module = importlib.import_module("glm_pool.routing")
    monkeypatch.delitem(sys.modules, "glm_pool.routing")
    return module


def choose(callback: Any, healthy: list[dict[str, Any]], request: Request | None) -> list[dict[str, Any]]:
    """What LiteLLM asks before each try; token counting comes without a request."""
    chosen: list[dict[str, Any]] = asyncio.run(
        callback.async_filter_deployments("model", healthy, None, request.kwargs if request else None)
    )
    return chosen


def only(callback: Any, healthy: list[dict[str, Any]], request: Request) -> dict[str, Any]:
    chosen = choose(callback, healthy, request)
    assert len(chosen) == 1
    return chosen[0]


def resolve(routing: ModuleType, model: object) -> object:
    data = {"model": model, "messages": []}
    found = asyncio.run(routing.round_robin.async_pre_call_hook(object(), object(), data, "completion"))
    assert found["messages"] == []
    return found["model"]


def finish(callback: Any, request: Request, failed: bool = False) -> None:
    event = callback.async_log_failure_event if failed else callback.async_log_success_event
    asyncio.run(event({"litellm_call_id": request.call_id}, object(), 0, 1))


@pytest.mark.parametrize(
    ("url", "tool_choice", "api"),
    [
        (CHAT, None, "openai"),
        (CHAT, "auto", "openai"),
        (CHAT, "none", "openai"),
        (CHAT, "required", "anthropic"),
        (CHAT, {"type": "function", "function": {"name": "look_up"}}, "anthropic"),
        ("http://127.0.0.1:4000/v1/responses", None, "openai"),
        (MESSAGES, None, "anthropic"),
        (MESSAGES, {"type": "auto"}, "anthropic"),
    ],
)
def test_api_is_the_clients_own_unless_it_lacks_what_is_asked(
    routing: ModuleType, router: Router, url: str, tool_choice: object, api: str
) -> None:
    request = Request(url, **({"tool_choice": tool_choice} if tool_choice else {}))
    assert api_of(only(routing.round_robin, router.healthy(), request)) == api


def test_request_without_a_url_goes_to_the_openai_api(routing: ModuleType, router: Router) -> None:
    request = Request()
    request.kwargs["proxy_server_request"] = None
    assert api_of(only(routing.round_robin, router.healthy(), request)) == "openai"


@pytest.mark.parametrize(("url", "gone", "left"), [(CHAT, "openai", "anthropic"), (MESSAGES, "anthropic", "openai")])
def test_other_api_serves_when_no_key_is_healthy_at_the_wanted_one(
    routing: ModuleType, router: Router, url: str, gone: str, left: str
) -> None:
    assert api_of(only(routing.round_robin, router.healthy(without=gone), Request(url))) == left


def test_wanted_api_is_kept_while_one_key_is_healthy_there(routing: ModuleType, router: Router) -> None:
    healthy = [entry for entry in router.healthy() if api_of(entry) == "anthropic" or key_of(entry) == "b"]
    for _ in range(4):
        chosen = only(routing.round_robin, healthy, Request(CHAT))
        assert (key_of(chosen), api_of(chosen)) == ("b", "openai")


def test_requests_spread_evenly_over_the_keys(routing: ModuleType, router: Router) -> None:
    requests = [Request(url) for url in (CHAT, MESSAGES, CHAT) * 6]
    used = Counter(key_of(only(routing.round_robin, router.healthy(), request)) for request in requests)
    assert used == {"a": 6, "b": 6, "c": 6}


def test_weighted_takes_the_weights_of_the_keys(routing: ModuleType, router: Router) -> None:
    used = Counter(key_of(only(routing.weighted, router.healthy(), Request())) for _ in range(20))
    assert used == {"a": 12, "b": 4, "c": 4}


@pytest.mark.parametrize("callback", ["round_robin", "least_connections", "weighted"])
def test_retries_avoid_tried_keys_and_start_over_when_all_were_tried(
    routing: ModuleType, router: Router, callback: str
) -> None:
    request = Request()
    tries = [key_of(only(getattr(routing, callback), router.healthy(), request)) for _ in range(4)]
    assert sorted(tries[:3]) == ["a", "b", "c"]
    assert tries[3] in tries[:3]


def test_retry_prefers_another_key_over_the_wanted_one_at_the_other_api(routing: ModuleType, router: Router) -> None:
    request = Request(CHAT)
    first = key_of(only(routing.round_robin, router.healthy(), request))
    second = only(routing.round_robin, router.healthy(without=f"{first}:openai"), request)
    assert key_of(second) != first
    assert api_of(second) == "openai"


def test_retry_takes_an_untried_key_at_the_other_api_rather_than_the_same_key_again(
    routing: ModuleType, router: Router
) -> None:
    request = Request(CHAT)
    healthy = [entry for entry in router.healthy(without="c") if f"{key_of(entry)}:{api_of(entry)}" != "b:openai"]
    assert key_of(only(routing.round_robin, healthy, request)) == "a"
    assert key_of(only(routing.round_robin, healthy, request)) == "b"


def test_one_request_does_not_avoid_the_keys_of_another(routing: ModuleType, router: Router) -> None:
    one, other = Request(), Request()
    healthy = router.healthy(without="c")
    first = key_of(only(routing.round_robin, healthy, one))
    only(routing.round_robin, healthy, other)
    assert key_of(only(routing.round_robin, healthy, one)) != first


def test_wildcard_is_resolved_to_its_pool(routing: ModuleType) -> None:
    assert resolve(routing, "claude-sonnet-5") == "glm-pool"


def test_longest_wildcard_wins(routing: ModuleType) -> None:
    assert resolve(routing, "claude-haiku-4-5-20251001") == "flash"


@pytest.mark.parametrize(
    "model", ["claude-own", "claude-opus-5", "glm-5.3", "glm-pool", "claude-*", "gpt-4o", "", None]
)
def test_other_names_are_left_to_litellm(routing: ModuleType, model: object) -> None:
    assert resolve(routing, model) == model


def test_wildcards_are_left_alone_before_the_router_exists(routing: ModuleType, proxy_server: ModuleType) -> None:
    vars(proxy_server)["llm_router"] = None
    assert resolve(routing, "claude-sonnet-5") == "claude-sonnet-5"
    vars(proxy_server)["llm_router"] = Router()
    assert resolve(routing, "claude-sonnet-5") == "glm-pool"


def test_counting_tokens_takes_no_turn(routing: ModuleType, router: Router) -> None:
    used = []
    for _ in range(6):
        counted = choose(routing.round_robin, router.healthy(), None)
        assert [api_of(entry) for entry in counted] == ["anthropic"]
        used.append(key_of(only(routing.round_robin, router.healthy(), Request())))
    assert Counter(used) == {"a": 2, "b": 2, "c": 2}


def test_foreign_deployments_are_untouched(routing: ModuleType) -> None:
    foreign = [
        {"model_name": "other", "litellm_params": {}, "model_info": {"id": "1"}},
        {"model_name": "other", "litellm_params": {}},
    ]
    for callback in (routing.round_robin, routing.litellm_strategy):
        assert choose(callback, foreign, Request()) == foreign


def test_litellms_own_strategy_chooses_among_all_that_fit(routing: ModuleType, router: Router) -> None:
    chosen = choose(routing.litellm_strategy, router.healthy(), Request(MESSAGES))
    assert [(key_of(entry), api_of(entry)) for entry in chosen] == [(name, "anthropic") for name in "abc"]


def test_least_connections_counts_running_requests(routing: ModuleType, router: Router) -> None:
    callback, healthy = routing.least_connections, router.healthy()
    running = [Request() for _ in range(3)]
    keys = [key_of(only(callback, healthy, request)) for request in running]
    assert sorted(keys) == ["a", "b", "c"]
    ended = []  # kept: an object that is gone would not count anyway
    for failed in (False, True):
        finish(callback, running[1], failed)
        ended.append(running[1])
        running[1] = Request()
        assert key_of(only(callback, healthy, running[1])) == keys[1]


def test_request_counts_at_the_key_of_its_last_try_only(routing: ModuleType, router: Router) -> None:
    callback, healthy = routing.least_connections, router.healthy(without="c")
    retried = Request()
    first = key_of(only(callback, healthy, retried))
    second = key_of(only(callback, healthy, retried))
    assert second != first
    assert key_of(only(callback, healthy, Request())) == first


def test_retried_request_counts_after_its_first_try_was_logged_as_failed(routing: ModuleType, router: Router) -> None:
    callback, healthy = routing.least_connections, router.healthy(without="c")
    retried = Request()
    first = key_of(only(callback, healthy, retried))
    finish(callback, retried, failed=True)
    assert key_of(only(callback, healthy, retried)) != first
    for _ in range(3):  # one after the other, beside the retried one
        other = Request()
        assert key_of(only(callback, healthy, other)) == first
        finish(callback, other)


def test_request_that_vanishes_is_not_counted_for_ever(routing: ModuleType, router: Router) -> None:
    callback, healthy = routing.least_connections, router.healthy()
    running = [Request() for _ in range(3)]
    keys = [key_of(only(callback, healthy, request)) for request in running]
    del running[1]
    gc.collect()
    assert key_of(only(callback, healthy, Request())) == keys[1]


def test_end_of_an_unknown_request_changes_nothing(routing: ModuleType, router: Router) -> None:
    callback, healthy = routing.least_connections, router.healthy(without="c")
    running = Request()
    first = key_of(only(callback, healthy, running))
    finish(callback, Request())
    assert key_of(only(callback, healthy, Request())) != first


class UpstreamError(Exception):
    """An error of the upstream that repeats the key."""

    status_code = 429


def test_failure_is_logged_with_the_key_name_and_without_the_upstreams_text(
    routing: ModuleType, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = router.healthy()[0]
    hook = routing.round_robin.async_post_call_failure_deployment_hook
    with caplog.at_level(logging.DEBUG, logger="LiteLLM Router"):
        asyncio.run(hook({**deployment}, UpstreamError(f"invalid key {KEY_A}"), "completion", fallback_depth=0))
    records = [record for record in caplog.records if record.name == "LiteLLM Router"]
    assert [record.levelname for record in records] == ["WARNING"]
    message = "pool key failed: key=a pool=glm-pool api=openai status=429 error=UpstreamError"
    assert [record.getMessage() for record in records] == [message]
    assert KEY_A not in caplog.text


def test_failure_of_a_foreign_deployment_is_logged_too(routing: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(routing.round_robin.async_post_call_failure_deployment_hook({}, OSError("text"), "completion"))
    assert caplog.messages == ["pool key failed: key=? pool=? api=? status=- error=OSError"]
