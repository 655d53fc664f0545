"""The routings that are compared, each as the files and the command of one LiteLLM."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from litellm_proxy_config import config as role_config
from litellm_proxy_config import credentials as role_credentials
from role_settings import DEFAULTS, ENDPOINTS, MASTER_KEY, VARS, key, settings
from role_settings import pool as role_pool

from .cases import MODEL, Case
from .services import ROOT

PLUGIN = ROOT / "roles" / "litellm_proxy" / "files"


@dataclass(frozen=True)
class Place:
    """Where one LiteLLM runs.

    Attributes:
        venv: virtual environment of the role's lock.
        upstream: base URL of the simulator.
        redis_port: None where a case has a single worker.
    """

    directory: Path
    venv: Path
    port: int
    upstream: str
    redis_port: int | None


@dataclass(frozen=True)
class Command:
    """How to start it."""

    arguments: list[str]
    environment: dict[str, str]


@dataclass(frozen=True)
class Routing:
    """One row of each case: `prepare` writes the files and returns the command."""

    name: str
    title: str
    prepare: Callable[[Case, Place], Command]


def _environment() -> dict[str, str]:
    """What the role sets for LiteLLM, the same for every routing."""
    fixed = {name: value for name, value in VARS["__litellm_proxy_environment"].items() if "{{" not in value}
    return fixed | {
        "LITELLM_LOG": str(DEFAULTS["litellm_proxy_log_level"]).upper(),
        "SSL_CERT_FILE": str(DEFAULTS["litellm_proxy_ca_bundle"]),
        "GRACEFUL_SHUTDOWN_TIMEOUT": "1",
    }


def _stock_model_list(case: Case, upstream: str, **parameters: Callable[[int], int]) -> list[dict[str, Any]]:
    """One deployment a key and pool; `parameters` are made from the key's slots."""
    return [
        {
            "model_name": pool,
            "litellm_params": {
                "model": f"zai/{MODEL}",
                "api_base": f"{upstream}/api/paas/v4",
                "api_key": key.value,
                # otherwise the SDK below LiteLLM tries each key three times
                "allowed_openai_params": ["max_retries"],
                **{name: make(key.slots) for name, make in parameters.items()},
            },
            "model_info": {"id": f"{pool}-{key.name}", "base_model": f"zai/{MODEL}"},
        }
        for pool in case.pools
        for key in case.keys
    ]


def _stock_command(case: Case, place: Place, config: Mapping[str, Any]) -> Command:
    path = place.directory / "config.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    arguments = [str(place.venv / "bin" / "litellm"), "--config", str(path), "--host", "127.0.0.1"]
    arguments += ["--port", str(place.port), "--num_workers", str(case.workers)]
    if case.workers > 1:
        # or it may replace its workers for ever while they start
        arguments += ["--timeout_worker_healthcheck", "120"]
    return Command(arguments, _environment())


def _redis(place: Place) -> dict[str, Any]:
    return {"redis_host": "127.0.0.1", "redis_port": place.redis_port} if place.redis_port else {}


def _stock(strategy: str) -> Callable[[Case, Place], Command]:
    def prepare(case: Case, place: Place) -> Command:
        return _stock_command(
            case,
            place,
            {
                "model_list": _stock_model_list(case, place.upstream),
                "router_settings": {"routing_strategy": strategy, "num_retries": 3, **_redis(place)},
                "general_settings": {"master_key": MASTER_KEY},
            },
        )

    return prepare


def _stock_best(case: Case, place: Place) -> Command:
    """The most that settings alone can do; its limits hold for each worker, so each gets its part."""
    shutil.copy(Path(__file__).with_name("round_robin.py"), place.directory)
    slots = sum(key.slots for key in case.keys)
    return _stock_command(
        case,
        place,
        {
            "model_list": _stock_model_list(
                case, place.upstream, max_parallel_requests=lambda count: max(1, count // case.workers)
            ),
            "router_settings": {
                "routing_strategy": "simple-shuffle",
                # the only way in which a failed request meets each key once
                "enable_weighted_failover": True,
                "num_retries": 0,
                "max_fallbacks": len(case.keys),
                "cooldown_time": 15,
                "allowed_fails_policy": {"RateLimitErrorAllowedFails": 5, "AuthenticationErrorAllowedFails": 0},
                **_redis(place),
            },
            "litellm_settings": {"drop_params": True, "callbacks": ["round_robin.callback"]},
            "general_settings": {
                "master_key": MASTER_KEY,
                "max_in_flight_requests_per_worker": max(1, slots // case.workers),
                "max_queued_requests_per_worker": 50,
                "admission_queue_timeout_seconds": 30,
            },
        },
    )


def _ours(case: Case, place: Place) -> Command:
    """The role's own config.yaml and credentials, started as the role's unit does."""
    changes: dict[str, object] = {
        "routing_strategy": "round-robin",
        "pools": [role_pool(name, MODEL) for name in case.pools],
        "zai_keys": [
            key(
                entry.name,
                entry.value,
                max_parallel_requests=entry.slots,
                openai_api_base=f"{place.upstream}/api/paas/v4",
                anthropic_api_base=f"{place.upstream}/api/anthropic",
            )
            for entry in case.keys
        ],
    }
    if place.redis_port:
        changes["redis_url"] = f"redis://127.0.0.1:{place.redis_port}/0"
    chosen = settings(**changes)
    config = role_config(chosen, ENDPOINTS, str(place.directory / "pool-state.json"))
    path = place.directory / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    (place.directory / "litellm-proxy.json").write_text(json.dumps(role_credentials(chosen)))
    arguments = [str(place.venv / "bin" / "python"), "-P", "-m", "glm_pool.launch", "--config", str(path)]
    arguments += ["--host", "127.0.0.1", "--port", str(place.port)]
    if case.workers > 1:
        arguments += ["--num-workers", str(case.workers)]
    environment = {"PYTHONPATH": str(PLUGIN), "CREDENTIALS_DIRECTORY": str(place.directory)}
    return Command(arguments, _environment() | environment)


ROUTINGS = (
    Routing("simple-shuffle", "LiteLLM simple-shuffle", _stock("simple-shuffle")),
    Routing("least-busy", "LiteLLM least-busy", _stock("least-busy")),
    Routing("usage-v2", "LiteLLM usage-based-v2", _stock("usage-based-routing-v2")),
    Routing("best", "LiteLLM's best", _stock_best),
    Routing("ours", "**this role**", _ours),
)
