"""Ansible module: writes and removes files of accounts as planned on the controller, with the rights of each."""

from __future__ import annotations

import grp
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litellm_client_account import account, digest, rights_of

DOCUMENTATION = r"""
module: litellm_client_write
short_description: Write the client settings of accounts
description:
  - Carries out the plan of the litellm_client role. Files are replaced at once; symbolic links stay, and what they
    point to is written. Content is in no output; with C(--diff) it shows what the plan says may be shown.
options:
  accounts:
    type: list
    elements: dict
    required: true
    description: The accounts, one entry each.
    suboptions:
      user: {type: str, default: "", description: 'Name of the user; empty for the machine itself.'}
      directories: {type: list, elements: str, default: [], description: 'Directories to create, from the top.'}
      directory_mode: {type: str, default: "0755", description: Mode of those.}
      files:
        type: list
        elements: dict
        default: []
        description: Files to write or remove, in this order.
        suboptions:
          path: {type: str, required: true, description: Absolute path.}
          remove: {type: bool, default: false, description: Remove it instead.}
          content: {type: str, default: "", description: Its whole content.}
          mode: {type: str, default: "0600", description: Its mode; an existing merged file keeps its own.}
          group: {type: str, default: "", description: 'Its group; empty for that of the account.'}
          merged: {type: bool, default: false, description: 'Whether others have settings in it, too.'}
          expected: {type: str, default: "", description: SHA-256 that a merged file must still have.}
          before: {type: str, default: "", description: What a diff shows of a merged file as it was.}
          after: {type: str, default: "", description: What a diff shows of it then.}
          shown: {type: bool, default: false, description: Whether a diff may show a file of the role's own.}
      remove_directories: {type: list, elements: str, default: [], description: Directories to remove where empty.}
author: [the project's authors]
"""

RETURN = r"""
paths: {type: list, elements: str, returned: always, description: What was written or removed.}
"""

SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSW", re.IGNORECASE)


class Files:
    """The files of one account.

    Args:
        check: whether to change nothing.
    """

    def __init__(self, check: bool) -> None:
        self.check = check
        self.changed: list[str] = []
        self.gone: set[Path] = set()
        self.diffs: list[dict[str, str]] = []

    def apply(self, plan: dict[str, Any]) -> None:
        """Carry one account's plan out.

        Raises:
            OSError: something cannot be written.
            RuntimeError: a file is not as it was when the plan was made.
        """
        for directory in map(Path, plan["directories"]):
            if not directory.is_dir():
                self._note(str(directory) + "/", "", "a new directory\n")
                if not self.check:
                    directory.mkdir()
                    directory.chmod(int(plan["directory_mode"], 8))
        for file in plan["files"]:
            (self._remove if file["remove"] else self._write)(file)
        for directory in map(Path, sorted(plan["remove_directories"], reverse=True)):
            if directory.is_dir() and not directory.is_symlink() and self._empty(directory):
                self._note(str(directory) + "/", "an empty directory\n", "")
                self.gone.add(directory)
                if not self.check:
                    directory.rmdir()

    def _note(self, path: str, before: str, after: str) -> None:
        self.changed.append(path)
        if before != after:
            self.diffs.append({"before_header": path, "after_header": path, "before": before, "after": after})

    def _empty(self, directory: Path) -> bool:
        # in a check run what was to be removed is still there
        return all(entry in self.gone for entry in directory.iterdir())

    def _write(self, file: dict[str, Any]) -> None:
        path = Path(os.path.realpath(file["path"])) if file["merged"] else Path(file["path"])
        old = path.read_bytes() if path.is_file() else None
        if file["merged"]:
            self._unchanged(file, old)
        content = file["content"].encode()
        mode, gid = int(file["mode"], 8), self._gid(file["group"])
        status = path.stat() if old is not None else None
        if status and file["merged"]:
            mode, gid = stat.S_IMODE(status.st_mode), None
        wrong = status is not None and (
            stat.S_IMODE(status.st_mode) != mode or (gid is not None and status.st_gid != gid) or path.is_symlink()
        )
        if old == content and not wrong:
            return
        self._note(file["path"], *self._shown(file, old))
        if not self.check:
            _replace(path, content, mode, gid)

    def _remove(self, file: dict[str, Any]) -> None:
        path = Path(file["path"])
        if not path.is_file() and not path.is_symlink():
            return
        if file["merged"]:
            self._unchanged(file, path.read_bytes())
        self._note(file["path"], self._shown(file, path.read_bytes())[0], "")
        self.gone.add(path)
        if not self.check:
            path.unlink()

    @staticmethod
    def _unchanged(file: dict[str, Any], old: bytes | None) -> None:
        if (digest(old) if old is not None else "") != file["expected"]:
            raise RuntimeError(f"{file['path']} was changed by somebody else meanwhile: run the playbook again.")

    def _gid(self, group: str) -> int | None:
        if not group:
            return None
        try:
            return grp.getgrnam(group).gr_gid
        except KeyError:
            if self.check:
                return None  # the run itself creates it
            raise RuntimeError(f"there is no group {group}: create it, or correct litellm_client_group.") from None

    @staticmethod
    def _shown(file: dict[str, Any], old: bytes | None) -> tuple[str, str]:
        if file["merged"]:
            return file["before"], file["after"]
        if not file["shown"]:
            return "" if old is None else "(hidden)\n", "" if file["remove"] else "(hidden, new)\n"
        after: str = "" if file["remove"] else file["content"]
        kept = set(after.splitlines())
        lines = (old or b"").decode(errors="replace").splitlines()
        # what somebody wrote there by hand can hold a token
        before = [line if line in kept or not SECRET_NAME.search(line) else "(hidden)" for line in lines]
        return "".join(f"{line}\n" for line in before), after


