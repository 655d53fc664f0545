"""The agreement between processes of one host, kept in SQLite; `shared.SharedStore` says what it promises.

In the directory of a store's PATH, best on a tmpfs, lie, for their owner only:

    PATH                  symbolic link to the database in use: a broken one is replaced in one step
    PATH.vSCHEMA.X.db     the database, with SQLite's -wal and -shm; names are not used twice, as SQLite removes
                          these two by their names
    PATH.vSCHEMA.X.member for each process, see `local_members`
    PATH.lock             locked by who makes a database

Transactions take about 30 µs and are made in the event loop; one that finds the database locked gives way to the
loop before it tries again. Moments are seconds of the monotonic clock, which all processes of a host share, but for
the arrival of requests. Processes with other tables, of another version of this module, can not be counted on: as
long as one of them lives, each keeps to its part of the limits.
"""

import asyncio
import fcntl
import logging
import os
import re
import secrets
import sqlite3
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from glm_pool.limits import WINDOW
from glm_pool.local_members import Members
from glm_pool.shared import Claim, Listener, Refused, StoreAway, part_of

logger = logging.getLogger("glm_pool")

T = TypeVar("T")

BEAT = 1.0
"""Seconds between two looks at who lives, and between two tries to reach a database that is away."""
FRESH = 2.0
"""Seconds for which it counts that a process said that it waits: more than a beat, as it says so with each."""
LOOK, LOOK_IDLE = 0.02, 0.5
"""Seconds between two looks at what others did, while a request waits here beside others and otherwise."""
TURN_PAUSE = 0.05
"""Seconds in which the process whose turn it is has seen that a slot is free."""
AT_ONCE_TRIES, AT_ONCE_PAUSE = 4, 0.00005
"""Tries to get at a locked database before the event loop goes on, and seconds between them."""
BUSY_PAUSE, BUSY_PATIENCE = 0.001, 1.0
"""Seconds between two tries after that, and after which a database that stays locked is away."""
SETTLE = 0.2
"""Seconds for which what a dead process sent still counts: the upstream needs a moment to notice."""
OTHERS_PATIENCE = 3.0
"""Seconds in which living processes have to tell a new database what they hold."""
RETURN_GRACE = 3.0
"""See `shared.SharedStore`; nothing at the first start, as what others hold stands in the database."""

SCHEMA = 1
"""Version of the tables, to be raised with any change to them or to what they mean."""
TABLES = """
CREATE TABLE members (process TEXT PRIMARY KEY, died REAL) WITHOUT ROWID;
CREATE TABLE leases (process TEXT, lease TEXT, meter TEXT, probe TEXT, PRIMARY KEY (process, lease)) WITHOUT ROWID;
CREATE INDEX leases_meter ON leases (meter, process);
CREATE INDEX leases_probe ON leases (probe) WHERE probe <> '';
CREATE TABLE starts (rate TEXT, began REAL, process TEXT, lease TEXT, PRIMARY KEY (rate, began, process, lease))
  WITHOUT ROWID;
CREATE TABLE waiting (meter TEXT, process TEXT, arrived REAL, said REAL, slots INTEGER, PRIMARY KEY (meter, process))
  WITHOUT ROWID;
"""
# the process whose request has waited longest, of those that could use a slot now: its limit may be another
FIRST_BEFORE = """
SELECT process FROM waiting WHERE meter = :meter AND process <> :me AND arrived < :arrived AND said > :fresh
  AND (slots IS NULL OR slots > (SELECT count(*) FROM leases WHERE meter = :meter)) ORDER BY arrived LIMIT 1
"""
WAIT = "INSERT OR REPLACE INTO waiting (meter, process, arrived, said, slots) VALUES (?, ?, ?, ?, ?)"
STOP_WAITING = "DELETE FROM waiting WHERE meter = ? AND process = ?"


class _Busy(Exception):
    """Another process is at work in the database."""


