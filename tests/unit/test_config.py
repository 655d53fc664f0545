"""LiteLLM's config.yaml as the role renders it."""

import json
import re
from typing import Any

import pytest
from litellm_proxy_config import POOL_STRATEGIES, config, credentials, served_models
from litellm_proxy_validate import LITELLM_STRATEGIES
from role_settings import ENDPOINTS, KEY_A, KEY_B, KEY_C, MASTER_KEY, STATE_FILE, key, pool, settings

ZAI = {
    ("international", "general"): "https://api.z.ai/api/paas/v4",
    ("international", "coding"): "https://api.z.ai/api/coding/paas/v4",
    ("china", "general"): "https://open.bigmodel.cn/api/paas/v4",
    ("china", "coding"): "https://open.bigmodel.cn/api/coding/paas/v4",
}
ANTHROPIC = {
    "international": "https://api.z.ai/api/anthropic",
    "china": "https://open.bigmodel.cn/api/anthropic",
}
REDIS = "redis://:Tk9wQ2xRb3Bz@redis.internal:6379/0"
OWN, POOLED = "simple-shuffle", "round-robin"

of_either_kind = pytest.mark.parametrize("strategy", [POOLED, OWN])
of_the_pool = pytest.mark.parametrize("strategy", POOL_STRATEGIES)
of_litellm = pytest.mark.parametrize("strategy", LITELLM_STRATEGIES)


def render(**changes: object) -> dict[str, Any]:
    """With a strategy of the pool, unless `routing_strategy` says otherwise."""
    return config(settings(**changes), ENDPOINTS, STATE_FILE, host="llm-1")


def render_own(**changes: object) -> dict[str, Any]:
    """With a strategy of LiteLLM's own."""
    return render(**{"routing_strategy": OWN, **changes})


def pooled_keys(**changes: object) -> dict[str, dict[str, Any]]:
    """The scheduler's keys by name."""
    return {entry["name"]: entry for entry in render(**changes)["glm_pool"]["keys"]}


def bases(rendered: dict[str, Any]) -> dict[str, set[str]]:
    """The URLs by API that keys are used at, whoever picks them."""
    if "glm_pool" in rendered:
        keys = rendered["glm_pool"]["keys"]
        return {api: {entry[f"{api}_api_base"] for entry in keys} for api in ("openai", "anthropic")}
    return {
        api: {d["litellm_params"]["api_base"] for d in rendered["model_list"] if d["model_info"]["api"] == api}
        for api in ("openai", "anthropic")
    }


THREE_KEYS = [key("team-a", KEY_A), key("team.b", KEY_B, weight=3, rpm="60"), key("C", KEY_C, state="active")]
NAMES = {"team-a": "TEAM_A", "team.b": "TEAM_B", "C": "C"}


@of_either_kind
def test_config_holds_no_secret(strategy: str) -> None:
    text = json.dumps(render(zai_keys=THREE_KEYS, routing_strategy=strategy, redis_url=REDIS))
    assert [secret for secret in (KEY_A, KEY_B, KEY_C, MASTER_KEY, "Tk9wQ2xRb3Bz") if secret in text] == []


@of_either_kind
@pytest.mark.parametrize("redis_url", ["", REDIS])
def test_every_reference_has_a_credential_and_the_other_way_round(strategy: str, redis_url: str) -> None:
    changes = {"zai_keys": THREE_KEYS, "routing_strategy": strategy, "redis_url": redis_url}
    references = set(re.findall(r"os\.environ/(\w+)", json.dumps(render(**changes))))
    shared = {"LITELLM_PROXY_REDIS_URL": REDIS} if redis_url and strategy == POOLED else {}
    assert credentials(settings(**changes)) == {
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "ZAI_API_KEY_TEAM_A": KEY_A,
        "ZAI_API_KEY_TEAM_B": KEY_B,
        "ZAI_API_KEY_C": KEY_C,
        **shared,
    }
    assert references == set(credentials(settings(**changes)))


