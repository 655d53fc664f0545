"""Servers of the gateway in and out of rotation, before a master process that answers as HAProxy's does."""

import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import litellm_gateway_rotation as rotation
import pytest
from ansible.module_utils import litellm_gateway_haproxy as haproxy

NEW, OLD = 20, 10
UP, DOWN = 2, 0


class Master(socketserver.ThreadingUnixStreamServer):
    """One process that takes connections and, after a reload, one of before."""

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.reloaded = False
        self.running = {NEW: [0], OLD: [0]}
        """Requests on the server, by process, as each next `show stat` tells; the last one stays."""
        self.past_checks = 0
        """Requests on the server that it got while all checks failed, in each process."""
        self.operation = [UP]
        self.result = [haproxy.PASSED]
        """Of the health check."""
        self.administration = 0
        self.told: list[str] = []

    def answer(self, command: str) -> str:
        if command == "show proc":
            old = f"{OLD} worker 1 0d00h01m00s 3.0" if self.reloaded else ""
            return f"#<PID> <type>\n1 master 0\n# workers\n{NEW} worker 0 0d 3.0\n# old workers\n{old}\n# programs\n\n"
        pid, _, inner = command.removeprefix("@!").partition(" ")
        if inner.startswith("show servers state"):
            operation = self.operation.pop(0) if len(self.operation) > 1 else self.operation[0]
            result = self.result.pop(0) if len(self.result) > 1 else self.result[0]
            state = f"3 pool 1 a 127.0.0.1 {operation} {self.administration} 100 100 9 15 {result} 4 6"
            return f"1\n# be_id be_name srv_id srv_name\n{state}\n"
        if inner == "show stat":
            counts = self.running[int(pid)]
            count = counts.pop(0) if len(counts) > 1 else counts[0]
            columns = "# pxname,svname,qcur,qmax,scur,status,lastchg,stot,check_status,check_code,last_chk,addr\n"
            a = f"pool,a,0,0,{count},UP,60,9,L7OK,200,OK,10.0.0.21:4000\n"
            past = f"any_host,a,0,0,{self.past_checks},no check,60,0,,,,\nother,a,0,0,5,UP,60,0,,,,\n"
            return columns + f"pool,FRONTEND,,,9,OPEN,,,,,,\n{a}pool,b,0,0,7,DRAIN,60,9,L7OK,200,OK,\n{past}"
        if inner == "show sess":
            on_it = "proto=tcpv4 src=127.0.0.1:9 fe=api be=pool srv=a ts=00 age=1s"
            others = f"0x{pid}b: proto=tcpv4 fe=api be=pool srv=b\n0x{pid}c: be=other srv=a\n"
            return f"0x{pid}a: {on_it}\n{others}0x{pid}d: be=any_host srv=a\n\n"
        self.told.append(f"{pid} {inner}")
        return "Proxy is disabled.\n" if int(pid) == OLD and inner.startswith("set server") else "\n"


class Handler(socketserver.StreamRequestHandler):
    server: Master

    def handle(self) -> None:
        command = self.rfile.readline().decode().strip()
        # as HAProxy does: no end before the other side has said that nothing more comes
        assert self.rfile.read() == b""
        self.wfile.write(self.server.answer(command).encode())


@contextmanager
def running(path: Path) -> Iterator[Master]:
    with Master(str(path)) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    with running(tmp_path / "master.sock") as server:
        yield server


class Ended(Exception):
    """Ends the module in place of the process."""


