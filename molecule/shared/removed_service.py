"""What playbooks/remove.yml leaves of a service of the whole host: nothing but packages and foreign files.

Scenarios of the modes systemd and compose link to this file.
"""

import pytest
from host_support import SECRETS, hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")

PATHS = (
    "/opt/litellm-proxy",
    "/var/lib/litellm-proxy",
    "/run/litellm-proxy",
    "/etc/litellm-proxy/generations",
    "/etc/litellm-proxy/proxyctl.json",
    "/etc/litellm-gateway",
    "/run/litellm-gateway",
    "/etc/tmpfiles.d/litellm-proxy.conf",
    "/usr/local/bin/litellm-proxyctl",
    "/usr/local/lib/litellm-proxy",
)


def test_nothing_listens_and_no_process_is_left(host: Host) -> None:
    assert not host.socket("tcp://4000").is_listening
    processes = host.check_output("ps axww")
    assert "glm_pool" not in processes
    assert "litellm-gateway" not in processes


@pytest.mark.parametrize("path", PATHS)
def test_path_is_gone(host: Host, path: str) -> None:
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


def test_foreign_file_stays(host: Host) -> None:
    assert host.file("/etc/litellm-proxy/foreign.conf").content_string == "not the role's\n"


def test_no_secret_is_left(host: Host) -> None:
    for secret in SECRETS:
        assert host.run("grep -rlIsF -e %s /etc /opt /root /srv /tmp /var", secret).stdout == ""
