"""The proxy as the role deploys it, before a simulated Z.AI: config and credentials by the role's own filters."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import role_settings
import yaml
from litellm_proxy_clients import document as clients
from litellm_proxy_clients import faults as client_faults
from litellm_proxy_config import config, credentials

from tests.pool.pool_client import APIS, MODEL, PoolClient, Status, wait_until
from tests.ports import free_port
from zai_simulator.testing import ControlClient, Simulator, running_simulator

ROOT = role_settings.ROOT
PLUGINS = role_settings.ROLE / "files"

POOLS = [
    role_settings.pool("glm-pool", MODEL, "glm-alias", "claude-*"),
    role_settings.pool("second", MODEL),
    role_settings.pool("flash", "glm-5.3-flash"),
]


@cache
def litellm_python(version: str) -> Path:
    """The interpreter of a virtual environment made from the role's lock of a version."""
    made = subprocess.run([ROOT / "scripts/litellm-venv.sh", version], stdout=subprocess.PIPE, text=True, check=True)
    return Path(made.stdout.strip().splitlines()[-1]) / "bin/python"


@dataclass(frozen=True)
class Key:
    """One key of both tables, the role's and the simulator's."""

    name: str
    account: str
    slots: int | None = None
    rpm: int | None = None
    plan: str = "general"
    state: str = "active"
    weight: int = 1
    base: str | None = None
    """Base URL instead of the simulator's."""

    @property
    def value(self) -> str:
        digest = hashlib.sha256(self.name.encode()).hexdigest()
        return f"{digest[:32]}.{digest[32:48]}"

    def setting(self, simulator_url: str) -> dict[str, Any]:
        """The entry in litellm_proxy_zai_keys."""
        url = self.base or simulator_url
        path = "/api/paas/v4" if self.plan == "general" else "/api/coding/paas/v4"
        limits = {"max_parallel_requests": self.slots, "rpm": self.rpm}
        return role_settings.key(
            self.name, self.value, account=self.account, plan=self.plan, state=self.state, weight=self.weight,
            openai_api_base=f"{url}{path}", anthropic_api_base=f"{url}/api/anthropic",
            **{name: limit for name, limit in limits.items() if limit is not None},
        )  # fmt: skip


def table(keys: Sequence[Key]) -> dict[str, Any]:
    """The simulator's table: its limits are those that the role is told."""
    return {
        "accounts": {
            key.account: {"max_parallel_requests": key.slots, "rpm": key.rpm, "chunks": 4}
            for key in keys
        },
        "keys": [{"name": k.name, "key": k.value, "account": k.account, "plan": k.plan} for k in keys],
    }  # fmt: skip


