"""Ansible module: one server of the front, over HAProxy's runtime API."""

import csv
import re
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: litellm_gateway_server
short_description: Read or set the state of one server behind the front
description:
  - Sets whether a server gets requests, and reports its health and its sessions.
  - Sessions are counted over every process of HAProxy, as those of before a reload end only with their last answer.
options:
  name: {type: str, required: true, description: Name of the server.}
  state: {type: str, choices: [ready, drain], description: ready takes requests, drain no new ones; not changed without.}
  stopped: {type: bool, default: false, description: Takes the server for down at once, before its health check does.}
  runtime_dir: {type: path, default: /run/litellm-gateway, description: Directory of the sockets.}
author: [the project's authors]
"""

RETURN = r"""
server:
  type: dict
  returned: always
  description: Name, state (ready or drain), up (by its health check) and sessions (in flight, of all processes).
"""

BACKEND = "litellm_proxy"
RUNNING = "2"
# bits of srv_admin_state: maintenance and drain, forced by the runtime API or the config
DRAINED = 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x20


class NoAnswer(Exception):
    """HAProxy did not do what it was asked for; the text says why."""


def ask(path: str, command: str) -> str:
    """Send one command to a socket of HAProxy and return what it answers.

    Raises:
        NoAnswer: nobody answers there.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            connection.connect(path)
            connection.sendall(command.encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(65536):
                answer += part
    except OSError as error:
        raise NoAnswer(f"HAProxy does not answer on {path}: {error.strerror or error}") from error
    return answer.decode(errors="replace")


def command(runtime_dir: str, text: str) -> None:
    """Have the current process do something that answers with nothing when it is done."""
    answer = ask(f"{runtime_dir}/admin.sock", text).strip()
    if answer:
        raise NoAnswer(f"HAProxy refused '{text}': {answer}")


def old_processes(runtime_dir: str) -> list[str]:
    """Process ids of the workers that a reload has replaced and that still have answers in flight."""
    listed = ask(f"{runtime_dir}/master.sock", "show proc").partition("# old workers")[2]
    return re.findall(r"^(\d+)\s+worker\s", listed.partition("# programs")[0], re.MULTILINE)


def sessions_in(statistics: str, name: str) -> int:
    """Sessions in flight of a server by the answer to `show stat`; 0 where it is not listed."""
    rows = csv.DictReader(statistics.lstrip("# \n").splitlines())
    return sum(int(row["scur"] or 0) for row in rows if (row["pxname"], row["svname"]) == (BACKEND, name))


def read(runtime_dir: str, name: str) -> dict[str, Any]:
    """The state of the server, its health and its sessions over all processes.

    Raises:
        NoAnswer: there is no such server, or nobody answers.
    """
    admin = f"{runtime_dir}/admin.sock"
    lines = [line.split() for line in ask(admin, f"show servers state {BACKEND}").splitlines()]
    columns = next((line[1:] for line in lines if line[:1] == ["#"]), [])
    servers = [dict(zip(columns, line)) for line in lines if len(line) == len(columns) and line[0] != "#"]  # noqa: B905
    server = next((one for one in servers if one["srv_name"] == name), None)
    if server is None:
        raise NoAnswer(f"the front has no server {name}; it has {', '.join(one['srv_name'] for one in servers)}")
    sessions = sessions_in(ask(admin, "show stat"), name)
    for process in old_processes(runtime_dir):
        sessions += sessions_in(ask(f"{runtime_dir}/master.sock", f"@!{process} show stat"), name)
    return {
        "name": name,
        "state": "drain" if int(server["srv_admin_state"]) & DRAINED else "ready",
        "up": server["srv_op_state"] == RUNNING,
        "sessions": sessions,
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["ready", "drain"]},
            "stopped": {"type": "bool", "default": False},
            "runtime_dir": {"type": "path", "default": "/run/litellm-gateway"},
        },
        supports_check_mode=True,
    )
    name, state, runtime_dir = module.params["name"], module.params["state"], module.params["runtime_dir"]
    try:
        server = read(runtime_dir, name)
        stops = module.params["stopped"] and server["up"]
        moves = state is not None and state != server["state"]
        if not module.check_mode:
            if stops:
                command(runtime_dir, f"set server {BACKEND}/{name} health down")
            if moves:
                command(runtime_dir, f"set server {BACKEND}/{name} state {state}")
            server = read(runtime_dir, name) if stops or moves else server
    except NoAnswer as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(stops or moves), server=server)


if __name__ == "__main__":
    main()