class LocalStore:
    """Implements `shared.SharedStore` for processes of one user on one host; usable within one event loop.

    Health records are not shared here: all these processes have one state file.

    Args:
        path: of the database; its directory is made when missing, for the owner only.
    """

    kind = "local"

    def __init__(self, path: Path) -> None:
        self.connected = False
        self.members = 1
        self.rank = 0
        self.return_grace = 0.0
        self.quiet_until = 0.0
        self._path = path
        self._process = secrets.token_hex(6)
        self._schema = SCHEMA
        self._alive = Members(path, SCHEMA, self._process)
        self._db: sqlite3.Connection | None = None
        self._name = ""  # of the database that is open
        self._broken = ""  # of one that is to be replaced
        self._listener: Listener | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when it rings; uvloop's own does not always say

        self._trouble: str | None = None  # why the store is away, once that was said
        self._next_beat = 0.0
        self._busy_until = 0.0
        self._await_until = 0.0
        self._awaiting = False
        self._version: int | None = None  # of the data that was read last
        self._counts: dict[str, int] = {}  # slots that others hold, by meter

        self._held: dict[str, tuple[str, str]] = {}  # meter and probe by lease
        self._starts: deque[tuple[float, str, str]] = deque()  # moment, rate and lease
        self._unwritten = False  # the database may know other leases of this process than these
        self._limits: dict[str, int | None] = {}  # as this process's last claim brought it
        self._queued: dict[str, float] = {}
        self._unsaid: set[str] = set()  # meters for which the database has another word of that
        self._asked_until = 0.0
        self._behind: dict[str, float] = {}  # arrival of the request that has to let another process go first

    # The protocol ------------------------------------------------------------------------------------------------

    async def start(self, listener: Listener) -> None:
        """Connect, announce this process, begin to hear; does not raise when the store is away."""
        self._listener = listener
        end = time.monotonic() + BUSY_PATIENCE
        self._tick()
        while not self.connected and self._trouble is None and time.monotonic() < end:
            await asyncio.sleep(BUSY_PAUSE)  # until processes that start at the same time have told what they hold

    async def stop(self) -> None:
        """Give back every lease and leave."""
        self._listener = None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._held.clear()
        if self.connected:
            with suppress(StoreAway):
                await self._patiently(self._leave)
        self.connected = False
        self._alive.leave()
        self._close()

    async def take(self, claim: Claim) -> Refused | None:
        """Take a slot, a place in the minute and the probe, all or none; None when granted. Raises StoreAway."""
        self._limits[claim.meter] = claim.slots
        refused, elsewhere = await self._patiently(lambda db, now: self._claim(db, now, claim))
        self._behind.pop(claim.meter, None)
        if refused is None:
            self._remember(claim)
        else:
            self._asked_until = time.monotonic() + FRESH
            if refused.reason == "turn":
                self._behind[claim.meter] = claim.arrived
        if elsewhere and self.members == 1:
            self._next_beat = 0.0  # somebody came
        if refused:  # asking once more would be in vain
            self._counts[claim.meter] = elsewhere
        else:
            self._learn(claim.meter, elsewhere)
        self._hurry()
        return refused

    def adopt(self, claim: Claim) -> None:
        """Count what was sent while the store was away; ends with `give` as well."""
        self._remember(claim)
        self._unwritten = True
        self._next_beat = 0.0
        self._hurry()

    def queued(self, meter: str, arrived: float | None) -> None:
        """Say since when a request of this process waits for the meter; None when none does."""
        if arrived == self._queued.get(meter):
            return
        if arrived is None:
            del self._queued[meter]
        else:
            self._queued[meter] = arrived
        self._unsaid.add(meter)
        self._hurry()

    async def give(self, lease: str) -> None:
        """Give back what the lease holds; never raises."""
        if self._held.pop(lease, None) is None:
            return
        try:
            await self._patiently(lambda db, now: self._free(db, lease))
        except StoreAway:
            self._unwritten = True
        except BaseException:
            self._unwritten = True
            raise

    def elsewhere(self, meter: str) -> int:
        """Slots of the meter that other processes hold, as last heard."""
        return self._counts.get(meter, 0)

    def surplus(self, meter: str, limit: int) -> int:
        """See `shared.SharedStore`; exact for two processes, as there are in a handover."""
        part = part_of(limit, self.members, self.rank, zlib.crc32(meter.encode()))
        return max(0, self.elsewhere(meter) - (limit - part))

    def rate_surplus(self, rate: str, limit: int) -> int:
        """See `shared.SharedStore`; not known here, where a database that is away is soon replaced."""
        return 0

    def rate_kept(self, rate: str) -> int:
        """See `shared.SharedStore`; nothing is to be had beyond this process's part."""
        return 0

    def aside(self, name: str, limit: int) -> int:
        """See `shared.SharedStore`; of one host every process is known to live or not."""
        return 0

    async def write_health(self, name: str, record: dict[str, Any] | None) -> None:
        """Nothing: the state file tells the others."""

    async def read_health(self) -> dict[str, dict[str, Any]]:
        """Nothing: the state file has them."""
        return {}

    # Leases ------------------------------------------------------------------------------------------------------

    def _claim(self, db: sqlite3.Connection, now: float, claim: Claim) -> tuple[Refused | None, int]:
        """What comes of the claim, and the slots that other processes hold."""
        count = "SELECT count(*), ifnull(sum(process <> ?), 0) FROM leases WHERE meter = ?"
        used, elsewhere = db.execute(count, (self._process, claim.meter)).fetchone()
        refused = self._obstacle(db, now, claim, used)
        # what stands in the way may belong to the dead
        by_others = refused and refused.reason != "rate" and (elsewhere or refused.reason != "slots")
        if by_others and self._bury(db, now):
            used, elsewhere = db.execute(count, (self._process, claim.meter)).fetchone()
            refused = self._obstacle(db, now, claim, used)
        if refused:
            db.execute(WAIT, (claim.meter, self._process, claim.arrived, now, claim.slots))
            return refused, elsewhere
        db.execute("DELETE FROM starts WHERE rate = ? AND began <= ?", (claim.rate, now - WINDOW))
        self._write_lease(db, claim.lease, claim.meter, claim.probe or "")
        db.execute("INSERT OR REPLACE INTO starts VALUES (?, ?, ?, ?)", (claim.rate, now, self._process, claim.lease))
        if claim.next_arrived is None:
            db.execute(STOP_WAITING, (claim.meter, self._process))
        else:
            db.execute(WAIT, (claim.meter, self._process, claim.next_arrived, now, claim.slots))
        # the request waits for no other meter any more
        db.execute(
            "DELETE FROM waiting WHERE process = ? AND arrived = ? AND meter <> ?",
            (self._process, claim.arrived, claim.meter),
        )
        return None, elsewhere

    def _obstacle(self, db: sqlite3.Connection, now: float, claim: Claim, used: int) -> Refused | None:
        if claim.slots is not None and used >= claim.slots:
            return Refused("slots")
        if claim.rpm is not None:
            # the oldest of those that fill the minute
            row = db.execute(
                "SELECT began FROM starts WHERE rate = ? AND began > ? ORDER BY began DESC LIMIT 1 OFFSET ?",
                (claim.rate, now - WINDOW, claim.rpm - 1),
            ).fetchone()
            if row:
                return Refused("rate", row[0] + WINDOW - now)
        if claim.probe and db.execute("SELECT 1 FROM leases WHERE probe = ? LIMIT 1", (claim.probe,)).fetchone():
            return Refused("probe")
        if not claim.insist and self._first_before(db, now, claim.meter, claim.arrived):
            return Refused("turn", TURN_PAUSE)
        return None

    def _first_before(self, db: sqlite3.Connection, now: float, meter: str, arrived: float) -> bool:
        values = {"meter": meter, "me": self._process, "arrived": arrived, "fresh": now - FRESH}
        return db.execute(FIRST_BEFORE, values).fetchone() is not None

    def _write_lease(self, db: sqlite3.Connection, lease: str, meter: str, probe: str) -> None:
        db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", (self._process, lease, meter, probe))

    def _free(self, db: sqlite3.Connection, lease: str) -> None:
        db.execute("DELETE FROM leases WHERE process = ? AND lease = ?", (self._process, lease))

    def _remember(self, claim: Claim) -> None:
        now = time.monotonic()
        self._held[claim.lease] = (claim.meter, claim.probe or "")
        self._starts.append((now, claim.rate, claim.lease))
        while self._starts[0][0] <= now - WINDOW:
            self._starts.popleft()

    def _bury(self, db: sqlite3.Connection, now: float) -> bool:
        """Take from the dead what they wait for, and a moment later what they hold; returns whether that was any."""
        alive = {*self._count_members(), self._process}
        members = db.execute("SELECT process, died FROM members").fetchall()
        dead = [(process, died) for process, died in members if process not in alive]
        fresh = [(process,) for process, died in dead if died is None]
        over = [(process,) for process, died in dead if died is not None and died <= now - SETTLE]
        db.executemany("UPDATE members SET died = ? WHERE process = ?", [(now, process) for (process,) in fresh])
        db.executemany("DELETE FROM waiting WHERE process = ?", fresh)
        self._remove(db, over)
        if len(dead) > len(over):
            self._next_beat = min(self._next_beat, now + SETTLE)
        return bool(fresh or over)

    def _leave(self, db: sqlite3.Connection, now: float) -> None:
        self._remove(db, [(self._process,)])

    def _remove(self, db: sqlite3.Connection, processes: list[tuple[str]]) -> None:
        for table in ("leases", "waiting", "members"):
            db.executemany(f"DELETE FROM {table} WHERE process = ?", processes)  # noqa: S608 - the names are above

    # What is due -------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Do what is due, and set the timer to the next look."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        pause, connected = None, self.connected
        try:
            if not connected:
                self._connect()
            elif self._alive.somebody_died() or time.monotonic() >= self._next_beat:
                self._beat()
            else:
                self._look()
            self._busy_until = 0.0
        except _Busy:
            pause = BUSY_PAUSE
            self._next_beat = 0.0  # it may have been the beat
            self._busy_until = self._busy_until or time.monotonic() + BUSY_PATIENCE
            if time.monotonic() > self._busy_until:
                self._went_away("database is locked")
                pause = BEAT
        except StoreAway:  # said where it was noticed
            pause = 0.0 if connected and self._broken else None
        except Exception:  # whatever it is must not end the looks
            logger.exception("shared store: an unexpected error; going on")
            pause = BEAT
        if self._listener:
            self._set_timer(self._pause() if pause is None else pause)

    def _set_timer(self, pause: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(pause, self._tick)
        self._due = time.monotonic() + pause

    def _pause(self) -> float:
        """Seconds until the next look."""
        if not self.connected:
            return LOOK if self._awaiting else BEAT
        now = time.monotonic()
        waiting = self.members > 1 and (self._queued or now < self._asked_until)
        return min(LOOK if waiting else LOOK_IDLE, max(0.0, self._next_beat - now))

    def _hurry(self) -> None:
        """Look sooner where there is more reason to now."""
        if self._timer is None or not self.connected:
            return
        if self._due > time.monotonic() + 1.5 * LOOK and self._pause() <= LOOK:
            self._set_timer(0.0)  # what is known of the others may be old

    def _look(self) -> None:
        """Learn what others did, and tell them since when requests wait here."""
        version = self._read_version()
        if self.members > 1 and self._unsaid:
            counts, room = self._transact(self._say)
        elif version != self._version:
            counts, room = self._read(lambda db: self._overview(db, time.monotonic()))
        else:
            return
        self._version = version
        self._take_in(counts, room)

    def _beat(self) -> None:
        version = self._read_version()
        with self._noticing():
            self._alive.join()
            self._require_same_tables()
        self._next_beat = time.monotonic() + BEAT
        counts, room = self._transact(self._renew)
        self._version = version
        self._take_in(counts, room)

    def _renew(self, db: sqlite3.Connection, now: float) -> tuple[dict[str, int], list[str]]:
        """Bring everything of this process up to date, and drop what is over."""
        self._bury(db, now)
        db.execute("UPDATE members SET died = NULL WHERE process = ?", (self._process,))
        added = db.execute("INSERT OR IGNORE INTO members VALUES (?, NULL)", (self._process,)).rowcount
        if added or self._unwritten:
            self._restore(db)
            self._unwritten = False
            # moments to come are of another boot of the host
            db.execute("DELETE FROM starts WHERE began <= ? OR began > ?", (now - WINDOW, now))
        self._unsaid.update(self._queued)
        return self._say(db, now)

    def _restore(self, db: sqlite3.Connection) -> None:
        """Write what this process holds and sent, whatever the database knows of it."""
        db.execute("DELETE FROM leases WHERE process = ?", (self._process,))
        for lease, (meter, probe) in self._held.items():
            self._write_lease(db, lease, meter, probe)
        db.execute("DELETE FROM starts WHERE process = ?", (self._process,))
        starts = [(rate, began, self._process, lease) for began, rate, lease in self._starts]
        db.executemany("INSERT OR IGNORE INTO starts VALUES (?, ?, ?, ?)", starts)

    def _say(self, db: sqlite3.Connection, now: float) -> tuple[dict[str, int], list[str]]:
        for meter in self._unsaid:
            arrived = self._queued.get(meter)
            if arrived is None:
                db.execute(STOP_WAITING, (meter, self._process))
            else:
                db.execute(WAIT, (meter, self._process, arrived, now, self._limits.get(meter)))
        self._unsaid.clear()
        return self._overview(db, now)

    def _overview(self, db: sqlite3.Connection, now: float) -> tuple[dict[str, int], list[str]]:
        """The slots that others hold by meter, and the meters where no other request is first any more."""
        held = "SELECT meter, count(*) FROM leases WHERE process <> ? GROUP BY meter"
        counts = dict(db.execute(held, (self._process,)).fetchall())
        return counts, [m for m, arrived in self._behind.items() if not self._first_before(db, now, m, arrived)]

    def _take_in(self, counts: dict[str, int], room: list[str]) -> None:
        for meter in {*self._counts, *counts, *room}:
            called = self._behind.pop(meter, None) is not None if meter in room else False
            self._learn(meter, counts.get(meter, 0), room=called)

    def _learn(self, meter: str, elsewhere: int, *, room: bool = False) -> None:
        before = self._counts.pop(meter, 0)
        if elsewhere:
            self._counts[meter] = elsewhere
        if room or elsewhere < before:
            asyncio.get_running_loop().call_soon(self._tell, lambda listener: listener.on_room(meter))

    def _count_members(self) -> dict[str, int]:
        """The other living processes, with the version of each."""
        others = self._alive.others()
        before = self.members
        self.members, self.rank = 1 + len(others), sum(name < self._process for name in others)
        if not self.connected and self._trouble is not None and self.members != before:
            if not others:
                self._counts.clear()
            self._tell(lambda listener: listener.on_connection(False))  # this process's part is another
        return others

    def _require_same_tables(self) -> None:
        if any(version != self._schema for version in self._count_members().values()):
            raise self._went_away("a process of another version, which counts otherwise, is running")

    # The database ------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Come, or come back, where nothing speaks against it."""
        self._count_members()
        with self._noticing():
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._alive.join()
            self._require_same_tables()
            self._open()
        version = self._read_version()
        self._next_beat = time.monotonic() + BEAT
        counts, room = self._transact(self._renew)
        known = self._read(lambda db: {row[0] for row in db.execute("SELECT process FROM members")})
        # slots seem free until all have told a new database what they hold
        self._awaiting = bool(self._alive.others().keys() - known) and time.monotonic() < self._await_until
        if not self._awaiting:
            self._version = version
            self._came_back()
            self._take_in(counts, room)

    def _open(self) -> None:
        if self._db is not None and self._is_current():
            return
        self._close()
        with self._alone():
            name = self._linked()
            if name != self._broken and name.startswith(f"{self._path.name}.v{self._schema}."):
                try:
                    self._db = _open_database(self._path.with_name(name))
                except sqlite3.Error as error:
                    if _is_busy(error):
                        raise
            if self._db is None:
                name = self._make(name)
            self._name, self._broken = name, ""
        self._await_until = time.monotonic() + OTHERS_PATIENCE

    def _make(self, old: str) -> str:
        """Replace the database by a new one; returns its name."""
        if old:
            logger.warning("shared store %s can not be used and begins anew", self._path)
        path = self._path.with_name(f"{self._path.name}.v{self._schema}.{secrets.token_hex(6)}.db")
        self._db = _make_database(path)
        link = self._path.with_name(f"{self._path.name}.new")
        link.unlink(missing_ok=True)
        link.symlink_to(path.name)
        link.replace(self._path)
        pattern = re.compile(re.escape(self._path.name) + r"\.v\d+\.[0-9a-f]+\.db(-wal|-shm)?")
        for entry in self._path.parent.iterdir():  # who has one of them open keeps it until it sees the link
            if pattern.fullmatch(entry.name) and not entry.name.startswith(path.name):
                entry.unlink(missing_ok=True)
        return path.name

    def _linked(self) -> str:
        """Name of the database that the link names; anything else that is there counts as one that is broken."""
        try:
            return str(self._path.readlink())
        except FileNotFoundError:
            return ""
        except OSError:
            return self._path.name

    def _is_current(self) -> bool:
        try:
            return str(self._path.readlink()) == self._name
        except OSError:
            return False

    def _close(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise _Busy from None
        finally:
            os.close(lock)

    async def _patiently(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        """Make a transaction, when another process is done with its own."""
        end = 0.0
        while True:
            if not self.connected:
                raise StoreAway(self._trouble)
            for _ in range(AT_ONCE_TRIES):
                with suppress(_Busy):
                    return self._transact(work)
                time.sleep(AT_ONCE_PAUSE)  # shorter than a turn of the loop
            end = end or time.monotonic() + BUSY_PATIENCE
            if time.monotonic() > end:
                raise self._went_away("database is locked")
            await asyncio.sleep(BUSY_PAUSE)

    def _transact(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        """Do the work as one. Raises _Busy where it is not this process's turn, and StoreAway."""

        def transaction(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db, time.monotonic())
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            return result

        return self._read(transaction)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._db is None or not self._is_current():
            self._broken = self._broken or "?"  # there may be another by now
            raise self._went_away("its database is gone")
        with self._noticing():
            return work(self._db)

    def _read_version(self) -> int:
        """A number that changes with every change by another process."""
        return self._read(lambda db: int(db.execute("PRAGMA data_version").fetchone()[0]))

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Turn what the system and SQLite raise into _Busy and StoreAway."""
        try:
            yield
        except OSError as error:
            raise self._went_away(error.strerror or type(error).__name__) from None
        except sqlite3.Error as error:
            if _is_busy(error):
                raise _Busy from None
            # what has another content than it should is no OperationalError, but for a table that is not there
            if not isinstance(error, sqlite3.OperationalError) or "no such" in str(error):
                self._broken = self._name
            self._close()
            raise self._went_away(str(error)) from None

    def _went_away(self, trouble: str) -> StoreAway:
        """Take note that the store can not be used; the exception is the caller's to raise."""
        self._awaiting, self._unwritten = False, True
        if self.connected and self._broken and self._timer:
            self._set_timer(0.0)  # it can be replaced
        if self.connected or self._trouble is None:
            self.connected = False
            self._trouble = trouble
            self.return_grace = RETURN_GRACE
            logger.warning("shared store %s is away, each process keeps to its share: %s", self._path, trouble)
            self._tell(lambda listener: listener.on_connection(False))
        return StoreAway(trouble)

    def _came_back(self) -> None:
        if self._trouble is not None:
            self._trouble, self._broken = None, ""
            logger.warning("shared store %s is back", self._path)
        self.connected = True
        self._tell(lambda listener: listener.on_connection(True))

    def _tell(self, event: Callable[[Listener], None]) -> None:
        if self._listener is None:
            return
        try:
            event(self._listener)
        except Exception:  # a listener's fault must not end the looks
            logger.exception("shared store: an event was not taken in")


def _is_busy(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "lock" in str(error)


def _open_database(path: Path) -> sqlite3.Connection:
    """Open a database that is there and whole. Raises sqlite3.Error."""
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0)
    try:
        _set_up(db)
        found = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"members", "leases", "starts", "waiting"} <= found:
            raise sqlite3.DatabaseError("it has other tables")
        if db.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("it is malformed")
    except BaseException:
        db.close()
        raise
    return db


def _make_database(path: Path) -> sqlite3.Connection:
    """Make a database that outlives its processes, not the host. Raises OSError, sqlite3.Error."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        _set_up(db)
        db.executescript(TABLES)
    except BaseException:
        db.close()
        with suppress(OSError):
            path.unlink()
        raise
    return db


def _set_up(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA wal_autocheckpoint = 200")  # often, so that each one is short
