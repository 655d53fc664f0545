"""Filter that says who takes part in the store without being of it, from what Sentinel answers."""

from collections.abc import Iterable
from typing import Any


def strangers(answers: Iterable[str], places: Iterable[str]) -> list[str]:
    """List the addresses that are not the store's, sorted.

    Args:
        answers: what `redis-cli --raw sentinel replicas NAME` and `… sentinels NAME` printed: names and values in turn.
        places: addresses of the store's hosts.
    """
    found: set[str] = set()
    for answer in answers:
        lines = answer.splitlines()
        found |= {value for name, value in zip(lines[::2], lines[1::2], strict=False) if name == "ip"}
    return sorted(found - set(places))


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_datastore_strangers": strangers}
