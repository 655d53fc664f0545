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


def test_no_container_image_or_network_is_left(host: Host) -> None:
    assert host.check_output("docker ps --all --quiet") == ""
    assert host.check_output("docker images --quiet ghcr.io/berriai/litellm") == ""
    assert "litellm" not in host.check_output("docker network ls")


def test_docker_stays(host: Host) -> None:
    assert host.service("docker").is_running
