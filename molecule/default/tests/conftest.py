"""Fixtures of the default scenario."""

from collections.abc import Iterator

import pytest
from host_support import Proxy, heal, simulator_control
from testinfra.host import Host

from zai_simulator.control_client import ControlClient


@pytest.fixture
def proxy(host: Host) -> Proxy:
    return Proxy(host)


@pytest.fixture(scope="session")
def simulator() -> ControlClient:
    return simulator_control()


@pytest.fixture
def pool(proxy: Proxy, simulator: ControlClient) -> Iterator[ControlClient]:
    """The simulator with every key healthy and all counts at zero, also afterwards."""
    heal(proxy, simulator)
    yield simulator
    heal(proxy, simulator)