def test_key_refers_to_its_own_value() -> None:
    for entry in render_own(zai_keys=THREE_KEYS)["model_list"]:
        name = NAMES[entry["model_info"]["key"]]
        assert entry["litellm_params"]["api_key"] == f"os.environ/ZAI_API_KEY_{name}"
    for name, entry in pooled_keys(zai_keys=THREE_KEYS).items():
        assert entry["value"] == f"os.environ/ZAI_API_KEY_{NAMES[name]}"


@of_either_kind
@pytest.mark.parametrize(("region", "plan"), ZAI)
def test_api_base_follows_region_and_plan(region: str, plan: str, strategy: str) -> None:
    rendered = render(zai_keys=[key("a", KEY_A, region=region, plan=plan)], routing_strategy=strategy)
    assert bases(rendered) == {"openai": {ZAI[region, plan]}, "anthropic": {ANTHROPIC[region]}}


@of_either_kind
def test_international_and_general_are_meant_when_left_out(strategy: str) -> None:
    rendered = render(zai_keys=[key("a", KEY_A)], routing_strategy=strategy)
    assert bases(rendered) == {
        "openai": {ZAI["international", "general"]},
        "anthropic": {ANTHROPIC["international"]},
    }


@of_either_kind
def test_api_bases_of_a_key_win_each_on_its_own(strategy: str) -> None:
    relay = "http://relay.internal:8080/v1"
    keys = [key("a", KEY_A, openai_api_base=relay, anthropic_api_base="")]
    assert bases(render(zai_keys=keys, routing_strategy=strategy)) == {
        "openai": {relay},
        "anthropic": {ANTHROPIC["international"]},
    }
    keys = [key("a", KEY_A, anthropic_api_base=relay)]
    assert bases(render(zai_keys=keys, routing_strategy=strategy)) == {
        "openai": {ZAI["international", "general"]},
        "anthropic": {relay},
    }


def test_plain_aliases_are_aliases_of_the_group() -> None:
    pools = [pool("glm-pool", "glm-5.3", "glm-5.3", "claude-*", "gpt-4o"), pool("flash", "glm-5.3-flash")]
    for rendered in (render(pools=pools), render_own(pools=pools)):
        assert rendered["router_settings"]["model_group_alias"] == {"glm-5.3": "glm-pool", "gpt-4o": "glm-pool"}
        assert {entry["model_name"] for entry in rendered["model_list"]} == {"glm-pool", "flash", "claude-*"}


@of_either_kind
def test_pool_without_aliases_is_rendered(strategy: str) -> None:
    pools = [{"name": "glm-pool", "model": "glm-5.3"}, {"name": "b", "model": "c", "aliases": None}]
    rendered = render(pools=pools, routing_strategy=strategy)
    assert rendered["router_settings"]["model_group_alias"] == {}
    assert served_models(rendered) == ["b", "glm-pool"]


@of_either_kind
def test_served_models_are_pools_and_plain_aliases(strategy: str) -> None:
    assert served_models(render(routing_strategy=strategy)) == ["glm-5.3", "glm-5.3-flash", "glm-pool"]


@of_either_kind
def test_ids_are_unique_and_hold_no_colon(strategy: str) -> None:
    """LiteLLM's usage-based strategies cut their counters' names at the first colon, and then find no deployment."""
    pools = [pool("vendor:model"), pool("glm-pool", "glm-5.3", "claude-*"), pool("vendor/model")]
    entries = render(zai_keys=THREE_KEYS, pools=pools, routing_strategy=strategy)["model_list"]
    ids = [entry["model_info"]["id"] for entry in entries]
    assert len(set(ids)) == len(ids)
    assert [name for name in ids if ":" in name] == []


@of_either_kind
def test_requests_are_authenticated_by_the_plugin(strategy: str) -> None:
    assert render(routing_strategy=strategy)["general_settings"] == {
        "master_key": "os.environ/LITELLM_MASTER_KEY",
        "custom_auth": "glm_pool.auth.authenticate",
    }


# A strategy of the pool: LiteLLM knows pools, the scheduler keys


