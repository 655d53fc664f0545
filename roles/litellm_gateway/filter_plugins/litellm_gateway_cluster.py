"""Filters that make a cluster's addresses and servers from the hosts of the inventory."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

PORT = 4000

Variables = Mapping[str, Mapping[str, Any]]


def server_name(host: str) -> str:
    """Name of a proxy host as a server of the gateways: its name in the inventory, in letters that HAProxy takes."""
    return re.sub(r"[^a-z0-9._-]", "-", host.lower())


def servers(hosts: Sequence[str], variables: Variables) -> list[dict[str, Any]]:
    """The proxies' fronts, as litellm_gateway_servers has them.

    Args:
        hosts: names of the proxies in the inventory.
        variables: what the inventory says of each host, by name.
    """
    return [_server(host, variables[host]) for host in hosts]


def addresses(hosts: Sequence[str], variables: Variables) -> list[str]:
    """Where the gateways are, by their addresses in the network of the proxies."""
    return [
        str(variables[host].get("litellm_gateway_address") or variables[host].get("ansible_host") or host)
        for host in hosts
    ]


def which_have(answers: Sequence[Mapping[str, Any]], hosts: Sequence[str]) -> list[str]:
    """The gateways that have one of the proxies, by the answers of litellm_gateway_servers to a loop over them."""
    wanted = set(map(server_name, hosts))
    return [
        str(answer["item"]) for answer in answers if any(one["name"] in wanted for one in answer.get("servers") or [])
    ]


def _server(host: str, known: Mapping[str, Any]) -> dict[str, Any]:
    address = str(known.get("litellm_proxy_address") or known.get("ansible_host") or host)
    found = {"name": server_name(host), "address": address, "port": known.get("litellm_proxy_port") or PORT}
    if known.get("litellm_gateway_certificate") or known.get("litellm_gateway_certificate_file"):
        name = host if _is_address(address) else address
        found |= {"tls": True, "tls_name": str(known.get("litellm_proxy_tls_name") or name)}
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "litellm_gateway_cluster_addresses": addresses,
            "litellm_gateway_cluster_servers": servers,
            "litellm_gateway_server_name": server_name,
            "litellm_gateway_which_have": which_have,
        }
