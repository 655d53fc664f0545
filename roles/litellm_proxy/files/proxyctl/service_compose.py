"""Instances as Docker Compose projects."""

import json
from collections.abc import Callable
from typing import Any

from proxyctl.layout import Layout, link
from proxyctl.programs import run
from proxyctl.service import TAIL_LINES
from proxyctl.service_systemd import UMBRELLA, UNITS
from proxyctl.settings import Settings

STOP_MARGIN = 15
"""Seconds beyond the stop timeout until Docker kills an instance."""


class ComposeService:
    """See `service.Service`."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        self.settings = settings
        self.layout = layout

    def start(self, slot: str, *, fresh: bool = False) -> None:
        """See `service.Service`."""
        recreate = "--force-recreate" if fresh else "--no-recreate"
        run(["docker", "compose", *self._project(slot), "up", "--detach", recreate])

    def stop(self, slot: str) -> None:
        """See `service.Service`."""
        if self.running(slot):
            run(["docker", "stop", "--time", str(int(self.settings.stop_timeout) + STOP_MARGIN), container(slot)])

    def running(self, slot: str) -> bool:
        """See `service.Service`."""
        return bool(_inspected(slot).get("State", {}).get("Running"))

    def since(self, slot: str) -> str:
        """See `service.Service`."""
        return str(_inspected(slot).get("State", {}).get("StartedAt", "")).partition(".")[0].replace("T", " ")

    def watch(self, slot: str) -> Callable[[], bool]:
        """See `service.Service`."""
        restarts = _inspected(slot).get("RestartCount")

        def died() -> bool:
            now = _inspected(slot)
            return not now.get("State", {}).get("Running") or now.get("RestartCount") != restarts

        return died

    def place(self, slot: str, generation: str) -> None:
        """See `service.Service`."""
        self.layout.enter(slot, generation, {"COMPOSE_PROJECT_NAME": container(slot), "LITELLM_PROXY_SLOT": slot})

    def settle(self) -> None:
        """See `service.Service`; people who type `docker compose` find the slot that serves, too."""
        link(self.layout.current / ".env", f"../../slots/{self.layout.slot()}.env")
        if (UNITS / UMBRELLA).exists():
            run(["systemctl", "start", UMBRELLA])

    def unsettle(self) -> None:
        """See `service.Service`."""
        if (UNITS / UMBRELLA).exists():
            run(["systemctl", "stop", UMBRELLA])

    def tail(self, slot: str, since: float) -> str:
        """See `service.Service`."""
        done = run(
            ["docker", "logs", "--tail", str(TAIL_LINES), "--since", str(int(since)), container(slot)], check=False
        )
        return done.stdout + done.stderr

    def validate_command(self, slot: str) -> list[str]:
        """See `service.Service`; it runs in a container of its own."""
        once = ["run", "--rm", "--no-deps", "--no-TTY", "--entrypoint", "sh", "litellm"]
        return ["docker", "compose", *self._project(slot), *once, *self.settings.image_validate]

    def log_command(self, lines: int, *, follow: bool) -> list[str]:
        """See `service.Service`."""
        options = [*(["-f"] if follow else []), "--tail", str(lines)]
        # LiteLLM logs to both outputs
        return ["sh", "-c", 'exec docker logs "$@" 2>&1', "logs", *options, container(self.layout.slot())]

    def _project(self, slot: str) -> list[str]:
        place = self.layout.directory / "slots" / slot
        # the .env beside compose.yaml is that of the slot which serves
        return ["--env-file", f"{place}.env", "--project-directory", str(place)]


def container(slot: str) -> str:
    """Name of the container and of the project of a slot."""
    return f"litellm-proxy-{slot}"


def _inspected(slot: str) -> dict[str, Any]:
    done = run(["docker", "inspect", "--type", "container", container(slot)], check=False)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        return {}
    return found[0] if found else {}
