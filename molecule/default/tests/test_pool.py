"""The pool as the host's administrator sees it."""

import json
from typing import Any

import pytest
from host_support import KEY_VALUES, SECRETS, Proxy, hosts_of, play, wait_until
from testinfra.host import Host

from zai_simulator.control_client import ControlClient

testinfra_hosts = hosts_of("litellm_proxy")

STATE_FILE = "/var/lib/litellm-proxy/pool-state.json"


def key_state(proxy: Proxy, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(key for key in proxy.call("/pool/status").json()["keys"] if key["name"] == name)
    return found


@pytest.mark.parametrize(
    ("path", "body"), [("/pool/status", None), ("/metrics", None), ("/pool/keys/key-a/enable", {})]
)
def test_the_pools_pages_need_the_master_key(proxy: Proxy, path: str, body: dict[str, Any] | None) -> None:
    assert proxy.call(path, body, headers={}).status_code == 401
    assert proxy.call(path, body, headers={"Authorization": "Bearer sk-wrong"}).status_code == 401


def test_the_answer_names_its_key(proxy: Proxy, pool: ControlClient) -> None:
    assert {proxy.chat().headers["x-litellm-pool-key"] for _ in KEY_VALUES} == set(KEY_VALUES)


def test_a_parked_key_stays_parked_over_a_restart(host: Host, proxy: Proxy, pool: ControlClient) -> None:
    pool.set_key("key-c", fault={"code": "1308", "reset_in": 3600})
    assert [proxy.chat().status_code for _ in KEY_VALUES] == [200] * 3
    before = key_state(proxy, "key-c")
    assert (before["state"], before["reason"]) == ("parked", "1308")
    wait_until(lambda: "1308" in host.file(STATE_FILE).content_string)
    proxy.restart()
    pool.set_key("key-c", fault=None)
    anew = {"answers": 0, "refusals": {}, "last_code": "", "last_at": None}
    assert key_state(proxy, "key-c") == {**before, **anew}
    assert [proxy.chat().status_code for _ in range(6)] == [200] * 6
    assert pool.stats()["keys"]["key-c"]["requests"] == 1


def test_the_state_is_for_the_service_alone_and_holds_no_secret(host: Host) -> None:
    file = host.file(STATE_FILE)
    assert (file.user, file.mode) == ("litellm-proxy", 0o600)
    assert host.file("/var/lib/litellm-proxy").mode == 0o700
    assert [secret for secret in SECRETS if secret in file.content_string] == []


def test_playbooks_show_the_pool_and_bring_a_key_back(host: Host, proxy: Proxy, pool: ControlClient) -> None:
    pool.set_key("key-b", fault={"code": "1113"})
    assert [proxy.chat().status_code for _ in KEY_VALUES] == [200] * 3
    name = host.backend.get_pytest_id().removeprefix("docker://")
    shown = play("playbooks/status.yml", {}, "--limit", name)
    assert shown.returncode == 0, shown.stdout
    (row,) = [line for line in shown.stdout.splitlines() if line.strip().startswith("key-b ")]
    assert "out" in row
    assert "1113" in row
    assert [secret for secret in SECRETS if secret in shown.stdout] == []

    pool.set_key("key-b", fault=None)
    enabled = play("playbooks/enable_key.yml", {"key": "key-b"}, "--limit", name)
    assert enabled.returncode == 0, enabled.stdout
    assert key_state(proxy, "key-b")["state"] == "active"
    assert {proxy.chat().headers["x-litellm-pool-key"] for _ in KEY_VALUES} == set(KEY_VALUES)


def test_an_upstream_that_repeats_the_key_gives_nothing_away(proxy: Proxy, pool: ControlClient) -> None:
    for name in KEY_VALUES:
        pool.set_key(name, fault={"code": "1305", "echo_key": True})
    text = json.dumps([proxy.chat().text, proxy.message(stream=True).text]) + proxy.journal()
    assert [secret for secret in SECRETS if secret in text] == []
