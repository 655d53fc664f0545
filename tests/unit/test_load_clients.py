"""The load before a simulated Z.AI, and before servers that fail it in every way."""

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import self_signed
from tests.load import Load, Mix, Report, Target
from tests.load.__main__ import main
from zai_simulator.control_client import ControlClient
from zai_simulator.testing import Simulator, running_simulator

KEY = "0123456789abcdef0123456789abcdef.abcdefghijklmnop"
PATHS = ("/api/paas/v4/chat/completions", "/api/anthropic/v1/messages")
SMALL = Mix(short=8, long=4, long_words=5)


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    table = {"accounts": {"team": {}}, "keys": [{"name": "one", "key": KEY, "account": "team"}]}
    with running_simulator(table) as simulator:
        yield simulator


@pytest.fixture
def control(running: Simulator) -> ControlClient:
    running.control.reset()
    return running.control


@pytest.fixture
def target(running: Simulator, control: ControlClient) -> Target:
    return Target(running.url, KEY, "glm-5.3-flash", paths=PATHS)


def run(target: Target, least: int, mix: Mix = SMALL) -> Report:
    with Load(target, mix) as load:
        return load.stop(least)


def failures(report: Report) -> set[str]:
    assert len(report.failures) == report.requests
    return {sample.failure for sample in report.failures}


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[float]]]:
    """A server that treats each connection as told; gives its URL and the moments of the connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[float] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(time.monotonic())
            with connection:
                behave(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def read_request(connection: socket.socket) -> None:
    raw = b""
    while b'"max_tokens"' not in raw or not raw.endswith(b"}"):
        raw += connection.recv(65536)


def test_every_kind_is_asked_and_answered(target: Target, control: ControlClient) -> None:
    report = run(target, 200)
    assert report.failures == []
    assert report.requests >= 200
    kinds = Counter((sample.kind.api, sample.kind.form, sample.kind.connection) for sample in report.samples)
    assert len(kinds) == 12
    assert control.stats()["total"]["requests"] == report.requests


def test_as_many_as_asked_for_are_sent_and_hardly_more(target: Target) -> None:
    with Load(target, SMALL) as load:
        load.wait_for(20)
        report = load.stop(least=100, more=5)
    assert 100 <= report.requests <= 100 + SMALL.short + SMALL.long


def test_more_are_sent_after_the_stop(target: Target) -> None:
    with Load(target, SMALL) as load:
        load.wait_for(20)
        begin, before = time.time(), len(load.samples)
        report = load.stop(more=30)
    assert report.requests >= before + 30
    assert max(sample.began for sample in report.samples) >= begin


def test_connections_are_kept_or_new(target: Target) -> None:
    report = run(target, 200)
    oldest = {
        connection: max(sample.age or 0 for sample in report.samples if sample.kind.connection == connection)
        for connection in ("kept", "new")
    }
    assert oldest["kept"] > oldest["new"]
    assert all((sample.age or 0) <= sample.took for sample in report.samples if sample.kind.connection == "new")


def test_the_rate_is_bounded(target: Target) -> None:
    report = run(target, 40, Mix(short=8, long=0, rate=100))
    assert report.requests == 40
    assert report.seconds >= 39 / 100


def test_a_long_stream_is_seen_while_it_runs(target: Target, control: ControlClient) -> None:
    control.set_account("team", token_interval=30)
    with Load(target, Mix(short=0, long=2)) as load:
        control.wait_for(lambda stats: stats["total"]["in_flight"] == 2)
        assert {request.kind.form for request in load.open.values()} == {"long"}
        report = load.stop(within=0.1)
    assert failures(report) == {"unfinished"}
    assert report.requests == 2


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"http_status": 502}, {"status"}),
        ({"code": "1305"}, {"status"}),
        ({"code": "1305", "as_200": True}, {"content", "truncated"}),
        ({"stage": "close"}, {"reset"}),
    ],
)
def test_a_failing_server(target: Target, control: ControlClient, fault: dict[str, object], expected: set[str]) -> None:
    control.set_key("one", fault=fault)
    report = run(target, 10)
    assert failures(report) <= expected
    assert control.stats()["total"]["requests"] == report.requests, "nothing is sent twice"


def test_a_stream_that_breaks_off(target: Target, control: ControlClient) -> None:
    control.set_key("one", fault={"stage": "close", "mid_stream": True})
    report = run(target, 4, Mix(short=0, long=2, long_words=5))
    assert failures(report) == {"truncated"}


def test_a_server_that_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    report = run(Target(f"http://127.0.0.1:{port}", KEY), 4, Mix(short=2, long=0))
    assert failures(report) == {"connect"}
    assert {sample.age for sample in report.failures} == {None}


def test_a_server_that_hangs_up_before_it_answers_is_asked_once() -> None:
    with server(read_request) as (url, connections):
        report = run(Target(url, KEY), 2, Mix(short=2, long=0))
    assert failures(report) == {"reset"}
    assert len(connections) == report.requests


def test_a_body_that_ends_too_early() -> None:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    with server(behave) as (url, _):
        assert failures(run(Target(url, KEY), 2, Mix(short=2, long=0))) == {"truncated"}


def test_a_redirect_is_no_answer() -> None:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 308 Permanent Redirect\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    with server(behave) as (url, _):
        report = run(Target(url, KEY), 2, Mix(short=2, long=0))
    assert failures(report) == {"status"}
    assert report.failures[0].detail.startswith("308")


def test_https_with_a_certificate_that_is_or_is_not_trusted(tmp_path: Path) -> None:
    own, secret = self_signed("own", "127.0.0.1")
    other, _ = self_signed("other", "127.0.0.1")
    (tmp_path / "pem").write_text(secret + own)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")

    def behave(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                read_request(secured)
                secured.sendall(b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n")
        except OSError:
            pass

    with server(behave) as (url, _):
        url = url.replace("http:", "https:")
        mix = Mix(short=1, long=0)
        assert failures(run(Target(url, KEY, trust=other), 1, mix)) == {"connect"}
        assert failures(run(Target(url, KEY, trust=other + own), 1, mix)) == {"status"}
        assert failures(run(Target(url, KEY), 1, mix)) == {"status"}


@pytest.mark.parametrize(("fault", "status"), [(None, 0), ({"code": "1305"}, 1)])
def test_the_command(
    target: Target,
    control: ControlClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: dict[str, object] | None,
    status: int,
) -> None:
    control.set_key("one", fault=fault)
    monkeypatch.setenv("LOAD_API_KEY", KEY)
    monkeypatch.setattr(
        "sys.argv",
        ["load", target.url, "--requests", "30", "--long", "0", "--model", target.model, "--paths", *target.paths],
    )
    assert main() == status
    assert (", 0 failed" in capsys.readouterr().out) == (status == 0)
