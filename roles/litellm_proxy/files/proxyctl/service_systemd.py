"""Instances as units of systemd."""

import grp
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from proxyctl.exits import Exit, Failure
from proxyctl.layout import Layout
from proxyctl.programs import run
from proxyctl.service import TAIL_LINES, validate_in_place
from proxyctl.settings import Settings

UNITS = Path("/etc/systemd/system")
UMBRELLA = "litellm-proxy.service"
JOURNAL_GROUPS = ("adm", "systemd-journal", "wheel")


class SystemdService:
    """See `service.Service`."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        self.settings = settings
        self.layout = layout

    def start(self, slot: str, *, fresh: bool = False) -> None:
        """See `service.Service`."""
        run(["systemctl", "restart" if fresh else "start", "--no-block", unit(slot)])

    def stop(self, slot: str) -> None:
        """See `service.Service`."""
        run(["systemctl", "stop", unit(slot)])

    def running(self, slot: str) -> bool:
        """See `service.Service`."""
        return shown(unit(slot))["ActiveState"] not in ("inactive", "failed", "")

    def since(self, slot: str) -> str:
        """See `service.Service`."""
        return shown(unit(slot))["ActiveEnterTimestamp"]

    def watch(self, slot: str) -> Callable[[], bool]:
        """See `service.Service`."""
        restarts = shown(unit(slot))["NRestarts"]

        def died() -> bool:
            now = shown(unit(slot))
            gone = now["ActiveState"] in ("inactive", "failed") and now["Job"] in ("", "0")
            return gone or now["SubState"] == "auto-restart" or now["NRestarts"] != restarts

        return died

    def place(self, slot: str, generation: str) -> None:
        """See `service.Service`."""
        self.layout.enter(slot, generation, {})
        shutil.copyfile(self.layout.directory / "generations" / generation / UMBRELLA, UNITS / unit(slot))
        (UNITS / unit(slot)).chmod(0o644)
        run(["systemctl", "daemon-reload"])

    def settle(self) -> None:
        """See `service.Service`."""
        run(["systemctl", "start", UMBRELLA])

    def unsettle(self) -> None:
        """See `service.Service`."""
        # --no-block: it stops the instances with it, which is waited for one by one
        run(["systemctl", "stop", "--no-block", UMBRELLA])

    def tail(self, slot: str, since: float) -> str:
        """See `service.Service`."""
        lines = ["--lines", str(TAIL_LINES), "--output", "cat", "--since", f"@{int(since)}"]
        return run(["journalctl", "--unit", unit(slot), "--no-pager", *lines], check=False).stdout

    def validate_command(self, slot: str) -> list[str]:
        """See `service.Service`."""
        return validate_in_place(self.settings, self.layout)

    def log_command(self, lines: int, *, follow: bool) -> list[str]:
        """See `service.Service`."""
        if os.geteuid() != 0 and not _may_read_journal():
            raise Failure(Exit.NO_PERMISSION, "This user may not read the log: run it with sudo.")
        options = ["--lines", str(lines), "--no-pager", *(["--follow"] if follow else [])]
        return ["journalctl", "--identifier", "litellm-proxy", *options]


def unit(slot: str) -> str:
    """Name of the unit of a slot."""
    return f"litellm-proxy@{slot}.service"


def shown(name: str) -> dict[str, str]:
    """What systemd knows of a unit."""
    wanted = ("ActiveState", "SubState", "NRestarts", "ActiveEnterTimestamp", "Job")
    lines = run(["systemctl", "show", "--property", ",".join(wanted), name]).stdout.splitlines()
    return {**dict.fromkeys(wanted, ""), **dict(line.split("=", 1) for line in lines if "=" in line)}


def _may_read_journal() -> bool:
    names = set()
    for group in os.getgroups():
        try:
            names.add(grp.getgrgid(group).gr_name)
        except KeyError:
            continue
    return bool(names & set(JOURNAL_GROUPS))
