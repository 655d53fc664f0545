"""Filter that keeps known secrets out of messages."""

from collections.abc import Mapping
from typing import Any


def mask(text: str, credentials: Mapping[str, str]) -> str:
    """Replace every credential value in `text` by the name of its variable in brackets."""
    for name, value in sorted(credentials.items(), key=lambda item: -len(item[1])):
        text = text.replace(value, f"[{name}]")
    return text


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_proxy_mask": mask}
