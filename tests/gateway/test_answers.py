"""Answers: streams, long silences, clients that hang up, instances that crash."""

from __future__ import annotations

import subprocess
import threading

import pytest

from tests.gateway.front import STRANGER, Front, Reply, read_reply, running_front, wait_until

QUIET = "/v1/messages?do=quiet&seconds=2.2"


@pytest.fixture
def on_a(front: Front) -> Front:
    """Requests go to a alone."""
    front.ask("set server litellm_proxy/b state drain")
    return front


def versions(front: Front) -> list[str]:
    return ["--http1.1", "--http2" if front.tls else "--http2-prior-knowledge"]


def test_a_part_arrives_before_the_next_is_sent(on_a: Front) -> None:
    connection = on_a.connect()
    connection.request("POST", "/v1/messages?do=gate", b"{}")
    response = connection.getresponse()
    assert response.readline() == b"first\n"
    on_a.a.gate.set()
    assert response.read() == b"last\n"
    connection.close()


def test_a_part_arrives_before_the_next_is_sent_over_http2(on_a: Front) -> None:
    with curl(on_a, "/v1/messages?do=gate", versions(on_a)[1]) as client:
        assert client.stdout and client.stdout.readline() == b"first\n"
        on_a.a.gate.set()
        assert client.stdout.read() == b"last\n"


def curl(front: Front, target: str, *options: str) -> subprocess.Popen[bytes]:
    url = f"{'https' if front.tls else 'http'}://127.0.0.1:{front.port}{target}"
    command = ["curl", "--silent", "--no-buffer", "--insecure", "--interface", STRANGER, *options, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_an_answer_may_be_quiet_for_longer_than_a_client(front: Front) -> None:
    # the client timeout is 1 s: before the head and in the middle nothing comes for 2.2 s
    replies: dict[str, Reply] = {}

    def ask(version: str) -> None:
        replies[version] = front.curl(QUIET, version)

    threads = [threading.Thread(target=ask, args=(version,)) for version in versions(front)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(reply.status, reply.body) for reply in replies.values()] == [(200, b"first\nlast\n")] * 2


def test_an_answer_that_is_quiet_for_too_long_gets_504() -> None:
    with running_front(answer_timeout=1) as front:
        reply = front.call("/v1/messages?do=gate&head=late", "POST", body=b"{}")
        assert (reply.status, reply.code) == (504, "answer_timeout")


@pytest.mark.parametrize("when", ["", "&head=late"], ids=["within its answer", "before its answer"])
@pytest.mark.parametrize("version", [0, 1], ids=["http1", "http2"])
def test_the_instance_knows_at_once_that_a_client_has_left(on_a: Front, version: int, when: str) -> None:
    client = curl(on_a, f"/v1/messages?do=gate{when}", versions(on_a)[version])
    wait_until(on_a.a.asked.is_set, "the request is there")
    if not when:
        assert client.stdout and client.stdout.readline() == b"first\n"
    client.kill()
    client.communicate()
    # nothing is sent meanwhile: the closed connection alone must tell
    wait_until(on_a.a.left.is_set, "the instance knows", seconds=3)


def test_the_instance_knows_at_once_that_an_http2_stream_is_reset(on_a: Front) -> None:
    with curl(on_a, "/v1/messages?do=gate", versions(on_a)[1], "--max-time", "1") as client:
        client.communicate()
    wait_until(on_a.a.left.is_set, "the instance knows", seconds=3)


def test_requests_outlive_a_crash_of_the_instance() -> None:
    with running_front() as front:
        replies: list[Reply] = []
        front.b.close()
        front.ask("set server litellm_proxy/b health down")
        front.a.close()
        clients = [
            threading.Thread(target=lambda: replies.append(front.call("/v1/messages", "POST", body=b"{}")))
            for _ in range(5)
        ]
        for client in clients:
            client.start()
        wait_until(lambda: waiting(front) == 5, "all of them wait")
        front.a.listen()
        for client in clients:
            client.join()
        assert [reply.status for reply in replies] == [200] * 5
        # a connection that is open for long is served too
        connection = front.connect()
        connection.request("GET", "/v1/models")
        assert read_reply(connection.getresponse()).status == 200
        front.a.close()
        late = threading.Timer(1.5, front.a.listen)
        late.start()
        connection.request("GET", "/v1/models")
        assert read_reply(connection.getresponse()).status == 200
        late.join()
        connection.close()


def waiting(front: Front) -> int:
    rows = [line.split(",") for line in front.ask("show stat").splitlines()]
    return next(int(row[4]) for row in rows if row[:2] == ["litellm_proxy", "BACKEND"])


def test_without_an_instance_the_answer_is_503_with_retry_after() -> None:
    with running_front() as front:
        for name in ("a", "b"):
            front.ask(f"set server litellm_proxy/{name} state maint")
        reply = front.call("/v1/messages", "POST", body=b"{}")
        assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "no_instance", "5")