class PoolServer:
    """One instance of the proxy; it may be started again after it has ended.

    Args:
        directory: the generation: config.yaml, credentials/, plugins/ and the log lie there.
        settings: the role's settings.
        shared: directory of what instances of one host share, the keys' state and the limits; None for one alone.
    """

    def __init__(self, directory: Path, settings: Mapping[str, Any], shared: Path | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.log = directory / "log"
        self.state_file = (shared or directory) / "pool-state.json"
        self.usage_file = (shared or directory) / "usage.sqlite3"
        self.clients_file = (shared or directory) / "clients.json"
        self.secrets = list(credentials(settings).values())
        self.port = free_port()
        self.client = PoolClient(f"http://127.0.0.1:{self.port}")
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        content = config(
            settings, role_settings.ENDPOINTS, str(self.state_file), str(shared / "pool.sqlite3") if shared else ""
        )
        (directory / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        self.write_clients(settings)
        (directory / "credentials").mkdir(exist_ok=True)
        (directory / "credentials/litellm-proxy.json").write_text(json.dumps(credentials(settings)))
        with suppress(FileExistsError):
            (directory / "plugins").symlink_to(PLUGINS)

    def write_clients(self, settings: Mapping[str, Any]) -> None:
        """Replace the clients' file, as playbooks/client_keys.yml does."""
        assert client_faults(settings) == []
        self.clients_file.parent.mkdir(mode=0o700, exist_ok=True)
        new = self.clients_file.with_suffix(".new")
        new.write_text(json.dumps(clients(settings)))
        new.replace(self.clients_file)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start as the unit does, and by default wait until it answers."""
        command = ["-m", "glm_pool.launch", "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(self.port)]
        environment = self._environment()
        if self.settings["litellm_proxy_num_workers"] > 1:
            command += ["--num-workers", str(self.settings["litellm_proxy_num_workers"])]
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(self.directory / "metrics")
            (self.directory / "metrics").mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [litellm_python(self.settings["litellm_proxy_version"]), "-P", *command],
                cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"LiteLLM ended at start:\n{self.log.read_text()[-4000:]}"
            return self.client.is_ready()

        wait_until(ready, 120, lambda: f"LiteLLM answers\n{self.log.read_text()[-4000:]}")

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal and go on."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """End it as the service manager does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None

    def kill(self) -> None:
        """Kill -9, its workers too."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def log_mark(self) -> int:
        return self.log.stat().st_size

    def log_since(self, mark: int) -> list[str]:
        """The log's lines from a mark on."""
        with self.log.open("rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace").splitlines()

    def _environment(self) -> dict[str, str]:
        """The unit's environment, nothing of this process's own."""
        variables = {
            **role_settings.DEFAULTS,
            **self.settings,
            "litellm_proxy_stop_timeout": 5,
            "litellm_proxy_ca_bundle": "/etc/ssl/certs/ca-certificates.crt",
            "__litellm_proxy_clients_file": str(self.clients_file),
            "__litellm_proxy_usage_file": str(self.usage_file),
            "__litellm_proxy_plugins_dir": str(self.directory),
            "__litellm_proxy_plugin_hash": "plugins",
        }
        templates = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - not HTML
        role = role_settings.VARS["__litellm_proxy_environment"]
        return {
            **{name: templates.from_string(value).render(variables) for name, value in role.items()},
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.directory),
            "CREDENTIALS_DIRECTORY": str(self.directory / "credentials"),
        }


@dataclass(frozen=True)
class Rig:
    """A proxy, the Z.AI behind it and a client before it."""

    simulator: Simulator
    server: PoolServer
    keys: Sequence[Key]

    @property
    def control(self) -> ControlClient:
        return self.simulator.control

    @property
    def client(self) -> PoolClient:
        return self.server.client

    def status(self) -> Status:
        return self.client.status()

    def stats_of(self, key: str) -> dict[str, Any]:
        """What the simulator counted for a key."""
        found: dict[str, Any] = self.control.stats()["keys"][key]
        return found

    @property
    def active(self) -> list[str]:
        return [key.name for key in self.keys if key.state == "active"]

    def fault(self, **fault: object) -> None:
        """Let every active key fail the same way."""
        for name in self.active:
            self.control.set_key(name, fault=fault)

    def accounts(self, **fields: object) -> None:
        """Change every account of the simulator."""
        for account in {key.account for key in self.keys}:
            self.control.set_account(account, **fields)

    def idle(self) -> bool:
        """Whether no slot is taken, nobody waits and nothing is under way upstream."""
        status = self.status()
        return not status.in_flight and not status.waiting and not self.control.stats()["total"]["in_flight"]

    def wait_idle(self, within: float) -> None:
        wait_until(self.idle, within, lambda: f"idle: {self.status()} {self.control.stats()['total']}")

    def settle(self) -> None:
        """Put simulator and pool back to where they began."""
        self.control.reset()
        self.wait_idle(5)
        for name in self.status().resting:
            assert self.client.enable(name).status == 200
        assert self.status().resting == []
        self.control.reset()

    def warm_up(self) -> None:
        """Pay for LiteLLM's lazy imports before a test's deadline does."""
        for api in APIS:
            for stream in (False, True):
                answer = self.client.ask(api, stream=stream)
                assert answer.status == 200, answer

    def assert_no_secret_in_log(self) -> None:
        log = self.server.log.read_text(errors="replace")
        for secret in {*self.server.secrets, *(key.value for key in self.keys)}:
            assert secret not in log, next(line for line in log.splitlines() if secret in line)


def make_settings(keys: Sequence[Key], simulator_url: str, **changes: object) -> dict[str, Any]:
    """The role's settings for a table of keys; `changes` go by the names without `litellm_proxy_`.

    LITELLM_VERSION in the environment runs the tests inside another version that the role ships.
    """
    version = os.environ.get("LITELLM_VERSION", role_settings.DEFAULTS["litellm_proxy_version"])
    entries = [key.setting(simulator_url) for key in keys]
    return role_settings.settings(**{"version": version, "pools": POOLS, "zai_keys": entries, **changes})


@contextmanager
def running_rig(directory: Path, keys: Sequence[Key], *, warm: bool = True, **changes: object) -> Iterator[Rig]:
    """Run a proxy before a simulator of its own while the context is open.

    Args:
        keys: the table.
        warm: whether it answers a few requests of the master key first.
        changes: the role's settings without `litellm_proxy_`.
    """
    with running_simulator(table(keys)) as simulator:
        server = PoolServer(directory, make_settings(keys, simulator.url, **changes))
        rig = Rig(simulator, server, keys)
        try:
            server.start()
            if warm:
                rig.warm_up()
            yield rig
        except BaseException:
            print(f"--- {server.log}\n{server.log.read_text(errors='replace')[-8000:]}", file=sys.stderr)
            raise
        finally:
            server.stop()
        rig.assert_no_secret_in_log()
