"""The ledger of the usage, which the plug-in writes; it is only read here."""

import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from litellm_proxy_usage import COUNTS

from proxyctl.exits import Exit, Failure

FORMAT = 1
"""`PRAGMA user_version` of what this module reads."""
KEPT = ("day", "client", "key", "pool", "model")
BUSY_SECONDS = 10.0
ATTEMPTS = 3
SUMS = f"""
SELECT date(hour, 'unixepoch') AS day, client, "key", pool, model,
  {", ".join(f"sum({name})" for name in COUNTS)}, sum(cost)
FROM usage WHERE hour >= ? AND hour < ? GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608 the names are constants


class Ledger:
    """See above.

    Args:
        path: of the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self, begin: str, end: str) -> list[dict[str, Any]] | None:
        """Sums of each day, client, key, pool and model from one day to another, both included; None without a ledger.

        Failure where it may not be read, is damaged, or of another format.
        """
        try:
            for _ in range(ATTEMPTS):
                before = self._stamp()
                if before is None:
                    return None
                rows = self._read(_seconds(begin), _seconds(end, 1), alone=before[1] is None)
                # a writer that came meanwhile is not seen without its log
                if before[1] is not None or before == self._stamp():
                    return rows
        except PermissionError as error:
            raise self._forbidden() from error
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        raise Failure(Exit.FAILED, f"{self._path} changes all the time: try again.")

    def _stamp(self) -> tuple[tuple[int, int], int | None] | None:
        """When the file was changed and its size, and the size of the log beside it where there is one."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        with self._path.open("rb"):
            pass  # SQLite does not say that permission is what is missing
        try:
            log = self._path.with_name(f"{self._path.name}-wal").stat().st_size
        except FileNotFoundError:
            log = None
        return (found.st_mtime_ns, found.st_size), log

    def _read(self, begin: int, end: int, *, alone: bool) -> list[dict[str, Any]] | None:
        # nobody has it open without a log beside it; to read it then needs no new file beside it either
        options = "mode=ro&immutable=1" if alone else "mode=ro"
        address = f"file:{quote(str(self._path))}?{options}"
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as database:
            (found,) = database.execute("PRAGMA user_version").fetchone()
            if found > FORMAT:
                raise Failure(
                    Exit.FAILED,
                    f"{self._path} was made by a newer version of the proxy (format {found}, this command reads up to "
                    f"{FORMAT}): run site.yml from the newer checkout.",
                )
            if found < FORMAT:
                return None  # it is being made
            names = (*KEPT, *COUNTS, "cost")
            return [dict(zip(names, row, strict=True)) for row in database.execute(SUMS, (begin, end))]

    def _forbidden(self) -> Failure:
        try:
            # the directory is the owner's alone
            owner = self._path.parent.owner()
        except (OSError, KeyError):
            owner = "root"
        who = " and ".join(dict.fromkeys(("root", owner)))
        return Failure(
            Exit.NO_PERMISSION, f"{self._path} cannot be read by this user, only by {who}: run it with sudo."
        )

    def _failure(self, error: sqlite3.DatabaseError) -> Failure:
        if "locked" in str(error):
            return Failure(Exit.FAILED, f"{self._path} is busy for {BUSY_SECONDS:g} s already: try again.")
        return Failure(
            Exit.FAILED,
            f"{self._path} is damaged, or no usage ledger ({error}): restore it from a backup, or move it away while "
            "the proxy is stopped.",
        )


def _seconds(day: str, later: int = 0) -> int:
    """Begin of a day in UTC, in seconds since the epoch."""
    begin = date.fromisoformat(day) + timedelta(days=later)
    return int(datetime(begin.year, begin.month, begin.day, tzinfo=timezone.utc).timestamp())
