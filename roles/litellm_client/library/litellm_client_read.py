"""Ansible module: what accounts of a workstation have in the files that the role takes part in. Reads only."""

from __future__ import annotations

import grp
import json
import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litellm_client_account import account, digest, expand, missing_directories, rights_of

DOCUMENTATION = r"""
module: litellm_client_read
short_description: Read the client settings of accounts
description:
  - Reads the files that the litellm_client role merges its settings into, with the rights of each account.
  - What it returns can hold secrets of the users, so its task needs C(no_log). Changes nothing.
options:
  accounts:
    type: list
    elements: dict
    required: true
    description: The accounts, one entry each.
    suboptions:
      user: {type: str, default: "", description: 'Name of the user; empty for the machine itself.'}
      record: {type: str, required: true, description: File that names what the role put in before.}
      paths: {type: list, elements: str, required: true, description: 'Further files, absolute or with ~/.'}
      merged: {type: list, elements: str, required: true, description: Those of them whose text is needed.}
  group: {type: str, required: true, description: Group whose members are wanted.}
  members: {type: list, elements: str, required: true, description: Users who shall be in it.}
author: [the project's authors]
"""

RETURN = r"""
accounts:
  type: list
  elements: dict
  returned: always
  description: >-
    In the order of the option: user; known, whether there is such a user; home; shell, its name; record, its content or
    none; files, by absolute path the text (none: no such file), its sha256 and an error; missing_directories above the
    paths.
group:
  type: dict
  returned: always
  description: >-
    exists; members, users who are in the group by whichever way; unknown, those of the option who are no users.
"""

LARGEST = 16 * 1024 * 1024
"""Bytes of a settings file; a larger one is something else."""


def read(path: Path) -> dict[str, Any]:
    """One file: its text or None, the SHA-256 of its bytes, and what is wrong with it ("" for nothing)."""
    found: dict[str, Any] = {"text": None, "sha256": "", "error": ""}
    try:
        if path.stat().st_size > LARGEST:
            return found | {"error": f"is larger than {LARGEST // 1024 // 1024} MB"}
        content = path.read_bytes()
        return found | {"text": content.decode(), "sha256": digest(content)}
    except FileNotFoundError:
        return found | {"error": "is a symbolic link to nowhere"} if path.is_symlink() else found
    except UnicodeDecodeError:
        return found | {"error": "is not UTF-8 text"}
    except OSError as error:
        return found | {"error": f"cannot be read ({error.strerror})"}


def record_of(path: Path) -> dict[str, Any] | None:
    """What the role put in before; None without a record.

    Raises:
        ValueError: the file is there and no record.
    """
    found = read(path)
    if found["error"]:
        raise ValueError(found["error"])
    if found["text"] is None:
        return None
    record = json.loads(found["text"])
    if not isinstance(record, dict) or record.get("version") != 1:
        raise ValueError("is no record of this role's")
    return record


def group(name: str, wanted: list[str]) -> dict[str, Any]:
    """Whether there is such a group, who is in it, and who of `wanted` is no user."""
    entries = {user: account(user) for user in wanted}
    unknown = [user for user in wanted if entries[user] is None]
    try:
        entry = grp.getgrnam(name)
    except KeyError:
        return {"exists": False, "members": [], "unknown": unknown}
    # asked one by one, as a directory service need not list its users
    others = [name for name, user in entries.items() if user and entry.gr_gid in os.getgrouplist(name, user.pw_gid)]
    return {"exists": True, "members": sorted({*entry.gr_mem, *others}), "unknown": unknown}


def look(wanted: dict[str, Any]) -> dict[str, Any]:
    """One account's state; see RETURN."""
    entry = account(wanted["user"])
    if entry is None:
        return {"user": wanted["user"], "known": False}
    with rights_of(entry):
        place = expand(wanted["record"], entry.pw_dir)
        found: dict[str, Any] = {"user": wanted["user"], "known": True, "home": entry.pw_dir, "error": ""}
        found["shell"] = Path(entry.pw_shell).name
        try:
            record = record_of(place)
        except ValueError as error:
            return found | {"error": f"{place} {error}"}
        paths = {str(expand(path, entry.pw_dir)) for path in wanted["merged"]} | set((record or {}).get("merged", {}))
        missing = {
            str(directory)
            for path in [wanted["record"], *wanted["paths"]]
            for directory in missing_directories(expand(path, entry.pw_dir))
        }
        return found | {
            "record": record,
            "files": {path: read(Path(path)) for path in sorted(paths)},
            "missing_directories": sorted(missing),
        }


def main() -> None:
    """Run the module."""
    one = {
        "user": {"type": "str", "default": ""},
        "record": {"type": "str", "required": True},
        "paths": {"type": "list", "elements": "str", "required": True},
        "merged": {"type": "list", "elements": "str", "required": True},
    }
    module = AnsibleModule(
        {
            "accounts": {"type": "list", "elements": "dict", "required": True, "options": one},
            "group": {"type": "str", "required": True},
            "members": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        found = [look(wanted) for wanted in module.params["accounts"]]
    except PermissionError:
        module.fail_json(msg="Only root can read the settings of other users: set litellm_client_become to true.")
    members = group(module.params["group"], module.params["members"])
    module.exit_json(changed=False, accounts=found, group=members)


if __name__ == "__main__":
    main()
