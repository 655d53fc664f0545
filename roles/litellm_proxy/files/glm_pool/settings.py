"""The pool's settings, as the section `glm_pool` of config.yaml gives them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REFERENCE = "os.environ/"
"""Prefix of a value that stands in the environment, as LiteLLM writes it."""


@dataclass(frozen=True)
class Key:
    """An upstream key.

    Attributes:
        name: stands for the key in logs, metrics and headers.
        account: keys of one account share its limits.
        value: what authenticates; empty unless the key is active.
        state: active, draining (takes no new request) or disabled.
        weight: share under the `weighted` strategy, above 0.
        max_parallel_requests: requests in flight for the account and each model; None for any number.
        rpm: requests of the account in any 60 s; None for any number.
        openai_api_base: URL before `/chat/completions`.
        anthropic_api_base: URL before `/v1/messages`.
    """

    name: str
    account: str
    value: str = field(repr=False)
    state: str = "active"
    weight: float = 1.0
    max_parallel_requests: int | None = None
    rpm: int | None = None
    openai_api_base: str = ""
    anthropic_api_base: str = ""

    @property
    def identity(self) -> str:
        """Name and value in short: a new value under an old name is another key with a state of its own."""
        return f"{self.name}@{hashlib.sha256(self.value.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Pool:
    """A name that clients ask for and the upstream's model behind it."""

    name: str
    model: str
    wildcards: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """All of the section; times are seconds.

    With `redis_url` limits are shared through Redis, else with `local_store`, the path of a database, among the
    processes of this host that name the same. `redis_ca` is PEM text that is trusted besides the system's, `host`
    what this host is called there.
    """

    pools: tuple[Pool, ...]
    keys: tuple[Key, ...]
    strategy: str = "round-robin"
    session_affinity: bool = False
    queue_size: int = 100
    queue_timeout: float = 60.0
    num_retries: int = 100
    cooldown_time: float = 60.0
    request_timeout: float = 300.0
    state_file: str = ""
    local_store: str = ""
    host: str = ""
    redis_url: str = field(default="", repr=False)
    redis_ca: str = field(default="", repr=False)


_PLAIN = ("strategy", "session_affinity", "queue_size", "num_retries", "state_file", "local_store", "redis_ca", "host")
_SECONDS = ("queue_timeout", "cooldown_time", "request_timeout")


def parse(section: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Read the section; values that begin with `os.environ/` are taken from `environment`, empty when missing.

    Raises:
        KeyError: a needed field is missing.
    """
    known = {name: section[name] for name in _PLAIN if section.get(name) is not None}
    known |= {name: float(section[name]) for name in _SECONDS if section.get(name) is not None}
    return Settings(
        pools=tuple(
            Pool(str(pool["name"]), str(pool["model"]), tuple(pool.get("wildcards") or ())) for pool in section["pools"]
        ),
        keys=tuple(_key(key, environment) for key in section["keys"]),
        redis_url=_resolve(section.get("redis_url"), environment),
        **known,
    )


def _key(key: Mapping[str, Any], environment: Mapping[str, str]) -> Key:
    return Key(
        name=str(key["name"]),
        account=str(key.get("account") or key["name"]),
        value=_resolve(key.get("value"), environment),
        state=str(key.get("state") or "active"),
        weight=float(key.get("weight") or 1),
        max_parallel_requests=key.get("max_parallel_requests"),
        rpm=key.get("rpm"),
        openai_api_base=str(key.get("openai_api_base") or ""),
        anthropic_api_base=str(key.get("anthropic_api_base") or ""),
    )


def _resolve(value: str | None, environment: Mapping[str, str]) -> str:
    if value and value.startswith(REFERENCE):
        return environment.get(value.removeprefix(REFERENCE), "")
    return value or ""
