"""The proxies that most tests share; each is put back to its beginning before every test that uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pool.pool_client import Api, Open
from tests.pool.pool_server import Key, Rig, running_rig

MAIN_KEYS = (
    Key("one", "alpha", slots=2),
    Key("two", "beta", slots=2, plan="coding"),
    Key("three", "gamma", slots=2),
    Key("resting", "delta", slots=2, state="draining"),
    Key("off", "epsilon", slots=2, state="disabled"),
)
TIGHT_KEYS = (
    Key("left", "shared", slots=2),
    Key("right", "shared", slots=2),
    Key("lone", "own", slots=1),
)


@pytest.fixture(scope="session")
def main_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("main"), MAIN_KEYS, routing_strategy="round-robin") as rig:
        yield rig


@pytest.fixture(scope="session")
def tight_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(
        tmp_path_factory.mktemp("tight"), TIGHT_KEYS, routing_strategy="least-connections",
        session_affinity=True, queue_size=3, queue_timeout=2, request_timeout=2,
    ) as rig:  # fmt: skip
        yield rig


def with_log(rig: Rig) -> Iterator[Rig]:
    """Print what the proxy logged meanwhile; pytest shows it where the test fails."""
    mark = rig.server.log_mark()
    yield rig
    print(*rig.server.log_since(mark), sep="\n")


@pytest.fixture
def rig(main_rig: Rig) -> Iterator[Rig]:
    """Three active keys of three accounts with two slots each, in strict turns; one more drains, one is disabled."""
    main_rig.settle()
    yield from with_log(main_rig)


@pytest.fixture
def tight(tight_rig: Rig) -> Iterator[Rig]:
    """Two keys of one account with two slots and one key with one; short queue, short timeouts, session affinity."""
    tight_rig.settle()
    yield from with_log(tight_rig)


@pytest.fixture
def hold() -> Iterator[Callable[..., Open]]:
    """Send a request on a rig without waiting for its answer; the client leaves when the test ends, at the latest."""
    sent: list[Open] = []

    def send(rig: Rig, api: Api, **request: Any) -> Open:
        sent.append(rig.client.send(api, **request))
        return sent[-1]

    yield send
    for request in sent:
        request.leave()