def run(master: Master | str, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> dict[str, Any]:
    """What the module returns; `failed` where it fails."""

    class Module:
        check_mode = parameters.pop("check_mode", False)

        def __init__(self, **_: object) -> None:
            path = master if isinstance(master, str) else str(master.server_address)
            given: dict[str, Any] = {"up_within": 0.0, "idle_within": 0.0, "down": False, "cut": False}
            given |= {"elsewhere": False, "server": "a", **parameters}
            self.params = {"master": path, "backend": "pool", **given}

        def exit_json(self, **result: object) -> None:
            raise Ended(result)

        def fail_json(self, **result: object) -> None:
            raise Ended({"failed": True, **result})

    monkeypatch.setattr(rotation, "AnsibleModule", Module)
    monkeypatch.setattr(rotation, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(haproxy, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(haproxy, "MASTER_SECONDS", 0.05)
    with pytest.raises(Ended) as ended:
        rotation.main()
    found: dict[str, Any] = ended.value.args[0]
    return found


def test_state_is_told_once_and_changed_only_where_it_differs(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(master, monkeypatch, state="ready") == {"changed": False, "running": 0}
    assert run(master, monkeypatch, state="drain") == {"changed": True, "running": 0}
    assert master.told == [f"{NEW} set server pool/a state ready", f"{NEW} set server pool/a state drain"]
    master.administration = haproxy.FORCED_DRAIN
    assert run(master, monkeypatch, state="drain")["changed"] is False
    assert run(master, monkeypatch, state="ready")["changed"] is True


def test_process_of_before_a_reload_is_not_told(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    master.reloaded = True
    run(master, monkeypatch, state="drain")
    assert master.told == [f"{NEW} set server pool/a state drain"]


def test_server_is_taken_for_down_until_a_check_passes(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    run(master, monkeypatch, state="drain", down=True)
    assert master.told == [f"{NEW} set server pool/a state drain", f"{NEW} set server pool/a health down"]


def test_drained_when_the_last_request_of_any_process_has_ended(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    master.reloaded = True
    master.running = {NEW: [2, 1, 0], OLD: [1, 1, 1, 1, 0]}
    assert run(master, monkeypatch, state="drain", idle_within=30)["running"] == 0
    assert master.running[OLD] == [0]


def test_requests_that_do_not_end_are_counted(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    master.running = {NEW: [3], OLD: [0]}
    assert run(master, monkeypatch, state="drain", idle_within=0.02)["running"] == 3


def test_cut_ends_those_of_the_server_in_every_process(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    master.reloaded = True
    assert run(master, monkeypatch, state="drain", cut=True)["changed"] is True
    assert master.told[1:] == [f"{pid} shutdown session 0x{pid}{one}" for pid in (NEW, OLD) for one in "ad"]


def test_requests_that_came_past_the_checks_are_waited_for(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    master.past_checks = 2
    assert run(master, monkeypatch, state="drain", idle_within=0.02)["running"] == 2


def test_ready_waits_for_the_health_check(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    master.operation = [DOWN, DOWN, DOWN, UP]
    assert run(master, monkeypatch, state="ready", up_within=30) == {"changed": False, "running": 0}
    master.operation = [DOWN]
    failed = run(master, monkeypatch, state="ready", up_within=0.02)
    assert failed["failed"] is True
    assert "health check of server a did not pass within 0.02 s" in failed["msg"]


def test_unknown_server_is_named(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no server z" in run(master, monkeypatch, server="z", state="ready")["msg"]
    assert master.told == []


def test_check_mode_tells_nothing(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(master, monkeypatch, state="drain", check_mode=True)["changed"] is True
    assert master.told == []


def test_master_that_comes_back_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "master.sock"
    with Master(str(tmp_path / "late.sock")) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        refused = iter([ConnectionRefusedError(), FileNotFoundError()])
        answer: Callable[[str, str], str] = haproxy.ask_once

        def once(master: str, command: str) -> str:
            if error := next(refused, None):
                raise error
            return answer(str(server.server_address), command)

        monkeypatch.setattr(haproxy, "ask_once", once)
        assert run(str(path), monkeypatch, state="ready")["running"] == 0
        server.shutdown()


def test_gateway_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "none.sock")
    failed = run(missing, monkeypatch, state="ready")
    assert failed["failed"] is True
    assert "systemctl status litellm-gateway" in failed["msg"]
    # as on a fresh host
    assert run(missing, monkeypatch, state="ready", check_mode=True) == {"changed": True, "running": 0}


# of another host, from its gateways -----------------------------------------------


def test_host_is_taken_back_as_one_that_was_down(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    master.administration = haproxy.FORCED_DRAIN
    done = run(master, monkeypatch, state="ready", down=True, elsewhere=True)
    assert done == {"changed": True, "running": 0, "gone": False, "known": True}
    # down before it is ready: nothing is sent to it in between
    assert master.told == [f"{NEW} set server pool/a health down", f"{NEW} set server pool/a state ready"]


def test_host_in_rotation_is_not_taken_for_down(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(master, monkeypatch, state="ready", down=True, elsewhere=True)["changed"] is False
    assert master.told == [f"{NEW} set server pool/a state ready"]


def test_host_that_starts_slowly_is_up(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    master.operation = [haproxy.STARTING]
    assert "failed" not in run(master, monkeypatch, state="ready", elsewhere=True)


def test_host_counts_as_healthy_only_after_a_check(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    # as after the gateway's start
    master.result = [0, 0, 0, haproxy.PASSED]
    assert "unhealthy" not in run(master, monkeypatch, state="ready", elsewhere=True, up_within=30)
    assert master.result == [haproxy.PASSED]
    master.result = [0]
    assert "unhealthy" in run(master, monkeypatch, state="ready", elsewhere=True, up_within=0.02)


def test_host_whose_checks_fail_is_told_with_what_they_say(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    master.operation = [DOWN]
    done = run(master, monkeypatch, state="ready", elsewhere=True)
    assert (done["unhealthy"], "failed" in done) == ("10.0.0.21:4000: L7OK 200 OK", False)


def test_gateway_that_does_not_know_the_host_is_left_alone(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(master, monkeypatch, server="z", state="drain", elsewhere=True)
    assert done == {"changed": False, "running": 0, "gone": False, "known": False}
    assert master.told == []


@pytest.mark.parametrize("check_mode", [False, True])
def test_gateway_that_has_gone_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool) -> None:
    missing = str(tmp_path / "none.sock")
    done = run(missing, monkeypatch, state="drain", elsewhere=True, check_mode=check_mode)
    assert (done["changed"], done["gone"], "failed" in done) == (False, True, False)
    assert "does not answer" in done["msg"]


def test_servers_are_told_with_the_sessions_of_all_processes(master: Master) -> None:
    master.reloaded = True
    master.running = {NEW: [1], OLD: [2]}
    found = haproxy.servers(str(master.server_address), "pool")
    assert [(one["name"], one["state"], one["sessions"]) for one in found] == [("a", "UP", 3), ("b", "DRAIN", 14)]
    assert found[0] == {
        "name": "a", "address": "10.0.0.21:4000", "state": "UP", "since": 60, "sessions": 3, "queue": 0,
        "requests": 9, "check": "L7OK 200 OK",
    }  # fmt: skip
