"""What HAProxy's processes tell of the gateway's servers, and are told; for the role and for litellm-proxyctl.

It speaks to HAProxy's master, as only that one reaches the processes of before a reload too. These finish what they
have, and hand each new request to the present one (the acl `stopping` in haproxy.cfg), but can not be told anything.
"""

import csv
import socket
import time
from typing import Any

POLL_SECONDS = 0.2
MASTER_SECONDS = 5.0
"""How long a master process may refuse connections: while it starts or reloads it executes itself again."""
PAST_CHECKS = "any_host"
"""The backend of haproxy.cfg that has the same servers, for the time in which all of their checks fail."""
# columns of `show servers state` and their values, as HAProxy's management guide lists them
NAME, OPERATION, ADMINISTRATION, RESULT = 3, 5, 6, 11
STARTING, RUNNING = 1, 2
FORCED_MAINTENANCE, FORCED_DRAIN = 0x01, 0x08
PASSED = 3


class Gone(Exception):
    """The process of HAProxy does not answer."""


def ask(master: str, command: str) -> str:
    """Send one command and return the answer."""
    end = time.monotonic() + MASTER_SECONDS
    while True:
        try:
            return ask_once(master, command)
        except (ConnectionRefusedError, FileNotFoundError) as error:
            if time.monotonic() >= end:
                raise Gone(f"{master}: {error.strerror}") from error
            time.sleep(POLL_SECONDS)
        except OSError as error:
            raise Gone(f"{master}: {error.strerror or error}") from error


def ask_once(master: str, command: str) -> str:
    """Send one command and return the answer; raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(master)
        connection.sendall(f"{command}\n".encode())
        connection.shutdown(socket.SHUT_WR)  # or it waits for another command
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode(errors="replace")


def workers(listing: str) -> list[tuple[int, bool]]:
    """The processes that `show proc` lists, each with whether it is of before a reload."""
    found, old = [], False
    for line in listing.splitlines():
        if line.startswith("#"):
            old = "old" in line
        elif (words := line.split()) and len(words) > 1 and words[1] == "worker":
            found.append((int(words[0]), old))
    return found


def fields(listing: str, server: str) -> list[str]:
    """What `show servers state` has about the server, by column; nothing for one that is not there."""
    for line in listing.splitlines():
        found = line.split()
        if len(found) > RESULT and found[NAME] == server and not line.startswith("#"):
            return found
    return []


def states(listing: str, server: str) -> tuple[int, int] | None:
    """Operation and administration of the server by `show servers state`; None for one that is not there."""
    found = fields(listing, server)
    return (int(found[OPERATION]), int(found[ADMINISTRATION])) if found else None


def passed(listing: str, server: str) -> bool:
    """Whether the last check of the server passed, by `show servers state`; none is known right after a start."""
    found = fields(listing, server)
    return bool(found) and int(found[RESULT]) >= PASSED


def sessions(listing: str, backend: str, server: str) -> list[str]:
    """Names of the sessions of `show sess` that are on the server, those past its checks too."""
    found = [(line.partition(":")[0], set(line.split())) for line in listing.splitlines()]
    backends = {f"be={backend}", f"be={PAST_CHECKS}"}
    return [name for name, words in found if f"srv={server}" in words and backends & words]


def rows(statistics: str, *backends: str) -> list[dict[str, str]]:
    """The lines of `show stat` about the backends' servers, by the names of their columns."""
    found = csv.DictReader(statistics.lstrip("# ").splitlines())
    return [row for row in found if row["pxname"] in backends and row["svname"] not in ("FRONTEND", "BACKEND")]


def running(statistics: str, backend: str, server: str) -> int:
    """Requests that run on the server or wait for it, by `show stat`, those past its checks too."""
    found = [row for row in rows(statistics, backend, PAST_CHECKS) if row["svname"] == server]
    return sum(int(row["scur"] or 0) + int(row["qcur"] or 0) for row in found)


def check(row: dict[str, str]) -> str:
    """What the last health check of a server said, by its line of `show stat`."""
    return " ".join(filter(None, [row["check_status"], row["check_code"], row.get("last_chk", "")]))


def servers(master: str, backend: str) -> list[dict[str, Any]]:
    """What the process that takes new connections knows of the servers; sessions and queue are of all processes.

    Raises:
        Gone: HAProxy does not answer.
    """
    found: list[dict[str, Any]] = []
    present = Gateway(master, backend, "")
    for row in rows(present.statistics(), backend):
        found.append(
            {
                "name": row["svname"],
                "address": row.get("addr") or "",
                "state": row["status"],
                "since": int(row["lastchg"] or 0),
                "sessions": Gateway(master, backend, row["svname"]).running() - int(row["qcur"] or 0),
                "queue": int(row["qcur"] or 0),
                "requests": int(row["stot"] or 0),
                "check": check(row),
            }
        )
    return found


class Gateway:
    """One server as all processes of HAProxy see it."""

    def __init__(self, master: str, backend: str, server: str) -> None:
        self.master = master
        self.backend = backend
        self.server = server

    def states(self) -> tuple[int, int] | None:
        """See `states`, in the process that takes new connections."""
        return states(self._ask(self._present(), f"show servers state {self.backend}"), self.server)

    def up(self) -> bool:
        """Whether the health check passes; with a slow start it is up from the first request on."""
        found = self.states()
        return found is not None and found[0] in (STARTING, RUNNING)

    def proven(self) -> bool:
        """Whether it is up, and by a check: HAProxy takes a server for up before the first one."""
        listing = self._ask(self._present(), f"show servers state {self.backend}")
        found = states(listing, self.server)
        return found is not None and found[0] in (STARTING, RUNNING) and passed(listing, self.server)

    def tell(self, state: str, down: bool = False) -> None:
        """Set the state, in the process that takes new connections; `down` until a health check passes."""
        told = [f"state {state}", *(["health down"] if down else [])]
        # nothing may be sent to it in between
        for what in reversed(told) if state == "ready" else told:
            self._ask(self._present(), f"set server {self.backend}/{self.server} {what}")

    def statistics(self) -> str:
        """`show stat` of the process that takes new connections."""
        return self._ask(self._present(), "show stat")

    def check(self) -> str:
        """Where the server is for the health check, and what the last one said."""
        for row in rows(self.statistics(), self.backend):
            if row["svname"] == self.server:
                return f"{row.get('addr') or '-'}: {check(row) or 'no answer yet'}"
        return "not there any more"

    def cut(self) -> None:
        """End the requests that run."""
        for pid, _ in self._workers():
            for session in sessions(self._answer(pid, "show sess"), self.backend, self.server):
                self._answer(pid, f"shutdown session {session}")

    def running(self) -> int:
        """Requests that run, over all processes."""
        return sum(running(self._answer(pid, "show stat"), self.backend, self.server) for pid, _ in self._workers())

    def _present(self) -> int:
        for pid, old in self._workers():
            if not old:
                return pid
        raise Gone(f"{self.master}: no process takes connections")

    def _answer(self, pid: int, command: str) -> str:
        """As `_ask`; empty from a process that has gone in the meantime, as old ones do with their last connection."""
        try:
            return self._ask(pid, command)
        except Gone:
            if (pid, False) in self._workers():
                raise
            return ""

    def _workers(self) -> list[tuple[int, bool]]:
        return workers(ask(self.master, "show proc"))

    def _ask(self, pid: int, command: str) -> str:
        return ask(self.master, f"@!{pid} {command}")
