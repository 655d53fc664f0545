"""What commands need of a service manager, and which one an instance has."""

import os
from collections.abc import Callable
from typing import Protocol

from proxyctl.exits import Exit, Failure
from proxyctl.layout import Layout
from proxyctl.settings import Settings

TAIL_LINES = 30


class Service(Protocol):
    """Instances in their slots; in process mode the slot is an empty string."""

    def start(self, slot: str, *, fresh: bool = False) -> None:
        """Have the instance started, without waiting; a fresh one replaces what may run there."""

    def stop(self, slot: str) -> None:
        """Stop it; running requests get the stop timeout."""

    def running(self, slot: str) -> bool:
        """Whether it runs or starts."""

    def since(self, slot: str) -> str:
        """When it was started, in the manager's words; empty where it does not say."""

    def watch(self, slot: str) -> Callable[[], bool]:
        """A function that tells whether it has died since now."""

    def place(self, slot: str, generation: str) -> None:
        """Put a generation into a slot."""

    def settle(self) -> None:
        """Let what starts at boot know of the slot that serves."""

    def unsettle(self) -> None:
        """Before a stop: nothing may start it again meanwhile."""

    def tail(self, slot: str, since: float) -> str:
        """The end of its log, from a moment in seconds since the epoch."""

    def validate_command(self, slot: str) -> list[str]:
        """Has LiteLLM judge the config of the generation that serves; it needs no running instance."""

    def log_command(self, lines: int, *, follow: bool) -> list[str]:
        """Shows the log."""


def validate_in_place(settings: Settings, layout: Layout) -> list[str]:
    """`validate_command` where LiteLLM lies on the host itself; its code does not run as root."""
    manifest = layout.manifest()
    environment = {
        **settings.environment,
        "PYTHONPATH": str(settings.config_dir / "plugins" / str(manifest["plugin"])),
    }
    return [
        *(["runuser", "-u", settings.user, "--"] if os.geteuid() == 0 and settings.mode != "process" else []),
        *("env", "-i", "-C", "/", "PATH=/usr/bin:/bin", "HOME=/nonexistent"),
        *(f"{name}={value}" for name, value in environment.items()),
        *(
            f"{manifest['venv']}/bin/litellm",
            "--config",
            f"{layout.current.resolve()}/config.yaml",
            "--validate_config",
        ),
    ]


def service_of(settings: Settings, layout: Layout) -> Service:
    """The service manager of an instance."""
    from proxyctl.service_compose import ComposeService
    from proxyctl.service_process import ProcessService
    from proxyctl.service_systemd import SystemdService

    if settings.mode == "compose":
        return ComposeService(settings, layout)
    if settings.mode == "process":
        return ProcessService(settings, layout)
    return SystemdService(settings, layout)


def need_rights(settings: Settings) -> None:
    """Failure where this user may not start and stop."""
    if settings.mode != "process" and os.geteuid() != 0:
        raise Failure(Exit.NO_PERMISSION, "Only root may do this: run it with sudo.")
