"""What others put on the host, and the packages, stay after playbooks/remove.yml."""

from host_support import hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def test_foreign_file_beside_the_venvs_stays(host: Host) -> None:
    assert host.file("/opt/foreign.txt").content_string == "not the role's\n"


def test_packages_of_the_system_stay(host: Host) -> None:
    assert host.package("python3-venv").is_installed
    assert host.package("haproxy").is_installed
