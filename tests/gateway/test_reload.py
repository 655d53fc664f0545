"""Reloads: nothing is dropped, states survive, what does not work is not taken up."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.certificates import self_signed
from tests.gateway.front import Front, read_reply, running_front, wait_until
from tests.ports import free_ports


@pytest.fixture(params=["plain", "tls"])
def own_front(request: pytest.FixtureRequest) -> Iterator[Front]:
    """A front that a test may change."""
    with running_front("".join(self_signed()) if request.param == "tls" else "") as front:
        yield front


@dataclass
class Load:
    """What the clients of `under_load` have met so far."""

    done: int = 0
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def under_load(front: Front, clients: int = 4) -> Iterator[Load]:
    """Half of the clients keep their connection, the others open one a request; none tries again."""
    load, end = Load(), threading.Event()

    def client(keeps: bool) -> None:
        connection = front.connect()
        while not end.is_set():
            try:
                connection.request("POST", "/v1/messages", b"{}")
                reply = read_reply(connection.getresponse())
                failure = "" if reply.status == 200 and reply.json["body"] == 2 else f"{reply.status} {reply.body!r}"
            except (OSError, http.client.HTTPException) as error:
                failure = repr(error)
            with load.lock:
                load.done += 1
                load.failures += [failure] if failure else []
            if not keeps or failure:
                connection.close()
        connection.close()

    threads = [threading.Thread(target=client, args=(index % 2 == 0,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
        target = load.done + 200
        wait_until(lambda: load.done >= target, "requests after it")
    finally:
        end.set()
        for thread in threads:
            thread.join()


def reload(front: Front) -> None:
    result = front.reload()
    assert result.returncode == 0, result.stderr


def test_reloads_under_load_drop_nothing(own_front: Front) -> None:
    with under_load(own_front) as load:
        for _ in range(3):
            seen = load.done
            wait_until(lambda seen=seen: load.done >= seen + 100, "requests before it")  # type: ignore[misc]
            reload(own_front)
    print(f"{load.done} requests, {len(load.failures)} failures")
    assert load.failures == []


def test_a_stream_outlives_reloads(own_front: Front) -> None:
    own_front.ask("set server litellm_proxy/b state drain")
    connection = own_front.connect()
    connection.request("POST", "/v1/messages?do=gate", b"{}")
    response = connection.getresponse()
    assert response.readline() == b"first\n"
    reload(own_front)
    reload(own_front)
    # what a handover must wait for: the process of before holds it
    assert own_front.server("a").running() == 1
    own_front.a.gate.set()
    assert response.read() == b"last\n"
    wait_until(lambda: own_front.server("a").running() == 0, "the session ends")
    connection.close()


def test_an_idle_connection_of_before_a_reload_meets_the_servers_as_they_are(own_front: Front) -> None:
    own_front.ask("set server litellm_proxy/b state drain")
    connection = own_front.connect()
    connection.request("GET", "/v1/models")
    assert read_reply(connection.getresponse()).json["server"] == "a"
    reload(own_front)
    # a handover from a to b, of which the process before knows nothing
    own_front.ask("set server litellm_proxy/b state ready")
    own_front.ask("set server litellm_proxy/a state drain")
    own_front.a.close()
    connection.request("POST", "/v1/messages", b"{}")
    reply = read_reply(connection.getresponse())
    told = dict(reply.json["headers"])
    assert (reply.status, reply.json["server"], reply.json["body"]) == (200, "b", 2)
    assert (told["x-forwarded-for"], told["x-forwarded-port"]) == ("127.0.0.77", str(own_front.port))
    assert told["x-forwarded-proto"] == ("https" if own_front.tls else "http")
    connection.close()


def test_a_drained_server_stays_drained_over_a_reload_and_not_over_a_start(own_front: Front) -> None:
    own_front.ask("set server litellm_proxy/b state drain")
    reload(own_front)
    assert (own_front.drained("a"), own_front.drained("b")) == (False, True)
    assert {own_front.call("/v1/models").json["server"] for _ in range(6)} == {"a"}
    own_front.stop()
    own_front.start()
    assert not own_front.drained("b")


def test_instances_that_changed_ports_are_asked_there_after_a_reload(own_front: Front) -> None:
    own_front.ask("set server litellm_proxy/b state drain")
    a, b = own_front.settings["litellm_gateway_servers"]
    own_front.settings["litellm_gateway_servers"] = [a | {"port": b["port"]}, b | {"port": a["port"]}]
    own_front.write()
    reload(own_front)
    assert (own_front.drained("a"), own_front.drained("b")) == (False, True)
    assert {own_front.call("/v1/models").json["server"] for _ in range(4)} == {"b"}


def test_a_bad_config_leaves_the_running_one(own_front: Front) -> None:
    own_front.config.write_text(own_front.config.read_text() + "\nbackend broken\n    nonsense\n")
    with under_load(own_front) as load:
        result = own_front.reload()
    assert result.returncode != 0 and "nonsense" in result.stderr
    assert load.failures == []


def test_a_config_that_cannot_listen_leaves_the_running_one(own_front: Front) -> None:
    # the role looks at the ports before; HAProxy itself refuses clients while it tries
    own_front.settings["litellm_gateway_metrics_port"] = own_front.a.port
    own_front.write()
    control = own_front.directory / "control"
    # the real one waits 30 s for the new process
    control.write_text(control.read_text().replace('"$tries" -lt 300', '"$tries" -lt 10'))
    result = own_front.reload()
    assert result.returncode != 0 and "the one before serves" in result.stderr
    wait_until(lambda: "Resumed frontend api" in own_front.log_text(), "HAProxy gives up")
    with under_load(own_front) as load:
        pass
    assert load.failures == []


def served_certificate(front: Front, port: int | None = None) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port or front.port))


def test_renewing_the_certificate_under_load_drops_nothing() -> None:
    first, second = self_signed("old.example"), self_signed("new.example")
    with running_front("".join(first), tls_port=free_ports(1)[0]) as front:
        tls_port = front.settings["litellm_gateway_tls_port"]
        assert served_certificate(front) == served_certificate(front, tls_port) == first[0]
        with under_load(front) as load:
            front.pem.write_text("".join(second))
            reload(front)
        wait_until(lambda: served_certificate(front) == second[0], "the new certificate is served")
        assert served_certificate(front, tls_port) == second[0]
    print(f"{load.done} requests, {len(load.failures)} failures")
    assert load.failures == []


@pytest.fixture
def host_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, str]]:
    """A front whose certificate is in files of the host, and the certificate."""
    directory = tmp_path_factory.mktemp("live")
    chain, key = directory / "fullchain.pem", directory / "privkey.pem"
    made = self_signed()
    # without an end of line, as some tools write it
    chain.write_text(made[0].rstrip())
    key.write_text(made[1])
    with running_front(start=False, certificate_file=str(chain), certificate_key_file=str(key)) as front:
        assert front.control("certificate", check=True).stdout == "changed\n"
        front.start()
        try:
            yield front, made[0]
        finally:
            front.stop()


def test_the_files_of_the_host_become_one_that_others_cannot_read(host_files: tuple[Front, str]) -> None:
    front, served = host_files
    assert served_certificate(front) == served
    assert front.control("certificate", check=True).stdout == ""
    assert front.pem.stat().st_mode & 0o777 == 0o640


def test_renewed_files_of_the_host_are_taken_up(host_files: tuple[Front, str]) -> None:
    front, _ = host_files
    renewed = self_signed("renewed.example")
    for name, text in zip(("certificate_file", "certificate_key_file"), renewed, strict=True):
        with open(front.settings[f"litellm_gateway_{name}"], "w") as file:  # noqa: PTH123
            file.write(text)
    assert front.control("certificate", check=True).stdout == "changed\n"
    reload(front)
    wait_until(lambda: served_certificate(front) == renewed[0], "the new certificate is served")


def test_files_of_the_host_that_do_not_fit_are_not_taken_up(host_files: tuple[Front, str]) -> None:
    front, served = host_files
    with open(front.settings["litellm_gateway_certificate_key_file"], "w") as file:  # noqa: PTH123
        file.write(self_signed()[1])
    result = front.control("certificate")
    assert result.returncode != 0 and "the ones before stay in use" in result.stderr
    assert "PRIVATE" not in result.stdout + result.stderr
    assert list(front.directory.glob("endpoint.pem*")) == [front.pem]
    reload(front)
    assert served_certificate(front) == served
