"""Ansible module: which servers a gateway looks for elsewhere than they are. Reads only."""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litellm_gateway_files import addresses, up_to_date

DOCUMENTATION = r"""
module: litellm_gateway_moved
short_description: Compare the servers of a gateway with where they are
description: Compares address, port and TLS in haproxy.cfg, as it is loaded, with those of the inventory.
options:
  config: {type: path, required: true, description: haproxy.cfg of the gateway.}
  backend: {type: str, required: true, description: Name of the backend.}
  servers: {type: list, elements: dict, required: true, description: 'Servers as litellm_gateway_servers has them.'}
  ca: {type: str, required: true, description: PEM text of who signed their certificates; empty for none.}
  ca_file: {type: path, required: true, description: Where the gateway has it.}
  loaded: {type: path, required: true, description: File with the checksum of what the running front has loaded.}
  content: {type: list, elements: path, required: true, description: The files of that checksum, in order.}
author: [the project's authors]
"""

RETURN = r"""
moved:
  type: list
  elements: str
  returned: always
  description: Names of the servers that the gateway has at another address or port, or with other TLS.
"""


def lines(config: str, backend: str) -> dict[str, list[str]]:
    """The words after the name of each server of the backend, by that name."""
    found: dict[str, list[str]] = {}
    section: list[str] = []
    for line in config.splitlines():
        words = line.split()
        if words and not line.startswith((" ", "#")):
            section = words
        elif section == ["backend", backend] and words[:1] == ["server"]:
            found[words[1]] = words[2:]
    return found


def is_there(server: dict[str, Any], words: list[str]) -> bool:
    """Whether a line's words mean the server, by its address as this host looks it up."""
    address, _, port = words[0].rpartition(":")
    name = words[words.index("verifyhost") + 1] if "verifyhost" in words else ""
    return (
        address in addresses(str(server["address"]))
        and port == str(server["port"])
        and name == (server["tls_name"] if server.get("tls") else "")
    )


def has_authority(ca: str, path: str, words: list[str]) -> bool:
    """Whether the line trusts the authority, in its file; without TLS it needs none."""
    if "ca-file" not in words:
        return True
    own = words[words.index("ca-file") + 1] == path
    if not ca.strip() or not own:
        return own == bool(ca.strip())
    return Path(path).is_file() and Path(path).read_text().strip() == ca.strip()


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "path", "required": True},
            "backend": {"type": "str", "required": True},
            "servers": {"type": "list", "elements": "dict", "required": True},
            "ca": {"type": "str", "required": True},
            "ca_file": {"type": "path", "required": True},
            "loaded": {"type": "path", "required": True},
            "content": {"type": "list", "elements": "path", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    config = Path(wanted["config"])
    found = lines(config.read_text(), wanted["backend"]) if config.is_file() else {}
    # the running front still has what was there before
    loaded = up_to_date(wanted["loaded"], wanted["content"])
    module.exit_json(
        changed=False,
        moved=[
            server["name"]
            for server in wanted["servers"]
            if (words := found.get(server["name"]))
            and not (loaded and is_there(server, words) and has_authority(wanted["ca"], wanted["ca_file"], words))
        ],
    )


if __name__ == "__main__":
    main()
