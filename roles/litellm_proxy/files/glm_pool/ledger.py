"""What was used, by hour, client, key, pool and model: a database of this host, for budgets and reports."""

import calendar
import logging
import secrets
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path

from glm_pool.clock import Clock
from glm_pool.tokens import Tokens

SCHEMA = 1
TABLES = """
CREATE TABLE IF NOT EXISTS usage (
  hour INTEGER NOT NULL, client TEXT NOT NULL, key TEXT NOT NULL, pool TEXT NOT NULL, model TEXT NOT NULL,
  requests INTEGER NOT NULL, failed INTEGER NOT NULL,
  input INTEGER NOT NULL, cached INTEGER NOT NULL, output INTEGER NOT NULL, cost REAL NOT NULL,
  PRIMARY KEY (hour, client, key, pool, model)
);
CREATE TABLE IF NOT EXISTS months (
  month TEXT NOT NULL, client TEXT NOT NULL, tokens INTEGER NOT NULL, cost REAL NOT NULL, PRIMARY KEY (month, client)
);
CREATE TABLE IF NOT EXISTS host (id TEXT NOT NULL);
"""
ADD_USE = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  requests = requests + 1, failed = failed + excluded.failed, input = input + excluded.input,
  cached = cached + excluded.cached, output = output + excluded.output, cost = cost + excluded.cost
"""
ADD_MONTH = """
INSERT INTO months VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  tokens = tokens + excluded.tokens, cost = cost + excluded.cost
"""
BUSY_SECONDS = 0.05
"""How long to wait for another process that writes; what could not be written waits for the next use."""
CLOSING_TRIES = 10
WAITING_USES = 10_000
"""Uses that are kept in memory while the disk takes none."""
PRUNE_SECONDS = 3600.0
UNWRITABLE = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, OverflowError, ValueError)
"""Errors that are the use's own: it can never be written."""

logger = logging.getLogger("glm_pool")


@dataclass(frozen=True)
class Use:
    """One request.

    Attributes:
        at: seconds since the epoch when its answer ended.
        client: name of the client.
        key: name of the pool's key; empty where none answered.
        pool: name of the pool; empty where it is not known.
        model: of the upstream.
        failed: the client got an error, or an answer that broke off.
        tokens: what it used.
        cost: USD.
    """

    at: float
    client: str
    key: str = ""
    pool: str = ""
    model: str = ""
    failed: bool = False
    tokens: Tokens = field(default_factory=Tokens)
    cost: float = 0.0


@dataclass(frozen=True)
class Spent:
    """What a client used in a month.

    Attributes:
        tokens: of all kinds.
        cost: USD.
    """

    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        """Both together."""
        return Spent(self.tokens + other.tokens, self.cost + other.cost)


def month_of(moment: float) -> str:
    """The calendar month, UTC, as 2026-11."""
    return time.strftime("%Y-%m", time.gmtime(moment))


def next_month(moment: float) -> float:
    """Seconds since the epoch when the next calendar month begins, UTC."""
    now = time.gmtime(moment)
    year, month = (now.tm_year + 1, 1) if now.tm_mon == 12 else (now.tm_year, now.tm_mon + 1)
    return float(calendar.timegm((year, month, 1, 0, 0, 0)))


class Ledger:
    """Counts uses; several processes of one host may have one file.

    Without a file, or while the disk takes nothing, it counts in memory.

    Args:
        path: of the database; None for none.
        clock: the time.
    """

    def __init__(self, path: Path | None, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or Clock()
        self._db: sqlite3.Connection | None = None
        self._unwritten: list[Use] = []
        self._memory: dict[tuple[str, str], Spent] = {}  # by month and client, where there is no file
        self._host = secrets.token_hex(6)
        self._complained = False
        self._prune_at = 0.0

    @property
    def host(self) -> str:
        """Name of this ledger among those of other hosts."""
        self._connection()
        return self._host

    def add(self, use: Use) -> None:
        """Count a use; never raises."""
        if self._path is None:
            place = (month_of(use.at), use.client)
            self._memory[place] = self._memory.get(place, Spent()) + Spent(use.tokens.total, use.cost)
            return
        self._unwritten.append(use)
        del self._unwritten[:-WAITING_USES]
        self.write()

    def write(self) -> None:
        """Try to write what is not yet in the file."""
        if not self._unwritten or (db := self._connection()) is None:
            return
        try:
            with db:
                db.execute("BEGIN IMMEDIATE")
                for use in self._unwritten:
                    try:
                        _write(db, use)
                    except UNWRITABLE as error:  # others must not wait for it for ever
                        logger.error("event=usage_lost client=%s error=%s", use.client, type(error).__name__)
        except sqlite3.Error as error:
            self._complain(error)
        else:
            self._unwritten.clear()
            self._complained = False

    def spent(self, client: str) -> Spent:
        """What the client has used on this host in the present month."""
        month = month_of(self._clock.wall())
        found = self._memory.get((month, client), Spent())
        for use in self._unwritten:
            if use.client == client and month_of(use.at) == month:
                found += Spent(use.tokens.total, use.cost)
        if (db := self._connection()) is None:
            return found
        try:
            row = db.execute(
                "SELECT tokens, cost FROM months WHERE month = ? AND client = ?", (month, client)
            ).fetchone()
        except sqlite3.Error as error:
            self._complain(error)
            return found
        return found + Spent(*row) if row else found

    def prune(self, days: int) -> None:
        """Forget what is older; does so once an hour at most."""
        now = self._clock.wall()
        if now < self._prune_at or (db := self._connection()) is None:
            return
        self._prune_at = now + PRUNE_SECONDS
        try:
            with db:
                db.execute("DELETE FROM usage WHERE hour < ?", (now - days * 86400,))
                db.execute("DELETE FROM months WHERE month < ?", (month_of(now - max(days, 62) * 86400),))
        except sqlite3.Error as error:
            self._complain(error)

    def close(self) -> None:
        """Write what is left; waits a second for it at most, as other processes may end at the same time."""
        for _ in range(CLOSING_TRIES):
            self.write()
            if not self._unwritten:
                break
            time.sleep(BUSY_SECONDS)
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connection(self) -> sqlite3.Connection | None:
        if self._path is None or self._db is not None:
            return self._db
        db: sqlite3.Connection | None = None
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
            if (found := db.execute("PRAGMA user_version").fetchone()[0]) > SCHEMA:
                raise sqlite3.NotSupportedError(f"a newer version of this service made it ({found} > {SCHEMA})")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")  # the last uses before a power loss may be missing
            db.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
            db.execute("INSERT INTO host SELECT ? WHERE NOT EXISTS (SELECT 1 FROM host)", (self._host,))
            self._host = str(db.execute("SELECT id FROM host").fetchone()[0])
        except (OSError, sqlite3.Error) as error:
            self._complain(error)
            if db is not None:
                db.close()
            return None
        self._db = db
        return db

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            logger.warning("event=usage_not_saved file=%s error=%s", self._path, error)
        self._complained = True


def _write(db: sqlite3.Connection, use: Use) -> None:
    tokens = use.tokens
    numbers = (int(use.failed), tokens.input, tokens.cached, tokens.output, use.cost)
    hour = int(use.at // 3600 * 3600)
    db.execute(ADD_USE, (hour, use.client, use.key, use.pool, use.model, *numbers))
    db.execute(ADD_MONTH, (month_of(use.at), use.client, tokens.total, use.cost))
