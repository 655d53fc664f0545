"""Filters that turn the role's settings into LiteLLM's config.yaml and the credentials beside it."""

import re
from collections.abc import Mapping
from typing import Any

POOL_STRATEGIES = {"round-robin": "round_robin", "least-connections": "least_connections", "weighted": "weighted"}
"""Strategies of the plug-in, by its instance; every other name is LiteLLM's own."""

Settings = Mapping[str, Any]


def config(settings: Settings, endpoints: Mapping[str, Any]) -> dict[str, Any]:
    """Build config.yaml as one mapping; key values appear only as `os.environ/` references.

    Args:
        settings: the role's public variables by name, already judged by `litellm_proxy_faults`.
        endpoints: base URLs as `endpoints[region]["openai"][plan]` and `endpoints[region]["anthropic"]`.
    """
    strategy = settings["litellm_proxy_routing_strategy"]
    return {
        "model_list": _model_list(settings, endpoints),
        "router_settings": {
            "routing_strategy": "simple-shuffle" if strategy in POOL_STRATEGIES else strategy,
            "num_retries": int(settings["litellm_proxy_num_retries"]),
            "cooldown_time": int(settings["litellm_proxy_cooldown_time"]),
            "timeout": int(settings["litellm_proxy_request_timeout"]),
            "model_group_alias": {
                alias: pool["name"]
                for pool in settings["litellm_proxy_pools"]
                for alias in pool.get("aliases") or []
                if "*" not in alias
            },
        },
        "litellm_settings": {
            # parameters that Z.AI does not know are dropped instead of refused
            "drop_params": True,
            "callbacks": [f"glm_pool.routing.{POOL_STRATEGIES.get(strategy, 'litellm_strategy')}"],
        },
        "general_settings": {
            "master_key": "os.environ/LITELLM_MASTER_KEY",
            "custom_auth": "glm_pool.auth.authenticate",
        },
    }


def credentials(settings: Settings) -> dict[str, str]:
    """Environment variables that hold the secrets which config.yaml refers to."""
    return {
        "LITELLM_MASTER_KEY": settings["litellm_proxy_master_key"],
        **{_variable(key): key["key"] for key in _active_keys(settings)},
    }


def served_models(config: Mapping[str, Any]) -> list[str]:
    """The names that `/v1/models` lists for a config: every pool and plain alias, no wildcard."""
    names = {entry["model_name"] for entry in config["model_list"]} | set(
        config["router_settings"]["model_group_alias"]
    )
    return sorted(name for name in names if "*" not in name)


def _model_list(settings: Settings, endpoints: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = []
    for pool in settings["litellm_proxy_pools"]:
        # A wildcard is listed so that token counting, which passes by the plug-in's alias resolution, finds a key.
        wildcards = [alias for alias in pool.get("aliases") or [] if "*" in alias]
        for key in _active_keys(settings):
            entries.append(_openai_deployment(pool, key, endpoints))
            entries.extend(_anthropic_deployment(name, pool, key, endpoints) for name in (pool["name"], *wildcards))
    return entries


def _openai_deployment(pool: Settings, key: Settings, endpoints: Mapping[str, Any]) -> dict[str, Any]:
    base = key.get("openai_api_base") or endpoints[_region(key)]["openai"][key.get("plan", "general")]
    params = {
        "model": f"zai/{pool['model']}",
        "api_base": base,
        # otherwise the SDK below LiteLLM tries each key three times
        "allowed_openai_params": ["max_retries"],
    }
    return _deployment(pool["name"], pool, key, "openai", params)


def _anthropic_deployment(
    model_name: str, pool: Settings, key: Settings, endpoints: Mapping[str, Any]
) -> dict[str, Any]:
    params = {
        "model": f"anthropic/{pool['model']}",
        "api_base": key.get("anthropic_api_base") or endpoints[_region(key)]["anthropic"],
    }
    return _deployment(model_name, pool, key, "anthropic", params)


def _deployment(model_name: str, pool: Settings, key: Settings, api: str, params: dict[str, Any]) -> dict[str, Any]:
    limits = {name: int(key[name]) for name in ("weight", "rpm") if key.get(name)}
    return {
        "model_name": model_name,
        "litellm_params": {**params, "api_key": f"os.environ/{_variable(key)}", **limits},
        "model_info": {
            # no colon: LiteLLM's usage-based strategies split their counters' names at it
            "id": f"{model_name}/{key['name']}/{api}".replace(":", "="),
            "pool": pool["name"],
            "key": key["name"],
            "account": key.get("account") or key["name"],
            "api": api,
            **limits,
            **(
                {"max_parallel_requests": int(key["max_parallel_requests"])} if key.get("max_parallel_requests") else {}
            ),
            # prices and context sizes; without it a diagnostic costs a tenth of every request
            "base_model": f"zai/{pool['model']}",
            # or LiteLLM drops the `thinking` that Claude Code sends
            "supports_reasoning": True,
        },
    }


def _active_keys(settings: Settings) -> list[Settings]:
    return [key for key in settings["litellm_proxy_zai_keys"] if key.get("state", "active") == "active"]


def _region(key: Settings) -> str:
    return str(key.get("region", "international"))


def _variable(key: Settings) -> str:
    return "ZAI_API_KEY_" + re.sub(r"[^A-Z0-9]", "_", str(key["name"]).upper())


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "litellm_proxy_config": config,
            "litellm_proxy_credentials": credentials,
            "litellm_proxy_served_models": served_models,
        }
