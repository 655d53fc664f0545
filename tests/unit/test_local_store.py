"""The agreement between the processes of one host: each store stands for a process, and some tests start real ones."""

import asyncio
import json
import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pool_parts import PATIENCE, in_loop, key, mode, settings, until
from role_settings import ROLE

from glm_pool import local_store as module
from glm_pool.faults import Fault, Kind
from glm_pool.health import State
from glm_pool.local_store import LocalStore
from glm_pool.pool import KeyPool
from glm_pool.shared import Claim, Refused, SharedStore, StoreAway
from glm_pool.shared_limits import SharedLimits

PROGRAM = """
import asyncio, json, sys, time
from pathlib import Path
from glm_pool.local_store import LocalStore
from glm_pool.shared import Claim

class Ears:
    def on_room(self, meter): pass
    def on_shares(self): pass
    def on_health(self, name, record): pass
    def on_connection(self, connected): pass

async def serve(store, name, slots, hold):
    while await store.take(Claim(name, "a|m", slots, "a", None, None, time.time())) is not None:
        await asyncio.sleep(0.001)
    began = time.monotonic()
    await asyncio.sleep(hold)
    ended = time.monotonic()
    await store.give(name)
    return began, ended

async def main():
    store = LocalStore(Path(sys.argv[1]))
    await store.start(Ears())
    print(json.dumps(store.connected), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        if "serve" in order:
            work = (serve(store, f"{n}", order["slots"], hold) for n, hold in enumerate(order["serve"]))
            answer = await asyncio.gather(*work)
        else:
            answer = await store.take(Claim(**order["take"])) is None
        print(json.dumps(answer), flush=True)
    await store.stop()

asyncio.run(main())
"""


class Process:
    """Another process with a store of its own."""

    def __init__(self, path: Path, *, wait: bool = True) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROLE / "files")},
        )  # fmt: skip
        if wait:
            assert self.answer() is True

    def order(self, **order: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def take(self, lease: str, **fields: Any) -> bool:
        self.order(take=vars(claim(lease, **fields)))
        return bool(self.answer())

    def kill(self) -> None:
        self._process.kill()
        self.end()

    def end(self) -> None:
        self._process.communicate()


@contextmanager
def process(path: Path) -> Iterator[Process]:
    other = Process(path)
    try:
        yield other
    finally:
        with suppress(ValueError):  # it was killed
            other.end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "pool.sqlite3"


@pytest.fixture(autouse=True)
def short_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.2)
    monkeypatch.setattr(module, "LOOK_IDLE", 0.1)


class Ears:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.rooms: list[str] = []
        self.connections: list[bool] = []

    def on_room(self, meter: str) -> None:
        self.rooms.append(meter)

    def on_shares(self) -> None:
        raise AssertionError("nothing is set aside")

    def on_health(self, name: str, record: dict[str, Any] | None) -> None:
        raise AssertionError("health records are not its business")

    def on_connection(self, connected: bool) -> None:
        self.connections.append(connected)


@asynccontextmanager
async def store(path: Path, ears: Ears | None = None) -> AsyncIterator[LocalStore]:
    opened = LocalStore(path)
    await opened.start(ears or Ears())
    try:
        yield opened
    finally:
        await opened.stop()


def die(dead: LocalStore) -> None:
    """End a store as `kill -9` does: nothing is given back."""
    dead._listener = None
    if dead._timer:
        dead._timer.cancel()
    dead._close()
    assert dead._alive._own is not None
    os.close(dead._alive._own)
    dead._alive._own = None


async def until_granted(asked: SharedStore, request: Claim) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(StoreAway):
            if await asked.take(request) is None:
                return
        assert time.monotonic() < deadline, "never granted"
        await asyncio.sleep(0.005)


def claim(lease: str, *, slots: int | None = 2, rpm: int | None = None, meter: str = "a|m", **other: Any) -> Claim:
    values: dict[str, Any] = {"rate": "a", "probe": None, "arrived": 100.0, **other}
    return Claim(lease, meter=meter, slots=slots, rpm=rpm, **values)


async def reason(asked: Awaitable[Refused | None]) -> str | None:
    refused = await asked
    return refused.reason if refused else None


def messages(caplog: pytest.LogCaptureFixture, part: str = "") -> list[str]:
    return [record.getMessage() for record in caplog.records if part in record.getMessage()]


