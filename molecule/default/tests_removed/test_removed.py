"""After playbooks/remove.yml the host is as before, but for system packages and what others put there."""

from host_support import hosts_of
from removed_service import (
    test_foreign_file_stays,
    test_no_secret_is_left,
    test_nothing_listens_and_no_process_is_left,
    test_path_is_gone,
    test_units_are_gone,
    test_user_is_gone,
)
from testinfra.host import Host

__all__ = [
    "test_foreign_file_stays",
    "test_no_secret_is_left",
    "test_nothing_listens_and_no_process_is_left",
    "test_path_is_gone",
    "test_units_are_gone",
    "test_user_is_gone",
]

testinfra_hosts = hosts_of("litellm_proxy")


def test_foreign_file_beside_the_venvs_stays(host: Host) -> None:
    assert host.file("/opt/foreign.txt").content_string == "not the role's\n"


def test_packages_of_the_system_stay(host: Host) -> None:
    assert host.package("python3-venv").is_installed
    assert host.package("haproxy").is_installed
