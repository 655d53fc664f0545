"""The fronts that most tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.certificates import self_signed
from tests.gateway.front import Front, running_front
from tests.ports import free_ports


@pytest.fixture(scope="session")
def plain_front() -> Iterator[Front]:
    with running_front(header_timeout=1, client_timeout=1, max_body_mb=1) as front:
        yield front


@pytest.fixture(scope="session")
def certified_front() -> Iterator[Front]:
    tls_port, http_port = free_ports(2)
    with running_front(
        "".join(self_signed()),
        tls_port=tls_port,
        http_port=http_port,
        header_timeout=1,
        client_timeout=1,
        max_body_mb=1,
    ) as front:
        yield front


@pytest.fixture
def plain(plain_front: Front) -> Front:
    """Without a certificate; short timeouts for clients."""
    plain_front.a.reset()
    plain_front.b.reset()
    return plain_front


@pytest.fixture
def certified(certified_front: Front) -> Front:
    """With a certificate, on one port for both, one for TLS alone and one that redirects; short timeouts."""
    certified_front.a.reset()
    certified_front.b.reset()
    return certified_front


@pytest.fixture(params=["plain", "certified"])
def front(request: pytest.FixtureRequest) -> Front:
    """Both of them."""
    found: Front = request.getfixturevalue(request.param)
    return found
