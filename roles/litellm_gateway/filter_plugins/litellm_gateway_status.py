"""Filter that prints what a gateway knows of its servers as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

HEADINGS = ("SERVER", "ADDRESS", "STATE", "SINCE", "SESSIONS", "QUEUE", "REQUESTS", "CHECK")
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def servers_table(servers: Sequence[Mapping[str, Any]]) -> str:
    """Lay the servers out for people, one line each.

    Args:
        servers: what the module litellm_gateway_servers returns.
    """
    rows = [HEADINGS, *map(_row, servers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(server: Mapping[str, Any]) -> Sequence[str]:
    return (
        str(server["name"]),
        str(server["address"] or "-"),
        str(server["state"]),
        _duration(int(server["since"])),
        str(server["sessions"]),
        str(server["queue"]),
        str(server["requests"]),
        str(server["check"] or "-"),
    )


def _duration(seconds: int) -> str:
    """In the largest unit that it fills."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return "0 s"


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_gateway_servers_table": servers_table}
