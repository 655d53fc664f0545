"""Filter that judges how many hosts the playbooks change at the same time."""

import re
from typing import Any


def serial_faults(serial: object) -> list[str]:
    """What is wrong with litellm_proxy_serial, of which ansible-core takes anything below 1 for all hosts at once.

    Args:
        serial: how many hosts a playbook changes at the same time: a number, a part as "25%", or a list of these.
    """
    batches = serial if isinstance(serial, list) else [serial]
    if batches and all(re.fullmatch(r"0*[1-9][0-9]*%?", str(batch)) for batch in batches):
        return []
    return [
        f"litellm_proxy_serial is {serial!r}: use a number of hosts, a part of them such as 25%, or a list of these; "
        'on the command line as JSON, -e \'{"litellm_proxy_serial": [1, "50%"]}\'.'
    ]


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by name."""
        return {"litellm_proxy_serial_faults": serial_faults}
