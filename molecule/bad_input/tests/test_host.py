"""A host that cannot run what is asked for is told apart, and its running proxy serves on."""

from typing import Any

import pytest
from host_support import MASTER_KEY, SECRETS, Proxy, hosts_of, play, wait_until
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def test_taken_port_names_who_has_it(host: Host, serving: Proxy) -> None:
    host.check_output("systemd-run --unit squatter --uid nobody python3 -m http.server 4100 --directory /usr/share")
    try:
        wait_until(lambda: host.socket("tcp://0.0.0.0:4100").is_listening)
        done = play("site.yml", {"litellm_proxy_port": 4100})
    finally:
        host.check_output("systemctl stop squatter")
    said = " ".join(done.stdout.split())
    assert done.returncode == 2
    assert "port 4100 is taken by python3 (pid" in said
    assert "user nobody" in said
    assert "stop it, or set litellm_proxy_port" in said
    assert "to a free one" in said


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"litellm_proxy_python": "/opt/no/python"}, "/opt/no/python is missing or does not run"),
        ({"litellm_proxy_ca_bundle": "/etc/no.pem"}, "litellm_proxy_ca_bundle /etc/no.pem does not exist"),
        ({"__litellm_proxy_memory_needed": 10**9}, "MiB of memory are too little"),
        ({"__litellm_proxy_supported_systems": {"Debian": ["11"]}}, "Debian 13"),
    ],
)
def test_unfit_host(serving: Proxy, settings: dict[str, Any], told: str) -> None:
    done = play("site.yml", settings)
    assert done.returncode == 2
    assert told in " ".join(done.stdout.split())
    assert "changed=0" in done.stdout


# a setting that it refuses, and a generation that dies at start, come in the scenario handover, under load
def test_config_that_litellm_cannot_load_fails_fast(host: Host, serving: Proxy) -> None:
    before = host.check_output("ls /etc/litellm-proxy/generations")
    done = play("site.yml", {"litellm_proxy_config_extra": {"litellm_settings": {"callbacks": ["glm_pool.no.such"]}}})
    said = " ".join(done.stdout.split())
    assert done.returncode == 2
    assert "does not validate" in said
    assert "glm_pool" in said
    assert "goes on serving" in said
    assert host.check_output("ls /etc/litellm-proxy/generations") == before
    assert [secret for secret in SECRETS if secret in done.stdout] == []


def test_generation_that_serves_other_models_is_withdrawn(proxy: Proxy) -> None:
    """An unset variable in an extra model makes LiteLLM leave that model out without an error."""
    before = proxy.unit()
    extra = {"model_list": [{"model_name": "extra", "litellm_params": {"model": "no-such-provider/x"}}]}
    done = play("site.yml", {"litellm_proxy_config_extra": extra})
    said = " ".join(done.stdout.split())
    assert done.returncode == 2
    assert "instead of" in said
    assert proxy.unit() == before
    assert proxy.chat().status_code == 200


def test_files_changed_by_hand_are_repaired_and_the_service_restarted(host: Host, proxy: Proxy) -> None:
    before = proxy.main_pid()
    current = "/etc/litellm-proxy/current"
    host.check_output(f"echo '# by hand' >> {current}/config.yaml; chmod 644 {current}/credentials/litellm-proxy.json")
    done = play("site.yml", {})
    assert done.returncode == 0, done.stdout
    assert "by hand" not in host.file(f"{current}/config.yaml").content_string
    assert host.file(f"{current}/credentials/litellm-proxy.json").mode == 0o600
    assert proxy.main_pid() not in (0, before)
    assert proxy.chat().status_code == 200
    again = play("site.yml", {})
    assert "changed=0" in again.stdout


def test_stopped_service_is_started(host: Host, proxy: Proxy) -> None:
    host.check_output("systemctl stop %s", proxy.unit())
    assert play("site.yml", {}).returncode == 0
    assert proxy.chat().status_code == 200


def test_unreachable_host_is_named(serving: Proxy) -> None:
    done = play("site.yml", {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9})
    assert done.returncode == 4
    assert "unreachable=1" in done.stdout


def test_wrong_master_key_is_still_refused(serving: Proxy) -> None:
    assert serving.call("/v1/models", headers={"Authorization": f"Bearer {MASTER_KEY}x"}).status_code == 401
