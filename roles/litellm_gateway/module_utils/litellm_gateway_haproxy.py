"""What HAProxy's processes tell of the gateway's servers, and are told; for the role and for litellm-proxyctl.

It speaks to HAProxy's master, as only that one reaches the processes of before a reload too. These finish what they
have, and hand each new request to the present one (the acl `stopping` in haproxy.cfg), but can not be told anything.
"""

import csv
import socket
import time

POLL_SECONDS = 0.2
MASTER_SECONDS = 5.0
"""How long a master process may refuse connections: while it starts or reloads it executes itself again."""
# columns of `show servers state` and their values, as HAProxy's management guide lists them
NAME, OPERATION, ADMINISTRATION = 3, 5, 6
RUNNING = 2
FORCED_MAINTENANCE, FORCED_DRAIN = 0x01, 0x08


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
        elif (fields := line.split()) and len(fields) > 1 and fields[1] == "worker":
            found.append((int(fields[0]), old))
    return found


def states(listing: str, server: str) -> tuple[int, int] | None:
    """Operation and administration of the server by `show servers state`; None for one that is not there."""
    for line in listing.splitlines():
        fields = line.split()
        if len(fields) > ADMINISTRATION and fields[NAME] == server and not line.startswith("#"):
            return int(fields[OPERATION]), int(fields[ADMINISTRATION])
    return None


def sessions(listing: str, backend: str, server: str) -> list[str]:
    """Names of the sessions of `show sess` that are on the server."""
    wanted = {f"be={backend}", f"srv={server}"}
    return [line.partition(":")[0] for line in listing.splitlines() if wanted <= set(line.split())]


def running(statistics: str, backend: str, server: str) -> int:
    """Requests that run on the server or wait for it, by `show stat`."""
    rows = csv.DictReader(statistics.lstrip("# ").splitlines())
    return sum(
        int(row["scur"] or 0) + int(row["qcur"] or 0)
        for row in rows
        if (row["pxname"], row["svname"]) == (backend, server)
    )


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
        """Whether the health check passes."""
        found = self.states()
        return found is not None and found[0] == RUNNING

    def tell(self, state: str, down: bool = False) -> None:
        """Set the state, in the process that takes new connections."""
        self._ask(self._present(), f"set server {self.backend}/{self.server} state {state}")
        if down:
            self._ask(self._present(), f"set server {self.backend}/{self.server} health down")

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
