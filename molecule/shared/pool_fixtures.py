"""Fixtures of every scenario that has one proxy before the simulator; `proxy` is the scenario's own."""

from collections.abc import Iterator

import pytest
from host_support import Proxy, heal, simulator_control

from zai_simulator.control_client import ControlClient


@pytest.fixture(scope="session")
def simulator() -> ControlClient:
    """Control of the simulator."""
    return simulator_control()


@pytest.fixture
def pool(proxy: Proxy, simulator: ControlClient) -> Iterator[ControlClient]:
    """The simulator with every key healthy and all counts at zero, also afterwards."""
    heal(proxy, simulator)
    yield simulator
    heal(proxy, simulator)