# Slots ---------------------------------------------------------------------------------


@in_loop
async def test_slots_are_shared_and_come_free_for_all(path: Path) -> None:
    ears = Ears()
    async with store(path) as one, store(path, ears) as two:
        assert await one.take(claim("1")) is None
        assert await two.take(claim("2")) is None
        assert await reason(one.take(claim("3"))) == "slots"
        assert await reason(two.take(claim("4"))) == "slots"
        await one.give("1")
        await until(lambda: ears.rooms == ["a|m"])
        assert await two.take(claim("4")) is None


@in_loop
async def test_limit_holds_in_a_crowd(path: Path) -> None:
    running = peak = served = 0

    async def serve(process: LocalStore, name: str) -> None:
        nonlocal running, peak, served
        await until_granted(process, claim(name, slots=3, arrived=float(name)))
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.002)
        running -= 1
        served += 1
        await process.give(name)

    async with store(path) as one, store(path) as two:
        await asyncio.gather(*(serve((one, two)[n % 2], str(n)) for n in range(40)))
    assert (peak, served) == (3, 40)


@given(st.integers(1, 3), st.lists(st.lists(st.floats(0, 0.004), max_size=12), min_size=3, max_size=3))
@hypothesis_settings(max_examples=25, deadline=None)
def test_three_processes_never_hold_more_than_the_limit(slots: int, holds: list[list[float]]) -> None:
    spans = [span for spans in three_processes(slots, holds) for span in spans]
    assert len(spans) == sum(map(len, holds))
    for moment, _ in spans:
        assert sum(began <= moment <= ended for began, ended in spans) <= slots


THREE: list[Process] = []
THEIR_DIRECTORY: list[Path] = []


@pytest.fixture(autouse=True, scope="module")
def end_of_the_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    THEIR_DIRECTORY[:] = [tmp_path_factory.mktemp("three")]
    yield
    while THREE:
        THREE.pop().end()


def three_processes(slots: int, holds: list[list[float]]) -> list[list[tuple[float, float]]]:
    """Let three processes hold slots as long as told, all at once; they are the same ones for all examples."""
    if not THREE:
        path = THEIR_DIRECTORY[0] / "pool.sqlite3"
        THREE.extend(Process(path) for _ in range(3))
    for other, work in zip(THREE, holds, strict=True):
        other.order(serve=work, slots=slots)
    return [other.answer() for other in THREE]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["take", "take", "take", "give", "die"]), st.integers(1, 4)),
        max_size=40,
    )
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_slot_is_granted_exactly_when_one_is_free(steps: list[tuple[int, str, int]]) -> None:
    async def go(path: Path) -> None:
        held: list[list[str]] = [[], [], []]
        async with AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(store(path)) for _ in held]
            for number, (index, what, slots) in enumerate(steps):
                if what == "take":
                    free = sum(map(len, held)) < slots
                    granted = await stores[index].take(claim(str(number), slots=slots, insist=True)) is None
                    assert granted == free
                    held[index] += [str(number)] * granted
                elif what == "give" and held[index]:
                    await stores[index].give(held[index].pop())
                elif what == "die":
                    die(stores[index])
                    held[index] = []
                    stores[index] = await stack.enter_async_context(store(path))

    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SETTLE", 0.0)
        asyncio.run(go(Path(directory) / "pool.sqlite3"))


@in_loop
async def test_meters_do_not_limit_each_other(path: Path) -> None:
    async with store(path) as one:
        assert await one.take(claim("1", slots=1)) is None
        assert await one.take(claim("2", slots=1, meter="a|other")) is None


@in_loop
async def test_each_process_knows_what_the_others_hold(path: Path) -> None:
    async with store(path) as one, store(path) as two:
        for name in "123":
            assert await one.take(claim(name, slots=None)) is None
        assert await two.take(claim("4", slots=None)) is None
        await until(lambda: (one.elsewhere("a|m"), two.elsewhere("a|m")) == (1, 3))
        await one.give("1")
        await until(lambda: two.elsewhere("a|m") == 2)
        async with store(path) as three:
            assert three.elsewhere("a|m") == 3  # what was taken before it came counts too
        assert one.elsewhere("never used") == 0


