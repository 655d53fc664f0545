"""After playbooks/remove.yml the host is as before, but for system packages and what others put there."""

import pytest
from host_support import SECRETS, hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def test_no_container_image_or_network_is_left(host: Host) -> None:
    assert host.check_output("docker ps --all --quiet") == ""
    assert host.check_output("docker images --quiet ghcr.io/berriai/litellm") == ""
    assert "litellm" not in host.check_output("docker network ls")


def test_nothing_listens(host: Host) -> None:
    assert not host.socket("tcp://4000").is_listening
    assert "glm_pool" not in host.check_output("ps axww")


@pytest.mark.parametrize(
    "path",
    [
        "/opt/litellm-proxy",
        "/var/lib/litellm-proxy",
        "/run/litellm-proxy",
        "/etc/litellm-proxy/generations",
        "/etc/litellm-gateway",
        "/usr/local/bin/litellm-proxyctl",
        "/usr/local/lib/litellm-proxy",
        "/etc/tmpfiles.d/litellm-proxy.conf",
        "/etc/systemd/system/litellm-proxy.service",
    ],
)
def test_path_is_gone(host: Host, path: str) -> None:
    assert not host.file(path).exists


def test_user_is_gone(host: Host) -> None:
    assert not host.user("litellm-proxy").exists


def test_docker_and_foreign_files_stay(host: Host) -> None:
    assert host.service("docker").is_running
    assert host.file("/etc/litellm-proxy/foreign.conf").content_string == "not the role's\n"


def test_no_secret_is_left(host: Host) -> None:
    for secret in SECRETS:
        assert host.run("grep -rlIsF -e %s /etc /opt /root /srv /tmp /var", secret).stdout == ""
