"""Every slot is taken for longer than a request waits: each client gets its own error, with when to come back."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from clients_support import CLIENT_KEYS
from curl_support import Call, calls
from host_support import KEY_VALUES, Proxy, hosts_of, wait_until
from testinfra import get_host
from workstation_support import SDKS, Done, Workstation

from zai_simulator.control_client import ControlClient

SLOTS = 4 * len(KEY_VALUES)
HELD = 40.0
"""Seconds that the answers which hold the slots take: the clients start and wait that long."""


@pytest.fixture(scope="module")
def told(workstation: Workstation, simulator: ControlClient) -> Iterator[dict[str, Any]]:
    """What each client got while all slots were held by others, who do get their answers."""
    (backend,) = hosts_of("litellm_proxy")
    proxy = Proxy(get_host(backend))

    def hold() -> int:
        body = {"model": "glm-pool", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"Authorization": f"Bearer {CLIENT_KEYS['others']}"}
        return proxy.call("/v1/chat/completions", body, headers).status_code

    for name in KEY_VALUES:
        simulator.set_account(name.replace("key", "account"), latency=HELD)
    with ThreadPoolExecutor(SLOTS + len(SDKS) + 3) as threads:
        holders = [threads.submit(hold) for _ in range(SLOTS)]
        wait_until(lambda: simulator.stats()["total"]["in_flight"] == SLOTS, 10)
        running: dict[str, Future[Any]] = {
            client: threads.submit(workstation.features, client, ["text"]) for client in SDKS
        }
        running["claude-code"] = threads.submit(workstation.claude, "hello")
        running["codex"] = threads.submit(workstation.codex, "hello")
        running["curl"] = threads.submit(calls, workstation, "text")
        found = {client: future.result() for client, future in running.items()}
        assert simulator.stats()["total"]["in_flight"] == SLOTS, "the slots were held all the time"
        yield found
        assert [holder.result() for holder in holders] == [200] * SLOTS


@pytest.mark.parametrize("client", [pytest.param(name, marks=pytest.mark.cell(name, "saturated")) for name in SDKS])
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
