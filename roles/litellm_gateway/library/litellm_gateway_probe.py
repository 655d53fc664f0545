"""Ansible module: what the role must know of a host before it changes anything. Reads only."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litellm_gateway_files import addresses, up_to_date

DOCUMENTATION = r"""
module: litellm_gateway_probe
short_description: Probe a host for what the litellm_gateway role needs
description: Reports programs, files and foreign listeners on the front's ports. Changes nothing.
options:
  ports: {type: list, elements: int, default: [], description: TCP ports that the front shall own.}
  own: {type: list, elements: str, default: [], description: Texts in command lines of those who may own them.}
  programs: {type: list, elements: path, default: [], description: Programs that must be installed.}
  files: {type: list, elements: path, default: [], description: Files that must exist.}
  names: {type: list, elements: str, default: [], description: Host names and addresses to look up.}
  traces: {type: list, elements: path, default: [], description: Files that other settings of the host would have left.}
  loaded: {type: path, required: true, description: File with the checksum of what the running front has loaded.}
  content: {type: list, elements: path, required: true, description: The files of that checksum, in order.}
author: [the project's authors]
"""

RETURN = r"""
systemd: {type: bool, returned: always, description: Whether systemd runs the host.}
root: {type: bool, returned: always, description: Whether the tasks run as root.}
apt: {type: bool, returned: always, description: Whether apt can install packages.}
missing_programs: {type: list, elements: str, returned: always, description: Names of the programs that are missing.}
missing_files: {type: list, elements: str, returned: always, description: Paths of the files that are missing.}
traces: {type: list, elements: str, returned: always, description: Paths of the traces that are there.}
addresses: {type: dict, returned: always, description: 'IP addresses of each name, IPv4 first; empty for unknown ones.'}
foreign_listeners: {type: list, elements: dict, returned: always, description: 'port, pid, name and user of each.'}
up_to_date: {type: bool, returned: always, description: Whether the running front has loaded the files as they are.}
"""


def foreign_listeners(ports: list[int], own: list[str]) -> list[dict[str, Any]]:
    """Who else listens on the ports, as ss reports it; one entry a port.

    Args:
        ports: TCP ports to look at.
        own: texts that mark the command line of a program which may listen there.
    """
    result = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=False)  # noqa: S607
    found: dict[int, dict[str, Any]] = {}
    for line in result.stdout.splitlines():
        fields = line.split(None, 5)
        port = int(fields[3].rpartition(":")[2])
        if port not in ports:
            continue
        listener = _listener(port, fields[5] if len(fields) > 5 else "")
        command = listener.pop("command")
        if not any(text in command for text in own):
            found.setdefault(port, listener)
    return [found[port] for port in sorted(found)]


def _listener(port: int, users: str) -> dict[str, Any]:
    hidden = {"port": port, "pid": 0, "name": "a process of another user", "user": "unknown", "command": ""}
    process = re.search(r'"([^"]*)",pid=(\d+)', users)
    if not process:
        return hidden
    try:
        path = Path("/proc") / process[2]
        command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        user = path.owner()
    except (OSError, KeyError):
        command, user = "", "unknown"
    return {"port": port, "pid": int(process[2]), "name": process[1], "user": user, "command": command}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "int", "default": []},
            "own": {"type": "list", "elements": "str", "default": []},
            "programs": {"type": "list", "elements": "path", "default": []},
            "files": {"type": "list", "elements": "path", "default": []},
            "names": {"type": "list", "elements": "str", "default": []},
            "traces": {"type": "list", "elements": "path", "default": []},
            "loaded": {"type": "path", "required": True},
            "content": {"type": "list", "elements": "path", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    module.exit_json(
        changed=False,
        systemd=Path("/run/systemd/system").is_dir(),
        root=os.geteuid() == 0,
        apt=os.access("/usr/bin/apt-get", os.X_OK),
        missing_programs=[Path(path).name for path in wanted["programs"] if not os.access(path, os.X_OK)],
        missing_files=[path for path in wanted["files"] if not Path(path).is_file()],
        traces=[path for path in wanted["traces"] if os.path.lexists(path)],
        addresses={name: addresses(name) for name in wanted["names"]},
        foreign_listeners=foreign_listeners(wanted["ports"], wanted["own"]),
        up_to_date=up_to_date(wanted["loaded"], wanted["content"]),
    )


if __name__ == "__main__":
    main()
