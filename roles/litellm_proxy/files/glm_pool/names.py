"""The names that clients may ask for, and the pool behind each."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

_names: dict[str, str | None] = {}
"""None: a name of the operator's own models, which have no pool."""
_deployments: dict[str, str] = {}
"""LiteLLM takes the id of a deployment for a name, too."""


def learn(config: Mapping[str, Any]) -> None:
    """Read the names out of config.yaml; done once, at start."""
    _names.clear()
    _deployments.clear()
    for entry in config.get("model_list") or ():
        info = entry.get("model_info") or {}
        pool = str(info["pool"]) if info.get("pool") else None
        _names[str(entry["model_name"])] = pool
        if pool:
            _deployments[str(info.get("id"))] = pool
    aliases = (config.get("router_settings") or {}).get("model_group_alias") or {}
    for alias, target in aliases.items():
        name = target.get("model") if isinstance(target, Mapping) else target
        _names[str(alias)] = _names.get(str(name))


def the_names() -> Mapping[str, str]:
    """Pool by name; wildcards too."""
    return {name: pool for name, pool in _names.items() if pool}


def pool_of(model: str) -> str | None:
    """The pool that serves a model's name, by the longest wildcard where it is none itself; None for none."""
    return _names[model] if model in _names else _behind_wildcard(model)


def resolve(model: str) -> str:
    """What LiteLLM is to be asked for: the pool behind a wildcard, every other name as it is."""
    return model if model in _names else _behind_wildcard(model) or model


def _behind_wildcard(model: str) -> str | None:
    matching = [pattern for pattern in _names if "*" in pattern and fnmatchcase(model, pattern)]
    return _names[max(matching, key=len)] if matching else None


def pools_of(model: str) -> list[str]:
    """The pools that a request for a model may reach: LiteLLM takes several names with commas between them."""
    found = []
    for name in (model, *(part.strip() for part in model.split(","))):
        pool = pool_of(name) or _deployments.get(name)
        if pool is not None and pool not in found:
            found.append(pool)
    return found
