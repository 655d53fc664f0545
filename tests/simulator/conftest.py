"""One simulator for the whole suite, put back to its table before every test."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sim_client import CODING_KEY, GENERAL_KEY, SECOND_KEY, Api, Reply, call, open_request, request_for

from zai_simulator.control_client import ControlClient
from zai_simulator.testing import Simulator, running_simulator

CONFIG: dict[str, Any] = {
    "accounts": {"team": {}, "solo": {}},
    "keys": [
        {"name": "general", "key": GENERAL_KEY, "account": "team"},
        {"name": "second", "key": SECOND_KEY, "account": "team"},
        {"name": "coding", "key": CODING_KEY, "account": "solo", "plan": "coding"},
    ],
}


@pytest.fixture(scope="session")
def running() -> Iterator[Simulator]:
    with running_simulator(CONFIG) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: Simulator) -> Simulator:
    running.control.reset()
    return running


@pytest.fixture
def control(simulator: Simulator) -> ControlClient:
    return simulator.control


@pytest.fixture
def ask(simulator: Simulator) -> Callable[..., Reply]:
    """Send a good request to one of the three answering paths, with changes to its body."""

    def send(api: Api, key: str | None = None, **changes: object) -> Reply:
        path, headers, body = request_for(api, key, **changes)
        return call(simulator.url + path, headers, body)

    return send


@pytest.fixture
def hold(simulator: Simulator) -> Iterator[Callable[..., http.client.HTTPConnection]]:
    """Send a request without waiting for its answer; its connection is closed when the test ends."""
    connections: list[http.client.HTTPConnection] = []

    def send(api: Api, key: str | None = None, **changes: object) -> http.client.HTTPConnection:
        connections.append(open_request(simulator.url, api, key, **changes))
        return connections[-1]

    yield send
    for connection in connections:
        connection.close()
