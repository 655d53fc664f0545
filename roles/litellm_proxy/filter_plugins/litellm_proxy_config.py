"""Filters that turn the role's settings into LiteLLM's config.yaml and the credentials beside it."""

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

POOL_STRATEGIES = ("round-robin", "least-connections", "weighted")
"""Strategies of the plug-in's scheduler; every other name is LiteLLM's own."""
POOL_URL = "https://glm-pool.invalid"
"""What LiteLLM takes for the upstream; the plug-in sends requests for it to the key that is next."""

Settings = Mapping[str, Any]


def config(
    settings: Settings, endpoints: Mapping[str, Any], state_file: str = "", local_store: str = "", host: str = ""
) -> dict[str, Any]:
    """Build config.yaml as one mapping; key values appear only as `os.environ/` references.

    With a strategy of the plug-in LiteLLM knows pools and no key: the section `glm_pool`, which LiteLLM itself
    leaves alone, has what the scheduler works by. With LiteLLM's own it knows every key, and there is no such section.

    Args:
        settings: the role's public variables by name, already judged by `litellm_proxy_faults`.
        endpoints: base URLs as `endpoints[region]["openai"][plan]` and `endpoints[region]["anthropic"]`.
        state_file: where the scheduler keeps the keys' states, absolute path on the host; empty for nowhere.
        local_store: where the instances of a host agree on limits, absolute path on the host; empty for nowhere.
        host: its name in the inventory, by which several know each other's processes.
    """
    scheduled = _scheduled(settings)
    return {
        "model_list": _pool_deployments(settings) if scheduled else _key_deployments(settings, endpoints),
        "router_settings": {
            **(_no_routing() if scheduled else _routing(settings)),
            # handed to the HTTP client only; the scheduler's transport measures by itself
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
            "callbacks": [f"glm_pool.routing.{'pool_scheduler' if scheduled else 'litellm_strategy'}"],
        },
        "general_settings": {
            "master_key": "os.environ/LITELLM_MASTER_KEY",
            "custom_auth": "glm_pool.auth.authenticate",
        },
        **({"glm_pool": _scheduler(settings, endpoints, state_file, local_store, host)} if scheduled else {}),
    }


def credentials(settings: Settings) -> dict[str, str]:
    """Environment variables that hold the secrets which config.yaml refers to."""
    return {
        "LITELLM_MASTER_KEY": settings["litellm_proxy_master_key"],
        **{_variable(key): key["key"] for key in _active_keys(settings)},
        **({"LITELLM_PROXY_REDIS_URL": settings["litellm_proxy_redis_url"]} if _redis(settings) else {}),
    }


