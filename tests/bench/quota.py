"""A part of the processor for a process, by the kernel's cgroups."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Self

PERIOD = 20_000
"""Microseconds in which the part is counted: short, so that a host does not stand still for long."""
SHARES = 10
"""Weight beside other work on the machine, which should not take from the part: times that of one session."""
V1, V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


class Quota:
    """Gives a process and those it starts a weight and, on demand, a limit while the context is open.

    Args:
        name: of the cgroup.
        process: its id.
    """

    def __init__(self, name: str, process: int) -> None:
        self._process = process
        self._parent = _parent()
        self._group = self._parent / name

    @staticmethod
    def possible() -> bool:
        """Whether cgroups can be made here."""
        parent = _parent()
        if parent == V2 and "cpu" not in _text(V2 / "cgroup.subtree_control").split():
            return False
        trial = parent / f"bench-{os.getpid()}-trial"
        try:
            trial.mkdir()
            trial.rmdir()
        except OSError:
            return False
        return True

    def limit(self, cores: float) -> None:
        """Set the limit: a part of a core, or more than one; 0 for none."""
        if self._parent == V1:
            (self._group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (self._group / "cpu.cfs_quota_us").write_text(str(int(cores * PERIOD) or -1))
        else:
            (self._group / "cpu.max").write_text(f"{int(cores * PERIOD) or 'max'} {PERIOD}")

    def __enter__(self) -> Self:
        self._group.mkdir()
        if self._parent == V1:
            (self._group / "cpu.shares").write_text(str(SHARES * 1024))
        else:
            (self._group / "cpu.weight").write_text(str(SHARES * 100))
        self._move(self._group)
        return self

    def __exit__(self, *_: object) -> None:
        self._move(self._parent)
        self._group.rmdir()

    def _move(self, group: Path) -> None:
        with suppress(ProcessLookupError):
            (group / "cgroup.procs").write_text(str(self._process))


def _parent() -> Path:
    return V1 if V1.is_dir() else V2


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
