"""litellm-proxyctl in the hands of the host's administrator."""

import csv
import io
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from host_support import KEY_VALUES, PORT, SECRETS, Proxy, hosts_of, wait_until
from testinfra.backend.base import CommandResult
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def shown(host: Host, command: str, code: int = 0) -> dict[str, Any]:
    """What a command tells as JSON."""
    done: CommandResult = host.run(f"litellm-proxyctl {command} --json")
    assert done.rc == code, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def answering(host: Host) -> list[dict[str, str]]:
    """The servers that the gateway finds well."""
    stat = host.check_output("echo 'show stat' | socat stdio UNIX-CONNECT:/run/litellm-gateway/admin.sock")
    rows = csv.DictReader(io.StringIO(stat.removeprefix("# ")))
    return [row for row in rows if row["svname"] in ("a", "b") and row["status"] == "UP"]


def test_status(host: Host) -> None:
    status = shown(host, "status")
    assert status["service"]["state"] == "running"
    assert status["service"]["port"] == PORT
    assert status["service"]["generation"] == host.check_output("basename $(readlink -f /etc/litellm-proxy/current)")
    assert {key["name"] for key in status["pool"]["keys"]} == set(KEY_VALUES)
    assert re.search(r"^service +running \((systemd|compose), slot ", host.check_output("litellm-proxyctl status"))


def test_keys(host: Host) -> None:
    table = host.check_output("litellm-proxyctl keys")
    assert all(f"\n{name} " in table for name in KEY_VALUES)


def test_check_finds_no_fault(host: Host, proxy: Proxy) -> None:
    for _ in KEY_VALUES:
        assert proxy.chat().status_code == 200
    document = shown(host, "check")
    assert not [secret for secret in SECRETS if secret in json.dumps(document)]
    found = document["findings"]
    assert {finding["level"] for finding in found} == {"ok"}
    assert {finding["what"] for finding in found} == {"config", "port", "service", "gateway", "upstream", "key"}
    assert any("last answer 200 at 20" in finding["text"] for finding in found)


def test_check_tells_a_config_that_litellm_refuses(host: Host) -> None:
    config = "/etc/litellm-proxy/current/config.yaml"
    host.check_output(f"cp -p {config} /root/config.kept")
    try:
        # LiteLLM knows no such strategy
        host.check_output(f"printf 'router_settings:\\n  routing_strategy: round-robin\\n' >> {config}")
        (finding,) = [one for one in shown(host, "check", 6)["findings"] if one["what"] == "config"]
        assert "is invalid: run site.yml" in finding["text"]
        assert "round-robin" in finding["text"]
    finally:
        # into the same file, which is mounted in compose mode
        host.check_output(f"cat /root/config.kept > {config}; rm /root/config.kept")


def test_log(host: Host, proxy: Proxy) -> None:
    assert proxy.chat().status_code == 200
    wait_until(lambda: "event=granted" in host.check_output("litellm-proxyctl logs -n 50"))
    # follows until it is ended
    followed = host.run("timeout 2 litellm-proxyctl logs -f -n 5")
    assert (followed.rc, len(followed.stdout.splitlines()) >= 5) == (124, True)


def test_restart_fails_no_request(host: Host, proxy: Proxy) -> None:
    slot = shown(host, "status")["service"]["slot"]
    done = threading.Event()

    def ask() -> list[int]:
        answers = []
        while not done.is_set():
            answers.append(proxy.chat().status_code)
        return answers

    with ThreadPoolExecutor(3) as clients:
        asking = [clients.submit(ask) for _ in range(3)]
        try:
            said = host.check_output("litellm-proxyctl restart")
        finally:
            done.set()
        answers = [code for one in asking for code in one.result()]
    assert len(answers) > 20
    assert set(answers) == {200}
    after = shown(host, "status")["service"]["slot"]
    assert after != slot
    assert f"Restarted: slot {after} serves" in said
    assert [server["svname"] for server in answering(host)] == [after]


def test_stop_then_a_taken_port_then_start(host: Host, proxy: Proxy) -> None:
    host.check_output("litellm-proxyctl stop")
    assert shown(host, "status", 3)["service"]["state"] == "down"
    assert not host.socket(f"tcp://0.0.0.0:{PORT}").is_listening
    assert host.run("litellm-proxyctl stop").stdout == "It is stopped already.\n"
    host.check_output(f"systemd-run --unit=taker python3 -m http.server {PORT}")
    try:
        wait_until(lambda: host.socket(f"tcp://0.0.0.0:{PORT}").is_listening)
        start = host.run("litellm-proxyctl start")
        assert start.rc == 7
        assert f"Port {PORT} is taken by python3 (pid " in start.stderr
        assert "user root): stop it, or set litellm_proxy_port to a free one and run site.yml." in start.stderr
    finally:
        host.check_output("systemctl stop taker")
        started = host.run("litellm-proxyctl start")
    assert started.rc == 0, started.stderr
    assert proxy.chat().status_code == 200
    assert host.run("litellm-proxyctl start").stdout == "It runs already.\n"


@pytest.mark.parametrize("command", ["status", "keys", "check", "logs", "restart"])
def test_other_users_are_told_to_use_sudo(host: Host, command: str) -> None:
    done = host.run(f"runuser -u nobody -- litellm-proxyctl {command}")
    assert (done.rc, done.stdout) == (4, "")
    assert "run it with sudo" in done.stderr


def test_no_secret_is_in_what_it_shows_or_was_installed(host: Host) -> None:
    output = host.check_output(
        "for c in status keys; do litellm-proxyctl $c; litellm-proxyctl $c --json; done; "
        "cat /etc/litellm-proxy/proxyctl.json; cat /usr/local/lib/litellm-proxy/proxyctl/*"
    )
    assert not [secret for secret in SECRETS if secret in output]