@in_loop
async def test_given_back_twice_or_never_taken_is_nothing(path: Path) -> None:
    async with store(path) as one, store(path) as two:
        assert await one.take(claim("1", slots=1)) is None
        await one.give("1")
        assert await two.take(claim("1", slots=1)) is None  # a name is a process's own
        await one.give("1")
        await one.give("unknown")
        assert await reason(one.take(claim("2", slots=1))) == "slots"


@in_loop
async def test_each_claim_goes_by_its_own_limit(path: Path) -> None:
    async with store(path) as old, store(path) as new:
        for name in "12":
            assert await old.take(claim(name, slots=2)) is None
        assert await reason(old.take(claim("old", slots=2, arrived=10.0))) == "slots"
        assert await new.take(claim("3", slots=3, arrived=20.0)) is None  # the older one could not use it
        assert await reason(new.take(claim("4", slots=3, arrived=20.0))) == "slots"
        await old.give("1")
        await old.give("2")
        assert await old.take(claim("old", slots=2, arrived=10.0)) is None
        await new.give("3")
        assert await reason(new.take(claim("4", slots=1, arrived=30.0))) == "slots"
        await old.give("old")
        assert await new.take(claim("4", slots=1, arrived=30.0)) is None


@in_loop
async def test_claim_waits_while_another_process_is_at_work(path: Path) -> None:
    async with store(path) as one:
        with open_database(path) as database:
            database.execute("BEGIN IMMEDIATE")
            asking = asyncio.ensure_future(one.take(claim("1", slots=1)))
            leaving = asyncio.ensure_future(one.take(claim("gone", slots=1)))
            await asyncio.sleep(0.005)
            assert not asking.done()
            leaving.cancel()
            database.execute("COMMIT")
        assert await asking is None
        await one.give("1")
        assert await one.take(claim("2", slots=1)) is None  # the one that left has none


# Death ---------------------------------------------------------------------------------


@in_loop
async def test_slots_of_a_killed_process_come_free(path: Path) -> None:
    ears = Ears()
    async with store(path, ears) as one:
        with process(path) as other:
            assert other.take("1", slots=1, probe="key")
            assert await reason(one.take(claim("2", slots=1))) == "slots"
            await until(lambda: one.members == 2)
            other.kill()
            assert await reason(one.take(claim("2", slots=1))) == "slots"  # the upstream needs a moment to notice
            await until(lambda: one.elsewhere("a|m") == 0)
            assert await one.take(claim("2", slots=1, probe="key")) is None
        await until(lambda: one.members == 1)


@in_loop
async def test_who_waits_hears_of_a_death(path: Path) -> None:
    ears = Ears()
    async with store(path, ears) as one:
        with process(path) as other:
            assert other.take("1", slots=1)
            assert await reason(one.take(claim("2", slots=1))) == "slots"
            await until(lambda: one.members == 2 and one.elsewhere("a|m") == 1)
            one.queued("a|m", 5.0)
            other.kill()
            await until(lambda: ears.rooms == ["a|m"])
        assert (one.members, one.elsewhere("a|m")) == (1, 0)


@in_loop
async def test_the_dead_are_not_waited_for(path: Path) -> None:
    async with store(path) as one:
        with process(path) as other:
            assert await one.take(claim("1", slots=1)) is None
            assert not other.take("old", slots=1, arrived=1.0)
            await one.give("1")
            assert await reason(one.take(claim("young", slots=1, arrived=2.0))) == "turn"
            other.kill()
            assert await one.take(claim("young", slots=1, arrived=2.0)) is None


@in_loop
async def test_process_that_ends_leaves_nothing_behind(path: Path) -> None:
    async with store(path) as two:
        async with store(path) as one:
            assert await one.take(claim("1", slots=1, probe="key")) is None
            assert await reason(one.take(claim("2", slots=1, arrived=1.0))) == "slots"
            await until(lambda: two.members == 2 and two.elsewhere("a|m") == 1)
        assert await two.take(claim("3", slots=1, probe="key")) is None
        await until(lambda: two.members == 1 and two.elsewhere("a|m") == 0)
        await one.stop()  # a second time does nothing
        with pytest.raises(StoreAway):
            await one.take(claim("late"))
    assert sorted(entry.suffix for entry in path.parent.iterdir()) == [".db", ".lock", ".sqlite3"]


