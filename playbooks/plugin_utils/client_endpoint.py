"""Where clients find the endpoint, and which models they may ask for, by the settings of a proxy's host."""

import ipaddress
from collections.abc import Mapping
from typing import Any

SETTINGS = (
    "inventory_hostname", "ansible_host", "ansible_connection",
    *(f"litellm_proxy_{name}" for name in ("mode", "front", "host", "port", "pools")),
    *(f"litellm_gateway_{name}" for name in ("host", "port", "server_names", "certificate", "certificate_file")),
)  # fmt: skip
"""The settings of a host that are read here."""
FLASH = "claude-haiku-*"
"""The alias of the pool that takes Claude Code's small requests."""


def url(host: Mapping[str, Any]) -> str:
    """The endpoint's base URL without a path, such as https://llm.example.com:4000.

    Args:
        host: the settings of a host, without the roles' defaults; what is missing has its default.
    """
    gateway = _front(host) == "gateway"
    tls = gateway and any(host.get(f"litellm_gateway_certificate{suffix}") for suffix in ("", "_file"))
    port = host.get("litellm_gateway_port") if gateway else None
    return f"{'https' if tls else 'http'}://{_name(host, gateway)}:{port or host.get('litellm_proxy_port') or 4000}"


def pool_names(host: Mapping[str, Any]) -> list[str]:
    """The names of the pools; empty where they are not known."""
    return [str(pool["name"]) for pool in _pools(host) if pool.get("name")]


def models(host: Mapping[str, Any], allowed: list[str]) -> tuple[str, str]:
    """The pool for a client's requests, and the one for its small ones.

    Args:
        host: as for `url`.
        allowed: names of the pools that the client may use; empty for all.
    """
    pools = [pool for pool in _pools(host) if not allowed or pool.get("name") in allowed]
    names = [str(pool["name"]) for pool in pools if pool.get("name")] or allowed or ["glm-pool"]
    small = next((str(pool["name"]) for pool in pools if FLASH in (pool.get("aliases") or [])), names[0])
    return names[0], small


def _front(host: Mapping[str, Any]) -> str:
    default = "none" if host.get("litellm_proxy_mode") == "process" else "gateway"
    return str(host.get("litellm_proxy_front") or default)


def _name(host: Mapping[str, Any], gateway: bool) -> str:
    for name in host.get("litellm_gateway_server_names") or [] if gateway else []:
        if "*" not in str(name):
            return str(name)
    listen = str((host.get("litellm_gateway_host") if gateway else None) or host.get("litellm_proxy_host") or "0.0.0.0")  # noqa: S104
    inventory_name, address = str(host["inventory_hostname"]), str(host.get("ansible_host") or "")
    if not _any_address(listen):
        found = listen
    elif host.get("ansible_connection") == "local":
        found = "127.0.0.1"
    # short names of the inventory are seldom known to a name server
    elif "." in inventory_name or ":" in inventory_name or not address:
        found = inventory_name
    else:
        found = address
    return f"[{found}]" if ":" in found else found


def _any_address(listen: str) -> bool:
    try:
        return ipaddress.ip_address(listen).is_unspecified
    except ValueError:
        return True


def _pools(host: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    pools = host.get("litellm_proxy_pools")
    return [pool for pool in pools if isinstance(pool, Mapping)] if isinstance(pools, list) else []
