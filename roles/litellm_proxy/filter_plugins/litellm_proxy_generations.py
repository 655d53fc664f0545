"""Filters about generations: what one is made of, how two differ, which are kept."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

Manifest = Mapping[str, Any]
"""What `manifest` returns; it holds no secret."""
Generations = Mapping[str, Mapping[str, Any]]
"""As `litellm_proxy_probe` reports them: by name `manifest`, `activated` (seconds since 1970, 0: never), `sealed`."""


def manifest(
    settings: Mapping[str, Any], config: Mapping[str, Any], models: Sequence[str], parts: Mapping[str, str]
) -> dict[str, Any]:
    """Describe a generation for people and for a later rollback, without its secrets.

    Args:
        settings: the role's public variables by name.
        config: the generation's config.yaml.
        models: the names that it serves.
        parts: `venv`, the path of its virtual environment, or `image`, its reference with digest; and `plugin`, the
            hash of its plug-in.
    """
    return {
        "version": str(settings["litellm_proxy_version"]),
        **parts,
        "routing_strategy": settings["litellm_proxy_routing_strategy"],
        "keys": {key["name"]: _key(key) for key in settings["litellm_proxy_zai_keys"]},
        "pools": {pool["name"]: _pool(pool) for pool in settings["litellm_proxy_pools"]},
        "models": list(models),
        "config": fingerprint(repr(_sorted(config))),
        # all that LiteLLM's own check of a config judges: what has passed it need not again
        "validated": fingerprint(repr((_sorted(config), _sorted(parts)))),
    }


def fingerprint(secret: str) -> str:
    """The first twelve digits of a value's SHA-256: tells values apart and gives none away."""
    return hashlib.sha256(str(secret).encode()).hexdigest()[:12]


def changes(old: Manifest, new: Manifest, other_master_key: bool = False) -> list[str]:
    """Say what going from one generation to another changes, a line each.

    Args:
        old: of the one that serves.
        new: of the one that shall serve.
        other_master_key: whether their master keys differ, which the manifests do not know.
    """
    found = []
    for field, title in (("version", "LiteLLM"), ("image", "image"), ("routing_strategy", "routing strategy")):
        if old.get(field) != new.get(field):
            found.append(f"{title}: {old.get(field, '?')} -> {new.get(field, '?')}")
    found += _mapping_changes("key", old.get("keys") or {}, new.get("keys") or {})
    found += _mapping_changes("pool", old.get("pools") or {}, new.get("pools") or {})
    if other_master_key:
        found.append("master key: another value; clients need that one")
    if old.get("plugin") != new.get("plugin"):
        found.append("plug-in: another revision of the pool scheduler")
    if not found and old.get("config") != new.get("config"):
        found.append("config.yaml: other settings")
    return found or ["settings of the service only"]


def changed_keys(old: Manifest, new: Manifest) -> list[str]:
    """Names of the keys whose values the new generation uses and the old one does not."""
    before = {key.get("value") for key in (old.get("keys") or {}).values()}
    return sorted(name for name, key in new["keys"].items() if key.get("value") and key["value"] not in before)


def expendable(generations: Generations, keep: int, needed: Sequence[str]) -> list[str]:
    """Names of the generations that may go, so that `keep` remain.

    Args:
        generations: all there are.
        keep: how many shall remain, those in use included.
        needed: names that stay in any case.
    """
    others = sorted(
        (name for name in generations if name not in needed), key=lambda name: _activated(generations[name])
    )
    spare = max(0, int(keep) - len(set(needed) & set(generations)))
    return sorted(others[: len(others) - spare] if spare else others)


def table(generations: Generations, current: str, previous: str) -> str:
    """Lay the generations out for people, the newest first."""
    headings = ("GENERATION", "STATE", "LITELLM", "STRATEGY", "KEYS", "LAST STARTED")
    order = sorted(generations, key=lambda name: (name != current, name != previous, -_activated(generations[name])))
    rows = [headings, *(_row(name, generations[name], current, previous) for name in order)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(name: str, generation: Mapping[str, Any], current: str, previous: str) -> tuple[str, ...]:
    described = generation.get("manifest") or {}
    state = "serves" if name == current else "previous" if name == previous else "kept"
    active = [key for key, value in (described.get("keys") or {}).items() if value.get("state") == "active"]
    when = _activated(generation)
    return (
        name,
        state,
        str(described.get("version", "-")),
        str(described.get("routing_strategy", "-")),
        ", ".join(active) or "-",
        time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when)) if when else "never",
    )


def _activated(generation: Mapping[str, Any]) -> float:
    return float(generation.get("activated") or 0)


def _key(key: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in sorted(key.items()) if name not in ("name", "key") and value}
    state = str(key.get("state", "active"))
    return {**plain, "state": state, **({"value": fingerprint(key["key"])} if state == "active" else {})}


def _pool(pool: Mapping[str, Any]) -> dict[str, Any]:
    return {field: pool[field] for field in ("model", "aliases") if pool.get(field)}


def _mapping_changes(title: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = [f"{title} {name}: removed" for name in old if name not in new]
    found += [f"{title} {name}: added" for name in new if name not in old]
    for name in old:
        if name not in new or old[name] == new[name]:
            continue
        for field in sorted({*old[name], *new[name]}):
            before, after = old[name].get(field), new[name].get(field)
            if before == after:
                continue
            if field == "value":
                # a key that is not active has none, which its state says
                if before and after:
                    found.append(f"{title} {name}: another value")
            else:
                found.append(f"{title} {name}: {field} {_shown(before)} -> {_shown(after)}")
    return found


def _shown(value: object) -> str:
    return "unset" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [(name, _sorted(value[name])) for name in sorted(value)]
    return [_sorted(item) for item in value] if isinstance(value, list) else value


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "litellm_proxy_manifest": manifest,
            "litellm_proxy_changes": changes,
            "litellm_proxy_changed_keys": changed_keys,
            "litellm_proxy_expendable": expendable,
            "litellm_proxy_generations_table": table,
        }
