"""The role's front on loopback: its own haproxy.cfg and control script, run without systemd and root."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import litellm_gateway_haproxy as rotation

from tests.gateway.rendering import render, variables
from tests.gateway.upstream import Upstream
from tests.ports import free_ports

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin") or "haproxy"
ADMIN, STRANGER = "127.0.0.1", "127.0.0.77"
"""Source addresses inside and outside of the admin networks that the tests set."""


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@dataclass(frozen=True)
class Reply:
    """An answer, header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error that the front itself answers with, after a look at its shape."""
        document = self.json
        assert self.headers["content-type"] == "application/json"
        assert document["type"] == "error" and document["error"]["type"] and document["error"]["message"]
        return str(document["error"]["code"])


@dataclass
class Front:
    """A running HAProxy and the two instances behind it."""

    directory: Path
    settings: dict[str, Any]
    a: Upstream
    b: Upstream
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def port(self) -> int:
        return int(self.settings["litellm_gateway_port"])

    @property
    def tls(self) -> bool:
        return bool(self.settings["litellm_gateway_certificate"] or self.settings["litellm_gateway_certificate_file"])

    @property
    def config(self) -> Path:
        return self.directory / "haproxy.cfg"

    @property
    def pem(self) -> Path:
        return self.directory / "endpoint.pem"

    def write(self) -> None:
        """Render what the role renders."""
        self.config.write_text(render("haproxy.cfg.j2", self.settings))
        control = self.directory / "control"
        control.write_text(render("control.j2", self.settings))
        control.chmod(0o755)

    def start(self) -> None:
        self.control("prepare", check=True)
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [HAPROXY, "-W", "-f", self.config, "-S", f"{self.directory}/master.sock,mode,600"],
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        wait_until(lambda: self.answers() or self.process.poll() is not None, "HAProxy starts")
        assert self.process.poll() is None, self.log_text()
        self.control("forget", check=True)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)

    def kill(self) -> None:
        """What a crash leaves: nothing is asked before it."""
        self.process.kill()
        self.process.wait(10)
        # the worker ends with its master
        wait_until(lambda: not self.answers(), "no process is left")

    def answers(self) -> bool:
        try:
            return "Pid:" in self.ask("show info")
        except OSError:
            return False

    def control(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the control script as the unit does."""
        return subprocess.run([self.directory / "control", *arguments], capture_output=True, text=True, check=check)

    def reload(self) -> subprocess.CompletedProcess[str]:
        return self.control("reload", str(self.process.pid))

    def ask(self, command: str) -> str:
        """Ask the process that takes new connections."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(f"{self.directory}/admin.sock")
            connection.sendall(command.encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection).decode()

    def server(self, name: str) -> rotation.Gateway:
        """A server as all processes see it, by what the role asks them with."""
        found = rotation.Gateway(f"{self.directory}/master.sock", "litellm_proxy", name)
        wait_until(lambda: self._listens(found.master), "the master process answers")
        return found

    def _listens(self, path: str) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(path) == 0

    def drained(self, name: str) -> bool:
        """Whether a server gets no new requests."""
        states = self.server(name).states()
        assert states
        return bool(states[1] & rotation.FORCED_DRAIN)

    def log_text(self) -> str:
        path = self.directory / "log"
        return path.read_text() if path.exists() else ""

    def log(self) -> list[dict[str, Any]]:
        """The lines of requests, as the journal gets them."""
        lines = (line.partition(">")[2] for line in self.log_text().splitlines() if line.startswith("<6>{"))
        return [json.loads(line) for line in lines]

    def logged(self, path: str) -> dict[str, Any]:
        """The one line about a path, once it is written."""
        wait_until(lambda: any(line["path"] == path for line in self.log()), f"a line about {path}")
        return next(line for line in self.log() if line["path"] == path)

    def connect(
        self, source: str = STRANGER, port: int | None = None, tls: bool | None = None, timeout: float = 20
    ) -> http.client.HTTPConnection:
        address = ("127.0.0.1", port or self.port)
        if self.tls if tls is None else tls:
            context = unverified()
            return http.client.HTTPSConnection(*address, timeout=timeout, source_address=(source, 0), context=context)
        return http.client.HTTPConnection(*address, timeout=timeout, source_address=(source, 0))

    def call(
        self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes | None = None,
        host: str | None = None, **connection: Any,
    ) -> Reply:  # fmt: skip
        """One request on a connection of its own; a target may be anything that fits into a request line."""
        opened = self.connect(**connection)
        try:
            opened.putrequest(method, target, skip_host=host is not None, skip_accept_encoding=True)
            if host:
                opened.putheader("Host", host)
            for name, value in (headers or {}).items():
                opened.putheader(name, value)
            if body is not None and "Content-Length" not in (headers or {}):
                opened.putheader("Content-Length", str(len(body)))
            opened.endheaders(body)
            return read_reply(opened.getresponse())
        finally:
            opened.close()

    def curl(self, target: str, *options: str, scheme: str | None = None, port: int | None = None) -> Reply:
        """One request by curl, for HTTP/2; its version is the header `:version`."""
        url = f"{scheme or ('https' if self.tls else 'http')}://127.0.0.1:{port or self.port}{target}"
        out = Path(tempfile.mkdtemp(dir=self.directory)) / "body"
        made = subprocess.run(
            ["curl", "--silent", "--show-error", "--insecure", "--path-as-is", "--interface", STRANGER, "--max-time",
             "20", "--output", out, "--write-out", "%{http_version} %{http_code} %{content_type}", *options, url],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        version, status, kind = made.stdout.split(" ", 2)
        body = out.read_bytes() if out.exists() else b""
        return Reply(int(status), {":version": version, "content-type": kind}, body)

    def raw(self, data: bytes, source: str = STRANGER, port: int | None = None) -> socket.socket:
        """A connection on which the bytes are sent as they are."""
        opened = socket.create_connection(("127.0.0.1", port or self.port), 20, source_address=(source, 0))
        opened.sendall(data)
        return opened


def unverified() -> ssl.SSLContext:
    """TLS with whatever certificate the other side has."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def read_reply(response: http.client.HTTPResponse) -> Reply:
    body = response.read()
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def read_all(connection: socket.socket) -> bytes:
    """What arrives until the other side closes."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


@contextmanager
def running_front(pem: str = "", start: bool = True, **changes: object) -> Iterator[Front]:
    """The front with some settings before two instances; `pem` is the certificate and key that it serves."""
    port, port_a, port_b, metrics = free_ports(4)
    # not below pytest's directory: the path of a socket has 107 characters at most
    with (
        tempfile.TemporaryDirectory(prefix="front-") as directory,
        Upstream("a", port_a) as a,
        Upstream("b", port_b) as b,
    ):
        servers = [{"name": one.name, "address": "127.0.0.1", "port": one.port} for one in (a, b)]
        settings = variables(
            **{
                "host": "127.0.0.1", "port": port, "servers": servers, "metrics_port": metrics, "tls_port": 0,
                "admin_networks": [f"{ADMIN}/32"], "certificate": pem, "max_connections": 500,
                "scope": "host", "trusted_gateways": [],
                "__litellm_gateway_upstream_ca_file": f"{directory}/upstream-ca.pem",
                "__litellm_gateway_state_dir": f"{directory}/kept",
                "__litellm_gateway_config_file": f"{directory}/haproxy.cfg",
                "__litellm_gateway_pem_file": f"{directory}/endpoint.pem",
                "__litellm_gateway_runtime_dir": directory,
                "__litellm_gateway_haproxy": HAPROXY,
            }
            | changes
        )  # fmt: skip
        settings["__litellm_gateway_found_addresses"] = {
            name: [name]
            for name in [*(one["address"] for one in settings["litellm_gateway_servers"]),
                         *settings["litellm_gateway_trusted_gateways"]]
        }  # fmt: skip
        front = Front(Path(directory), settings, a, b)
        (front.directory / "kept").mkdir()
        front.pem.write_text(pem)
        front.write()
        if not start:
            yield front
            return
        front.start()
        try:
            yield front
        finally:
            front.stop()
            print(*front.log_text().splitlines()[-30:], sep="\n")