@in_loop
async def test_members_are_counted_and_ranked(path: Path) -> None:
    async with store(path) as one, store(path) as two, store(path) as three:
        everyone = (one, two, three)
        await until(lambda: [process.members for process in everyone] == [3, 3, 3])
        assert sorted(process.rank for process in everyone) == [0, 1, 2]


# Rates and probes ----------------------------------------------------------------------


@in_loop
async def test_minute_is_shared_and_outlives_a_process(path: Path) -> None:
    async with store(path) as two:
        async with store(path) as one:
            assert await one.take(claim("1", rpm=2)) is None
            await one.give("1")
        assert await two.take(claim("2", rpm=2, meter="a|other")) is None
        async with store(path) as three:
            for process in (two, three):
                refused = await process.take(claim("3", rpm=2))
                assert refused
                assert refused.reason == "rate"
                assert refused.retry_in
                assert 61 - PATIENCE < refused.retry_in <= 61
            assert await two.take(claim("4", rpm=2, rate="b")) is None
            assert await three.take(claim("5", rpm=3)) is None


@in_loop
async def test_place_in_the_minute_comes_free_after_61_seconds(path: Path) -> None:
    async with store(path) as one:
        assert await one.take(claim("1", rpm=1, slots=None)) is None
        with open_database(path) as database:
            database.execute("UPDATE starts SET began = began - 59")
        refused = await one.take(claim("2", rpm=1, slots=None))
        assert refused
        assert refused.retry_in
        assert refused.retry_in <= 2
        with open_database(path) as database:
            database.execute("UPDATE starts SET began = began - 2")
        assert await one.take(claim("2", rpm=1, slots=None)) is None


@in_loop
async def test_starts_of_an_earlier_boot_count_no_more(path: Path) -> None:
    async with store(path) as one:
        assert await one.take(claim("1", rpm=1)) is None
    with open_database(path) as database:
        database.execute("UPDATE starts SET began = began + 1e6")
    async with store(path) as one:
        assert await one.take(claim("2", rpm=1)) is None


@in_loop
async def test_refused_claim_uses_nothing(path: Path) -> None:
    async with store(path) as one:
        assert await one.take(claim("1", slots=1, rpm=2)) is None
        assert await reason(one.take(claim("2", slots=1, rpm=2, probe="key"))) == "slots"
        await one.give("1")
        assert await one.take(claim("3", slots=1, rpm=2, probe="key")) is None  # minute and probe were left
        assert await reason(one.take(claim("4", slots=2, rpm=2))) == "rate"
        await one.give("3")
        assert await one.take(claim("5", slots=1, rate="b")) is None  # so was the slot


@in_loop
async def test_one_request_probes(path: Path) -> None:
    ears = Ears()
    async with store(path) as one, store(path, ears) as two:
        assert await one.take(claim("1", probe="key")) is None
        assert await reason(two.take(claim("2", probe="key"))) == "probe"
        assert await reason(one.take(claim("3", probe="key"))) == "probe"
        assert await two.take(claim("4", probe="other key", meter="b|m")) is None
        await one.give("1")
        await until(lambda: "a|m" in ears.rooms)
        assert await two.take(claim("2", probe="key")) is None


# Turns ---------------------------------------------------------------------------------


@in_loop
async def test_request_that_has_waited_longest_comes_first(path: Path) -> None:
    ears = Ears()
    async with store(path) as one, store(path, ears) as two:
        assert await one.take(claim("1", slots=1)) is None
        assert await reason(two.take(claim("old", slots=1, arrived=10.0))) == "slots"
        await one.give("1")
        refused = await one.take(claim("young", slots=1, arrived=11.0))
        assert refused
        assert refused.reason == "turn"
        await until(lambda: ears.rooms == ["a|m"], "the older one was not called")
        assert await two.take(claim("old", slots=1, arrived=10.0)) is None


@in_loop
async def test_room_that_is_left_goes_to_the_next_in_the_row(path: Path) -> None:
    ears = Ears()
    async with store(path) as one, store(path, ears) as two, store(path) as three:
        for name in "12":
            assert await one.take(claim(name)) is None
        assert await reason(three.take(claim("old", arrived=10.0))) == "slots"
        await one.give("1")
        await one.give("2")
        assert await reason(two.take(claim("young", arrived=11.0))) == "turn"
        ears.rooms.clear()
        assert await three.take(claim("old", arrived=10.0)) is None
        await until(lambda: ears.rooms == ["a|m"], "the younger one was not called")
        assert await two.take(claim("young", arrived=11.0)) is None


