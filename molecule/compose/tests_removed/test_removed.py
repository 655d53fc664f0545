"""What others put on the host, and the packages, stay after playbooks/remove.yml."""

from host_support import hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def test_no_container_image_or_network_is_left(host: Host) -> None:
    assert host.check_output("docker ps --all --quiet") == ""
    assert host.check_output("docker images --quiet ghcr.io/berriai/litellm") == ""
    assert "litellm" not in host.check_output("docker network ls")


def test_docker_stays(host: Host) -> None:
    assert host.service("docker").is_running
