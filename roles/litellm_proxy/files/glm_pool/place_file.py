"""How many processes share the keys and which of them this one is, kept for a start while the shared store is away."""

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger("glm_pool")


class PlaceFile:
    """Two numbers in JSON.

    Args:
        path: its directory is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: tuple[int, int] | None = None

    def load(self) -> tuple[int, int]:
        """Processes, and the place of this one from 0; (1, 0) where nothing is known."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(self._path.read_text())
            members, rank = int(told["members"]), int(told["rank"])
            if 0 <= rank < members:
                return members, rank
        return 1, 0

    def save(self, members: int, rank: int) -> None:
        """Keep them, if they are others than before; never raises."""
        if self._kept == (members, rank):
            return
        self._kept = members, rank
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            new.write_text(json.dumps({"members": members, "rank": rank}))
            new.replace(self._path)
        except OSError as error:
            logger.warning("event=place_not_saved file=%s error=%s", self._path, error.strerror)
