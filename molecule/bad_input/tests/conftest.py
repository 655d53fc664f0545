"""Fixtures of the bad_input scenario."""

from collections.abc import Iterator

import pytest
from host_support import Proxy
from testinfra.host import Host


@pytest.fixture
def proxy(host: Host) -> Proxy:
    return Proxy(host)


@pytest.fixture
def serving(proxy: Proxy) -> Iterator[Proxy]:
    """The proxy that was deployed before; the very same process must serve afterwards."""
    before = (proxy.unit(), proxy.main_pid())
    yield proxy
    assert (proxy.unit(), proxy.main_pid()) == before
    assert proxy.chat().status_code == 200
