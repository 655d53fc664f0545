"""Waiting for an instance."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from glm_pool import ready
from tests.serving import QuietHandler, serving


@contextmanager
def instance(status_of: Callable[[str], int]) -> Iterator[str]:
    """A server on this host that answers each path with a status; gives its URL."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(status_of(self.path))
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as url:
        yield url


@pytest.fixture
def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def wait(url: str, timeout: float, *options: str) -> int:
    return ready.main(["--url", url, "--timeout", str(timeout), *options])


def test_ready_as_soon_as_the_instance_says_that_it_is_alive() -> None:
    with instance(lambda path: 200 if path == "/health/liveliness" else 404) as url:
        assert wait(url, 30, "--pid", str(os.getpid())) == 0


def test_waits_until_the_instance_is_alive() -> None:
    statuses = iter([503, 500, 200])
    with instance(lambda path: next(statuses)) as url:
        assert wait(url, 30) == 0
    assert list(statuses) == []


def test_asks_the_host_itself_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with instance(lambda path: 200) as url:
        assert wait(url, 30) == 0


def test_gives_up_when_the_process_has_gone(gone: int, capsys: pytest.CaptureFixture[str]) -> None:
    with instance(lambda path: 503) as url:
        began = time.monotonic()
        assert wait(url, 30, "--pid", str(gone)) == 1
        assert time.monotonic() - began < 10
    assert f"process {gone} ended before it answered" in capsys.readouterr().err


def test_an_answer_of_another_instance_does_not_count_when_the_process_has_gone(gone: int) -> None:
    with instance(lambda path: 200) as url:
        assert wait(url, 30, "--pid", str(gone)) == 1


def test_gives_up_when_the_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with instance(lambda path: 503) as url:
        assert wait(url, 0.3, "--pid", str(os.getpid())) == 1
    assert "no answer within" in capsys.readouterr().err


def test_gives_up_when_nobody_listens() -> None:
    with instance(lambda path: 200) as url:
        pass
    assert wait(url, 0.3) == 1
