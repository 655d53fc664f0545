"""playbooks/status.yml and enable_key.yml before a proxy that answers as the plug-in does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from role_settings import MASTER_KEY, ROOT


class Proxy(ThreadingHTTPServer):
    """A pool of two keys behind the master key; `has_pool` False stands for one of LiteLLM's own strategies."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.has_pool = True
        self.states = {"team-a": "active", "team-b": "out", "team-c": "draining"}
        self.enabled: list[str] = []

    def answer(self, method: str, path: str, authorization: str | None) -> tuple[int, Any]:
        if not self.has_pool:
            return 404, {"detail": "Not Found"}
        if authorization != f"Bearer {MASTER_KEY}":
            return 401, {"error": "no"}
        if (method, path) == ("GET", "/pool/status"):
            keys = [{"name": name, "account": "billing", "state": state} for name, state in self.states.items()]
            return 200, {"strategy": "round-robin", "shared": None, "pools": [], "keys": keys}
        self.enabled.append(path)
        return 200, {"key": "team-b", "changed": self.states["team-b"] != "active"}


class Handler(BaseHTTPRequestHandler):
    server: Proxy

    def respond(self) -> None:
        status, body = self.server.answer(self.command, self.path, self.headers.get("Authorization"))
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = respond

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def inventory(tmp_path: Path, proxy: Proxy) -> Path:
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        # no root, and no gateway
        "litellm_proxy_mode": "process",
        "litellm_proxy_home": str(tmp_path / "home"),
        "litellm_proxy_python": sys.executable,
        "litellm_proxy_host": "127.0.0.1",
        "litellm_proxy_port": proxy.server_address[1],
        "litellm_proxy_master_key": MASTER_KEY,
    }
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"litellm_proxy": {"hosts": {"host-1": host}}}))
    return path


def play(inventory: Path, playbook: str, *options: str) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), f"playbooks/{playbook}", *options],
        cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert MASTER_KEY not in done.stdout + done.stderr
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_status_is_a_table_and_changes_nothing(inventory: Path, options: tuple[str, ...]) -> None:
    code, output = play(inventory, "status.yml", *options)
    assert code == 0, output
    assert "KEY ACCOUNT STATE" in output
    assert "team-b billing out" in output
    assert "changed=0" in output


def test_status_says_that_the_master_key_is_refused(inventory: Path) -> None:
    code, output = play(inventory, "status.yml", "-e", f"litellm_proxy_master_key={MASTER_KEY}x")
    assert code != 0
    assert "refuses litellm_proxy_master_key" in output


def test_status_says_that_there_is_no_scheduler(inventory: Path, proxy: Proxy) -> None:
    proxy.has_pool = False
    code, output = play(inventory, "status.yml", "-e", "litellm_proxy_routing_strategy=least-busy")
    assert code != 0
    assert "one of LiteLLM's own strategies" in output
    assert "litellm_proxy_routing_strategy is least-busy now" in output


def test_status_says_that_nobody_listens(inventory: Path, proxy: Proxy) -> None:
    proxy.server_close()
    code, output = play(inventory, "status.yml")
    assert code != 0
    assert f"http://127.0.0.1:{proxy.server_address[1]} cannot be reached: [Errno 111] Connection refused" in output


def test_key_is_enabled_on_every_host(inventory: Path, proxy: Proxy) -> None:
    code, output = play(inventory, "enable_key.yml", "-e", "key=team-b")
    assert code == 0, output
    assert proxy.enabled == ["/pool/keys/team-b/enable"]
    assert "changed=1" in output
    proxy.states["team-b"] = "active"
    code, output = play(inventory, "enable_key.yml", "-e", "key=team-b")
    assert code == 0, output
    assert "changed=0" in output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "Give its name in litellm_proxy_zai_keys: -e key=NAME"),
        (("-e", "key=team-x"), "host-1 has no key team-x; it has team-a, team-b, team-c."),
        (("-e", "key=team-c"), "host-1 has team-c as draining: set its state to active in litellm_proxy_zai_keys"),
    ],
    ids=["no name", "unknown", "draining"],
)
def test_key_that_cannot_be_enabled_is_refused(
    inventory: Path, proxy: Proxy, options: tuple[str, ...], told: str
) -> None:
    code, output = play(inventory, "enable_key.yml", *options)
    assert code != 0
    assert told in output
    assert proxy.enabled == []
