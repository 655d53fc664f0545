"""How many processes share the keys and which of them those of this host are, for a start while the store is away."""

import fcntl
import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger("glm_pool")

MOST = 64
"""Processes of a host that can be told from each other."""


class PlaceFile:
    """Numbers in JSON; locks beside it tell the processes of the host from each other.

    Args:
        path: its directory is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: tuple[int, tuple[int, ...]] | None = None
        self._lock = -1
        self._index = self._claim()

    def load(self) -> tuple[int, int]:
        """Processes, and the place of this one from 0; (1, 0) where nothing is known."""
        with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
            told = json.loads(self._path.read_text())
            members, ranks = int(told["members"]), [int(rank) for rank in told["ranks"]]
            # more than there were, as in a handover: nothing better is known
            rank = ranks[self._index % len(ranks)] if ranks else members
            if 0 <= rank < members:
                return members, rank
        return 1, 0

    def save(self, members: int, ranks: Sequence[int]) -> None:
        """Keep the number of all and the places of this host's, if they are others than before; never raises."""
        if self._kept == (members, tuple(ranks)):
            return
        self._kept = members, tuple(ranks)
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            new.write_text(json.dumps({"members": members, "ranks": list(ranks)}))
            new.replace(self._path)
        except OSError as error:
            logger.warning("event=place_not_saved file=%s error=%s", self._path, error.strerror)

    def release(self) -> None:
        """Let another process have the place of this one; it ends with this one otherwise."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _claim(self) -> int:
        """A number that no other living process of this host has, from 0."""
        for index in range(MOST):
            try:
                lock = os.open(self._path.with_name(f"{self._path.name}.lock-{index}"), os.O_RDWR | os.O_CREAT, 0o600)
            except OSError:
                break
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            self._lock = lock
            return index
        return 0
