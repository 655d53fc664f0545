"""After playbooks/remove.yml the host is as before, but for system packages and what others put there."""

import pytest
from host_support import SECRETS, hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def test_nothing_listens_and_no_process_is_left(host: Host) -> None:
    assert not host.socket("tcp://4000").is_listening
    processes = host.check_output("ps axww")
    assert "glm_pool" not in processes
    assert "litellm-gateway" not in processes


@pytest.mark.parametrize(
    "path",
    [
        "/opt/litellm-proxy",
        "/var/lib/litellm-proxy",
        "/run/litellm-proxy",
        "/etc/litellm-proxy/generations",
        "/etc/litellm-gateway",
        "/run/litellm-gateway",
        "/usr/local/bin/litellm-proxyctl",
        "/usr/local/lib/litellm-proxy",
        "/etc/litellm-proxy/proxyctl.json",
    ],
)
def test_directory_is_gone(host: Host, path: str) -> None:
    assert not host.file(path).exists


def test_units_are_gone(host: Host) -> None:
    assert (
        host.check_output(
            "systemctl list-unit-files 'litellm-*' --no-legend --plain; find /etc/systemd -name 'litellm*'"
        )
        == ""
    )


def test_user_is_gone(host: Host) -> None:
    assert not host.user("litellm-proxy").exists
    assert not host.group("litellm-proxy").exists


@pytest.mark.parametrize("path", ["/etc/litellm-proxy/foreign.conf", "/opt/foreign.txt"])
def test_foreign_files_stay(host: Host, path: str) -> None:
    assert host.file(path).content_string == "not the role's\n"


def test_packages_of_the_system_stay(host: Host) -> None:
    assert host.package("python3-venv").is_installed
    assert host.package("haproxy").is_installed


def test_no_secret_is_left(host: Host) -> None:
    for secret in SECRETS:
        assert host.run("grep -rlIsF -e %s /etc /opt /root /srv /tmp /var", secret).stdout == ""
