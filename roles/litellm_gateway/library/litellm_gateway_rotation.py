"""Ansible module: take a server of the gateway into rotation or out of it, and wait until that has its effect.

It speaks to HAProxy's master, as only that one reaches the processes of before a reload too. These finish what they
have, and hand each new request to the present one (the acl `stopping` in haproxy.cfg), but can not be told anything.
"""

import csv
import socket
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: litellm_gateway_rotation
short_description: Take a server of the gateway into rotation or out of it
description: Sets the state, and waits for health or for the end of running requests in every process of HAProxy.
options:
  master: {type: path, required: true, description: Socket of HAProxy's master process.}
  backend: {type: str, required: true, description: Name of the backend.}
  server: {type: str, required: true, description: Name of the server.}
  state:
    type: str
    required: true
    choices: [ready, drain]
    description: ready gets requests while its health check passes; drain gets no new ones.
  up_within: {type: float, default: 0, description: 'Seconds to wait, with ready, for the health check to pass.'}
  idle_within: {type: float, default: 0, description: 'Seconds to wait, with drain, for running requests to end.'}
  down: {type: bool, default: false, description: 'Take it for down until a health check passes, with drain.'}
  cut: {type: bool, default: false, description: 'End running requests, with drain.'}
author: [the project's authors]
"""

RETURN = r"""
running: {type: int, returned: always, description: Requests that still run on the server.}
"""

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


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "master": {"type": "path", "required": True},
            "backend": {"type": "str", "required": True},
            "server": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["ready", "drain"]},
            "up_within": {"type": "float", "default": 0},
            "idle_within": {"type": "float", "default": 0},
            "down": {"type": "bool", "default": False},
            "cut": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    gateway = Gateway(wanted["master"], wanted["backend"], wanted["server"])
    if module.check_mode and not Path(wanted["master"]).exists():  # not there yet
        module.exit_json(changed=True, running=0)
    try:
        before = gateway.states()
    except Gone as error:
        module.fail_json(msg=silence(error), running=0)
    if before is None:
        module.fail_json(msg=f"The gateway has no server {wanted['server']}; run site.yml.", running=0)
    forced = FORCED_DRAIN if wanted["state"] == "drain" else 0
    changed = before is not None and before[1] & (FORCED_MAINTENANCE | FORCED_DRAIN) != forced
    if module.check_mode:
        module.exit_json(changed=changed, running=0)
    try:
        gateway.tell(wanted["state"], wanted["down"])
        if wanted["cut"]:
            gateway.cut()
        end = time.monotonic() + wanted["up_within"]
        while wanted["state"] == "ready" and not gateway.up():
            if time.monotonic() >= end:
                module.fail_json(msg=unhealthy(wanted), running=0)
            time.sleep(POLL_SECONDS)
        end = time.monotonic() + wanted["idle_within"]
        while wanted["state"] == "drain" and gateway.running() and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        left = gateway.running()
    except Gone as error:
        module.fail_json(msg=silence(error), running=0)
    module.exit_json(changed=changed or wanted["cut"], running=left)


def silence(error: Gone) -> str:
    """What to say where nobody answers."""
    return f"The gateway does not answer ({error}); see: systemctl status litellm-gateway"


def unhealthy(wanted: dict[str, str]) -> str:
    """What to say of a server that does not come up."""
    return (
        f"The gateway's health check of server {wanted['server']} did not pass within {wanted['up_within']:g} s; see: "
        "journalctl -t litellm-gateway"
    )


if __name__ == "__main__":
    main()
