"""Ansible module: write the small files of one directory in one go; a copy for each would take a second a file."""

import contextlib
import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: litellm_proxy_directory
short_description: Write the files of a directory
description: Makes the directory hold exactly these files, with this owner and mode. Nothing below it is looked at.
options:
  path: {type: path, required: true, description: The directory; its parent must exist.}
  files: {type: dict, required: true, description: Text of each file by its name.}
  mode: {type: str, required: true, description: 'Mode of the files, in octal.'}
  directory_mode: {type: str, required: true, description: 'Mode of the directory, in octal.'}
  owner: {type: str, description: Owner of directory and files.}
  group: {type: str, description: Group of directory and files.}
author: [the project's authors]
"""

RETURN = r"""
written: {type: list, elements: str, returned: always, description: Names of the files that were or would be written.}
removed: {type: list, elements: str, returned: always, description: Names of the files that were or would be removed.}
"""


def different(directory: Path, files: dict[str, str]) -> list[str]:
    """Names of the files that are missing or have another text."""
    found = []
    for name, text in files.items():
        try:
            same = (directory / name).read_bytes() == text.encode()
        except OSError:
            same = False
        if not same:
            found.append(name)
    return sorted(found)


def surplus(directory: Path, files: dict[str, str]) -> list[str]:
    """Names of the files in the directory that are not among `files`."""
    if not directory.is_dir():
        return []
    return sorted(path.name for path in directory.iterdir() if path.is_file() and path.name not in files)


def write(module: AnsibleModule, directory: Path, name: str, text: str) -> None:
    """Put the text in place whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    module.atomic_move(temporary, str(directory / name))


def attributes(module: AnsibleModule, path: Path, mode: str, changed: bool) -> bool:
    """Set owner, group and mode; returns whether anything was changed so far."""
    wanted = module.load_file_common_arguments({**module.params, "path": str(path), "mode": mode}, path=str(path))
    return bool(module.set_fs_attributes_if_different(wanted, changed))


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            # not secret, but much: the module's arguments go into the host's journal
            "files": {"type": "dict", "required": True, "no_log": True},
            "mode": {"type": "str", "required": True},
            "directory_mode": {"type": "str", "required": True},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    directory, files = Path(module.params["path"]), module.params["files"]
    written, removed = different(directory, files), surplus(directory, files)
    changed = bool(written or removed) or not directory.is_dir()
    if not module.check_mode:
        directory.mkdir(mode=0o700, exist_ok=True)
        for name in written:
            write(module, directory, name, files[name])
        for name in removed:
            with contextlib.suppress(FileNotFoundError):
                (directory / name).unlink()
    if directory.is_dir():
        changed = attributes(module, directory, module.params["directory_mode"], changed)
        for name in files:
            if (directory / name).exists():
                changed = attributes(module, directory / name, module.params["mode"], changed)
    module.exit_json(changed=changed, written=written, removed=removed)


if __name__ == "__main__":
    main()