def _replace(path: Path, content: bytes, mode: int, gid: int | None) -> None:
    """Put a file in place at once; nobody sees half of it, or its content with wider rights."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=".litellm-client-", dir=path.parent)
    except PermissionError as error:
        raise PermissionError(error.errno, error.strerror, str(path)) from None
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            if gid is not None:
                os.fchown(stream.fileno(), -1, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def main() -> None:
    """Run the module."""
    text = {"type": "str", "default": ""}
    file = {
        "path": {"type": "str", "required": True},
        "remove": {"type": "bool", "default": False},
        "content": text | {"no_log": True},
        "mode": {"type": "str", "default": "0600"},
        "group": text,
        "merged": {"type": "bool", "default": False},
        "expected": text,
        "before": text,
        "after": text,
        "shown": {"type": "bool", "default": False},
    }
    paths = {"type": "list", "elements": "str", "default": []}
    one = {
        "user": text,
        "directories": paths,
        "directory_mode": {"type": "str", "default": "0755"},
        "files": {"type": "list", "elements": "dict", "default": [], "options": file},
        "remove_directories": paths,
    }
    module = AnsibleModule(
        {"accounts": {"type": "list", "elements": "dict", "required": True, "options": one}}, supports_check_mode=True
    )
    # the plan says what may be shown; hidden as contents, parts of it would be missing in the diff
    accounts, told = module.params["accounts"], {"module_args": "not repeated, as there are secrets in it"}
    own = [file for plan in accounts for file in plan["files"] if not file["merged"] and not file["shown"]]
    module.no_log_values.intersection_update(file["content"] for file in own)
    files = Files(module.check_mode)
    for plan in accounts:
        entry = account(plan["user"])
        if entry is None:
            module.fail_json(msg=f"There is no user {plan['user']}: correct litellm_client_users.", invocation=told)
        try:
            with rights_of(entry):
                files.apply(plan)
        except PermissionError as error:
            module.fail_json(
                msg=f"{entry.pw_name} may not write {error.filename}: mend its rights, or see litellm_client_become.",
                invocation=told,
            )
        except (OSError, RuntimeError) as error:
            module.fail_json(msg=f"{error}", invocation=told)
    module.exit_json(changed=bool(files.changed), paths=files.changed, diff=files.diffs, invocation=told)


if __name__ == "__main__":
    main()