@in_loop
async def test_next_request_of_the_process_keeps_its_place(path: Path) -> None:
    async with store(path) as one, store(path) as two:
        assert await two.take(claim("2", slots=2, arrived=10.0, next_arrived=11.0)) is None
        assert await reason(one.take(claim("1", slots=2, arrived=12.0))) == "turn"
        assert await two.take(claim("3", slots=2, arrived=11.0)) is None
        await two.give("2")
        assert await one.take(claim("1", slots=2, arrived=12.0)) is None


@in_loop
async def test_requests_of_one_process_do_not_stand_in_each_others_way(path: Path) -> None:
    async with store(path) as one:
        assert await one.take(claim("1", slots=2, arrived=10.0, next_arrived=5.0)) is None
        assert await one.take(claim("2", slots=2, arrived=20.0)) is None


@in_loop
async def test_request_that_insists_does_not_wait_for_its_turn(path: Path) -> None:
    async with store(path) as one, store(path) as two:
        assert await one.take(claim("1", slots=1)) is None
        assert await reason(two.take(claim("old", slots=1, arrived=10.0))) == "slots"
        assert await reason(one.take(claim("young", slots=1, arrived=11.0, insist=True))) == "slots"
        await one.give("1")
        assert await one.take(claim("young", slots=1, arrived=11.0, insist=True)) is None


@in_loop
async def test_request_served_elsewhere_holds_up_nobody(path: Path) -> None:
    ears = Ears()
    async with store(path, ears) as one, store(path) as two:
        assert await one.take(claim("1", slots=1)) is None
        assert await reason(two.take(claim("old", slots=1, arrived=10.0))) == "slots"
        await one.give("1")
        assert await reason(one.take(claim("young", slots=1, arrived=11.0))) == "turn"
        assert await two.take(claim("old", slots=1, arrived=10.0, meter="b|m")) is None
        await until(lambda: ears.rooms == ["a|m"])
        assert await one.take(claim("young", slots=1, arrived=11.0)) is None


