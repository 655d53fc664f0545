"""Every slot is taken for longer than a request waits: each client gets its own error, with when to come back."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from curl_support import Call, calls
from host_support import KEY_VALUES, Proxy, hosts_of, wait_until
from sdk_cases import COMMANDS
from testinfra import get_host
from workstation_support import Done, Workstation

from zai_simulator.control_client import ControlClient

SLOTS = 4 * len(KEY_VALUES)
HELD = 30.0
"""Seconds that the answers which hold the slots take: the clients start and wait that long."""


@pytest.fixture(scope="module")
def told(workstation: Workstation, simulator: ControlClient) -> Iterator[dict[str, Any]]:
    """What each client got while all slots were held by others, who do get their answers."""
    (backend,) = hosts_of("litellm_proxy")
    proxy = Proxy(get_host(backend))
    for name in KEY_VALUES:
        simulator.set_account(name.replace("key", "account"), latency=HELD)
    with ThreadPoolExecutor(SLOTS + len(COMMANDS) + 3) as threads:
        holders = [threads.submit(proxy.chat) for _ in range(SLOTS)]
        wait_until(lambda: simulator.stats()["total"]["in_flight"] == SLOTS, 10)
        running: dict[str, Future[Any]] = {
            client: threads.submit(workstation.features, command, ["text"]) for client, command in COMMANDS.items()
        }
        running["claude-code"] = threads.submit(workstation.claude, "hello")
        running["codex"] = threads.submit(workstation.codex, "hello")
        running["curl"] = threads.submit(calls, workstation, "text")
        found = {client: future.result() for client, future in running.items()}
        assert simulator.stats()["total"]["in_flight"] == SLOTS, "the slots were held all the time"
        yield found
        assert [holder.result().status_code for holder in holders] == [200] * SLOTS


@pytest.mark.parametrize("client", [pytest.param(name, marks=pytest.mark.cell(name, "saturated")) for name in COMMANDS])
def test_sdk(told: dict[str, Any], client: str) -> None:
    error = told[client]["text"]
    assert (error["error"], error["status"]) == ("RateLimitError", 429)
    assert int(error["retry_after"]) >= 1


@pytest.mark.cell("curl", "saturated")
def test_curl(told: dict[str, Any]) -> None:
    answers: list[Call] = told["curl"]["text"]
    assert [answer.status for answer in answers] == [429, 429]
    assert all(int(answer.retry_after) >= 1 for answer in answers)


@pytest.mark.parametrize(
    "client", [pytest.param(name, marks=pytest.mark.cell(name, "saturated")) for name in ("claude-code", "codex")]
)
def test_program(told: dict[str, Any], client: str) -> None:
    done: Done = told[client]
    assert done.returncode == 1
    assert "429" in done.stdout
