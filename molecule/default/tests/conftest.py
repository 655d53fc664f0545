"""Fixtures of the default scenario."""

import pytest
from host_support import Proxy
from pool_fixtures import pool, simulator
from testinfra.host import Host

__all__ = ["pool", "proxy", "simulator"]


@pytest.fixture
def proxy(host: Host) -> Proxy:
    return Proxy(host)
