"""Ansible module: what the role must know of a host before it changes anything. Reads only."""

import hashlib
import json
import os
import shutil
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
  units: {type: dict, required: true, description: Path of the unit file of each slot; empty in other modes.}
  containers: {type: dict, default: {}, description: Name of the container of each slot; empty in other modes.}
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
slots:
  type: dict
  returned: always
  description: 'By slot: generation, running, listen, definition (SHA-1 of the unit, or label of the container).'
docker: {type: dict, returned: always, description: 'installed, compose (both bool), error; empty without containers.'}
generations: {type: dict, returned: always, description: 'By name: manifest, activated, sealed.'}
listeners:
  type: dict
  returned: always
  description: 'By port that is taken: pid, name, user, ours, gateway, other_install.'
"""

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
# what holds a port that Docker forwards
FORWARDER = "docker-proxy"


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


NO_SLOT = {"generation": "", "running": False, "definition": "", "listen": ""}


def unit_facts(config_dir: str, slot: str, unit: str) -> dict[str, Any]:
    """What is known of the slot of a unit: `listen` is the address that its instance was given, `HOST PORT`."""
    try:
        content = Path(unit).read_bytes()
    except OSError:
        return NO_SLOT
    state = output(["/usr/bin/systemctl", "show", "-P", "ActiveState", Path(unit).name])
    return {
        "generation": linked_generation(config_dir, f"slots/{slot}"),
        "running": state not in ("", "inactive", "failed"),
        "definition": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        "listen": slot_address(config_dir, slot),
    }


def container_facts(config_dir: str, slot: str, container: str) -> dict[str, Any]:
    """The same of the slot of a container, and the ports of the host that Docker forwards to it."""
    try:
        (found,) = json.loads(output(["docker", "container", "inspect", container]))
    except ValueError:
        return {**NO_SLOT, "published": []}
    bindings = (found["HostConfig"].get("PortBindings") or {}).values()
    return {
        "generation": linked_generation(config_dir, f"slots/{slot}"),
        "running": bool(found["State"]["Running"] or found["State"]["Restarting"]),
        "definition": (found["Config"].get("Labels") or {}).get("litellm-proxy.generation", ""),
        "listen": slot_address(config_dir, slot),
        "published": [int(binding["HostPort"]) for group in bindings for binding in group or []],
    }


def slot_address(config_dir: str, slot: str) -> str:
    """Where the instance in the slot was told to listen, `HOST PORT`."""
    try:
        lines = Path(config_dir, "slots", f"{slot}.env").read_text().splitlines()
    except OSError:
        lines = []
    given = dict(line.split("=", 1) for line in lines if "=" in line)
    return f"{given.get('LITELLM_PROXY_LISTEN_HOST', '')} {given.get('LITELLM_PROXY_LISTEN_PORT', '')}"


def docker_facts() -> dict[str, Any]:
    """Whether Docker Engine and its Compose plugin are there, and why the engine does not answer."""
    try:
        engine = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=False
        )
    except OSError:
        return {"installed": False, "compose": False, "error": ""}
    installed = engine.returncode == 0 or shutil.which("dockerd", path=SYSTEM_PATH) is not None
    error = "" if engine.returncode == 0 else (engine.stderr.strip().splitlines() or ["no reason given"])[-1]
    return {"installed": installed, "compose": output(["docker", "compose", "version"]) != "", "error": error}


def output(command: list[str]) -> str:
    """What the command prints; empty when it fails or is missing."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


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
            "containers": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    version, has_venv = python_facts(module.params["python"])
    directory = module.params["config_dir"]
    containers = module.params["containers"]
    slots = {slot: unit_facts(directory, slot, unit) for slot, unit in module.params["units"].items()}
    slots |= {slot: container_facts(directory, slot, container) for slot, container in containers.items()}
    published = {port for slot in slots.values() if slot["running"] for port in slot.get("published", [])}
    found = {port: listener(port, module.params["instance_marker"]) for port in module.params["ports"]}
    for port in published & set(found):
        if found[port].get("name") == FORWARDER:
            found[port]["ours"] = True
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
        slots=slots,
        docker=docker_facts() if containers else {},
        generations=generations(directory),
        listeners={str(port): holder for port, holder in found.items() if holder},
    )


if __name__ == "__main__":
    main()
