"""LiteLLM's config.yaml as the role renders it."""

import json
import re
from typing import Any

import pytest
from litellm_proxy_config import config, credentials, served_models
from litellm_proxy_validate import LITELLM_STRATEGIES
from role_settings import ENDPOINTS, KEY_A, KEY_B, KEY_C, MASTER_KEY, key, pool, settings

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


def render(**changes: object) -> dict[str, Any]:
    return config(settings(**changes), ENDPOINTS)


def deployments(rendered: dict[str, Any], api: str) -> list[dict[str, Any]]:
    return [entry for entry in rendered["model_list"] if entry["model_info"]["api"] == api]


def bases(rendered: dict[str, Any], api: str) -> set[str]:
    return {entry["litellm_params"]["api_base"] for entry in deployments(rendered, api)}


THREE_KEYS = [key("team-a", KEY_A), key("team.b", KEY_B, weight=3, rpm="60"), key("C", KEY_C, state="active")]


def test_config_holds_no_secret() -> None:
    text = json.dumps(render(zai_keys=THREE_KEYS))
    assert [secret for secret in (KEY_A, KEY_B, KEY_C, MASTER_KEY) if secret in text] == []


def test_every_reference_has_a_credential_and_the_other_way_round() -> None:
    references = set(re.findall(r"os\.environ/(\w+)", json.dumps(render(zai_keys=THREE_KEYS))))
    assert credentials(settings(zai_keys=THREE_KEYS)) == {
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "ZAI_API_KEY_TEAM_A": KEY_A,
        "ZAI_API_KEY_TEAM_B": KEY_B,
        "ZAI_API_KEY_C": KEY_C,
    }
    assert references == set(credentials(settings(zai_keys=THREE_KEYS)))


def test_deployment_refers_to_its_own_key() -> None:
    for entry in render(zai_keys=THREE_KEYS)["model_list"]:
        name = {"team-a": "TEAM_A", "team.b": "TEAM_B", "C": "C"}[entry["model_info"]["key"]]
        assert entry["litellm_params"]["api_key"] == f"os.environ/ZAI_API_KEY_{name}"


@pytest.mark.parametrize(("region", "plan"), ZAI)
def test_api_base_follows_region_and_plan(region: str, plan: str) -> None:
    rendered = render(zai_keys=[key("a", KEY_A, region=region, plan=plan)])
    assert bases(rendered, "openai") == {ZAI[region, plan]}
    assert bases(rendered, "anthropic") == {ANTHROPIC[region]}


def test_international_and_general_are_meant_when_left_out() -> None:
    rendered = render(zai_keys=[key("a", KEY_A)])
    assert bases(rendered, "openai") == {ZAI["international", "general"]}
    assert bases(rendered, "anthropic") == {ANTHROPIC["international"]}


def test_api_bases_of_a_key_win_each_on_its_own() -> None:
    relay = "http://relay.internal:8080/v1"
    rendered = render(zai_keys=[key("a", KEY_A, openai_api_base=relay, anthropic_api_base="")])
    assert bases(rendered, "openai") == {relay}
    assert bases(rendered, "anthropic") == {ANTHROPIC["international"]}
    rendered = render(zai_keys=[key("a", KEY_A, anthropic_api_base=relay)])
    assert bases(rendered, "openai") == {ZAI["international", "general"]}
    assert bases(rendered, "anthropic") == {relay}


def test_only_active_keys_are_deployed() -> None:
    keys = [key("a", KEY_A, state="draining"), key("b", KEY_B), key("c", KEY_C, state="disabled")]
    assert {entry["model_info"]["key"] for entry in render(zai_keys=keys)["model_list"]} == {"b"}
    assert set(credentials(settings(zai_keys=keys))) == {"LITELLM_MASTER_KEY", "ZAI_API_KEY_B"}


def test_every_active_key_serves_every_pool_over_both_apis() -> None:
    rendered = render(zai_keys=THREE_KEYS, pools=[pool("one", "glm-5.3"), pool("two", "glm-5.3-flash")])
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


