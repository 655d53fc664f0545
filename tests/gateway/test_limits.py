"""Bodies, rates and slow clients."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.gateway.front import STRANGER, Front, read_all, running_front, unverified, wait_until

WINDOW = 3


@pytest.fixture(scope="module")
def limited() -> Iterator[Front]:
    with running_front(rate_limit=5, __litellm_gateway_rate_window=WINDOW) as front:
        yield front


def wrapped(front: Front, connection: socket.socket) -> socket.socket:
    """The connection itself, or TLS over it."""
    return unverified().wrap_socket(connection) if front.tls else connection


def test_a_body_of_the_limit_passes_and_a_larger_one_does_not(front: Front) -> None:
    assert front.call("/v1/messages", "POST", body=b"x" * 2**20).json["body"] == 2**20
    reply = front.call("/v1/messages", "POST", headers={"Content-Length": str(2**20 + 1)}, body=b"x")
    assert (reply.status, reply.code) == (413, "body_too_large")


def test_a_client_that_asks_before_it_sends_a_too_large_body_reads_why(front: Front) -> None:
    (front.directory / "large").write_bytes(b"x" * 1_500_000)
    reply = front.curl("/v1/messages", "--http1.1", "--data-binary", f"@{front.directory}/large")
    assert (reply.status, reply.code) == (413, "body_too_large")


def test_a_too_large_body_does_not_pass_over_http2(plain: Front) -> None:
    # HAProxy resets the stream after its answer, which curl calls an error
    target = "/v1/messages/too-large-over-http2"
    (plain.directory / "large").write_bytes(b"x" * 1_500_000)
    url = f"http://127.0.0.1:{plain.port}{target}"
    upload = ["--http2-prior-knowledge", "--data-binary", f"@{plain.directory}/large", "--output", "/dev/null"]
    subprocess.run(["curl", "--silent", *upload, url], check=False)
    assert (plain.logged(target)["status"], plain.logged(target)["server"]) == (413, "<NOSRV>")


@pytest.mark.parametrize("length", [2**31, 2**32, 2**40, 2**63 - 1])
def test_a_length_beyond_all_bounds_is_refused(plain: Front, length: int) -> None:
    assert plain.call("/v1/messages", "POST", headers={"Content-Length": str(length)}, body=b"x").status == 413


def test_a_body_of_unknown_length_passes(plain: Front) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with plain.raw(head + b"3\r\nabc\r\n0\r\n\r\n") as opened:
        assert b'"body": 3' in read_all(opened)


def test_a_client_gets_its_requests_a_minute_and_then_a_true_retry_after(limited: Front) -> None:
    source = "127.0.0.11"
    replies = [limited.call("/v1/models", source=source) for _ in range(30)]
    served = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status != 200]
    # the window may have ended once meanwhile
    assert 5 <= len(served) <= 10
    assert {(reply.status, reply.code) for reply in refused} == {(429, "client_rate_limit")}
    seconds = int(refused[-1].headers["retry-after"])
    assert 1 <= seconds <= WINDOW
    deadline = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= deadline, "the time that Retry-After says")
    assert limited.call("/v1/models", source=source).status == 200


def test_the_limit_holds_for_each_client_by_itself(limited: Front) -> None:
    wait_until(lambda: limited.call("/v1/models", source="127.0.0.12").status == 429, "one client is at its limit")
    assert limited.call("/v1/models", source="127.0.0.13").status == 200


def test_health_routes_do_not_count(limited: Front) -> None:
    for target in ["/health/readiness", "/"] * 10:
        assert limited.call(target, source="127.0.0.14").status == 200
    assert limited.call("/v1/models", source="127.0.0.14").status == 200


def test_http2_counts_like_http1(limited: Front) -> None:
    wait_until(lambda: limited.call("/v1/models", source=STRANGER).status == 429, "the client is at its limit")
    assert limited.curl("/v1/models", "--http2-prior-knowledge").status in (200, 429)
    wait_until(
        lambda: limited.curl("/v1/models", "--http2-prior-knowledge").status == 429, "the client is at its limit"
    )


def test_clients_of_one_ipv6_network_count_together() -> None:
    # the PROXY protocol names clients that this machine could not be
    with running_front(rate_limit=2) as front:

        def ask(address: str) -> int:
            with socket.socket(socket.AF_UNIX) as opened:
                opened.settimeout(20)
                opened.connect(f"{front.directory}/relay.sock")
                request = "GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                opened.sendall(f"PROXY TCP6 {address} 2001:db8::1 5000 4000\r\n{request}".encode())
                return int(read_all(opened).split()[1])

        statuses = [ask(f"2001:db8:0:1::{host}") for host in range(1, 7)]
        assert statuses[-1] == 429 and statuses.count(200) in (2, 3, 4)
        assert ask("2001:db8:0:2::1") == 200


def test_a_head_that_does_not_end_is_cut(front: Front) -> None:
    with front.raw(b"") as opened, wrapped(front, opened) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: ")
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_trickles_is_cut(plain: Front) -> None:
    with plain.raw(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: ") as opened:
        opened.settimeout(0.2)
        answer = b""
        for _ in range(100):
            try:
                answer = opened.recv(65536)
                break
            except TimeoutError:
                opened.sendall(b"x")
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_says_nothing_is_cut(front: Front) -> None:
    with front.raw(b"") as opened:
        assert not read_all(opened).startswith(b"HTTP/1.1 200 ")


def test_an_http2_client_that_says_nothing_after_its_preface_is_cut(plain: Front) -> None:
    with plain.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0") as opened:
        read_all(opened)


def test_a_body_that_does_not_end_is_cut(front: Front) -> None:
    with front.raw(b"") as opened, wrapped(front, opened) as connection:
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nxxxx")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") and b'"code": "client_timeout"' in answer


def test_a_client_that_does_not_read_is_cut(front: Front) -> None:
    front.a.reset()
    with front.raw(b"") as opened, wrapped(front, opened) as connection:
        connection.sendall(b"GET /v1/models?do=flood HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: front.a.left.is_set() or front.b.left.is_set(), "the instance is freed of the client")
