"""The file that keeps the health of keys over restarts."""

import contextlib
import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glm_pool.health import Record

KEPT_SECONDS = 40 * 24 * 3600.0
"""Records older than the longest quota window say nothing; so old ones of keys that have gone are dropped."""

logger = logging.getLogger("glm_pool")


class StateFile:
    """Health records by name, in JSON; several processes may use one file.

    Args:
        path: its directory is made when missing, for the owner only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = (0, 0)
        self._complained = False

    def load(self) -> dict[str, Record]:
        """Every record; a file that is missing or broken has none."""
        self._seen = self._stamp()
        return self._read()

    def changed(self) -> bool:
        """Another process has written since the last `load`."""
        return self._stamp() != self._seen

    def save(self, records: Mapping[str, Record]) -> None:
        """Write the records that are newer than those in the file, all at once; blocks for the disk."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                others_wrote = self.changed()
                merged = self._read()
                for name, record in records.items():
                    if name not in merged or merged[name].at < record.at:
                        merged[name] = record
                self._write({name: r for name, r in merged.items() if r.at > time.time() - KEPT_SECONDS})
                if not others_wrote:  # otherwise what they wrote is still to be loaded
                    self._seen = self._stamp()
        except OSError as error:
            if not self._complained:
                logger.warning("event=state_not_saved file=%s error=%s", self._path, error.strerror)
            self._complained = True
        else:
            self._complained = False

    def _read(self) -> dict[str, Record]:
        try:
            data: dict[str, Any] = json.loads(self._path.read_text())["keys"]
            return {str(name): Record.from_json(record) for name, record in data.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("event=state_unreadable file=%s error=%s", self._path, type(error).__name__)
            return {}

    def _write(self, records: Mapping[str, Record]) -> None:
        document = {"keys": {name: record.as_json() for name, record in sorted(records.items())}}
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f"{self._path.name}.")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _stamp(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
