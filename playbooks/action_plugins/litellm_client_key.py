"""Adds a client key to a vault, or revokes one, on the controller; no host is contacted.

The key is shown by `Display` and on the screen alone: in the task's result it would be repeated by `-v`, callbacks and
Ansible's own log.
"""

import secrets
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

sys.path.append(str(Path(__file__).resolve().parents[1] / "plugin_utils"))
import client_endpoint
import client_key_entry
import client_key_list
import client_setup
from client_vault import Opened, VaultFault, opened, write

RANDOM_BYTES = 32
"""43 characters of base64 that URLs and shells leave alone."""
GROUP, VAULT = "litellm_proxy", Path("group_vars/litellm_proxy/vault.yml")
APPLY = "ansible-playbook playbooks/client_keys.yml"


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no types
    """Arguments: state (present or revoked), name, vault_file, url, and the limits of `client_key_entry.OPTIONS`."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do it, and tell what was done; the result holds no key."""
        result: dict[str, Any] = super().run(tmp, task_vars) | {"changed": False}
        variables = task_vars or {}
        arguments = {name: value for name, value in self._task.args.items() if value is not None}
        name = str(arguments.get("name", ""))
        fault = client_key_entry.name_fault(name) or client_key_entry.url_fault(str(arguments.get("url", "")))
        if fault:
            return result | {"failed": True, "msg": fault}
        file = _file(arguments.get("vault_file"), variables)
        try:
            with opened(
                file, _shown(file), constants.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY")
            ) as vault:
                if arguments.get("state") == "revoked":
                    return result | self._revoke(vault, name)
                return result | self._add(vault, name, arguments, variables)
        except VaultFault as found:
            return result | {"failed": True, "msg": str(found)}
        except client_key_list.ListFault as found:
            return result | {"failed": True, "msg": f"{_shown(file)} {found}."}

    def _add(self, vault: Opened, name: str, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        known = {str(entry.get("name")): entry for entry in client_key_list.entries(vault.text)}
        if name in known:
            state = " (revoked)" if known[name].get("state") == "revoked" else ""
            raise VaultFault(
                f"{vault.shown} has a client {name} already{state}; nothing was changed. For a new key without a gap "
                f"add one of another name (-e name={name}-2), hand it over, then revoke the old one (playbooks/"
                f"revoke_client.yml -e name={name}). To use the name again, take its entry out first: "
                f"ansible-vault edit {vault.shown}"
            )
        host = _proxy(variables)
        limits, faults = client_key_entry.limits(
            arguments, client_endpoint.pool_names(host), datetime.now(timezone.utc)
        )
        if faults:
            raise VaultFault(" ".join([*faults, "Nothing was changed."]))
        key = f"sk-{secrets.token_urlsafe(RANDOM_BYTES)}"
        changed = client_key_list.add(vault.text, {"name": name, "key": key, **limits})
        if self._task.check_mode:
            return {"changed": True, "msg": f"Client {name} would be added to {vault.shown}, with a new key."}
        write(vault, changed)
        models = client_endpoint.models(host, limits.get("pools", []))
        url, note = _url(arguments.get("url"), host)
        Display().display(client_setup.text(name, key, url, *models, note), screen_only=True)
        return {"changed": True, "msg": f"Client {name} is in {vault.shown}. It is let in once you run: {APPLY}"}

    def _revoke(self, vault: Opened, name: str) -> dict[str, Any]:
        known = {str(entry.get("name")): entry for entry in client_key_list.entries(vault.text)}
        if name not in known:
            raise VaultFault(f"{vault.shown} has no client {name}: it has {', '.join(known) or 'none'}.")
        if known[name].get("state") == "revoked":
            return {"msg": f"Client {name} is revoked already in {vault.shown}. It is shut out by: {APPLY}"}
        changed = client_key_list.revoke(vault.text, name)
        if self._task.check_mode:
            return {"changed": True, "msg": f"Client {name} would be revoked in {vault.shown}."}
        write(vault, changed)
        return {
            "changed": True,
            "msg": f"Client {name} is revoked in {vault.shown}. It is shut out once you run: {APPLY}",
        }


def _file(given: object, variables: dict[str, Any]) -> Path:
    """The vault that was named, from the current directory; otherwise the one beside the inventory."""
    if given:
        return Path(str(given)).expanduser()
    for source in variables.get("ansible_inventory_sources") or []:
        path = Path(str(source))
        if path.exists():
            return (path if path.is_dir() else path.parent) / VAULT
    return VAULT


def _shown(file: Path) -> str:
    """The path as one would type it here."""
    path = file.resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _proxy(variables: dict[str, Any]) -> dict[str, Any]:
    """The settings of the inventory's first proxy as far as they can be read; empty where there is none."""
    hosts = (variables.get("groups") or {}).get(GROUP) or []
    found: dict[str, Any] = {}
    for name in client_endpoint.SETTINGS if hosts else ():
        try:
            found[name] = variables["hostvars"][hosts[0]][name]
        except (KeyError, AnsibleError):
            continue  # not set, from another vault, or made from something that only the host itself knows
    return found


def _url(given: object, host: dict[str, Any]) -> tuple[str, str]:
    """The endpoint's address, and what the client's operator should know of it."""
    if given:
        return str(given).rstrip("/"), ""
    if "inventory_hostname" not in host:
        return "http://SERVER:4000", "The inventory names no proxy: put its address in the place of SERVER."
    return client_endpoint.url(
        host
    ), f"The address is that of {host['inventory_hostname']}; -e url=… gives another one."
