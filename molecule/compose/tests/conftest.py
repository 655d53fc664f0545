"""Fixtures of the compose scenario."""

import pytest
from handover_support import ContainerSite
from host_support import ContainerProxy
from pool_fixtures import pool, simulator
from testinfra.host import Host

__all__ = ["pool", "proxy", "simulator", "site"]


@pytest.fixture
def proxy(host: Host) -> ContainerProxy:
    return ContainerProxy(host)


@pytest.fixture(scope="session")
def site() -> ContainerSite:
    return ContainerSite()
