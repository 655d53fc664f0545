"""Ansible module: what a gateway knows of its servers. Reads only."""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litellm_gateway_haproxy import Gone, servers

DOCUMENTATION = r"""
module: litellm_gateway_servers
short_description: Ask a gateway for its servers
description: Reports each server's state, sessions and last health check, over all processes of HAProxy.
options:
  master: {type: path, required: true, description: Socket of HAProxy's master process.}
  backend: {type: str, required: true, description: Name of the backend.}
  unit: {type: path, required: true, description: The unit of the gateway.}
author: [the project's authors]
"""

RETURN = r"""
installed: {type: bool, returned: always, description: Whether there is a gateway on the host.}
running: {type: bool, returned: always, description: Whether HAProxy answers.}
why: {type: str, returned: always, description: 'Why it does not; empty where it does.'}
servers:
  type: list
  elements: dict
  returned: always
  description: 'name, address, state, since (seconds), sessions, queue, requests and check of each.'
"""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "master": {"type": "path", "required": True},
            "backend": {"type": "str", "required": True},
            "unit": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    installed = Path(module.params["unit"]).exists()
    # without a socket there is no process to wait for
    if not Path(module.params["master"]).exists():
        module.exit_json(changed=False, installed=installed, running=False, why="HAProxy does not run", servers=[])
    try:
        found = servers(module.params["master"], module.params["backend"])
    except Gone as error:
        module.exit_json(changed=False, installed=installed, running=False, why=str(error), servers=[])
    module.exit_json(changed=False, installed=installed, running=True, why="", servers=found)


if __name__ == "__main__":
    main()
