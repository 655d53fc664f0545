"""A gateway before the fronts of other hosts: lost hosts, drains, slow starts, and whose word for an address counts."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import litellm_gateway_haproxy as rotation
import pytest

from tests.certificates import self_signed
from tests.gateway.front import (
    ADMIN,
    HAPROXY,
    STRANGER,
    Front,
    Reply,
    read_reply,
    running_front,
    wait_until,
)
from tests.gateway.test_reload import reload, under_load
from tests.gateway.upstream import Upstream
from tests.ports import free_ports

DETECTED = 4.0
"""Seconds after which a host that is gone gets no more requests."""
CLIENT = "203.0.113.9"


@contextmanager
def running_gateway(pem: str = "", start: bool = True, **changes: object) -> Iterator[Front]:
    """A gateway before two hosts, `a` and `b`."""
    with running_front(pem, start=start, **({"scope": "cluster", "slow_start": 0} | changes)) as gateway:
        yield gateway


@pytest.fixture
def gateway() -> Iterator[Front]:
    with running_gateway() as front:
        yield front


def up(front: Front, name: str) -> bool:
    return front.server(name).up()


def ask_at_once(front: Front, count: int) -> list[Reply]:
    """What as many clients get that ask at the same time."""
    replies: list[Reply] = []

    def ask() -> None:
        replies.append(front.call("/v1/messages", "POST", body=b"{}"))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


# lost hosts -----------------------------------------------------------------------


def test_requests_that_a_lost_host_never_got_go_to_another(gateway: Front) -> None:
    gateway.a.close()
    replies = ask_at_once(gateway, 12)
    assert {(reply.status, reply.json["server"]) for reply in replies} == {(200, "b")}


def test_the_log_of_a_request_that_went_to_another_host_is_json(gateway: Front) -> None:
    gateway.a.close()
    for number in range(6):
        assert gateway.call(f"/v1/models/{number}").status == 200
    lines = [gateway.logged(f"/v1/models/{number}") for number in range(6)]
    assert {line["server"] for line in lines} == {"b"}
    assert any(line["retries"].startswith("+") for line in lines)


def test_a_lost_host_is_found_out_soon_and_comes_back(gateway: Front) -> None:
    gateway.a.close()
    wait_until(lambda: not up(gateway, "a"), "the health check fails", DETECTED)
    with under_load(gateway) as load:
        pass
    assert load.failures == []
    gateway.a.listen()
    wait_until(lambda: up(gateway, "a"), "the health check passes")
    wait_until(lambda: gateway.call("/v1/models").json["server"] == "a", "it gets requests")


# the stand-in leaves sockets that it was about to accept
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_host_lost_under_load_costs_no_more_than_what_it_had(gateway: Front) -> None:
    with under_load(gateway, clients=6) as load:
        wait_until(lambda: load.done >= 100, "requests before it")
        gateway.a.close()
        wait_until(lambda: not up(gateway, "a"), "the health check fails", DETECTED)
        seen = len(load.failures)
    print(f"{load.done} requests, {len(load.failures)} failures")
    assert len(load.failures) == seen <= 6


def test_what_was_sent_is_not_sent_again(gateway: Front) -> None:
    gateway.ask("set server litellm_proxy/b state drain")
    replies: list[Reply] = []
    client = threading.Thread(
        target=lambda: replies.append(gateway.call("/v1/messages?do=gate&head=late", "POST", body=b"{}"))
    )
    client.start()
    assert gateway.a.asked.wait(10)
    gateway.ask("set server litellm_proxy/b state ready")
    gateway.a.close()
    client.join()
    assert (replies[0].status, replies[0].code) == (502, "answer_broken")
    assert not gateway.b.asked.is_set()


def test_without_any_host_it_says_so_at_once(gateway: Front) -> None:
    gateway.a.close()
    gateway.b.close()
    wait_until(lambda: not up(gateway, "a") and not up(gateway, "b"), "both are found out", DETECTED)
    began = time.monotonic()
    reply = gateway.call("/v1/models")
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "no_instance", "5")
    assert time.monotonic() - began < 1


def test_hosts_that_fail_their_checks_all_at_once_are_asked_all_the_same(gateway: Front) -> None:
    for name in ("a", "b"):
        gateway.ask(f"set server litellm_proxy/{name} health down")
    replies = [gateway.call("/v1/models") for _ in range(4)]
    assert [reply.status for reply in replies] == [200] * 4


def test_requests_that_came_past_the_checks_count_where_a_host_is_emptied(gateway: Front) -> None:
    for name in ("a", "b"):
        gateway.ask(f"set server litellm_proxy/{name} health down")
    connection = gateway.connect()
    connection.request("POST", "/v1/messages?do=gate", b"{}")
    response = connection.getresponse()
    assert response.readline() == b"first\n"
    assert "any_host" in gateway.ask("show sess")
    name = "a" if gateway.a.asked.is_set() else "b"
    reload(gateway)
    assert gateway.server(name).running() == 1
    gateway.server(name).cut()
    wait_until(lambda: gateway.server(name).running() == 0, "it is cut")
    connection.close()


def test_a_host_that_is_there_is_asked_while_another_is_gone_and_neither_counts_as_up(gateway: Front) -> None:
    gateway.a.close()
    wait_until(lambda: not up(gateway, "a"), "the health check fails", DETECTED)
    gateway.ask("set server litellm_proxy/b health down")
    replies = [gateway.call("/v1/models") for _ in range(2)]
    assert {(reply.status, reply.json["server"]) for reply in replies} == {(200, "b")}


def test_the_host_with_fewer_requests_gets_the_next(gateway: Front) -> None:
    gateway.ask("set server litellm_proxy/b state drain")
    held = []
    for _ in range(3):
        connection = gateway.connect()
        connection.request("POST", "/v1/messages?do=gate", b"{}")
        assert connection.getresponse().readline() == b"first\n"
        held.append(connection)
    gateway.ask("set server litellm_proxy/b state ready")
    assert {gateway.call("/v1/models").json["server"] for _ in range(4)} == {"b"}
    gateway.a.gate.set()
    for connection in held:
        connection.close()


# out of rotation, and back --------------------------------------------------------


def test_a_drained_host_stays_so_over_a_reload_and_a_start(gateway: Front) -> None:
    gateway.server("b").tell("drain")
    reload(gateway)
    assert gateway.drained("b")
    gateway.control("remember", check=True)
    gateway.stop()
    gateway.start()
    assert (gateway.drained("a"), gateway.drained("b")) == (False, True)
    assert {gateway.call("/v1/models").json["server"] for _ in range(4)} == {"a"}


def test_what_was_kept_for_a_start_is_used_once(gateway: Front) -> None:
    gateway.server("b").tell("drain")
    gateway.control("remember", check=True)
    gateway.stop()
    # a start that failed has used nothing
    gateway.control("prepare", check=True)
    gateway.start()
    assert gateway.drained("b")
    gateway.server("b").tell("ready")
    # nobody is asked for the states of a process that crashes
    gateway.kill()
    gateway.start()
    assert not gateway.drained("b")


# the stand-in leaves sockets that it was about to accept
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("restarts", [False, True], ids=["reload", "restart"])
def test_a_host_that_changed_its_port_is_asked_there_and_stays_drained(gateway: Front, restarts: bool) -> None:
    ports = {"a": gateway.b.port, "b": gateway.a.port}
    gateway.a.close()
    wait_until(lambda: not up(gateway, "a"), "the health check fails", DETECTED)
    gateway.server("b").tell("drain")
    servers = gateway.settings["litellm_gateway_servers"]
    gateway.settings["litellm_gateway_servers"] = [one | {"port": ports[one["name"]]} for one in servers]
    gateway.write()
    if restarts:
        gateway.control("remember", check=True)
        gateway.stop()
        gateway.start()
    else:
        reload(gateway)
    wait_until(lambda: up(gateway, "a"), "it is up at its new port")
    assert (gateway.drained("a"), gateway.drained("b")) == (False, True)
    assert {gateway.call("/v1/models").json["server"] for _ in range(4)} == {"b"}


@pytest.mark.parametrize("what", ["port", "tls"])
def test_a_host_that_is_not_yet_what_it_will_be_costs_no_request(gateway: Front, what: str) -> None:
    a, b = gateway.settings["litellm_gateway_servers"]
    wanted = {"port": free_ports(1)[0]} if what == "port" else {"tls": True, "tls_name": "llm-1.example.com"}
    chain = self_signed("llm-1.example.com")[0]
    (gateway.directory / "upstream-ca.pem").write_text(chain)
    gateway.settings |= {"litellm_gateway_servers": [a | wanted, b], "litellm_gateway_upstream_ca": chain}
    gateway.write()
    with under_load(gateway) as load:
        reload(gateway)
        wait_until(lambda: not up(gateway, "a"), "the health check fails", DETECTED)
    assert load.failures == []


def test_draining_and_taking_back_under_load_drops_nothing(gateway: Front) -> None:
    with under_load(gateway) as load:
        for name in ("a", "b"):
            server = gateway.server(name)
            server.tell("drain")
            seen = load.done
            wait_until(lambda seen=seen: load.done >= seen + 50, "requests meanwhile")  # type: ignore[misc]
            reload(gateway)
            assert server.running() == 0
            server.tell("ready", down=True)
            wait_until(server.up, "it is up again")
    print(f"{load.done} requests, {len(load.failures)} failures")
    assert load.failures == []


def test_a_host_that_comes_back_starts_slowly() -> None:
    with running_gateway(slow_start=2) as gateway:
        server = gateway.server("a")
        server.tell("drain")
        server.tell("ready", down=True)
        wait_until(server.up, "its health check passes")
        states = server.states()
        assert states and states[0] == rotation.STARTING
        assert weight(gateway, "a") < weight(gateway, "b")
        wait_until(lambda: weight(gateway, "a") == weight(gateway, "b"), "it has its share")


def test_a_host_that_is_new_starts_slowly_and_changes_nothing_else() -> None:
    with running_gateway(slow_start=30, start=False) as gateway:
        both = gateway.settings["litellm_gateway_servers"]
        gateway.settings["litellm_gateway_servers"] = both[:1]
        gateway.write()
        gateway.start()
        try:
            gateway.settings["litellm_gateway_servers"] = both
            gateway.write()
            with under_load(gateway) as load:
                reload(gateway)
                wait_until(lambda: up(gateway, "b"), "the new one is up")
                assert weight(gateway, "b") < weight(gateway, "a")
            assert load.failures == []
            gateway.server("b").tell("drain")
            gateway.settings["litellm_gateway_servers"] = [*both, both[1] | {"name": "c"}]
            gateway.write()
            reload(gateway)
            assert (gateway.drained("b"), up(gateway, "a")) == (True, True)
        finally:
            gateway.stop()


def test_a_host_that_was_never_checked_is_not_proven(gateway: Front) -> None:
    wait_until(lambda: gateway.server("a").proven(), "the health check passes")
    gateway.stop()
    gateway.settings["litellm_gateway_servers"][0]["port"] = free_ports(1)[0]
    gateway.write()
    gateway.start()
    assert not gateway.server("a").proven()
    wait_until(lambda: not up(gateway, "a"), "the health check fails", DETECTED)
    assert "L4CON" in gateway.server("a").check()


@pytest.mark.parametrize("again", ["reload", "start"])
def test_a_host_with_another_port_is_asked_there_and_stays_drained(gateway: Front, again: str) -> None:
    (new_port,) = free_ports(1)
    gateway.ask("set server litellm_proxy/a state drain")
    with Upstream("moved", new_port):
        gateway.settings["litellm_gateway_servers"][0]["port"] = new_port
        if again == "start":
            gateway.control("remember", check=True)
            gateway.stop()
            gateway.write()
            gateway.start()
        else:
            gateway.write()
            reload(gateway)
        assert gateway.drained("a")
        gateway.ask("set server litellm_proxy/b state drain")
        gateway.ask("set server litellm_proxy/a state ready")
        wait_until(lambda: gateway.call("/v1/models").json["server"] == "moved", "it gets requests at its new port")


def test_a_host_that_speaks_tls_now_is_spoken_to_by_tls() -> None:
    certificate, key = self_signed("llm-a.example.com")
    with running_gateway() as gateway, running_front(certificate + key) as behind:
        (gateway.directory / "upstream-ca.pem").write_text(certificate)
        gateway.settings["litellm_gateway_upstream_ca"] = certificate
        gateway.settings["litellm_gateway_servers"][0] |= {
            "port": behind.port, "tls": True, "tls_name": "llm-a.example.com",
        }  # fmt: skip
        gateway.ask("set server litellm_proxy/b state drain")
        gateway.write()
        reload(gateway)
        wait_until(lambda: up(gateway, "a"), "the health check passes")
        assert gateway.call("/v1/models").status == 200


def test_a_host_that_is_removed_is_gone_without_a_loss(gateway: Front) -> None:
    server = gateway.server("b")
    with under_load(gateway) as load:
        server.tell("drain")
        wait_until(lambda: server.running() == 0, "it is empty")
        gateway.settings["litellm_gateway_servers"] = gateway.settings["litellm_gateway_servers"][:1]
        gateway.write()
        reload(gateway)
        gateway.b.close()
    assert load.failures == []
    assert server.states() is None


def weight(front: Front, name: str) -> float:
    """Of 100 where it has its share of new requests."""
    rows = rotation.rows(front.server(name).statistics(), "litellm_proxy")
    return float(next(row["weight"] for row in rows if row["svname"] == name))


# what the operator sees -----------------------------------------------------------


def test_the_gateway_tells_how_its_hosts_are(gateway: Front) -> None:
    gateway.server("b").tell("drain")
    connection = gateway.connect()
    connection.request("POST", "/v1/messages?do=gate", b"{}")
    assert connection.getresponse().readline() == b"first\n"
    reload(gateway)
    a, b = rotation.servers(f"{gateway.directory}/master.sock", "litellm_proxy")
    # the session is with the process of before the reload
    assert (a["name"], a["state"], a["sessions"], a["address"]) == ("a", "UP", 1, f"127.0.0.1:{gateway.a.port}")
    assert (b["name"], b["state"], b["sessions"]) == ("b", "DRAIN", 0)
    assert gateway.control("alive").returncode == 0
    gateway.a.gate.set()
    connection.close()


def test_a_gateway_that_goes_for_good_lets_its_answers_end(gateway: Front) -> None:
    opened = []
    for _ in range(2):
        connection = gateway.connect()
        connection.request("POST", "/v1/messages?do=gate", b"{}")
        opened.append((connection, connection.getresponse()))
        assert opened[-1][1].readline() == b"first\n"
        # the first of them is with the process of before
        reload(gateway)
    gateway.control("retire", check=True)
    with pytest.raises(ConnectionRefusedError):
        wait_until(lambda: not gateway.call("/v1/models"), "it takes no new connections")
    assert gateway.process.poll() is None
    gateway.a.gate.set()
    gateway.b.gate.set()
    assert [response.read() for _, response in opened] == [b"last\n"] * 2
    for connection, _ in opened:
        connection.close()
    # systemd starts nothing again
    assert gateway.process.wait(20) == 0


def test_a_gateway_that_does_not_run_has_nothing_to_end() -> None:
    with running_gateway(start=False) as gateway:
        assert gateway.control("retire").returncode != 0


def test_a_gateway_that_is_gone_is_not_alive() -> None:
    with running_gateway(start=False) as gateway:
        assert gateway.control("alive").returncode != 0


# whose word counts ----------------------------------------------------------------


@pytest.fixture
def behind() -> Iterator[Front]:
    """The front of a proxy that takes the word of one gateway."""
    with running_front(
        trusted_gateways=[ADMIN], admin_networks=["203.0.113.0/24"], server_names=["llm.example.com"], rate_limit=3
    ) as front:
        yield front


def seen_by_instance(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.json["headers"] if name.startswith("x-forwarded")}


def claim(client: str = CLIENT) -> dict[str, str]:
    return {"X-Forwarded-For": client, "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}


def test_the_client_is_whom_the_gateway_names(behind: Front) -> None:
    reply = behind.call("/v1/responses/told", headers=claim(), source=ADMIN)
    told = seen_by_instance(reply)
    assert (told["x-forwarded-for"], told["x-forwarded-proto"], told["x-forwarded-port"]) == (CLIENT, "https", "443")
    assert behind.logged("/v1/responses/told")["client"] == CLIENT


def test_nobody_else_is_believed(behind: Front) -> None:
    reply = behind.call("/v1/responses/claimed", headers=claim(), source=STRANGER, host="llm.example.com")
    told = seen_by_instance(reply)
    assert (told["x-forwarded-for"], told["x-forwarded-proto"]) == (STRANGER, "http")
    assert behind.logged("/v1/responses/claimed")["client"] == STRANGER
    assert behind.call("/metrics", headers=claim(), source=STRANGER, host="llm.example.com").status == 403


def test_admins_behind_the_gateway_are_told_from_others(behind: Front) -> None:
    assert behind.call("/metrics", headers=claim(), source=ADMIN).status == 200
    assert behind.call("/metrics", headers=claim("198.51.100.1"), source=ADMIN).status == 403
    # the gateway itself is none
    assert behind.call("/metrics", source=ADMIN).status == 403


def test_each_request_of_one_connection_has_its_own_client(behind: Front) -> None:
    connection = behind.connect(source=ADMIN)
    found = []
    for client in (CLIENT, "198.51.100.1", CLIENT):
        connection.request("GET", "/v1/models", headers=claim(client))
        found.append(seen_by_instance(read_reply(connection.getresponse()))["x-forwarded-for"])
    connection.close()
    assert found == [CLIENT, "198.51.100.1", CLIENT]


def test_a_connection_of_before_a_reload_keeps_the_word_of_the_gateway(behind: Front) -> None:
    connection = behind.connect(source=ADMIN)
    connection.request("GET", "/v1/models", headers=claim())
    read_reply(connection.getresponse())
    reload(behind)
    connection.request("GET", "/v1/models", headers=claim() | {"Host": "llm.example.com"})
    assert seen_by_instance(read_reply(connection.getresponse()))["x-forwarded-for"] == CLIENT
    connection.close()


def test_names_and_rates_are_left_to_the_gateway(behind: Front) -> None:
    statuses = [behind.call("/v1/models", headers=claim(), source=ADMIN, host="any").status for _ in range(5)]
    assert statuses == [200] * 5
    direct = [behind.call("/v1/models", source=STRANGER, host="llm.example.com").status for _ in range(5)]
    assert direct == [200, 200, 200, 429, 429]
    assert behind.call("/v1/models", source=STRANGER, host="any").status == 421


@pytest.mark.parametrize("pem", ["", "".join(self_signed())], ids=["plain", "tls"])
def test_a_client_is_known_behind_gateway_and_front(pem: str) -> None:
    with running_front(trusted_gateways=[ADMIN], server_names=["llm.example.com"]) as front:
        server = {"name": "llm-1.example.com", "address": "127.0.0.1", "port": front.port}
        with running_gateway(pem, servers=[server]) as gateway:
            wait_until(lambda: up(gateway, "llm-1.example.com"), "the front passes the health check")
            reply = gateway.call("/v1/models", headers=claim(), source=STRANGER, host="llm.example.com")
    told = seen_by_instance(reply)
    assert (told["x-forwarded-for"], told["x-forwarded-proto"]) == (STRANGER, "https" if pem else "http")
    assert told["x-forwarded-host"] == "llm.example.com"


# TLS to the proxies ---------------------------------------------------------------


@pytest.mark.parametrize(("name", "works"), [("llm-1.example.com", True), ("other.example.com", False)])
def test_the_certificate_of_a_proxy_is_checked(name: str, works: bool) -> None:
    chain, key = self_signed("llm-1.example.com")
    with running_front(chain + key, trusted_gateways=[ADMIN]) as front:
        server = {"name": "llm-1", "address": "127.0.0.1", "port": front.port, "tls": True, "tls_name": name}
        with running_gateway(servers=[server], upstream_ca=chain, start=False) as gateway:
            (gateway.directory / "upstream-ca.pem").write_text(chain)
            gateway.start()
            try:
                wait_until(lambda: up(gateway, "llm-1") is works, "the health check has its result")
                reply = gateway.call("/v1/models")
                assert reply.status == (200 if works else 503)
            finally:
                gateway.stop()


def test_proxies_that_begin_to_speak_tls_are_asked_by_it() -> None:
    chain, key = self_signed("llm-1.example.com")
    with running_front(chain + key, trusted_gateways=[ADMIN]) as front, running_gateway() as gateway:
        server = {"name": "a", "address": "127.0.0.1", "port": front.port, "tls": True, "tls_name": "llm-1.example.com"}
        (gateway.directory / "upstream-ca.pem").write_text(chain)
        gateway.settings |= {"litellm_gateway_servers": [server], "litellm_gateway_upstream_ca": chain}
        gateway.write()
        reload(gateway)
        gateway.ask("set server litellm_proxy/a health down")
        wait_until(lambda: up(gateway, "a"), "the health check passes")
        assert gateway.call("/v1/models/tls").status == 200
        assert front.logged("/v1/models/tls")["tls"]
        # and back
        server = {"name": "a", "address": "127.0.0.1", "port": gateway.a.port}
        gateway.settings |= {"litellm_gateway_servers": [server], "litellm_gateway_upstream_ca": ""}
        gateway.write()
        reload(gateway)
        gateway.ask("set server litellm_proxy/a health down")
        wait_until(lambda: up(gateway, "a"), "the health check passes")
        assert gateway.call("/v1/models/plain").status == 200
        assert "/v1/models/plain" not in [line["path"] for line in front.log()]


@pytest.mark.parametrize("pem", ["", "".join(self_signed())], ids=["plain", "tls"])
def test_haproxy_takes_the_config_without_a_warning(pem: str) -> None:
    servers = [
        {"name": "llm-1.example.com", "address": "10.0.0.11", "port": 4000},
        {"name": "llm-2.example.com", "address": "fd00::12", "port": 4000, "tls": True, "tls_name": "llm.example.com"},
    ]
    with running_gateway(pem, start=False, servers=servers, server_names=["llm.example.com"], rate_limit=60) as gateway:
        (gateway.directory / "upstream-ca.pem").write_text(self_signed()[0])
        gateway.settings["litellm_gateway_upstream_ca"] = "text"
        gateway.write()
        gateway.control("prepare", check=True)
        checked = subprocess.run([HAPROXY, "-c", "-f", gateway.config], capture_output=True, text=True, check=False)
        said = checked.stdout + checked.stderr
        assert checked.returncode == 0 and "WARNING" not in said, said