@in_loop
async def test_process_that_asks_no_more_loses_its_turn(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH", 0.3)
    async with store(path) as one, store(path) as two:
        assert await one.take(claim("1", slots=1)) is None
        assert await reason(two.take(claim("old", slots=1, arrived=10.0))) == "slots"
        await one.give("1")
        assert await reason(one.take(claim("young", slots=1, arrived=11.0))) == "turn"
        await until_granted(one, claim("young", slots=1, arrived=11.0))


@in_loop
async def test_request_that_waits_without_asking_has_its_turn_until_it_goes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT", 0.1)
    monkeypatch.setattr(module, "FRESH", 0.3)
    async with store(path) as one, store(path) as two:
        await until(lambda: one.members == two.members == 2)
        two.queued("a|m", 10.0)
        while await one.take(claim("first", arrived=11.0)) is None:
            await one.give("first")
            await asyncio.sleep(0.005)
        deadline = time.monotonic() + 1  # longer than a word of it counts
        while time.monotonic() < deadline:
            assert await reason(one.take(claim("young", arrived=11.0))) == "turn"
            await asyncio.sleep(0.02)
        two.queued("a|m", None)
        await until_granted(one, claim("young", arrived=11.0))


# Away and back -------------------------------------------------------------------------


@contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        yield database
    finally:
        database.close()


def garbage(path: Path) -> None:
    real = path.resolve()
    new = real.with_suffix(".garbage")
    new.write_bytes(b"no database " * 4000)
    path.unlink()
    path.symlink_to(new.name)


def other_tables(path: Path) -> None:
    with open_database(path) as database:
        database.execute("DROP TABLE leases")


def plain_file(path: Path) -> None:
    path.unlink()
    path.write_text("someone's own")


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"no database " * 1000)


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [garbage, other_tables, plain_file, gone])
@in_loop
async def test_broken_database_is_replaced_and_nothing_is_forgotten(
    harm: Callable[[Path], None], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ears = Ears()
    async with store(path, ears) as one, store(path) as two:
        assert await one.take(claim("1", slots=2, rpm=3, probe="key")) is None
        assert await two.take(claim("2", slots=2, rpm=3)) is None
        await until(lambda: one.members == two.members == 2)
        harm(path)
        deadline = time.monotonic() + 3
        while len(ears.connections) < 3 and time.monotonic() < deadline:
            for process in (one, two):
                with suppress(StoreAway):
                    assert await reason(process.take(claim("3", slots=2))) == "slots"
            await asyncio.sleep(0.002)
        assert ears.connections[:3] == [True, False, True]
        await until(lambda: one.connected and two.connected)
        await one.give("1")
        assert await two.take(claim("3", slots=2, rpm=3)) is None
        await two.give("2")
        assert await reason(two.take(claim("4", slots=2, rpm=3))) == "rate"
    assert len(messages(caplog, "begins anew")) <= 1
    assert len(messages(caplog, "is away")) == len(messages(caplog, "is back")) <= 2


@pytest.mark.parametrize("harm", [garbage, other_tables, plain_file, gone, overwritten])
@in_loop
async def test_broken_database_at_the_start_is_replaced(harm: Callable[[Path], None], path: Path) -> None:
    async with store(path) as one:
        assert await one.take(claim("1", slots=1)) is None
    harm(path)
    ears = Ears()
    async with store(path, ears) as one, store(path) as two:
        assert ears.connections == [True]
        assert await one.take(claim("1", slots=1)) is None
        assert await reason(two.take(claim("2", slots=1))) == "slots"


@in_loop
async def test_directory_that_is_removed_and_made_again(path: Path) -> None:
    """As by a service manager that removes what belongs to a unit when that ends."""
    async with store(path) as one:
        assert await one.take(claim("1", slots=1)) is None
        for entry in path.parent.iterdir():
            entry.unlink()
        path.parent.rmdir()
        async with store(path) as two:
            await until(lambda: one.connected and two.connected and two.elsewhere("a|m") == 1)
            assert await reason(two.take(claim("2", slots=1))) == "slots"
            await until(lambda: one.members == two.members == 2)


@in_loop
async def test_directory_that_can_not_be_used_is_told_of_once(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT", 0.02)
    path.parent.write_text("a file in the way")
    ears = Ears()
    async with store(path, ears) as one:
        assert (one.connected, one.members, one.rank, ears.connections) == (False, 1, 0, [False])
        for _ in range(10):
            with pytest.raises(StoreAway):
                await one.take(claim("1"))
            await asyncio.sleep(0.01)
        assert SharedLimits(one, 1).slots("a|m", 5) == 5  # nobody else is known: all of it
        one.adopt(claim("1", slots=1))
        assert messages(caplog) == [f"shared store {path} is away, each process keeps to its share: File exists"]
        path.parent.unlink()
        await until(lambda: one.connected)
        async with store(path) as two:
            assert await reason(two.take(claim("2", slots=1))) == "slots"  # sent meanwhile
    assert messages(caplog)[1:] == [f"shared store {path} is back"]
    assert ears.connections == [False, True]


@in_loop
async def test_directory_that_may_not_be_written_is_away(caplog: pytest.LogCaptureFixture) -> None:
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o555)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may write everywhere
    try:
        async with store(directory / "pool.sqlite3") as one:
            with pytest.raises(StoreAway):
                await one.take(claim("1"))
    finally:
        os.seteuid(user)
    assert [text.rsplit(": ", 1)[1] for text in messages(caplog)] == ["Permission denied"]
    directory.rmdir()


@in_loop
async def test_full_disk_is_an_outage(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ears = Ears()
    async with store(path, ears) as one:
        assert one._db
        one._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StoreAway):
            for number in range(10_000):
                assert await one.take(claim(str(number) * 50, slots=None)) is None
        one.adopt(claim("adopted", slots=None))
        await until(lambda: one.connected)
        assert ears.connections == [True, False, True]
        async with store(path) as two:
            await until(lambda: two.elsewhere("a|m") == len(one._held))
    assert len(messages(caplog, "database or disk is full")) == 1


@in_loop
async def test_database_that_stays_locked_is_away_until_it_is_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_PATIENCE", 0.2)
    async with store(path) as one:
        assert await one.take(claim("1", slots=1)) is None
        with open_database(path) as database:
            database.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreAway):
                await one.take(claim("2", slots=1))
            await one.give("1")
            database.execute("ROLLBACK")
        await until_granted(one, claim("2", slots=1))  # what was given back meanwhile is free