@of_the_pool
def test_strategy_of_the_pool_is_the_schedulers(strategy: str) -> None:
    rendered = render(routing_strategy=strategy)
    assert rendered["litellm_settings"]["callbacks"] == ["glm_pool.routing.pool_scheduler"]
    assert rendered["glm_pool"]["strategy"] == strategy


def test_litellm_neither_retries_nor_cools_before_the_scheduler() -> None:
    assert render(num_retries=5, request_timeout="90")["router_settings"] == {
        "routing_strategy": "simple-shuffle",
        "num_retries": 0,
        "disable_cooldowns": True,
        "timeout": 90,
        "model_group_alias": {"glm-5.3": "glm-pool"},
    }


def test_pool_has_a_deployment_for_each_api_and_a_wildcard_one_for_anthropic() -> None:
    model_list = render(pools=[pool("glm:pool", "glm-5.3", "claude-*", "gpt-4o")])["model_list"]
    assert [(entry["model_name"], entry["model_info"]["id"]) for entry in model_list] == [
        ("glm:pool", "glm=pool/openai"),
        ("glm:pool", "glm=pool/anthropic"),
        ("claude-*", "claude-*/anthropic"),
    ]
    base = "https://glm-pool.invalid/glm%3Apool"
    assert [entry["litellm_params"] for entry in model_list] == [
        {
            "model": "zai/glm-5.3",
            "api_base": f"{base}/openai",
            "allowed_openai_params": ["max_retries", "response_format"],
            "api_key": "pool-scheduler",
        },
        *2 * [{"model": "anthropic/glm-5.3", "api_base": f"{base}/anthropic", "api_key": "pool-scheduler"}],
    ]
    for entry in model_list:
        info = {name: value for name, value in entry["model_info"].items() if name not in ("id", "api")}
        assert info == {"pool": "glm:pool", "base_model": "zai/glm-5.3", "supports_reasoning": True}


def test_the_schedulers_section_is_complete() -> None:
    keys = [
        key("team-a", KEY_A, account="billing", max_parallel_requests="2", rpm="60", weight="3"),
        key("team-b", KEY_B, state="draining", rpm=5),
        key("team-c", KEY_C, state="disabled"),
    ]
    zai = {"openai_api_base": ZAI["international", "general"], "anthropic_api_base": ANTHROPIC["international"]}
    assert render(
        zai_keys=keys,
        pools=[pool("glm-pool", "glm-5.3", "glm-5.3", "claude-*"), pool("flash", "glm-5.3-flash")],
        session_affinity=True,
        queue_size="7",
        queue_timeout="8",
        num_retries="9",
        cooldown_time="10",
        request_timeout="11",
        redis_url=REDIS,
    )["glm_pool"] == {
        "strategy": "round-robin",
        "session_affinity": True,
        "queue_size": 7,
        "queue_timeout": 8,
        "num_retries": 9,
        "cooldown_time": 10,
        "request_timeout": 11,
        "state_file": STATE_FILE,
        "redis_url": "os.environ/LITELLM_PROXY_REDIS_URL",
        "host": "llm-1",
        "pools": [
            {"name": "glm-pool", "model": "glm-5.3", "wildcards": ["claude-*"]},
            {"name": "flash", "model": "glm-5.3-flash", "wildcards": []},
        ],
        "keys": [
            {
                "name": "team-a",
                "account": "billing",
                "value": "os.environ/ZAI_API_KEY_TEAM_A",
                "state": "active",
                "weight": 3,
                "max_parallel_requests": 2,
                "rpm": 60,
                **zai,
            },
            {"name": "team-b", "account": "team-b", "state": "draining", "weight": 1, "rpm": 5, **zai},
            {"name": "team-c", "account": "team-c", "state": "disabled", "weight": 1, **zai},
        ],
    }


def test_without_redis_its_url_is_left_out() -> None:
    assert "redis_url" not in render()["glm_pool"]


# A strategy of LiteLLM's own: it knows every key


