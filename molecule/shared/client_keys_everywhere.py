"""A key of a client, given and revoked under a running instance: linked to by scenarios of modes beside systemd."""

from pathlib import Path

from host_support import Proxy, hosts_of, play, wait_until

testinfra_hosts = hosts_of("litellm_proxy")

KEY = "sk-client-of-this-mode-f81d4fae7dec"
CLIENT = {"name": "nightly", "key": KEY}
SECONDS = 10
"""Within which every instance has read a change."""


def status(proxy: Proxy) -> int:
    """What a client with the key is told."""
    body = {"model": "glm-pool", "messages": [{"role": "user", "content": "hello"}]}
    return proxy.call("/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"}).status_code


def test_a_key_is_given_counted_and_revoked_while_the_instance_runs(proxy: Proxy, tmp_path: Path) -> None:
    runs = proxy.main_pid()
    assert status(proxy) == 401
    given = play("playbooks/client_keys.yml", {"litellm_proxy_client_keys": [CLIENT]})
    assert given.returncode == 0, given.stdout
    wait_until(lambda: status(proxy) == 200, SECONDS)
    report = play("playbooks/usage.yml", {"usage_dir": str(tmp_path)})
    assert report.returncode == 0, report.stdout
    assert "nightly" in report.stdout
    revoked = play("playbooks/client_keys.yml", {"litellm_proxy_client_keys": []})
    assert revoked.returncode == 0, revoked.stdout
    wait_until(lambda: status(proxy) == 401, SECONDS)
    assert proxy.main_pid() == runs
    assert KEY not in given.stdout + report.stdout + revoked.stdout