def test_plain_aliases_are_aliases_of_the_group_and_wildcards_deployments() -> None:
    rendered = render(
        pools=[pool("glm-pool", "glm-5.3", "glm-5.3", "claude-*", "gpt-4o"), pool("flash", "glm-5.3-flash")]
    )
    assert rendered["router_settings"]["model_group_alias"] == {"glm-5.3": "glm-pool", "gpt-4o": "glm-pool"}
    wildcards = [entry for entry in rendered["model_list"] if entry["model_name"] == "claude-*"]
    assert [(entry["model_info"]["key"], entry["model_info"]["api"]) for entry in wildcards] == [
        ("team-a", "anthropic"),
        ("team-b", "anthropic"),
    ]
    assert {entry["model_info"]["pool"] for entry in wildcards} == {"glm-pool"}
    assert {entry["litellm_params"]["model"] for entry in wildcards} == {"anthropic/glm-5.3"}
    assert {entry["model_name"] for entry in rendered["model_list"]} == {"glm-pool", "flash", "claude-*"}


def test_pool_without_aliases_is_rendered() -> None:
    rendered = render(pools=[{"name": "glm-pool", "model": "glm-5.3"}, {"name": "b", "model": "c", "aliases": None}])
    assert rendered["router_settings"]["model_group_alias"] == {}
    assert served_models(rendered) == ["b", "glm-pool"]


def test_served_models_are_pools_and_plain_aliases() -> None:
    assert served_models(render()) == ["glm-5.3", "glm-5.3-flash", "glm-pool"]


def test_deployment_ids_are_unique_and_name_the_key() -> None:
    entries = render(zai_keys=THREE_KEYS)["model_list"]
    ids = [entry["model_info"]["id"] for entry in entries]
    assert len(set(ids)) == len(ids)
    assert all(entry["model_info"]["key"] in entry["model_info"]["id"] for entry in entries)


@pytest.mark.parametrize(
    ("strategy", "callback"),
    [
        ("round-robin", "round_robin"),
        ("least-connections", "least_connections"),
        ("weighted", "weighted"),
    ],
)
def test_strategy_of_the_pool_is_an_instance_of_the_plugin(strategy: str, callback: str) -> None:
    rendered = render(routing_strategy=strategy)
    assert rendered["router_settings"]["routing_strategy"] == "simple-shuffle"
    assert rendered["litellm_settings"]["callbacks"] == [f"glm_pool.routing.{callback}"]


@pytest.mark.parametrize("strategy", LITELLM_STRATEGIES)
def test_strategy_of_litellm_is_handed_on(strategy: str) -> None:
    rendered = render(routing_strategy=strategy)
    assert rendered["router_settings"]["routing_strategy"] == strategy
    assert rendered["litellm_settings"]["callbacks"] == ["glm_pool.routing.litellm_strategy"]


def test_limits_of_a_key_are_numbers_on_its_deployments_only() -> None:
    keys = [key("a", KEY_A, weight="3", rpm="60", max_parallel_requests="2"), key("b", KEY_B)]
    for entry in render(zai_keys=keys)["model_list"]:
        limited = entry["model_info"]["key"] == "a"
        names = ("weight", "rpm", "max_parallel_requests")
        recorded = {name: entry["model_info"][name] for name in names if name in entry["model_info"]}
        assert recorded == ({"weight": 3, "rpm": 60, "max_parallel_requests": 2} if limited else {})
        handed = {name: entry["litellm_params"][name] for name in names if name in entry["litellm_params"]}
        assert handed == ({"weight": 3, "rpm": 60} if limited else {})


def test_router_settings_are_the_variables_as_numbers() -> None:
    rendered = render(num_retries="5", cooldown_time="30", request_timeout="90")["router_settings"]
    assert (rendered["num_retries"], rendered["cooldown_time"], rendered["timeout"]) == (5, 30, 90)


def test_requests_are_authenticated_by_the_plugin() -> None:
    assert render()["general_settings"] == {
        "master_key": "os.environ/LITELLM_MASTER_KEY",
        "custom_auth": "glm_pool.auth.authenticate",
    }


def test_account_is_the_name_when_left_out() -> None:
    entries = render(zai_keys=[key("a", KEY_A), key("b", KEY_B, account="billing")])["model_list"]
    assert {entry["model_info"]["key"]: entry["model_info"]["account"] for entry in entries} == {
        "a": "a",
        "b": "billing",
    }


def test_ids_hold_no_colon() -> None:
    """LiteLLM's usage-based strategies cut their counters' names at the first colon, and then find no deployment."""
    rendered = config(settings(pools=[pool("vendor:model"), pool("glm-pool")]), ENDPOINTS)
    assert [entry["model_info"]["id"] for entry in rendered["model_list"] if ":" in entry["model_info"]["id"]] == []