@of_litellm
def test_strategy_of_litellm_is_handed_on_and_there_is_no_scheduler(strategy: str) -> None:
    rendered = render(routing_strategy=strategy)
    assert rendered["router_settings"]["routing_strategy"] == strategy
    assert rendered["litellm_settings"]["callbacks"] == ["glm_pool.routing.litellm_strategy"]
    assert "glm_pool" not in rendered


def test_router_settings_are_the_variables_as_numbers() -> None:
    rendered = render_own(num_retries="1", cooldown_time="30", request_timeout="90")["router_settings"]
    assert (rendered["num_retries"], rendered["cooldown_time"], rendered["timeout"]) == (1, 30, 90)
    assert "disable_cooldowns" not in rendered


def test_litellm_does_not_try_a_pool_of_failing_keys_without_end() -> None:
    keys = [*THREE_KEYS, key("d", state="disabled")]
    assert render_own(zai_keys=keys)["router_settings"]["num_retries"] == 3


def test_only_active_keys_are_deployed() -> None:
    keys = [key("a", KEY_A, state="draining"), key("b", KEY_B), key("c", KEY_C, state="disabled")]
    assert {entry["model_info"]["key"] for entry in render_own(zai_keys=keys)["model_list"]} == {"b"}
    assert set(credentials(settings(zai_keys=keys))) == {"LITELLM_MASTER_KEY", "ZAI_API_KEY_B"}


def test_every_active_key_serves_every_pool_over_both_apis() -> None:
    rendered = render_own(zai_keys=THREE_KEYS, pools=[pool("one", "glm-5.3"), pool("two", "glm-5.3-flash")])
    served = [
        (entry["model_name"], entry["model_info"]["key"], entry["litellm_params"]["model"])
        for entry in rendered["model_list"]
    ]
    assert sorted(served) == sorted(
        (name, entry["name"], f"{provider}/{model}")
        for name, model in (("one", "glm-5.3"), ("two", "glm-5.3-flash"))
        for entry in THREE_KEYS
        for provider in ("zai", "anthropic")
    )


def test_wildcards_are_deployments_of_every_key() -> None:
    rendered = render_own(pools=[pool("glm-pool", "glm-5.3", "glm-5.3", "claude-*"), pool("flash", "glm-5.3-flash")])
    wildcards = [entry for entry in rendered["model_list"] if entry["model_name"] == "claude-*"]
    assert [(entry["model_info"]["key"], entry["model_info"]["api"]) for entry in wildcards] == [
        ("team-a", "anthropic"),
        ("team-b", "anthropic"),
    ]
    assert {entry["model_info"]["pool"] for entry in wildcards} == {"glm-pool"}
    assert {entry["litellm_params"]["model"] for entry in wildcards} == {"anthropic/glm-5.3"}


def test_deployment_ids_name_the_key() -> None:
    entries = render_own(zai_keys=THREE_KEYS)["model_list"]
    assert all(entry["model_info"]["key"] in entry["model_info"]["id"] for entry in entries)


def test_limits_of_a_key_are_numbers_on_its_deployments_only() -> None:
    keys = [key("a", KEY_A, weight="3", rpm="60", max_parallel_requests="2"), key("b", KEY_B)]
    for entry in render_own(zai_keys=keys)["model_list"]:
        limited = entry["model_info"]["key"] == "a"
        names = ("weight", "rpm", "max_parallel_requests")
        recorded = {name: entry["model_info"][name] for name in names if name in entry["model_info"]}
        assert recorded == ({"weight": 3, "rpm": 60, "max_parallel_requests": 2} if limited else {})
        handed = {name: entry["litellm_params"][name] for name in names if name in entry["litellm_params"]}
        assert handed == ({"weight": 3, "rpm": 60} if limited else {})


def test_account_is_the_name_when_left_out() -> None:
    keys = [key("a", KEY_A), key("b", KEY_B, account="billing")]
    entries = render_own(zai_keys=keys)["model_list"]
    assert {entry["model_info"]["key"]: entry["model_info"]["account"] for entry in entries} == {
        "a": "a",
        "b": "billing",
    }
    assert {name: entry["account"] for name, entry in pooled_keys(zai_keys=keys).items()} == {"a": "a", "b": "billing"}
