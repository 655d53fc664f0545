"""What the role wrote down of each instance, and which instance is meant."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from proxyctl.exits import Exit, Failure

SYSTEM = Path("/etc/litellm-proxy/proxyctl.json")
"""The instance of the host."""
REGISTRY = Path(".config/litellm-proxy")
"""Below a user's home: a link to the settings of each instance of the user."""


@dataclass(frozen=True)
class Settings:
    """One instance; no secret is in it.

    Attributes:
        mode: systemd, compose or process.
        front: gateway or none.
        host: address of the endpoint, as set.
        port: TCP port of the endpoint.
        url: how this machine reaches the endpoint.
        config_dir: where the generations lie.
        home: where the virtual environments lie.
        slots: TCP port of each slot by its name.
        listen_host: address that an instance in a slot listens on.
        start_timeout: seconds until an instance has to answer.
        stop_timeout: seconds that running requests get when it stops.
        drain_timeout: seconds that they get at a handover.
        environment: of an instance, by name.
        image_validate: arguments of a container's shell that have LiteLLM judge its config, in compose mode.
        ca_bundle: PEM file of trusted certificates.
        upstreams: URLs of the APIs that requests go to.
        user: that instances run as.
        log_file: of the instance, in process mode.
        usage_file: ledger of the usage.
        gateway: `master`, the socket of HAProxy's master process, and `backend`.
    """

    mode: str
    front: str
    host: str
    port: int
    url: str
    config_dir: Path
    home: Path
    slots: Mapping[str, int]
    listen_host: str
    start_timeout: float
    stop_timeout: float
    drain_timeout: float
    environment: Mapping[str, str]
    image_validate: list[str]
    ca_bundle: str
    upstreams: list[str]
    user: str
    log_file: str
    usage_file: Path
    gateway: Mapping[str, str]

    @property
    def behind_gateway(self) -> bool:
        """Whether HAProxy owns the port."""
        return self.front == "gateway"

    @property
    def has_slots(self) -> bool:
        """Whether two instances can run side by side."""
        return self.mode != "process"

    @property
    def marker(self) -> str:
        """What is in the command line of what holds its ports."""
        if self.mode == "compose":
            # without the gateway it is Docker that listens, and forwards
            return "-m glm_pool.launch --config /app/" if self.behind_gateway else f"-host-port {self.port} "
        return f"-m glm_pool.launch --config {self.config_dir}/generations/"


def read(path: Path) -> Settings:
    """Read the settings of one instance; Failure when they are missing, hidden or damaged."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        return Settings(**{field.name: _typed(field.name, document[field.name]) for field in fields(Settings)})
    except PermissionError as error:
        raise Failure(Exit.NO_PERMISSION, f"{path} cannot be read by this user: run it with sudo.") from error
    except FileNotFoundError as error:
        raise Failure(Exit.NOT_INSTALLED, f"There is no {path}: run site.yml, or correct --settings.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(Exit.NOT_INSTALLED, f"{path} is not what the role writes: run site.yml.") from error


def find(file: str | None, port: int | None) -> Settings:
    """The instance that is meant.

    Args:
        file: its settings, or None to look for them.
        port: its endpoint's port, or None for the only one there is.
    """
    if file is not None:
        return read(Path(file))
    found, hidden = installed()
    meant = [settings for settings in found if port in (None, settings.port)]
    if len(meant) == 1:
        return meant[0]
    if len(meant) > 1:
        listed = "\n".join(f"  {one.port}  {one.mode}, {one.config_dir}" for one in meant)
        raise Failure(
            Exit.USAGE,
            f"There are several proxies here; say which by LITELLM_PORT or --port, or by --settings:\n{listed}",
        )
    if hidden:
        raise Failure(Exit.NO_PERMISSION, f"{hidden} cannot be read by this user: run it with sudo.")
    if found:
        there = ", ".join(str(one.port) for one in found)
        raise Failure(Exit.NOT_INSTALLED, f"No proxy of this host or user has port {port}; there is {there}.")
    raise Failure(
        Exit.NOT_INSTALLED,
        "No proxy is installed here for this user: deploy one by site.yml. For one on another machine set "
        "LITELLM_PROXY_URL and LITELLM_MASTER_KEY.",
    )


def installed() -> tuple[list[Settings], Path | None]:
    """The instances that this user may see, by port, and the settings that are there but hidden."""
    found: dict[Path, Settings] = {}
    hidden = None
    for path in (SYSTEM, *sorted((Path.home() / REGISTRY).glob("*.json"))):
        try:
            found[path.resolve()] = read(path)
        except Failure as failure:
            # a link is left behind where someone removed an instance by hand
            if failure.code is Exit.NO_PERMISSION:
                hidden = path
    return sorted(found.values(), key=lambda one: one.port), hidden


def _typed(name: str, value: Any) -> Any:
    if name in ("config_dir", "home", "usage_file"):
        return Path(value)
    if name.endswith("_timeout"):
        return float(value)
    if name == "port":
        return int(value)
    if name == "slots":
        return {slot: int(port) for slot, port in value.items()}
    if name == "environment":
        return {variable: str(given) for variable, given in value.items()}
    return value
