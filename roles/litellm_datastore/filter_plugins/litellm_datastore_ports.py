"""Filter that says who holds a port that the store needs, from what `ss` printed on the host."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

EVERYWHERE = ("0.0.0.0", "::", "*")  # noqa: S104 - what ss prints of others
PROCESS = re.compile(r'\("([^"]*)",pid=(\d+)')


def taken(listening: str, ports: Mapping[str, int | str], address: str, own: Iterable[str]) -> list[str]:
    """List the ports of the store that another process listens on, one sentence each.

    Args:
        listening: what `ss -Hltnp` printed as root.
        ports: number of each port, by the variable that sets it.
        address: where the store listens besides 127.0.0.1.
        own: ids of the store's own processes; theirs are not taken.

    Returns:
        For each port that is taken: the port, the process, the variable, what to do.
    """
    places, own = {*EVERYWHERE, "127.0.0.1", address}, set(own)
    found: dict[str, str] = {}
    for line in listening.splitlines():
        host, _, port = line.split()[3].rpartition(":")
        processes = PROCESS.findall(line)
        if host.split("%")[0].strip("[]") not in places or own & {pid for _, pid in processes}:
            continue
        for variable, number in ports.items():
            if str(number) == port:
                holder = (
                    " and ".join(sorted({f"{name} (pid {pid})" for name, pid in processes})) or "an unknown process"
                )
                found[variable] = (
                    f"port {port} is taken by {holder} on {host}: set {variable} to a free one, or stop what listens "
                    "there."
                )
    return list(found.values())


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_datastore_taken": taken}
