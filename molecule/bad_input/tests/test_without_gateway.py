"""Without a gateway the instance owns the port: a change interrupts it, and a failed one brings back what was."""

from host_support import PORT, Proxy, hosts_of, play
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")

NONE = {"litellm_proxy_front": "none"}


def owner(host: Host) -> str:
    """Name of the program that listens on the public port."""
    return str(host.check_output(f"ss -ltnpH 'sport = :{PORT}' | sed 's/.*((\"\\([^\"]*\\).*/\\1/'")).splitlines()[0]


def test_instance_takes_the_port_and_gives_it_back(host: Host, proxy: Proxy) -> None:
    assert owner(host) == "haproxy"
    done = play("site.yml", NONE)
    assert done.returncode == 0, done.stdout
    assert owner(host) != "haproxy"
    assert not host.service("litellm-gateway").is_running
    assert proxy.chat().status_code == 200
    assert "changed=0" in play("site.yml", NONE).stdout

    before = proxy.unit()
    dies = {"litellm_proxy_config_extra": {"general_settings": {"master_key": "sk-1234"}}}
    failed = play("site.yml", {**NONE, **dies})
    assert failed.returncode == 2
    assert "serves again" in " ".join(failed.stdout.split())
    assert proxy.unit() == before
    assert proxy.chat().status_code == 200

    back = play("playbooks/rollback.yml", NONE)
    assert back.returncode == 0, back.stdout
    assert proxy.unit() != before
    assert proxy.chat().status_code == 200

    done = play("site.yml", {})
    assert done.returncode == 0, done.stdout
    assert owner(host) == "haproxy"
    assert proxy.chat().status_code == 200
