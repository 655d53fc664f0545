"""Ansible module: take a server of the gateway into rotation or out of it, and wait until that has its effect."""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litellm_gateway_haproxy import (
    FORCED_DRAIN,
    FORCED_MAINTENANCE,
    POLL_SECONDS,
    Gateway,
    Gone,
)

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
  down:
    type: bool
    default: false
    description: Take it for down until a health check passes; with ready only where it was out of rotation.
  elsewhere:
    type: bool
    default: false
    description: The server is another host, which this gateway need not have, and which goes on without it.
  cut: {type: bool, default: false, description: 'End running requests, with drain.'}
author: [the project's authors]
"""

RETURN = r"""
running: {type: int, returned: always, description: Requests that still run on the server.}
gone: {type: bool, returned: with elsewhere, description: Whether HAProxy does not answer; msg says more.}
known: {type: bool, returned: with elsewhere, description: Whether the gateway has the server.}
unhealthy:
  type: str
  returned: with elsewhere, where no health check passed in time
  description: Where the gateway asks, and what the last check said.
"""


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
            "elsewhere": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    gateway = Gateway(wanted["master"], wanted["backend"], wanted["server"])
    if module.check_mode and not wanted["elsewhere"] and not Path(wanted["master"]).exists():  # not there yet
        module.exit_json(changed=True, running=0)
    told = {"gone": False, "known": True} if wanted["elsewhere"] else {}
    try:
        before = gateway.states()
        if before is None and wanted["elsewhere"]:
            module.exit_json(changed=False, running=0, gone=False, known=False)
        if before is None:
            module.fail_json(msg=f"The gateway has no server {wanted['server']}; run site.yml.", running=0)
        forced = FORCED_DRAIN if wanted["state"] == "drain" else 0
        changed = before[1] & (FORCED_MAINTENANCE | FORCED_DRAIN) != forced
        if module.check_mode:
            module.exit_json(changed=changed, running=0, **told)
        gateway.tell(wanted["state"], wanted["down"] and (changed or wanted["state"] == "drain"))
        if wanted["cut"]:
            gateway.cut()
        end = time.monotonic() + wanted["up_within"]
        healthy = gateway.proven if wanted["elsewhere"] else gateway.up
        while wanted["state"] == "ready" and not healthy():
            if time.monotonic() >= end:
                if wanted["elsewhere"]:
                    module.exit_json(changed=changed, running=0, unhealthy=gateway.check(), **told)
                module.fail_json(msg=unhealthy(wanted), running=0)
            time.sleep(POLL_SECONDS)
        end = time.monotonic() + wanted["idle_within"]
        while wanted["state"] == "drain" and gateway.running() and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        left = gateway.running()
    except Gone as error:
        if wanted["elsewhere"]:
            module.exit_json(changed=False, running=0, gone=True, msg=silence(error))
        module.fail_json(msg=silence(error), running=0)
    module.exit_json(changed=changed or wanted["cut"], running=left, **told)


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
