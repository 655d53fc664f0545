"""What was used, in a database of the host, and in memory while it takes nothing."""

import calendar
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pool_parts import FakeClock, mode

from glm_pool import ledger as module
from glm_pool.ledger import Ledger, Spent, Use, month_of, next_month
from glm_pool.tokens import Tokens

NOW = float(calendar.timegm((2026, 11, 23, 12, 30, 0)))
HOUR = calendar.timegm((2026, 11, 23, 12, 0, 0))
NOBODY = 65534
COLUMNS = "hour, client, key, pool, model, requests, failed, input, cached, output, cost"
WORKER = """
import sys
from pathlib import Path
from glm_pool.ledger import Ledger, Use
from glm_pool.tokens import Tokens
ledger = Ledger(Path(sys.argv[1]))
number = 0
while number < int(sys.argv[2]):
    ledger.add(Use({now}, "alice", tokens=Tokens(1, 1, 1), cost=0.5))
    number += 1
    if not ledger._unwritten:
        print(number, flush=True)
ledger.close()
""".replace("{now}", str(NOW))


def use(client: str = "alice", tokens: int = 10, cost: float = 0.5, at: float = NOW, **fields: Any) -> Use:
    return Use(at, client, tokens=Tokens(tokens), cost=cost, **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "usage.sqlite3"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def ledger(path: Path, clock: FakeClock) -> Iterator[Ledger]:
    made = Ledger(path, clock)
    yield made
    made.close()


def rows(path: Path, what: str = COLUMNS) -> list[tuple[Any, ...]]:
    """As a report reads them."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(f"SELECT {what} FROM usage ORDER BY hour, client, key, pool, model").fetchall()  # noqa: S608 - the test's own


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes, and takes its time."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "usage_not_saved" in record.getMessage()]


# What is written


def test_uses_of_an_hour_are_one_row(ledger: Ledger, path: Path) -> None:
    places: dict[str, Any] = {"key": "one", "pool": "glm-pool", "model": "glm-5.3"}
    ledger.add(Use(NOW, "alice", **places, tokens=Tokens(1, 2, 3), cost=0.25))
    ledger.add(Use(NOW + 1799, "alice", **places, failed=True, tokens=Tokens(10, 20, 30), cost=0.5))
    ledger.add(Use(NOW + 1800, "alice", **places, tokens=Tokens(5)))
    ledger.add(Use(NOW, "alice", failed=True))
    ledger.add(Use(NOW, "bob", **places))
    assert rows(path) == [
        (HOUR, "alice", "", "", "", 1, 1, 0, 0, 0, 0.0),
        (HOUR, "alice", "one", "glm-pool", "glm-5.3", 2, 1, 11, 22, 33, 0.75),
        (HOUR, "bob", "one", "glm-pool", "glm-5.3", 1, 0, 0, 0, 0, 0.0),
        (HOUR + 3600, "alice", "one", "glm-pool", "glm-5.3", 1, 0, 5, 0, 0, 0.0),
    ]


def test_the_file_is_as_reports_expect_it(ledger: Ledger, path: Path) -> None:
    ledger.add(use())
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert [row[1] for row in db.execute("PRAGMA table_info(usage)")] == COLUMNS.split(", ")
    assert mode(path.parent) == "0700"


def test_spent_is_of_a_client_in_this_month(ledger: Ledger) -> None:
    ledger.add(use(tokens=10, cost=0.5))
    ledger.add(use(tokens=5, cost=0.25, key="another", pool="flash"))
    ledger.add(use("bob", tokens=100))
    assert ledger.spent("alice") == Spent(15, 0.75)
    assert ledger.spent("bob") == Spent(100, 0.5)
    assert ledger.spent("carol") == Spent()


def test_it_is_there_after_a_restart(ledger: Ledger, path: Path, clock: FakeClock) -> None:
    ledger.add(use())
    host = ledger.host
    ledger.close()
    again = Ledger(path, clock)
    assert (again.spent("alice"), again.host) == (Spent(10, 0.5), host)
    again.add(use())
    assert again.spent("alice") == Spent(20, 1.0)
    again.close()


def test_each_host_has_a_name_and_its_processes_have_one(path: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        names = list(threads.map(lambda _: Ledger(path).host, range(4)))
    assert len(set(names)) == 1
    assert Ledger(tmp_path / "other.sqlite3").host != names[0]
    assert Ledger(None).host != Ledger(None).host


def test_a_use_that_cannot_be_written_keeps_no_other_one_waiting(
    ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for bad in (Use(NOW, "eve", tokens=Tokens(2**70)), Use(NOW, "eve", model="\ud800"), use("eve", cost=float("nan"))):
        ledger.add(bad)
        ledger.add(use())
    assert ledger.spent("alice") == Spent(30, 1.5)
    assert rows(path, "client, requests") == [("alice", 3)]
    assert len([record for record in caplog.records if "usage_lost client=eve" in record.getMessage()]) == 3


# Without a file


def test_without_a_file_it_counts_in_memory(clock: FakeClock) -> None:
    ledger = Ledger(None, clock)
    ledger.add(use())
    ledger.add(use(tokens=1))
    ledger.add(use("bob"))
    ledger.prune(1)
    ledger.close()
    assert (ledger.spent("alice"), ledger.spent("bob")) == (Spent(11, 1.0), Spent(10, 0.5))
    clock.later(30 * 86400)
    assert ledger.spent("alice") == Spent()


# Several processes


def test_budgets_are_read_across_processes(ledger: Ledger, path: Path, clock: FakeClock) -> None:
    other = Ledger(path, clock)
    for number in range(1, 6):
        (ledger, other)[number % 2].add(use())
        assert ledger.spent("alice") == other.spent("alice") == Spent(10 * number, 0.5 * number)
    other.close()


def test_threads_on_one_file_lose_nothing(path: Path) -> None:
    def work(_: int) -> None:
        own = Ledger(path)
        for _ in range(40):
            own.add(use())
        own.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert rows(path, "requests, input, cost") == [(160, 1600, 80.0)]


def worker(path: Path, uses: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WORKER, str(path), str(uses)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_processes_on_one_file_lose_nothing(path: Path) -> None:
    workers = [worker(path, 60) for _ in range(3)]
    for process in workers:
        process.communicate()
    assert [process.returncode for process in workers] == [0, 0, 0]
    assert rows(path, "requests, input, cached, output, cost") == [(180, 180, 180, 180, 90.0)]


def test_a_killed_process_loses_what_was_not_written_at_most(path: Path, clock: FakeClock) -> None:
    process = worker(path, 1_000_000)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 100:
        pass
    process.send_signal(signal.SIGKILL)
    said = [100, *map(int, process.stdout.read().split())][-1]
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    ledger = Ledger(path, clock)
    ((requests,),) = rows(path, "requests")
    assert said <= requests <= said + 1
    assert ledger.spent("alice") == Spent(3 * requests, 0.5 * requests)
    ledger.add(use())
    assert rows(path, "requests") == [(requests + 1,)]
    ledger.close()


# A disk that takes nothing


def test_while_it_is_locked_it_counts_in_memory(ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger.add(use())
    with locked(path):
        for _ in range(3):
            began = time.monotonic()
            ledger.add(use())
            assert time.monotonic() - began < 1, "requests wait for it"
        assert ledger.spent("alice") == Spent(40, 2.0)
        assert rows(path, "requests") == [(1,)]
    assert len(complaints(caplog)) == 1
    ledger.add(use("bob"))
    assert rows(path, "client, requests") == [("alice", 4), ("bob", 1)]
    assert ledger.spent("alice") == Spent(40, 2.0)


def test_each_outage_is_told_once(ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger.add(use())
    for number in (1, 2):
        with locked(path):
            ledger.add(use())
            ledger.add(use())
        ledger.add(use())
        assert len(complaints(caplog)) == number


def test_one_that_is_locked_at_the_start(path: Path, clock: FakeClock) -> None:
    Ledger(path, clock).add(use())
    late = Ledger(path, clock)
    with locked(path):
        late.add(use())
        assert late.spent("alice").tokens >= 10
    assert late.spent("alice") == Spent(20, 1.0)
    late.close()
    assert rows(path, "requests") == [(2,)]


def test_the_end_waits_for_others_that_write(ledger: Ledger, path: Path) -> None:
    ledger.add(use())
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(path):
            held.set()
            free.wait(10)

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait(10)
    ledger.add(use())
    freeing = threading.Timer(0.15, free.set)
    freeing.start()
    ledger.close()
    holding.join()
    freeing.join()
    assert rows(path, "requests") == [(2,)]


def test_the_end_does_not_wait_for_ever(path: Path, clock: FakeClock) -> None:
    ledger = Ledger(path, clock)
    ledger.add(use())
    with locked(path):
        ledger.add(use())
        began = time.monotonic()
        ledger.close()
        assert time.monotonic() - began < 5
    assert rows(path, "requests") == [(1,)]


def test_a_directory_that_takes_no_file(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o555)
    ledger = Ledger(directory / "usage.sqlite3", clock)
    user = os.geteuid()
    os.seteuid(user or NOBODY)  # root may write everywhere
    try:
        ledger.add(use())
        ledger.add(use())
        assert ledger.spent("alice") == Spent(20, 1.0)
    finally:
        os.seteuid(user)
    (told,) = complaints(caplog)
    assert f"file={directory}/usage.sqlite3 error=unable to open" in told
    directory.chmod(0o755)
    assert ledger.spent("alice") == Spent(20, 1.0)
    ledger.add(use())
    assert rows(directory / "usage.sqlite3", "requests") == [(3,)]
    ledger.close()
    shutil.rmtree(directory)


def test_a_full_disk(ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger.add(use())
    assert ledger._db is not None
    (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(1, 301):
        ledger.add(use(model=f"model-{number}"))
        assert ledger.spent("alice") == Spent(10 + 10 * number, 0.5 + 0.5 * number)
    assert len(rows(path)) < 301
    (told,) = complaints(caplog)
    assert "full" in told
    ledger._db.execute("PRAGMA max_page_count = 100000")
    ledger.add(use())
    assert len(rows(path)) == 301
    assert ledger.spent("alice") == Spent(3020, 151.0)


def test_a_file_that_is_no_database(path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else, longer than a header of SQLite" * 100)
    ledger = Ledger(path, clock)
    for _ in range(3):
        ledger.add(use())
    ledger.prune(1)
    assert ledger.spent("alice") == Spent(30, 1.5)
    assert len(complaints(caplog)) == 1
    ledger.close()


def test_memory_is_bounded(path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_USES", 5)
    path.parent.mkdir()
    path.mkdir()
    ledger = Ledger(path, clock)
    for number in range(20):
        ledger.add(use(tokens=number))
    assert ledger.spent("alice").tokens == 15 + 16 + 17 + 18 + 19


# Months


@pytest.mark.parametrize(
    ("moment", "month", "following"),
    [
        ((2026, 11, 1, 0, 0, 0), "2026-11", (2026, 12, 1)),
        ((2026, 11, 30, 23, 59, 59), "2026-11", (2026, 12, 1)),
        ((2026, 12, 31, 23, 59, 59), "2026-12", (2027, 1, 1)),
        ((2028, 2, 29, 12, 0, 0), "2028-02", (2028, 3, 1)),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_months_are_those_of_utc(
    moment: tuple[int, ...], month: str, following: tuple[int, ...], zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    seconds = calendar.timegm(moment)
    found = month_of(seconds), month_of(seconds + 0.9), next_month(seconds)
    monkeypatch.undo()
    time.tzset()
    assert found == (month, month, calendar.timegm((*following, 0, 0, 0)))


@pytest.mark.parametrize("kept", ["file", "memory", "locked"])
def test_a_new_month_begins_with_nothing(kept: str, path: Path) -> None:
    clock = FakeClock(float(calendar.timegm((2026, 11, 30, 23, 59, 58))))
    ledger = Ledger(None if kept == "memory" else path, clock)
    assert ledger.spent("alice") == Spent()
    with locked(path) if kept == "locked" else closing(ledger):
        ledger.add(use(at=clock.wall()))
        assert ledger.spent("alice") == Spent(10, 0.5)
        clock.later(2)
        assert ledger.spent("alice") == Spent()
        ledger.add(use(tokens=3, at=clock.wall()))
        assert ledger.spent("alice") == Spent(3, 0.5)
        clock.set_wall(-2)
        assert ledger.spent("alice") == Spent(10, 0.5), "each use is of the month in which it ended"
    ledger.close()


# Old uses


def test_old_hours_are_forgotten_once_an_hour(ledger: Ledger, path: Path, clock: FakeClock) -> None:
    for age in (0, 9, 11, 400):
        ledger.add(use(at=NOW - age * 86400))
    ledger.prune(10)
    assert [NOW - 1800 - hour for (hour,) in rows(path, "hour")] == [9 * 86400, 0]
    clock.later(2 * 86400 - 1)
    ledger.add(use(at=NOW - 20 * 86400))
    ledger.prune(10)
    assert len(rows(path)) == 1
    ledger.add(use(at=NOW - 20 * 86400))
    clock.later(3599)
    ledger.prune(10)
    assert len(rows(path)) == 2, "it does not look at every request"
    clock.later(1)
    ledger.prune(10)
    assert len(rows(path)) == 1


def test_budgets_outlive_hours_that_are_forgotten(ledger: Ledger, path: Path) -> None:
    ledger.add(use(at=NOW - 20 * 86400))
    ledger.prune(1)
    assert rows(path) == []
    assert ledger.spent("alice") == Spent(10, 0.5)


def test_months_are_forgotten_too(ledger: Ledger, path: Path) -> None:
    for days in (0, 40, 100):
        ledger.add(use(at=NOW - days * 86400))
    ledger.prune(10)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT month FROM months ORDER BY 1").fetchall() == [("2026-10",), ("2026-11",)]


def test_pruning_what_is_locked_is_left_for_later(
    ledger: Ledger, path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.add(use(at=NOW - 40 * 86400))
    with caplog.at_level(logging.WARNING), locked(path):
        ledger.prune(10)
    assert len(complaints(caplog)) == 1
    clock.later(3600)
    ledger.prune(10)
    assert rows(path) == []


def test_a_ledger_of_a_newer_version_stays_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As after a rollback: it counts in memory, and the newer version finds its own again."""
    path = tmp_path / "usage.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {module.SCHEMA + 1}")
    before = path.read_bytes()
    ledger = Ledger(path)
    ledger.add(Use(time.time(), "alice", tokens=Tokens(1, 2, 3)))
    assert ledger.spent("alice").tokens == 6
    ledger.close()
    assert path.read_bytes() == before
    assert "newer version" in caplog.text
