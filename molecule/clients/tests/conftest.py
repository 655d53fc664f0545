"""Fixtures of the scenario, the order of its files, and the record of what each cell of the page is."""

import json
from collections.abc import Generator, Iterator

import pytest
from clients_support import CERTIFICATE, RESULTS, ROTATED
from host_support import play, simulator_control, wait_until
from slots_support import idle
from workstation_support import Workstation

from zai_simulator.control_client import ControlClient

FEATURES = ("test_sdks", "test_claude_code", "test_codex", "test_curl")
"""What is seen over plain HTTP, and once more over TLS."""
ORDER = [
    *FEATURES,
    *("test_asked", "test_saturated", "test_trouble", "https", "test_tls"),
    *("test_managed", "test_usage", "test_workstation", "test_page"),
]
"""The files go from one state of the host to the next; `https`: the features once more."""

recorded: list[dict[str, str]] = []
over_tls: dict[str, bool] = {}
"""Whether all that a client has tried over TLS has passed."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cell(client, feature, note=''): the cell of the page that the test proves")
    # the last run's
    RESULTS.unlink(missing_ok=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__ in FEATURES and "workstation" in metafunc.fixturenames:
        metafunc.parametrize("workstation", ["http", "https"], indirect=True, scope="session")


def scheme_of(item: pytest.Item) -> str:
    """How the client of a test speaks to the proxy."""
    call = getattr(item, "callspec", None)
    return str(call.params.get("workstation", "http")) if call else "http"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> tuple[int, int]:
        file = ORDER.index(item.path.stem)
        return (ORDER.index("https"), file) if scheme_of(item) == "https" else (file, 0)

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or report.failed:
        for mark in item.iter_markers("cell"):
            if scheme_of(item) == "https":
                client = mark.args[0]
                over_tls[client] = over_tls.get(client, True) and report.passed
            else:
                record(*mark.args, passed=report.passed)
        write()
    return report


def record(client: str, feature: str, note: str = "", *, passed: bool) -> None:
    """Note what a cell is; a note that begins with the name of a result and a colon says which."""
    kind, _, text = note.partition(": ")
    recorded.append({"client": client, "feature": feature, **cell(passed, kind or "works", text)})


def cell(passed: bool, result: str = "works", note: str = "") -> dict[str, str]:
    """What the page is told."""
    return {"result": result, "note": note} if passed else {"result": "fails", "note": "its test fails"}


def write() -> None:
    """Keep all that is known by now."""
    tls = [{"client": client, "feature": "tls", **cell(passed)} for client, passed in over_tls.items()]
    RESULTS.write_text(json.dumps([*recorded, *tls], indent=1))


@pytest.fixture(scope="session")
def certificate() -> None:
    """The proxy gets its certificate."""
    done = play("site.yml", ROTATED, "--extra-vars", f"@{CERTIFICATE}")
    assert done.returncode == 0, done.stdout
    assert json.loads(CERTIFICATE.read_text())["litellm_gateway_certificate_key"] not in done.stdout


@pytest.fixture(scope="session")
def workstation(request: pytest.FixtureRequest) -> Workstation:
    """Speaks plain HTTP, or HTTPS to the proxy that has got its certificate."""
    scheme = getattr(request, "param", "http")
    if scheme == "https":
        request.getfixturevalue("certificate")
    return Workstation(scheme)


@pytest.fixture(scope="session")
def simulator() -> ControlClient:
    return simulator_control()


@pytest.fixture(autouse=True, scope="module")
def slots_come_back(simulator: ControlClient) -> Iterator[None]:
    """However a file's clients left their answers: no request is in flight soon after."""
    simulator.reset()
    yield
    wait_until(lambda: idle(simulator), 10)


@pytest.fixture
def refusing(simulator: ControlClient) -> Iterator[None]:
    """An upstream that takes every request for malformed."""
    names = simulator.stats()["keys"]
    for name in names:
        simulator.set_key(name, fault={"code": "1214"})
    yield
    for name in names:
        simulator.set_key(name, fault=None)
