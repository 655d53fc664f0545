"""Files of one account, touched with the rights of that account alone.

A home directory belongs to its user, who can put a symbolic link anywhere in it: what root did there would be done
wherever the link points to.
"""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def account(name: str) -> pwd.struct_passwd | None:
    """The password entry of a user; of the user who runs this where `name` is empty; None for an unknown one."""
    try:
        return pwd.getpwnam(name) if name else pwd.getpwuid(os.geteuid())
    except KeyError:
        return None


@contextmanager
def rights_of(entry: pwd.struct_passwd) -> Iterator[None]:
    """Have the rights of a user for a while.

    Raises:
        PermissionError: this is neither root nor the user.
    """
    if os.geteuid() == entry.pw_uid:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def expand(path: str, home: str) -> Path:
    """The absolute path of one that may begin with `~/`."""
    return Path(home) / path[2:] if path.startswith("~/") else Path(path)


def digest(content: bytes) -> str:
    """Name of a content: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def missing_directories(path: Path) -> list[Path]:
    """The directories above a path that are not there, from the top."""
    missing = []
    for directory in path.parents:
        if directory.exists() or directory.is_symlink():
            break
        missing.append(directory)
    return missing[::-1]
