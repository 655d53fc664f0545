"""Fixtures of the scenario, the order of its files, and the record of what each cell of the page is."""

import json
from collections.abc import Generator, Iterator

import pytest
from clients_support import RESULTS
from host_support import simulator_control, wait_until
from slots_support import idle
from workstation_support import Workstation

from zai_simulator.control_client import ControlClient

ORDER = [
    *("test_sdks", "test_claude_code", "test_codex", "test_curl"),
    *("test_saturated", "test_trouble", "test_tls", "test_managed", "test_usage", "test_workstation", "test_page"),
]
"""The files go from one state of the host to the next."""

recorded: list[dict[str, str]] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cell(client, feature, note=''): the cell of the page that the test proves")
    # the last run's
    RESULTS.unlink(missing_ok=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return ORDER.index(name) if name in ORDER else len(ORDER)

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or report.failed:
        for mark in item.iter_markers("cell"):
            record(*mark.args, passed=report.passed)
    return report


def record(client: str, feature: str, note: str = "", *, passed: bool) -> None:
    """Note what a cell is; a note that begins with `not offered` says so."""
    kind, _, text = note.partition(": ")
    result = kind if kind in ("differs", "not offered") else "works"
    entry = {"client": client, "feature": feature, "result": result, "note": text}
    if not passed:
        entry |= {"result": "fails", "note": "its test fails"}
    recorded.append(entry)
    RESULTS.write_text(json.dumps(recorded, indent=1))


@pytest.fixture(scope="session")
def workstation() -> Workstation:
    """Speaks plain HTTP."""
    return Workstation()


@pytest.fixture(scope="session")
def simulator() -> ControlClient:
    return simulator_control()


@pytest.fixture(autouse=True, scope="module")
def slots_come_back(simulator: ControlClient) -> Iterator[None]:
    """However a file's clients left their answers: no request is in flight soon after."""
    simulator.reset()
    yield
    wait_until(lambda: idle(simulator), 10)
