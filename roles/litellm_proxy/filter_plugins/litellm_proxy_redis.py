"""Filter that makes the URL of the shared Redis from the hosts that the role litellm_datastore deploys."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

PORT, SENTINEL_PORT, NAME = 6379, 26379, "litellm-pool"
"""The defaults of the role litellm_datastore."""

Host = Mapping[str, Any]


def redis_url(hosts: Sequence[Host]) -> str:
    """Make the URL: of the Redis on one host, of the Sentinels on several, empty without hosts.

    Args:
        hosts: the variables of each host of the store, as `hostvars` has them; those of the role litellm_datastore
            that are the same for all are read from the first.
    """
    if not hosts:
        return ""
    first = hosts[0]
    scheme = "rediss" if first.get("litellm_datastore_certificate") else "redis"
    password = quote(str(first.get("litellm_datastore_password") or ""), safe="")
    user = f":{password}@" if password else ""
    if len(hosts) == 1:
        return f"{scheme}://{user}{_place(first)}:{first.get('litellm_datastore_port') or PORT}/0"
    port = first.get("litellm_datastore_sentinel_port") or SENTINEL_PORT
    sentinels = ",".join(f"{_place(host)}:{port}" for host in hosts)
    return f"{scheme}+sentinel://{user}{sentinels}/{first.get('litellm_datastore_name') or NAME}/0"


def redis_ca(hosts: Sequence[Host]) -> str:
    """Certificate of the authority that signed those of the store, as PEM text; empty without hosts or TLS."""
    return str(hosts[0].get("litellm_datastore_ca") or "") if hosts else ""


def _place(host: Host) -> str:
    """The address that the proxies reach the host by, with the brackets that IPv6 needs in a URL."""
    place = next(
        str(host[name])
        for name in ("litellm_datastore_address", "ansible_host", "inventory_hostname")
        if host.get(name)
    )
    return f"[{place}]" if ":" in place else place


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_proxy_redis_url": redis_url, "litellm_proxy_redis_ca": redis_ca}