@in_loop
async def test_process_of_another_version_halves_the_limits(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "BEAT", 0.05)
    async with store(path) as one:
        assert await one.take(claim("1", slots=4)) is None
        monkeypatch.setattr(module, "SCHEMA", 2)
        other = LocalStore(path)
        await other.start(Ears())
        monkeypatch.setattr(module, "SCHEMA", 1)
        await until(lambda: not one.connected)
        assert not other.connected
        assert [SharedLimits(process, 1).slots("a|m", 4) for process in (one, other)] == [2, 2]
        await other.stop()
        await until(lambda: one.connected and one.members == 1)
    assert len(messages(caplog, "a process of another version")) == 2


@in_loop
async def test_database_of_another_version_is_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store(path):
        pass
    monkeypatch.setattr(module, "SCHEMA", 2)
    async with store(path) as one:
        assert await one.take(claim("1", slots=1)) is None
        assert ".v2." in str(path.readlink())
    assert len(list(path.parent.glob("*.db"))) == 1


# In the pool ---------------------------------------------------------------------------


@in_loop
async def test_single_process_has_the_whole_limits_from_the_start(path: Path) -> None:
    one = LocalStore(path)
    limits = SharedLimits(one, 1)
    assert limits.slots("a|m", 5) == 5
    await one.start(Ears())
    limits.connection_changed()
    assert (limits.slots("a|m", 5), limits.rpm("a", 60)) == (5, 60)
    async with store(path) as two:
        assert await two.take(claim("1", slots=5)) is None
        await until(lambda: one.elsewhere("a|m") == 1 and one.members == 2)
        assert (limits.slots("a|m", 5), limits.rpm("a", 60)) == (4, 60)
        later = SharedLimits(two, 1)
        later.connection_changed()
        assert later.slots("a|m", 5) == 5  # nor has one that comes later to wait
    await one.stop()


@in_loop
async def test_two_pools_share_slots_and_health(path: Path) -> None:
    """As two generations during a handover do: what one learns of a key the other knows within a second or so."""
    options: dict[str, Any] = {"state_file": str(path.with_name("pool-state.json")), "queue_timeout": 30.0}
    pools = [KeyPool(settings(key("a", 1), key("b", 1, account="b"), **options), LocalStore(path)) for _ in range(2)]
    for pool in pools:
        await pool.start()
    old, new = pools
    leases = [await pool.acquire(pool.ticket("glm-pool", set(), None)) for pool in pools]
    assert {lease.lane.key.name for lease in leases} == {"a", "b"}
    waiting = [asyncio.ensure_future(pool.acquire(pool.ticket("glm-pool", set(), None))) for pool in pools]
    for _ in range(2):
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
    new.release(leases[1])
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert [task.done() for task in waiting] == [True, False]  # who came first has it, though it is another process
    old.release(leases[0])
    old.release(await waiting[0])
    new.release(await waiting[1])
    for pool, other, name in ((old, new, "a"), (new, old, "b")):
        health = pool.scheduler.keys[name].health
        lease = await pool.acquire(pool.ticket("glm-pool", {"a", "b"} - {name}, None))
        pool.failed(lease, Fault(Kind.ACCOUNT, "1113", 429, ""))
        pool.release(lease)
        assert health.record.state is State.OUT
        await until(lambda other=other, name=name: other.scheduler.keys[name].health.record.state is State.OUT)  # type: ignore[misc]
    for pool in pools:
        await pool.stop()


# On the disk ---------------------------------------------------------------------------


@in_loop
async def test_nothing_but_the_owner_may_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with store(path) as one:
            assert await one.take(claim("1")) is None
            assert mode(path.parent) == "0700"
            assert {mode(entry) for entry in path.parent.iterdir() if not entry.is_symlink()} == {"0600"}
            assert len(list(path.parent.iterdir())) == 6
    assert messages(caplog) == []


def test_nothing_is_made_before_the_start(path: Path) -> None:
    LocalStore(path)
    assert not path.parent.exists()


def test_processes_that_start_together_agree(path: Path) -> None:
    path.parent.mkdir()
    with ExitStack() as stack:
        for other in [Process(path, wait=False) for _ in range(4)]:
            stack.callback(other.end)
            assert other.answer() is True
    assert len(list(path.parent.glob("*.db"))) == 1
