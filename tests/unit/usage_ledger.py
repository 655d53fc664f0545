"""Ledgers of the usage, as the plug-in writes them."""

import sqlite3
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA user_version = 1;
CREATE TABLE usage (
  hour INTEGER NOT NULL,
  client TEXT NOT NULL,
  key TEXT NOT NULL,
  pool TEXT NOT NULL,
  model TEXT NOT NULL,
  requests INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  input INTEGER NOT NULL,
  cached INTEGER NOT NULL,
  output INTEGER NOT NULL,
  cost REAL NOT NULL,
  PRIMARY KEY (hour, client, key, pool, model)
);
"""


class Used(NamedTuple):
    """One row of the ledger; `at` is an hour in UTC."""

    at: str
    client: str = "alice"
    key: str = "team-a"
    pool: str = "glm-pool"
    model: str = "glm-5.3"
    requests: int = 1
    failed: int = 0
    input: int = 100
    cached: int = 20
    output: int = 30
    cost: float = 0.5

    def row(self) -> dict[str, Any]:
        """As the command gives it, by the day."""
        values = self._asdict()
        return {"day": values.pop("at")[:10], **values}


def connect(path: Path, rows: Iterable[Used] = ()) -> sqlite3.Connection:
    """A ledger with these rows, open as its writer has it: what it wrote is in the log beside the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(SCHEMA)
    add(database, rows)
    return database


def add(database: sqlite3.Connection, rows: Iterable[Used]) -> None:
    """More of them."""
    hours = [(int(datetime.fromisoformat(f"{row.at}+00:00").timestamp()), *row[1:]) for row in rows]
    database.executemany("INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", hours)


def write(path: Path, rows: Iterable[Used] = ()) -> Path:
    """A ledger whose writer has gone."""
    connect(path, rows).close()
    return path
