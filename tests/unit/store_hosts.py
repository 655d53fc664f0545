"""Hosts of the store on loopback, each with an address of its own: the role's files, and real Redis and Sentinels."""

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jinja2
from redis import Redis
from redis.exceptions import RedisError
from role_settings import ROOT

from tests.pool.redis_cluster import wait_until
from tests.ports import free_port

TEMPLATES = ROOT / "roles" / "litellm_datastore" / "templates"
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
KINDS = ("redis", "sentinel")


def templates() -> jinja2.Environment:
    """The role's templates, with what they use of Ansible's filters."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML
    )
    environment.filters["comment"] = lambda text: f"# {text}"
    environment.filters["hash"] = lambda text, kind: hashlib.new(kind, text.encode()).hexdigest()
    return environment


def settings(**changes: object) -> dict[str, Any]:
    """What all hosts agree on; `changes` go by the names without `litellm_datastore_`."""
    found: dict[str, object] = {
        "name": "pool",
        "port": free_port(),
        "sentinel_port": free_port(),
        "password": "9f2c81d09be74a36a1b2c3d4e5f60718",
        "memory_max": "16777216",
        "down_after": 1,
        **changes,
    }
    return {f"litellm_datastore_{name}": value for name, value in found.items()}


class StoreHost:
    """A directory in the place of a host's, with the processes that run there."""

    def __init__(self, directory: Path, address: str) -> None:
        self.address = address
        self.config, self.state, self.lib = (directory / address / name for name in ("etc", "var", "lib"))
        for made in (self.config, self.state, self.lib):
            made.mkdir(parents=True)
        self.log = directory / f"{address}.log"
        self._settings: dict[str, Any] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def configure(self, values: dict[str, Any]) -> None:
        """Write what the role would."""
        self._settings = values
        variables = values | {
            "ansible_managed": "Ansible managed",
            "inventory_hostname": self.address,
            "litellm_datastore_address": self.address,
            "__litellm_datastore_config_dir": str(self.config),
            "__litellm_datastore_state_dir": str(self.state),
            "__litellm_datastore_tls": False,
            "__litellm_datastore_watched": True,
            "__litellm_datastore_quorum": 2,
        }
        for kind in KINDS:
            text = templates().get_template(f"{kind}.conf.j2").render(variables)
            # one machine has it once
            (self.config / f"{kind}.conf").write_text(text.replace("bind 127.0.0.1 ", "bind "))
        for name in ("start", "cli"):
            (self.lib / name).write_text(templates().get_template(f"{name}.j2").render(variables))
            (self.lib / name).chmod(0o755)

    def join(self, master: str) -> None:
        """Note where the master is, as the role does on a new host."""
        name, port = self._settings["litellm_datastore_name"], self._settings["litellm_datastore_port"]
        (self.state / "redis.conf").write_text("" if master == self.address else f"replicaof {master} {port}\n")
        (self.state / "sentinel.conf").write_text(f"sentinel monitor {name} {master} {port} 2\n")

    def start(self, *kinds: str) -> None:
        for kind in kinds or KINDS:
            with self.log.open("ab") as log:
                self._processes[kind] = subprocess.Popen([self.lib / "start", kind], stdout=log, stderr=log)
        wait_until(lambda: all(self.client(kind).ping() for kind in self._processes))

    def stop(self, *kinds: str) -> None:
        for kind in kinds or tuple(self._processes):
            process = self._processes.pop(kind)
            process.terminate()
            process.wait()

    def client(self, kind: str) -> Redis:
        port = self._settings["litellm_datastore_port" if kind == "redis" else "litellm_datastore_sentinel_port"]
        password = self._settings["litellm_datastore_password"]
        return Redis(self.address, port, password=password, decode_responses=True, socket_timeout=2)

    def sees(self) -> tuple[str, int, int]:
        """Address of the master, and how many replicas and other Sentinels this host's Sentinel reaches."""
        name, asked = self._settings["litellm_datastore_name"], self.client("sentinel")
        with suppress(RedisError):
            master: Any = asked.sentinel_master(name)
            replicas: Any = asked.sentinel_slaves(name)
            sentinels: Any = asked.sentinel_sentinels(name)
            reached = [
                sum(not (entry["is_disconnected"] or entry["is_sdown"]) for entry in entries)
                for entries in (replicas, sentinels)
            ]
            if not master["is_sdown"]:
                return master["ip"], reached[0], reached[1]
        return "", 0, 0


@contextmanager
def running_store(directory: Path, values: dict[str, Any]) -> Iterator[list[StoreHost]]:
    """Three hosts that hold together while the context is open; the first is the master."""
    hosts = [StoreHost(directory, address) for address in ADDRESSES]
    try:
        for host in hosts:
            host.configure(values)
            host.join(ADDRESSES[0])
            host.start()
        wait_until(lambda: all(host.sees() == (ADDRESSES[0], 2, 2) for host in hosts))
        yield hosts
    finally:
        for host in hosts:
            host.stop()
