"""Hosts with a ledger, as the role leaves them in process mode, and the playbook that reports over them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from role_settings import ROLE, ROOT
from usage_ledger import Used, write

LIBRARY = [
    *(ROLE / "files" / "proxyctl").glob("*.py"),
    *(ROLE / "filter_plugins").glob("litellm_proxy_*.py"),
    *ROLE.parent.glob("*/module_utils/*.py"),
]
SETTINGS = {
    "mode": "process", "front": "none", "host": "127.0.0.1", "port": 4000, "url": "http://127.0.0.1:4000",
    "slots": {}, "listen_host": "127.0.0.1", "start_timeout": 1, "stop_timeout": 1, "drain_timeout": 1,
    "environment": {}, "image_validate": [], "ca_bundle": "", "upstreams": [], "user": "", "gateway": {},
}  # fmt: skip


def install(home: Path, used: Iterable[Used] | None) -> dict[str, Any]:
    """The host's variables; None for a host that has no ledger."""
    package = home / "lib" / "proxyctl"
    package.mkdir(parents=True)
    for source in LIBRARY:
        (package / source.name).symlink_to(source)
    command = home / "bin" / "litellm-proxyctl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -IB {package} "$@"\n')
    command.chmod(0o755)
    ledger = home / "state" / "usage.sqlite3"
    places = {"config_dir": home, "home": home, "log_file": home / "log", "usage_file": ledger}
    (home / "proxyctl.json").write_text(json.dumps({**SETTINGS, **{name: str(path) for name, path in places.items()}}))
    if used is not None:
        write(ledger, used)
    return absent(home)


def absent(home: Path) -> dict[str, Any]:
    """Variables of a host on which nothing is installed."""
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "litellm_proxy_mode": "process",
        "litellm_proxy_home": str(home),
    }


def unreachable() -> dict[str, Any]:
    """Variables of a host that does not answer."""
    return {
        "ansible_host": "127.0.0.1",
        "ansible_port": 9,
        "ansible_ssh_common_args": "-o ConnectTimeout=5 -o ControlPath=none",
        "litellm_proxy_mode": "process",
        "litellm_proxy_home": "/nowhere",
    }


def report(directory: Path, hosts: Mapping[str, Mapping[str, Any]], *options: str) -> tuple[int, str]:
    """Run the playbook; its exit code and output. What it writes is in `directory`/report."""
    inventory = directory / "hosts.yml"
    inventory.write_text(
        yaml.safe_dump({"litellm_proxy": {"hosts": {name: dict(host) for name, host in hosts.items()}}})
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        ["ansible-playbook", "-i", inventory, "playbooks/usage.yml", "-e", f"usage_dir={directory}/report", *options],
        cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