def proof(settings: Settings, endpoints: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """What `glm_pool.prove` reads to ask the upstream one small question with each of the keys; it holds their values.

    Args:
        settings: the role's public variables by name.
        endpoints: as for `config`.
        names: of the keys that shall be proven.
    """
    return {
        "model": settings["litellm_proxy_pools"][0]["model"],
        "timeout": min(60, int(settings["litellm_proxy_request_timeout"])),
        "keys": [
            {
                "name": key["name"],
                "value": key["key"],
                "openai_api_base": _openai_base(key, endpoints),
                "anthropic_api_base": _anthropic_base(key, endpoints),
            }
            for key in _active_keys(settings)
            if key["name"] in names
        ],
    }


def served_models(config: Mapping[str, Any]) -> list[str]:
    """The names that `/v1/models` lists for a config: every pool and plain alias, no wildcard."""
    names = {entry["model_name"] for entry in config["model_list"]} | set(
        config["router_settings"]["model_group_alias"]
    )
    return sorted(name for name in names if "*" not in name)


def _no_routing() -> dict[str, Any]:
    """LiteLLM neither retries nor cools: the scheduler does, and the one deployment is never at fault."""
    return {"routing_strategy": "simple-shuffle", "num_retries": 0, "disable_cooldowns": True}


def _routing(settings: Settings) -> dict[str, Any]:
    retries = int(settings["litellm_proxy_num_retries"])
    return {
        "routing_strategy": settings["litellm_proxy_routing_strategy"],
        # LiteLLM would try the same keys again
        "num_retries": min(retries, len(_active_keys(settings))),
        "cooldown_time": int(settings["litellm_proxy_cooldown_time"]),
    }


def _scheduler(
    settings: Settings, endpoints: Mapping[str, Any], state_file: str, local_store: str, host: str
) -> dict[str, Any]:
    """The section `glm_pool`, as `glm_pool.settings` reads it; times are seconds."""
    return {
        "strategy": settings["litellm_proxy_routing_strategy"],
        "session_affinity": bool(settings["litellm_proxy_session_affinity"]),
        **{
            name: int(settings[f"litellm_proxy_{name}"])
            for name in ("queue_size", "queue_timeout", "num_retries", "cooldown_time", "request_timeout")
        },
        "state_file": state_file,
        **({"local_store": local_store} if local_store and not _redis(settings) else {}),
        **({"redis_url": "os.environ/LITELLM_PROXY_REDIS_URL", "host": host} if _redis(settings) else {}),
        **({"redis_ca": authority} if _redis(settings) and (authority := settings["litellm_proxy_redis_ca"]) else {}),
        "pools": [
            {"name": pool["name"], "model": pool["model"], "wildcards": _wildcards(pool)}
            for pool in settings["litellm_proxy_pools"]
        ],
        "keys": [_scheduled_key(key, endpoints) for key in settings["litellm_proxy_zai_keys"]],
    }


def _scheduled_key(key: Settings, endpoints: Mapping[str, Any]) -> dict[str, Any]:
    state = _state(key)
    return {
        "name": key["name"],
        "account": _account(key),
        **({"value": f"os.environ/{_variable(key)}"} if state == "active" else {}),
        "state": state,
        "weight": int(key.get("weight") or 1),
        **_numbers(key, "max_parallel_requests", "rpm"),
        "openai_api_base": _openai_base(key, endpoints),
        "anthropic_api_base": _anthropic_base(key, endpoints),
    }


def _pool_deployments(settings: Settings) -> list[dict[str, Any]]:
    """One deployment a pool and API."""
    entries = []
    for pool in settings["litellm_proxy_pools"]:
        url = f"{POOL_URL}/{quote(pool['name'], safe='')}"
        entries.append(_openai_deployment(pool, "pool-scheduler", f"{url}/openai"))
        entries.extend(
            _anthropic_deployment(name, pool, "pool-scheduler", f"{url}/anthropic")
            for name in (pool["name"], *_wildcards(pool))
        )
    return entries


def _key_deployments(settings: Settings, endpoints: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One deployment a pool, active key and API."""
    entries = []
    for pool in settings["litellm_proxy_pools"]:
        for key in _active_keys(settings):
            api_key = f"os.environ/{_variable(key)}"
            made = [_openai_deployment(pool, api_key, _openai_base(key, endpoints), key)]
            made += [
                _anthropic_deployment(name, pool, api_key, _anthropic_base(key, endpoints), key)
                for name in (pool["name"], *_wildcards(pool))
            ]
            entries.extend(made)
    return entries


def _openai_deployment(pool: Settings, api_key: str, api_base: str, key: Settings | None = None) -> dict[str, Any]:
    params = {
        "model": f"zai/{pool['model']}",
        "api_base": api_base,
        # else the SDK below LiteLLM tries each key three times, and JSON output is dropped, which Z.AI does have
        "allowed_openai_params": ["max_retries", "response_format"],
        "api_key": api_key,
    }
    return _deployment(pool["name"], pool, "openai", params, key)


def _anthropic_deployment(
    model_name: str, pool: Settings, api_key: str, api_base: str, key: Settings | None = None
) -> dict[str, Any]:
    params = {"model": f"anthropic/{pool['model']}", "api_base": api_base, "api_key": api_key}
    return _deployment(model_name, pool, "anthropic", params, key)


def _deployment(
    model_name: str, pool: Settings, api: str, params: dict[str, Any], key: Settings | None
) -> dict[str, Any]:
    limits = _numbers(key, "weight", "rpm") if key else {}
    return {
        "model_name": model_name,
        "litellm_params": {**params, **limits},
        "model_info": {
            # no colon: LiteLLM's usage-based strategies split their counters' names at it
            "id": "/".join([model_name, *([key["name"]] if key else []), api]).replace(":", "="),
            "pool": pool["name"],
            **({"key": key["name"], "account": _account(key)} if key else {}),
            "api": api,
            **limits,
            **(_numbers(key, "max_parallel_requests") if key else {}),
            # prices and context sizes; without it a diagnostic costs a tenth of every request
            "base_model": f"zai/{pool['model']}",
            # or LiteLLM drops the `thinking` that Claude Code sends
            "supports_reasoning": True,
        },
    }


def _wildcards(pool: Settings) -> list[str]:
    """Aliases with a `*`; deployments of their own, as token counting passes by the plug-in's alias resolution."""
    return [alias for alias in pool.get("aliases") or [] if "*" in alias]


def _openai_base(key: Settings, endpoints: Mapping[str, Any]) -> str:
    return str(key.get("openai_api_base") or endpoints[_region(key)]["openai"][key.get("plan", "general")])


def _anthropic_base(key: Settings, endpoints: Mapping[str, Any]) -> str:
    return str(key.get("anthropic_api_base") or endpoints[_region(key)]["anthropic"])


def _numbers(key: Settings, *names: str) -> dict[str, int]:
    """Those of the fields that the key has, as numbers."""
    return {name: int(key[name]) for name in names if key.get(name)}


def _scheduled(settings: Settings) -> bool:
    return settings["litellm_proxy_routing_strategy"] in POOL_STRATEGIES


def _redis(settings: Settings) -> bool:
    return _scheduled(settings) and bool(settings["litellm_proxy_redis_url"])


def _account(key: Settings) -> str:
    return str(key.get("account") or key["name"])


def _state(key: Settings) -> str:
    return str(key.get("state", "active"))


def _active_keys(settings: Settings) -> list[Settings]:
    return [key for key in settings["litellm_proxy_zai_keys"] if _state(key) == "active"]


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
            "litellm_proxy_proof": proof,
            "litellm_proxy_served_models": served_models,
        }
