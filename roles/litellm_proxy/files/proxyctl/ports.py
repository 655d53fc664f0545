"""Who owns the ports of an instance."""

from dataclasses import dataclass

from litellm_proxy_ports import listener

from proxyctl.exits import Exit, Failure
from proxyctl.layout import Layout
from proxyctl.settings import Settings


@dataclass(frozen=True)
class Owner:
    """Who listens on a port: `free`, `ours` or `foreign`, with its name, process and user."""

    port: int
    kind: str
    who: str = ""


def owner(settings: Settings, port: int) -> Owner:
    """Who listens on one of the ports of an instance."""
    found = listener(port, settings.marker)
    if not found:
        return Owner(port, "free")
    who = f"{found['name']} (pid {found['pid']}, user {found['user']})" if found["pid"] else str(found["name"])
    gateway = settings.behind_gateway and found["gateway"] and port == settings.port
    # what a container runs has other paths, and Docker's own proxy stands before a published port
    contained = settings.mode == "compose" and (found["other_install"] or found["name"] == "docker-proxy")
    return Owner(port, "ours" if found["ours"] or gateway or contained else "foreign", who)


def taken(settings: Settings, found: Owner) -> str:
    """What to say of a foreign owner."""
    setting = "litellm_proxy_port" if found.port == settings.port else "litellm_proxy_instance_ports"
    free = "to a free one" if found.port == settings.port else "to free ones"
    return f"port {found.port} is taken by {found.who}: stop it, or set {setting} {free} and run site.yml"


def need_ports(settings: Settings, layout: Layout, slot: str) -> None:
    """Failure where another program has the endpoint's port, or that of the instance."""
    for port in dict.fromkeys((settings.port, layout.instance_port(slot))):
        found = owner(settings, port)
        if found.kind == "foreign":
            message = taken(settings, found)
            raise Failure(Exit.PORT_TAKEN, f"{message[0].upper()}{message[1:]}.")
