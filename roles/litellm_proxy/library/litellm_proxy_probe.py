"""Ansible module: what the role must know of a host before it changes anything. Reads only."""

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litellm_proxy_ports import listener

DOCUMENTATION = r"""
module: litellm_proxy_probe
short_description: Probe a host for what the litellm_proxy role needs
description: >-
  Reports Python, memory, systemd, trust store, who listens on ports, and which generations there are. Changes nothing.
options:
  python: {type: path, required: true, description: Interpreter that shall run LiteLLM.}
  ports: {type: list, elements: int, required: true, description: TCP ports to look at.}
  instance_marker: {type: str, required: true, description: Text in the command line of the role's own instances.}
  units: {type: dict, required: true, description: Path of the unit file of each slot; empty without systemd.}
  ca_bundle: {type: path, required: true, description: PEM file of trusted certificates.}
  config_dir: {type: path, required: true, description: Directory with the links to the generations.}
author: [the project's authors]
"""

RETURN = r"""
python_version: {type: str, returned: always, description: 'Like 3.11, empty when the interpreter is missing.'}
python_venv: {type: bool, returned: always, description: Whether it can create virtual environments.}
root: {type: bool, returned: always, description: Whether the tasks run as root.}
memory_mb: {type: int, returned: always, description: Total memory.}
systemd: {type: bool, returned: always, description: Whether systemd runs the host.}
ca_bundle: {type: bool, returned: always, description: Whether the bundle exists and is readable.}
current: {type: str, returned: always, description: 'Name of the current generation, empty without one.'}
previous: {type: str, returned: always, description: 'Name of the generation before, empty without one.'}
now: {type: int, returned: always, description: 'Seconds since 1970 by the clock of the host.'}
slot: {type: str, returned: always, description: 'Slot that serves the current generation, empty without slots.'}
slots: {type: dict, returned: always, description: 'By slot: generation, running, unit (SHA-1 of its file), listen.'}
generations: {type: dict, returned: always, description: 'By name: manifest, activated, sealed.'}
listeners:
  type: dict
  returned: always
  description: 'By port that is taken: pid, name, user, ours, gateway, other_install.'
"""


def python_facts(python: str) -> tuple[str, bool]:
    """Version (`3.11`, empty if it does not run) and whether the venv module is complete."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])\nimport ensurepip, venv"
    try:
        result = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return "", False
    return result.stdout.strip(), result.returncode == 0


def memory_mb() -> int:
    """Total memory in MiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def linked_generation(config_dir: str, link: str) -> str:
    """Name of the generation that a link points to, maybe by way of a slot; empty when there is none."""
    path = Path(config_dir, link)
    return path.resolve().name if path.is_dir() else ""


def linked_slot(config_dir: str) -> str:
    """The slot that `current` points to, empty where it points to a generation or is missing."""
    try:
        target = Path(config_dir, "current").readlink()
    except OSError:
        return ""
    return target.name if target.parent.name == "slots" else ""


def slot_facts(config_dir: str, slot: str, unit: str) -> dict[str, Any]:
    """What is known of one slot: `listen` is the address that its instance was given, `HOST PORT`."""
    try:
        content = Path(unit).read_bytes()
    except OSError:
        return {"generation": "", "running": False, "unit": "", "listen": ""}
    try:
        lines = Path(config_dir, "slots", f"{slot}.env").read_text().splitlines()
    except OSError:
        lines = []
    given = dict(line.split("=", 1) for line in lines if "=" in line)
    state = subprocess.run(
        ["/usr/bin/systemctl", "show", "-P", "ActiveState", Path(unit).name],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "generation": linked_generation(config_dir, f"slots/{slot}"),
        "running": state.stdout.strip() not in ("", "inactive", "failed"),
        "unit": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        "listen": f"{given.get('LITELLM_PROXY_LISTEN_HOST', '')} {given.get('LITELLM_PROXY_LISTEN_PORT', '')}",
    }


def generations(config_dir: str) -> dict[str, dict[str, Any]]:
    """The generations on the disk by name."""
    try:
        found = sorted(path for path in Path(config_dir, "generations").iterdir() if path.is_dir())
    except OSError:
        return {}
    return {path.name: generation_facts(path) for path in found}


def generation_facts(path: Path) -> dict[str, Any]:
    """What is known of one generation; one that was not finished has an empty manifest."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
    except (OSError, ValueError):
        manifest = {}
    try:
        activated = (path / ".activated").stat().st_mtime
    except OSError:
        activated = 0.0
    return {
        "manifest": manifest,
        "activated": activated,
        "sealed": not (path / "credentials" / "litellm-proxy.json").exists(),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "python": {"type": "path", "required": True},
            "ports": {"type": "list", "elements": "int", "required": True},
            "instance_marker": {"type": "str", "required": True},
            "ca_bundle": {"type": "path", "required": True},
            "config_dir": {"type": "path", "required": True},
            "units": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    version, has_venv = python_facts(module.params["python"])
    directory = module.params["config_dir"]
    found = {port: listener(port, module.params["instance_marker"]) for port in module.params["ports"]}
    module.exit_json(
        changed=False,
        now=int(time.time()),
        python_version=version,
        python_venv=has_venv,
        root=os.geteuid() == 0,
        memory_mb=memory_mb(),
        systemd=Path("/run/systemd/system").is_dir(),
        ca_bundle=os.access(module.params["ca_bundle"], os.R_OK),
        current=linked_generation(directory, "current"),
        previous=linked_generation(directory, "previous"),
        slot=linked_slot(directory),
        slots={slot: slot_facts(directory, slot, unit) for slot, unit in module.params["units"].items()},
        generations=generations(directory),
        listeners={str(port): holder for port, holder in found.items() if holder},
    )


if __name__ == "__main__":
    main()
