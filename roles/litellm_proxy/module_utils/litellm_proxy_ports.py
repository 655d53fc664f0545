"""Who listens on a port of this host; for the probe of the role and for litellm-proxyctl."""

import pwd
from pathlib import Path
from typing import Any

LISTEN_STATE = "0A"
# in the command line of every instance of this role, whatever its mode and directory
OTHER_INSTALL = "-m glm_pool.launch --config "
# in that of the gateway, which the role litellm_gateway runs
GATEWAY = "-f /etc/litellm-gateway/haproxy.cfg"


def listening_inodes(port: int) -> set[str]:
    """Inodes of the sockets that listen on `port`, from the tables that proc(5) describes."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN_STATE and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def listener(port: int, marker: str) -> dict[str, Any]:
    """Who listens on `port`; empty when nobody does, without a name when it is hidden from this user.

    Of several processes that share the socket, as workers do, the one that this role started.
    """
    inodes = listening_inodes(port)
    if not inodes:
        return {}
    found = holders({f"socket:[{inode}]" for inode in inodes}, marker)
    if not found:
        hidden = {"pid": 0, "name": "a process of another user", "user": "unknown"}
        return {**hidden, "ours": False, "gateway": False, "other_install": False}
    return max(found, key=lambda holder: (holder["ours"], holder["other_install"], -holder["pid"]))


def holders(wanted: set[str], marker: str) -> list[dict[str, Any]]:
    """The processes that have one of the sockets open."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if not any(str(link.readlink()) in wanted for link in (process / "fd").iterdir()):
                continue
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            name = (process / "comm").read_text().strip()
            uid = process.stat().st_uid
        except OSError:
            continue
        try:
            user = pwd.getpwuid(uid).pw_name
        except KeyError:
            user = str(uid)
        found.append(
            {
                "pid": int(process.name),
                "name": name,
                "user": user,
                "ours": marker in command,
                "gateway": GATEWAY in command,
                "other_install": OTHER_INSTALL in command,
            }
        )
    return found
