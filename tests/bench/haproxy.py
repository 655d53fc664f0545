"""HAProxy's configuration as the role renders it, for a front of the measurements."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.gateway.rendering import render, variables

HAPROXY = "/usr/sbin/haproxy"


def config(directory: Path, port: int, servers: Sequence[int], *, scope: str, **changes: Any) -> str:
    """The configuration for servers on ports of this machine.

    Args:
        directory: for its sockets and state.
        port: that it listens on.
        servers: ports of the servers.
        scope: host or cluster, as `litellm_gateway_scope`.
        changes: further variables of the role, as `rendering.variables` takes them.
    """
    (directory / "kept").mkdir()
    named = [
        {"name": name, "address": "127.0.0.1", "port": number}
        for name, number in zip("abcdefgh", servers, strict=False)
    ]
    internal = {
        "__litellm_gateway_runtime_dir": str(directory),
        "__litellm_gateway_state_dir": str(directory / "kept"),
        "__litellm_gateway_pem_file": str(directory / "endpoint.pem"),
        "__litellm_gateway_upstream_ca_file": str(directory / "upstream-ca.pem"),
    }
    settings = variables(
        host="127.0.0.1", port=port, tls_port=0, metrics_port=0, servers=named, scope=scope, trusted_gateways=[],
        **internal, **changes,
    )  # fmt: skip
    settings["__litellm_gateway_found_addresses"] = {"127.0.0.1": ["127.0.0.1"]}
    return render("haproxy.cfg.j2", settings)
