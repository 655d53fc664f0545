"""Fixtures of the process scenario."""

import pytest
from pool_fixtures import pool, simulator
from process_support import Instance
from testinfra.host import Host

__all__ = ["pool", "proxy", "simulator"]


@pytest.fixture
def proxy(host: Host) -> Instance:
    return Instance(host)
