"""Fixtures of the compose scenario."""

from collections.abc import Iterator

import pytest
from handover_support import ContainerSite
from host_support import ContainerProxy, heal, simulator_control
from testinfra.host import Host

from zai_simulator.control_client import ControlClient


@pytest.fixture
def proxy(host: Host) -> ContainerProxy:
    return ContainerProxy(host)


@pytest.fixture(scope="session")
def site() -> ContainerSite:
    return ContainerSite()


@pytest.fixture(scope="session")
def simulator() -> ControlClient:
    return simulator_control()


@pytest.fixture
def pool(proxy: ContainerProxy, simulator: ControlClient) -> Iterator[ControlClient]:
    """The simulator with every key healthy and all counts at zero, also afterwards."""
    heal(proxy, simulator)
    yield simulator
    heal(proxy, simulator)
