"""The living processes of one host that share something, told by files which each of them holds locked."""

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path


class Members:
    """This process among those that share a path; the kernel lets go of the lock at any death, kill -9 too.

    The files lie beside the path: PATH.vSCHEMA.TOKEN.member.

    Args:
        path: what is shared; its directory has to exist.
        schema: version of what is kept there.
        token: this process's name.
    """

    def __init__(self, path: Path, schema: int, token: str) -> None:
        self._path = path
        self._schema = schema
        self._token = token
        self._own: int | None = None
        self._others: dict[str, int] = {}  # open files, so that a deleted one still tells
        self._pattern = re.compile(re.escape(path.name) + r"\.(v(\d+)\.([0-9a-f]+))\.member")

    def join(self) -> None:
        """Make sure that this process's file is there and locked. Raises OSError."""
        file = self._file(f"v{self._schema}.{self._token}")
        with suppress(FileNotFoundError):
            if self._own is not None and os.path.samestat(file.stat(), os.fstat(self._own)):
                return
        # locked before it has its name: nobody sees one that is not
        new = file.with_suffix(".new")
        handle = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.replace(file)
        except BaseException:
            os.close(handle)
            raise
        if self._own is not None:
            os.close(self._own)
        self._own = handle

    def leave(self) -> None:
        """Remove this process's file and forget the others."""
        if self._own is not None:
            self._file(f"v{self._schema}.{self._token}").unlink(missing_ok=True)
            os.close(self._own)
            self._own = None
        for handle in self._others.values():
            os.close(handle)
        self._others.clear()

    def others(self) -> dict[str, int]:
        """The tokens of the other living processes, with the version of each; removes the files of the dead."""
        with suppress(OSError):
            for entry in os.scandir(self._path.parent):
                found = self._pattern.fullmatch(entry.name)
                if found and found[1] != f"v{self._schema}.{self._token}":
                    self._look(found[1])
        for name in [name for name, handle in self._others.items() if not _is_locked(handle)]:
            os.close(self._others.pop(name))
        return {name.split(".")[1]: int(name.split(".")[0][1:]) for name in self._others}

    def somebody_died(self) -> bool:
        """Whether one of those that `others` told of has ended since; costs a microsecond for each."""
        return not all(map(_is_locked, self._others.values()))

    def _look(self, name: str) -> None:
        handle = self._others.get(name)
        if handle is not None and _is_locked(handle):
            return
        with suppress(FileNotFoundError):
            new = os.open(self._file(name), os.O_RDONLY | os.O_CLOEXEC)
            if _is_locked(new):
                if handle is not None:
                    os.close(handle)
                self._others[name] = new
            else:
                os.close(new)
                self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{name}.member")


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(handle, fcntl.LOCK_UN)
    return False
