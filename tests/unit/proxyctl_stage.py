"""A host for tests of litellm-proxyctl: files as the role leaves them, service managers that only pretend, instances
that answer as long as their manager says that they run."""

import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from role_settings import KEY_A, MASTER_KEY

import proxyctl.instance
import proxyctl.ports
import proxyctl.service_compose
import proxyctl.service_systemd
import proxyctl.settings
from proxyctl.cli import main
from tests.ports import free_port

GENERATION = "0123456789ab"
MODELS = ["glm-5.3", "glm-pool"]
KEY: dict[str, Any] = {
    "name": "team-a",
    "account": "billing",
    "state": "active",
    "reason": "",
    "until": None,
    "last_code": "200",
    "last_at": "2026-11-22T12:00:00Z",
    "in_flight": 0,
    "slots": 2,
    "rpm_used": 1,
    "rpm": 60,
    "answers": 7,
    "refusals": {},
    "models": {},
}

SYSTEMCTL = """for last; do :; done
echo "systemctl $*" >> {stage}/calls
case $1 in
show) printf 'ActiveState=%s\\nSubState=running\\nNRestarts=0\\nActiveEnterTimestamp=Sun 12:00\\nJob=\\n' \
  "$(cat {stage}/state/$last 2>/dev/null || echo inactive)" ;;
start | restart) if [ -e {stage}/dies ]; then echo failed; else echo active; fi > {stage}/state/$last ;;
stop) shift; for unit; do echo inactive > {stage}/state/$unit; done ;;
esac
"""
DOCKER = """for last; do :; done
echo "docker $*" >> {stage}/calls
name() {{ echo litellm-proxy-$(basename $1); }}
case $1 in
inspect) state=$(cat {stage}/state/$last 2>/dev/null || echo inactive)
  [ $state = active ] && running=true || running=false
  echo '[{{"RestartCount": 0, "State": {{"Running": '$running', "StartedAt": "2026-11-22T12:00:00.123Z"}}}}]' ;;
compose) case "$*" in *" run "*) exec {stage}/venv/bin/litellm ;; esac
  if [ -e {stage}/dies ]; then echo inactive; else echo active; fi > {stage}/state/$(name $5) ;;
stop) echo inactive > {stage}/state/$last ;;
logs) echo "the log, with {secret}" >&2 ;;
esac
"""
SUPERVISORCTL = """shift 2
echo "supervisorctl $*" >> {stage}/calls
case $1 in
pid) [ -e {stage}/supervised ] && echo 4711 ;;
status) case $(cat {stage}/state/program 2>/dev/null) in
  active) echo "$2   RUNNING   pid 4712, uptime 0:00:09" ;;
  dead) echo "$2   FATAL   Exited too quickly"; exit 3 ;;
  *) echo "$2   STOPPED   Not started"; exit 3 ;; esac ;;
start | restart) if [ -e {stage}/dies ]; then echo dead; else echo active; fi > {stage}/state/program ;;
stop) echo stopped > {stage}/state/program ;;
esac
"""
SUPERVISOR_START = "echo 'supervisor/start' >> {stage}/calls; touch {stage}/supervised\n"
JOURNALCTL = "echo 'the log, with {secret}'\n"
RUNUSER = """while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
LITELLM = """[ -e {stage}/invalid ] || exit 0
echo 'LiteLLM: config validation failed: {secret}'
exit 1
"""


class FakeGateway:
    """What HAProxy would be told, in place of it."""

    told: list[str]
    requests: list[int]
    up_now: bool

    def __init__(self, master: str, backend: str, server: str) -> None:
        self.server = server

    def tell(self, state: str, down: bool = False) -> None:
        self.told.append(f"{self.server} {state}")

    def up(self) -> bool:
        return self.up_now

    def running(self) -> int:
        return self.requests.pop(0) if len(self.requests) > 1 else self.requests[0]

    def cut(self) -> None:
        self.told.append(f"{self.server} cut")
        self.requests[:] = [0]


class Stage:
    """The host.

    Attributes:
        pool: what the instances answer to `GET /pool/status`; None for 404.
        models: the names that they serve.
        listeners: who listens, by port, as `litellm_proxy_ports.listener` tells it.
        gateway: the class that speaks to HAProxy.
    """

    def __init__(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, mode: str = "systemd", front: str = ""
    ) -> None:
        self.directory = directory
        self.mode = mode
        self.front = front or ("none" if mode == "process" else "gateway")
        self.config = directory / "config"
        self.pool: dict[str, Any] | None = {"strategy": "round-robin", "shared": None, "pools": [], "keys": [KEY]}
        self.models = list(MODELS)
        self.listeners: dict[int, dict[str, Any]] = {}
        made: Any = type("Gateway", (FakeGateway,), {"told": [], "requests": [0], "up_now": True})
        self.gateway: type[FakeGateway] = made
        self.ports = {"a": free_port(), "b": free_port()}
        self.port = self.ports["a"] if mode == "process" else free_port()
        (directory / "state").mkdir()
        (directory / "units").mkdir()
        self._write_generation()
        self.settings = self._write_settings(directory / "proxyctl.json")
        self._write_programs()
        monkeypatch.setenv("PATH", f"{directory}/bin:/usr/bin:/bin")
        monkeypatch.setenv("HOME", str(directory / "home"))
        for name in ("LITELLM_PORT", "LITELLM_PROXY_URL", "LITELLM_MASTER_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("os.geteuid", lambda: 0)
        monkeypatch.setattr(proxyctl.settings, "SYSTEM", self.settings)
        monkeypatch.setattr(proxyctl.service_systemd, "UNITS", directory / "units")
        monkeypatch.setattr(proxyctl.service_compose, "UNITS", directory / "units")
        monkeypatch.setattr(proxyctl.instance, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(proxyctl.instance, "UP_SECONDS", 1.0)
        monkeypatch.setattr("proxyctl.handover.POLL_SECONDS", 0.001)
        monkeypatch.setattr("proxyctl.handover.TELL_SECONDS", 0.0)
        monkeypatch.setattr(proxyctl.instance, "Gateway", self.gateway)
        monkeypatch.setattr(proxyctl.ports, "listener", lambda port, marker: self.listeners.get(port, {}))

    def run(self, *words: str) -> int:
        """One command line; its exit code."""
        return main(words)

    def set(self, unit: str, state: str = "active") -> None:
        """What the service manager says of a unit, container or `program`."""
        (self.directory / "state" / unit).write_text(state)

    def serve(self) -> None:
        """All of it runs, in slot a."""
        for name in ("litellm-gateway.service", "litellm-proxy@a.service", "litellm-proxy-a", "program"):
            self.set(name)
        self.mark("supervised")
        ours = {"pid": 1, "name": "haproxy", "user": "root", "ours": True, "gateway": True, "other_install": False}
        self.listeners[self.port] = ours

    def mark(self, name: str) -> None:
        """`dies`: what starts ends at once; `invalid`: LiteLLM refuses the config; `supervised`: a supervisor runs."""
        (self.directory / name).touch()

    def calls(self, *verbs: str) -> list[str]:
        """What service managers were told."""
        try:
            lines = (self.directory / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line for line in lines if not verbs or (line.split()[1:2] and line.split()[1] in verbs)]

    def slot(self) -> str:
        """The slot that serves."""
        return (self.config / "current").readlink().name

    def active(self, slot: str) -> bool:
        """Whether the instance in a slot runs."""
        name = {"systemd": f"litellm-proxy@{slot}.service", "compose": f"litellm-proxy-{slot}"}.get(
            self.mode, "program"
        )
        try:
            return (self.directory / "state" / name).read_text().strip() == "active"
        except FileNotFoundError:
            return False

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Instances answer at their ports while they run."""
        servers = [self._server(slot) for slot in self.ports]
        for server in servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield
        finally:
            for server in servers:
                server.shutdown()
                server.server_close()

    def _server(self, slot: str) -> ThreadingHTTPServer:
        stage = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                authorized = self.headers.get("Authorization") == f"Bearer {MASTER_KEY}"
                code, document = stage._answer(slot, self.path, authorized)
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", self.ports[slot]), Handler)

    def _answer(self, slot: str, path: str, authorized: bool) -> tuple[int, Any]:
        if path.startswith("/upstream"):
            return 404, {}
        if not self.active(slot):
            return 503, {}
        if path == "/health/liveliness":
            return 200, "alive"
        if not authorized:
            return 401, {}
        if path == "/v1/models":
            return 200, {"data": [{"id": name} for name in self.models]}
        return (404, {}) if self.pool is None else (200, self.pool)

    def _write_generation(self) -> None:
        place = self.config / "generations" / GENERATION
        (place / "credentials").mkdir(parents=True)
        (place / "credentials" / "litellm-proxy.json").write_text(
            json.dumps({"LITELLM_MASTER_KEY": MASTER_KEY, "LITELLM_PROXY_KEY_A": KEY_A})
        )
        manifest = {"models": MODELS, "version": "1.2.3", "venv": str(self.directory / "venv"), "plugin": "fedcba"}
        (place / "manifest.json").write_text(json.dumps(manifest))
        (place / "litellm-proxy.service").write_text("[Service]\n")
        if self.mode == "process":
            (self.config / "current").symlink_to(f"generations/{GENERATION}")
            return
        (self.config / "slots").mkdir()
        (self.config / "slots" / "a").symlink_to(f"../generations/{GENERATION}")
        (self.config / "current").symlink_to("slots/a")

    def _write_settings(self, path: Path) -> Path:
        behind = self.front == "gateway"
        slots = self.ports if behind else dict.fromkeys("ab", self.port)
        url = f"http://127.0.0.1:{self.port}"
        document = {
            "mode": self.mode, "front": self.front, "host": "127.0.0.1", "port": self.port, "url": url,
            "config_dir": str(self.config), "home": str(self.directory), "slots": slots, "listen_host": "127.0.0.1",
            "start_timeout": 5, "stop_timeout": 3, "drain_timeout": 5, "environment": {"NO_COLOR": 1},
            "image_validate": ["-c", "validate"],
            "ca_bundle": "", "upstreams": [f"http://127.0.0.1:{self.ports['b']}/upstream"], "user": "litellm-proxy",
            "log_file": str(self.directory / "litellm-proxy.log"),
            "usage_file": str(self.directory / "state" / "usage.sqlite3"),
            "gateway": {"master": "/nowhere", "backend": "litellm_proxy"},
        }  # fmt: skip
        path.write_text(json.dumps(document))
        return path

    def _write_programs(self) -> None:
        for path, text in {
            "bin/systemctl": SYSTEMCTL,
            "bin/docker": DOCKER,
            "bin/journalctl": JOURNALCTL,
            "bin/runuser": RUNUSER,
            "venv/bin/litellm": LITELLM,
            "venvs/supervisor/bin/supervisorctl": SUPERVISORCTL,
            "supervisor/start": SUPERVISOR_START,
        }.items():
            program = self.directory / path
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text("#!/bin/sh\n" + text.format(stage=self.directory, secret=KEY_A))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
