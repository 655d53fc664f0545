"""An instance under the supervisor of its user."""

from collections.abc import Callable
from pathlib import Path

from proxyctl.layout import Layout
from proxyctl.programs import run
from proxyctl.service import TAIL_LINES, validate_in_place
from proxyctl.settings import Settings

ALIVE = ("RUNNING", "STARTING")


class ProcessService:
    """See `service.Service`."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        self.settings = settings
        self.layout = layout
        self._programs = settings.home / "venvs" / "supervisor" / "bin"
        self._directory = settings.home / "supervisor"
        self._options = ["-c", str(self._directory / "supervisord.conf")]

    def start(self, slot: str, *, fresh: bool = False) -> None:
        """See `service.Service`."""
        if not self._supervisor_answers():
            run([str(self._directory / "start")])  # in the way that this host has for it
        if self._state()[0] not in ALIVE:
            # it answers after the first seconds of the instance, which `watch` judges
            self._control("start", self._program(), check=False)
        elif fresh:
            self._control("restart", self._program(), check=False)

    def stop(self, slot: str) -> None:
        """See `service.Service`."""
        if self._state()[0] in (*ALIVE, "BACKOFF"):
            self._control("stop", self._program())

    def running(self, slot: str) -> bool:
        """See `service.Service`."""
        return self._state()[0] in ALIVE

    def since(self, slot: str) -> str:
        """See `service.Service`."""
        return ""

    def watch(self, slot: str) -> Callable[[], bool]:
        """See `service.Service`."""
        process = self._state()[1]

        def died() -> bool:
            state, now = self._state()
            return state not in ALIVE or (process not in ("", now))

        return died

    def place(self, slot: str, generation: str) -> None:
        """See `service.Service`; it has no slots."""

    def settle(self) -> None:
        """See `service.Service`; the supervisor knows."""

    def unsettle(self) -> None:
        """See `service.Service`; a stopped program stays stopped."""

    def tail(self, slot: str, since: float) -> str:
        """See `service.Service`."""
        try:
            lines = Path(self.settings.log_file).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-TAIL_LINES:])

    def validate_command(self, slot: str) -> list[str]:
        """See `service.Service`."""
        return validate_in_place(self.settings, self.layout)

    def log_command(self, lines: int, *, follow: bool) -> list[str]:
        """See `service.Service`."""
        # by name, as the file begins anew when it is full
        return ["tail", "-n", str(lines), *(["-F"] if follow else []), self.settings.log_file]

    def _program(self) -> str:
        return f"litellm-proxy@{self.layout.generation()}"

    def _supervisor_answers(self) -> bool:
        return self._control("pid", check=False)[0] == 0

    def _state(self) -> tuple[str, str]:
        """State and process of the instance, as `RUNNING` and `4711`; empty where the supervisor does not answer."""
        words = self._control("status", self._program(), check=False)[1].split()
        if len(words) < 2 or words[0] != self._program():
            return "", ""
        return words[1], words[3].rstrip(",") if len(words) > 3 and words[2] == "pid" else ""

    def _control(self, *words: str, check: bool = True) -> tuple[int, str]:
        done = run([str(self._programs / "supervisorctl"), *self._options, *words], check=check)
        return done.returncode, done.stdout
