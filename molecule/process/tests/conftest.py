"""Fixtures of the process scenario."""

from collections.abc import Iterator

import pytest
from host_support import heal, simulator_control
from process_support import Instance
from testinfra.host import Host

from zai_simulator.control_client import ControlClient


@pytest.fixture
def proxy(host: Host) -> Instance:
    return Instance(host)


@pytest.fixture(scope="session")
def simulator() -> ControlClient:
    return simulator_control()


@pytest.fixture
def pool(proxy: Instance, simulator: ControlClient) -> Iterator[ControlClient]:
    """The simulator with every key healthy and all counts at zero, also afterwards."""
    heal(proxy, simulator)
    yield simulator
    heal(proxy, simulator)
