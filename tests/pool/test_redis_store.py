"""The agreement between processes over a real Redis: each store stands for a process."""

import asyncio
import logging
import resource
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from glm_pool.access import Access, Visit
from glm_pool.clients import Client, ClientsFile, Directory
from glm_pool.ledger import Ledger, Spent
from glm_pool.redis_store import LATER, RedisStore
from glm_pool.shared import Claim, Refused, SharedStore, StoreAway
from glm_pool.shared_limits import SharedLimits
from glm_pool.tokens import Tokens

PATIENCE = 10.0
"""Seconds within which everything has to come true, on a busy machine too."""
PASSWORD = "open-sesame-1846"


class Server:
    """A redis-server of the test, on a socket that it keeps over restarts; nothing is written to the disk."""

    def __init__(self, directory: Path, *options: str, socket_name: str = "redis.sock") -> None:
        self.path = directory / socket_name
        self.url = f"unix://{self.path}"
        self._command = ["redis-server", "--port", "0", "--unixsocket", str(self.path), "--dir", str(directory)]
        self._command += ["--save", "", "--appendonly", "no", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # as Python does, the server then takes a file that may not grow for an error, not for its end
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, restore_signals=False)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(RedisError, OSError), self.client() as client:
                client.ping()
                return
            time.sleep(0.02)
        raise AssertionError("redis-server does not answer")

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def fill_disk(self, full: bool) -> None:
        assert self._process
        most = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0 if full else most, most))

    def client(self) -> Redis:
        return Redis(unix_socket_path=str(self.path), decode_responses=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    assert shutil.which("redis-server"), "redis-server is missing; run scripts/ensure-redis.sh"
    running = Server(tmp_path)
    running.start()
    yield running
    running.kill()


class Ears:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.rooms: list[str] = []
        self.shares = 0
        self.healths: list[tuple[str, dict[str, Any] | None]] = []
        self.connections: list[bool] = []

    def on_room(self, meter: str) -> None:
        self.rooms.append(meter)

    def on_shares(self) -> None:
        self.shares += 1

    def on_health(self, name: str, record: dict[str, Any] | None) -> None:
        self.healths.append((name, record))

    def on_connection(self, connected: bool) -> None:
        self.connections.append(connected)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


@asynccontextmanager
async def store(
    server: Server, ears: Ears | None = None, lease_seconds: float = 15.0, host: str | None = None
) -> AsyncIterator[RedisStore]:
    process = RedisStore(server.url, lease_seconds=lease_seconds, host=host)
    await process.start(ears or Ears())
    try:
        yield process
    finally:
        await process.stop()


async def die(process: RedisStore) -> None:
    """End a store as `kill -9` does: nothing is given back."""
    while tasks := [task for task in (*process._tasks, *process._background) if not task.done()]:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=0.1)
    process.connected = False
    await process._redis.aclose()


async def until(condition: Callable[[], bool], what: str = "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what or "it did not come true in time"
        await asyncio.sleep(0.01)


async def until_granted(process: SharedStore, request: Claim) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(StoreAway):
            if await process.take(request) is None:
                return
        assert time.monotonic() < deadline, "never granted"
        await asyncio.sleep(0.02)


def claim(lease: str, *, slots: int | None = 2, rpm: int | None = None, meter: str = "a|m", **other: Any) -> Claim:
    values: dict[str, Any] = {"rate": "a", "probe": None, "arrived": 100.0, **other}
    return Claim(lease, meter=meter, slots=slots, rpm=rpm, **values)


async def reason(asked: Awaitable[Refused | None]) -> str | None:
    refused = await asked
    return refused.reason if refused else None


# Slots


def test_slots_are_shared_and_come_free_for_all(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server) as one, store(server, ears) as two:
            assert await one.take(claim("1")) is None
            assert await two.take(claim("2")) is None
            assert await reason(one.take(claim("3"))) == "slots"
            assert await reason(two.take(claim("4"))) == "slots"
            ears.rooms.clear()
            await one.give("1")
            await until(lambda: ears.rooms == ["a|m"])
            assert await two.take(claim("4")) is None

    run(test)


def test_limit_holds_in_a_crowd(server: Server) -> None:
    running = peak = served = 0

    async def test() -> None:
        async def serve(process: RedisStore, name: str) -> None:
            nonlocal running, peak, served
            await until_granted(process, claim(name, slots=3, arrived=float(name)))
            running += 1
            peak = max(peak, running)
            await asyncio.sleep(0.002)
            running -= 1
            served += 1
            await process.give(name)

        async with store(server) as one, store(server) as two:
            await asyncio.gather(*(serve((one, two)[n % 2], str(n)) for n in range(40)))

    run(test)
    assert (peak, served) == (3, 40)


def test_meters_do_not_limit_each_other(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one:
            assert await one.take(claim("1", slots=1)) is None
            assert await one.take(claim("2", slots=1, meter="a|other")) is None

    run(test)


def test_each_process_knows_what_the_others_hold(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            for name in "123":
                assert await one.take(claim(name, slots=None)) is None
            assert await two.take(claim("4", slots=None)) is None
            await until(lambda: (one.elsewhere("a|m"), two.elsewhere("a|m")) == (1, 3))
            await one.give("1")
            await until(lambda: two.elsewhere("a|m") == 2)
            async with store(server) as three:
                assert three.elsewhere("a|m") == 3  # what was taken before it came counts too
            assert one.elsewhere("never used") == 0

    run(test)


def test_given_back_twice_or_never_taken_is_nothing(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            assert await one.take(claim("1", slots=1)) is None
            await one.give("1")
            assert await two.take(claim("1", slots=1)) is None  # a name is a process's own
            await one.give("1")
            await one.give("unknown")
            assert await reason(one.take(claim("2", slots=1))) == "slots"

    run(test)


def test_client_that_leaves_during_the_claim_keeps_no_slot(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            server.freeze()
            asking = asyncio.ensure_future(one.take(claim("1", slots=1)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            server.thaw()
            await until_granted(two, claim("2", slots=1))

    run(test)


# Death


def test_slots_of_a_dead_process_come_free(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server, ears, lease_seconds=1.5) as two:
            one = RedisStore(server.url, lease_seconds=1.5)
            await one.start(Ears())
            assert await one.take(claim("1", slots=1, probe="key")) is None
            assert await reason(two.take(claim("2", slots=1))) == "slots"
            await until(lambda: two.elsewhere("a|m") == 1 and two.members == 2)
            ears.rooms.clear()
            await die(one)
            assert await reason(two.take(claim("2", slots=1))) == "slots"
            await until(lambda: ears.rooms == ["a|m"])
            assert two.elsewhere("a|m") == 0
            await until_granted(two, claim("2", slots=1, probe="key"))
            await until(lambda: two.members == 1)

    run(test)


def test_slots_of_a_live_process_stay_taken(server: Server) -> None:
    async def test() -> None:
        async with store(server, lease_seconds=0.6) as one, store(server, lease_seconds=0.6) as two:
            assert await one.take(claim("1", slots=1, probe="key")) is None
            deadline = time.monotonic() + 2  # several times the length of a lease
            while time.monotonic() < deadline:
                assert await reason(two.take(claim("2", slots=1))) == "slots"
                assert await reason(two.take(claim("3", meter="other", probe="key"))) == "probe"
                await asyncio.sleep(0.05)

    run(test)


def test_stopped_process_leaves_nothing_behind(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server, ears) as two:
            async with store(server) as one:
                assert await one.take(claim("1", slots=1, probe="key")) is None
                assert await reason(one.take(claim("2", slots=1, arrived=1.0))) == "slots"
                await until(lambda: two.elsewhere("a|m") == 1)
                await until(lambda: two.members == 2)
            assert await two.take(claim("3", slots=1, probe="key")) is None
            await until(lambda: two.members == 1 and two.elsewhere("a|m") == 0)

    run(test)


def test_members_are_counted_and_ranked(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two, store(server) as three:
            everyone = (one, two, three)
            await until(lambda: [process.members for process in everyone] == [3, 3, 3])
            assert sorted(process.rank for process in everyone) == [0, 1, 2]

    run(test)


# Hosts that vanish


async def vanish(server: Server, beside: RedisStore, *taken: Claim, lease_seconds: float = 0.9) -> RedisStore:
    """A process of another host that takes something and is heard of no more: cut off or dead, who knows."""
    process = RedisStore(server.url, lease_seconds=lease_seconds, host="vanishing")
    await process.start(Ears())
    await until(lambda: process.members == beside.members == 2 and beside.aside("a|m", 4) == 0)
    for request in taken:
        assert await process.take(request) is None
    await die(process)
    return process


async def two_workers_vanish(server: Server, beside: RedisStore) -> None:
    """Both processes of another host are heard of no more."""
    workers = [RedisStore(server.url, lease_seconds=0.9, host="vanishing") for _ in range(2)]
    for worker in workers:
        await worker.start(Ears())
    await until(lambda: [process.members for process in (beside, *workers)] == [3, 3, 3])
    await asyncio.gather(*map(die, workers))


def test_part_of_a_host_that_vanished_is_set_aside(server: Server) -> None:
    async def test() -> None:
        async with store(server, lease_seconds=0.9, host="here") as one:
            gone = await vanish(server, one)
            await until(lambda: one.aside("a|m", 4) == 2)
            assert one.members == 2, "what it may use of a limit counts as long as it may be alive"
            await until(lambda: time.monotonic() > gone.quiet_until)
            assert SharedLimits(gone, 1).slots("a|m", 4) == 2
            assert [await reason(one.take(claim(str(n), slots=4))) for n in range(4)] == [None, None, "slots", "slots"]
            parts = [SharedLimits(gone, 1).slots(meter, 3) for meter in "abcdef"]
            assert [one.aside(meter, 3) for meter in "abcdef"] == parts
            assert set(parts) == {1, 2}, "what does not divide is for one here, for the other there"

    run(test)


def test_part_of_a_host_is_set_aside_once_it_has_missed_two_heartbeats(server: Server) -> None:
    async def test() -> None:
        async with store(server, host="here") as one:
            for missed, found in ((1.5, None), (2.1, "slots")):
                with server.client() as client:
                    seconds, microseconds = client.time()
                    heard = seconds * 1000 + microseconds / 1000 - missed * 1000
                    client.zadd("litellm-pool:members", {"elsewhere.1": heard})
                lease = f"after {missed} s"
                assert [await reason(one.take(claim(f"{lease} {n}", slots=2))) for n in range(2)] == [None, found]
                for n in range(2):
                    await one.give(f"{lease} {n}")

    run(test)


def test_slots_that_a_vanished_host_holds_count_once(server: Server) -> None:
    async def test() -> None:
        async with store(server, lease_seconds=4.5, host="here") as one:
            await vanish(server, one, claim("x", slots=4), claim("y", slots=4), claim("z", slots=4), lease_seconds=4.5)
            await until(lambda: one.elsewhere("a|m") == 3)
            await until(lambda: one.members == 2 and one.aside("a|m", 8) == 1)
            assert one.aside("a|m", 4) == 0
            assert [await reason(one.take(claim(str(n), slots=4))) for n in range(2)] == [None, "slots"]

    run(test)


def test_minutes_of_a_vanished_host_are_set_aside_too(server: Server) -> None:
    async def test() -> None:
        async with store(server, lease_seconds=0.9, host="here") as one:
            await vanish(server, one, claim("x", rpm=6))
            await until(lambda: one.aside("a", 6) == 3)
            taken = [await reason(one.take(claim(str(n), rpm=6, slots=None))) for n in range(4)]
            assert taken == [None, None, None, "rate"]

    run(test)


def test_nothing_is_set_aside_for_a_host_that_said_goodbye(server: Server) -> None:
    async def test() -> None:
        async with store(server, lease_seconds=0.9, host="here") as one:
            async with store(server, host="there"):
                await until(lambda: one.members == 2)
            await until(lambda: one.members == 1)
            assert one.aside("a|m", 4) == 0
            assert await one.take(claim("1", slots=1)) is None

    run(test)


def test_nothing_is_set_aside_for_a_dead_process_of_a_host_that_is_heard_of(server: Server) -> None:
    async def test() -> None:
        async with (
            store(server, lease_seconds=0.9, host="here") as one,
            store(server, lease_seconds=0.9, host="vanishing"),
        ):
            await until(lambda: one.members == 2)
            process = RedisStore(server.url, lease_seconds=0.9, host="vanishing")
            await process.start(Ears())
            await until(lambda: one.members == 3)
            await die(process)
            await until(lambda: one.members == 2)
            assert one.aside("a|m", 4) == 0

    run(test)


def test_a_host_that_is_back_frees_what_was_set_aside(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server, ears, lease_seconds=0.9, host="here") as one:
            await vanish(server, one)
            await until(lambda: one.aside("a|m", 4) == 2)
            ears.shares = 0
            async with store(server, lease_seconds=0.9, host="vanishing"):
                await until(lambda: ears.shares > 0)
                assert one.aside("a|m", 4) == 0
                assert one.members == 2

    run(test)


def test_what_others_began_within_the_minute_counts_when_the_store_goes_away(server: Server) -> None:
    async def test() -> None:
        async with store(server, lease_seconds=0.9, host="one") as one:
            for number in range(4):
                assert await one.take(claim(str(number), slots=None, rpm=6)) is None
            async with store(server, lease_seconds=0.9, host="two") as two:
                await until(lambda: one.members == 2 and two.rate_surplus("a", 6) == 1)  # begun before `two` came
                assert await one.take(claim("heard", slots=None, rpm=6)) is None
                await until(lambda: two.rate_surplus("a", 6) == 2)
                assert await two.take(claim("own", slots=None, rpm=6)) is None
                server.kill()
                await until(lambda: not one.connected and not two.connected)
                assert [SharedLimits(process, 1).rpm("a", 6) for process in (one, two)] == [0, 0]
                await until(lambda: time.monotonic() > max(one.quiet_until, two.quiet_until))
                # 5 and 1 are begun: none is left, and each has its part of the next minute
                assert [SharedLimits(process, 1).rpm("a", 6) for process in (one, two)] == [3, 1]
                assert [SharedLimits(process, 1).rpm("b", 6) for process in (one, two)] == [3, 3]

    run(test)


def test_what_a_process_took_since_it_is_back_stays_taken(server: Server) -> None:
    async def test() -> None:
        async with (
            store(server, lease_seconds=0.9, host="one") as one,
            store(server, lease_seconds=0.9, host="two") as two,
        ):
            await until(lambda: one.members == two.members == 2)
            with server.client() as client:
                # granted by the store, and the answer is under way
                now = round(time.time() * 1000)
                client.zadd("litellm-pool:slots:a|m", {f"{one._process}:under-way": now + 900})
                client.sadd("litellm-pool:meters", "a|m")
                client.hset("litellm-pool:vanished", one._process, f"2 0 {now}")
                await until(lambda: not client.hexists("litellm-pool:vanished", one._process))
                assert await reason(two.take(claim("other", slots=1))) == "slots"
                await until_granted(two, claim("other", slots=1))

    run(test)


def test_a_host_that_is_cut_off_again_has_all_its_parts_once_more(server: Server) -> None:
    async def test() -> None:
        async with store(server, lease_seconds=0.9, host="here") as one:
            await two_workers_vanish(server, one)
            with server.client() as client:

                def since() -> list[int]:
                    return [int(text.split()[-1]) for text in client.hvals("litellm-pool:vanished")]

                await until(lambda: len(since()) == 2)
                back = RedisStore(server.url, lease_seconds=0.9, host="vanishing")
                await back.start(Ears())
                await until(lambda: max(since()) < time.time() * 1000 - 60_000)  # about to be over
                last = time.time() * 1000
                await die(back)
                await until(lambda: len(since()) == 3)
                assert min(since()) > last
                assert one.aside("a|m", 6) >= 4

    run(test)


def test_a_worker_of_a_host_that_is_back_has_its_part_until_it_can_have_come_back_itself(server: Server) -> None:
    async def test() -> None:
        async with store(server, lease_seconds=0.9, host="here") as one:
            await two_workers_vanish(server, one)
            with server.client() as client:
                await until(lambda: client.hlen("litellm-pool:vanished") == 2 and one.aside("a|m", 6) == 4)
                async with store(server, lease_seconds=0.9, host="vanishing") as back:
                    await until(lambda: time.time() * 1000 - client.zscore("litellm-pool:members", back._process) < 200)
                    taken = [await reason(one.take(claim(str(n), slots=6))) for n in range(3)]
                    assert taken == [None, None, "slots"]
                    await until_granted(one, claim("later", slots=6))

    run(test)


def test_a_silent_worker_of_a_host_that_is_heard_of_has_its_part_until_it_is_taken_for_dead(server: Server) -> None:
    async def test() -> None:
        async with (
            store(server, lease_seconds=0.9, host="here") as one,
            store(server, lease_seconds=0.9, host="elsewhere") as near,
        ):
            silent = RedisStore(server.url, lease_seconds=0.9, host="elsewhere")
            await silent.start(Ears())
            await until(lambda: [process.members for process in (one, near, silent)] == [3, 3, 3])
            await die(silent)
            await until(lambda: (one.aside("a|m", 6), near.aside("a|m", 6)) == (2, 2))
            taken = [await reason(process.take(claim(str(n), slots=3))) for n, process in enumerate((one, near, one))]
            assert taken == [None, None, "slots"]
            await until_granted(one, claim("later", slots=3))

    run(test)


def test_what_was_set_aside_is_free_after_five_minutes(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server, ears, lease_seconds=0.9, host="here") as one:
            await vanish(server, one)
            await until(lambda: one.aside("a|m", 4) == 2)
            ears.shares = 0
            with server.client() as client:
                await until(lambda: bool(client.hgetall("litellm-pool:vanished")))
                ((process, text),) = client.hgetall("litellm-pool:vanished").items()
                members, rank, since = text.split()
                client.hset("litellm-pool:vanished", process, f"{members} {rank} {int(since) - 300_000}")
            await until(lambda: ears.shares > 0)
            assert (one.members, one.aside("a|m", 4)) == (1, 0)
            assert await one.take(claim("1", slots=1)) is None

    run(test)


def test_slots_of_three_hosts_never_add_up_to_more_than_the_limit_in_an_outage(server: Server) -> None:
    """Some hold more than their parts when the store goes away: the others leave them room until that has ended."""

    async def test() -> None:
        async with (
            store(server, lease_seconds=0.9, host="one") as one,
            store(server, lease_seconds=0.9, host="two") as two,
            store(server, lease_seconds=0.9, host="three") as three,
        ):
            everyone = (one, two, three)
            await until(lambda: all(process.members == 3 for process in everyone))
            held = {"a|m": (one, 2), "b|m": (two, 3), "c|m": (three, 1), "d|m": (one, 4)}
            for meter, (process, count) in held.items():
                for number in range(count):
                    assert await process.take(claim(f"{meter} {number}", meter=meter, slots=4)) is None
            for meter, (process, count) in held.items():
                for other in everyone:
                    await until(lambda m=meter, o=other, c=0 if other is process else count: o.elsewhere(m) == c)  # type: ignore[misc]
            shares = [SharedLimits(process, 1) for process in everyone]
            server.kill()
            await until(lambda: not any(process.connected for process in everyone))
            for share in shares:
                share.connection_changed()
            assert [share.slots("a|m", 4) for share in shares] == [0, 0, 0], "the others may not know yet"
            await until(lambda: all(time.monotonic() > process.quiet_until for process in everyone))
            for meter, (process, count) in held.items():
                sums = [
                    max(share.slots(meter, 4), count if owner is process else 0)
                    for share, owner in zip(shares, everyone, strict=True)
                ]
                assert sum(sums) <= 4, meter

    run(test)


def test_a_process_that_starts_while_the_store_is_away_keeps_to_its_part(server: Server, tmp_path: Path) -> None:
    async def test() -> None:
        place = tmp_path / "place.json"
        async with store(server, lease_seconds=0.9, host="one"), store(server, lease_seconds=0.9, host="two"):
            known = RedisStore(server.url, lease_seconds=0.9, host="three", place_file=place)
            await known.start(Ears())
            await until(lambda: known.members == 3)
            rank = known.rank
            await die(known)
        server.kill()
        again = RedisStore(server.url, lease_seconds=0.9, host="three", place_file=place)
        await again.start(Ears())
        assert (again.connected, again.members, again.rank) == (False, 3, rank)
        limits = SharedLimits(again, 1)
        await until(lambda: limits.slots("a|m", 9) == 3)
        await again.stop()

    run(test)


def test_workers_that_start_while_the_store_is_away_share_what_their_host_has(server: Server, tmp_path: Path) -> None:
    async def test() -> None:
        def worker() -> RedisStore:
            return RedisStore(server.url, lease_seconds=0.9, host="two", place_file=tmp_path / "place.json")

        async with store(server, lease_seconds=0.9, host="one") as other:
            before = [worker(), worker()]
            for process in before:
                await process.start(Ears())
            await until(lambda: [process.members for process in (other, *before)] == [3, 3, 3])
            await until(lambda: {process.rank for process in (other, *before)} == {0, 1, 2})
            ranks = {process.rank for process in before}
            for process in before:
                await die(process)
                process._place_file.release()  # type: ignore[union-attr]
        server.kill()
        after = [worker(), worker()]
        assert {process.rank for process in after} == ranks
        parts = [SharedLimits(process, 2).slots("a|m", 3) for process in after]
        assert parts == [1, 1]
        for process in after:
            await process.stop()

    run(test)


def test_leases_of_a_host_that_vanished_last_until_it_is_back(server: Server) -> None:
    """It may be cut off and go on with long answers."""

    async def test() -> None:
        async with store(server, lease_seconds=4.5, host="here") as one:
            await vanish(server, one, claim("x", slots=4), claim("y", slots=4), claim("z", slots=4), lease_seconds=4.5)
            with server.client() as client:
                await until(lambda: bool(client.hgetall("litellm-pool:vanished")))
                moments = client.zrange("litellm-pool:slots:a|m", 0, -1, withscores=True)
            assert {round((moment / 1000 - time.time()) / 60) for _, moment in moments} == {5}, "minutes"
            assert one.elsewhere("a|m") == 3
            assert [await reason(one.take(claim(str(n), slots=4))) for n in range(2)] == [None, "slots"]
            async with store(server, lease_seconds=4.5, host="vanishing"):
                await until(lambda: one.elsewhere("a|m") == 0)

    run(test)


def test_hosts_keep_to_their_parts_when_the_store_goes_away_after_one_of_them(server: Server) -> None:
    async def test() -> None:
        async with (
            store(server, lease_seconds=0.9, host="one") as one,
            store(server, lease_seconds=0.9, host="two") as two,
        ):
            await until(lambda: one.members == two.members == 2)
            gone = RedisStore(server.url, lease_seconds=0.9, host="three")
            await gone.start(Ears())
            await until(lambda: one.members == two.members == 3)
            await die(gone)
            await until(lambda: bool(one.aside("a|m", 9) and two.aside("a|m", 9)))
            server.kill()
            await until(lambda: not one.connected and not two.connected)
            await until(lambda: time.monotonic() > max(process.quiet_until for process in (one, two, gone)))
            for limit in (1, 2, 4, 9):
                assert sum(SharedLimits(process, 1).slots("a|m", limit) for process in (one, two, gone)) == limit

    run(test)


# Rates


def test_minute_is_shared(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            assert await one.take(claim("1", rpm=2)) is None
            await one.give("1")
            assert await two.take(claim("2", rpm=2, meter="a|other")) is None
            await two.give("2")
            for process in (one, two):
                refused = await process.take(claim("3", rpm=2))
                assert refused
                assert refused.reason == "rate"
                assert refused.retry_in
                assert 61 - PATIENCE < refused.retry_in <= 61
            assert await one.take(claim("4", rpm=2, rate="b")) is None

    run(test)


def test_place_in_the_minute_comes_free_after_61_seconds(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one:
            assert await one.take(claim("1", rpm=1, slots=None)) is None
            with server.client() as client:
                key = "litellm-pool:rate:a"
                ((lease, began),) = client.zrange(key, 0, -1, withscores=True)
                client.zadd(key, {lease: began - 59_000})
                refused = await one.take(claim("2", rpm=1, slots=None))
                assert refused
                assert refused.retry_in
                assert refused.retry_in <= 2
                client.zadd(key, {lease: began - 61_000})
            assert await one.take(claim("2", rpm=1, slots=None)) is None

    run(test)


def test_refused_claim_uses_nothing(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one:
            assert await one.take(claim("1", slots=1, rpm=2)) is None
            assert await reason(one.take(claim("2", slots=1, rpm=2, probe="key"))) == "slots"
            await one.give("1")
            assert await one.take(claim("3", slots=1, rpm=2, probe="key")) is None  # minute and probe were left
            assert await reason(one.take(claim("4", slots=2, rpm=2))) == "rate"
            await one.give("3")
            assert await one.take(claim("5", slots=1, rate="b")) is None  # so was the slot

    run(test)


# Probes


def test_one_request_probes(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server) as one, store(server, ears) as two:
            assert await one.take(claim("1", probe="key")) is None
            assert await reason(two.take(claim("2", probe="key"))) == "probe"
            assert await reason(one.take(claim("3", probe="key"))) == "probe"
            assert await two.take(claim("4", probe="other key", meter="b|m")) is None
            ears.rooms.clear()
            await one.give("1")
            await until(lambda: "a|m" in ears.rooms)
            assert await two.take(claim("2", probe="key")) is None

    run(test)


# Turns


def test_request_that_has_waited_longest_comes_first(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server) as one, store(server, ears) as two:
            assert await one.take(claim("1", slots=1)) is None
            assert await reason(two.take(claim("old", slots=1, arrived=10.0))) == "slots"
            await one.give("1")
            await until(lambda: ears.rooms != [])
            ears.rooms.clear()
            assert await reason(one.take(claim("young", slots=1, arrived=11.0))) == "turn"
            await until(lambda: ears.rooms == ["a|m"], "the older one was not called")
            assert await two.take(claim("old", slots=1, arrived=10.0)) is None

    run(test)


def test_room_that_is_left_goes_to_the_next_in_the_row(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server) as one, store(server, ears) as two, store(server) as three:
            for name in "12":
                assert await one.take(claim(name)) is None
            assert await reason(three.take(claim("old", arrived=10.0))) == "slots"
            await one.give("1")
            await one.give("2")
            assert await reason(two.take(claim("young", arrived=11.0))) == "turn"
            await until(lambda: len(ears.rooms) == 2)
            assert await three.take(claim("old", arrived=10.0)) is None
            await until(lambda: len(ears.rooms) == 3, "the younger one was not called")
            assert await two.take(claim("young", arrived=11.0)) is None

    run(test)


def test_slot_that_comes_free_calls_the_first_and_the_others_look_later(server: Server) -> None:
    class Watch(Ears):
        def on_room(self, meter: str) -> None:
            super().on_room(meter)
            moments.setdefault(self, time.monotonic())

    moments: dict[Watch, float] = {}
    ears, later = Watch(), Watch()

    async def test() -> None:
        async with store(server) as one, store(server, ears) as two, store(server, later) as three:
            assert await one.take(claim("1", slots=1)) is None
            assert await reason(two.take(claim("old", slots=1, arrived=10.0))) == "slots"
            assert await reason(three.take(claim("young", slots=1, arrived=11.0))) == "slots"
            moments.clear()
            await one.give("1")
            await until(lambda: ears in moments)
            # the first does not come for it, and the slot is not lost
            await until(lambda: later in moments)
            assert await reason(three.take(claim("young", slots=1, arrived=11.0, insist=True))) is None

    run(test)
    assert moments[later] - moments[ears] > LATER / 2


def test_room_that_nobody_is_known_to_wait_for_is_told_to_all(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server) as one, store(server, ears):
            assert await one.take(claim("1", slots=2)) is None
            await until(lambda: ears.rooms == ["a|m"])

    run(test)


def test_next_request_of_the_process_keeps_its_place(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            assert await two.take(claim("2", slots=2, arrived=10.0, next_arrived=11.0)) is None
            assert await reason(one.take(claim("1", slots=2, arrived=12.0))) == "turn"
            assert await two.take(claim("3", slots=2, arrived=11.0)) is None
            await two.give("2")
            assert await one.take(claim("1", slots=2, arrived=12.0)) is None

    run(test)


def test_requests_of_one_process_do_not_stand_in_each_others_way(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one:
            assert await one.take(claim("1", slots=2, arrived=10.0, next_arrived=5.0)) is None
            assert await one.take(claim("2", slots=2, arrived=20.0)) is None

    run(test)


def test_request_that_insists_does_not_wait_for_its_turn(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            assert await one.take(claim("1", slots=1)) is None
            assert await reason(two.take(claim("old", slots=1, arrived=10.0))) == "slots"
            assert await reason(one.take(claim("young", slots=1, arrived=11.0, insist=True))) == "slots"
            await one.give("1")
            assert await one.take(claim("young", slots=1, arrived=11.0, insist=True)) is None

    run(test)


def test_request_served_elsewhere_holds_up_nobody(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server, ears) as one, store(server) as two:
            assert await one.take(claim("1", slots=1)) is None
            assert await reason(two.take(claim("old", slots=1, arrived=10.0))) == "slots"
            await one.give("1")
            assert await reason(one.take(claim("young", slots=1, arrived=11.0))) == "turn"
            ears.rooms.clear()
            assert await two.take(claim("old", slots=1, arrived=10.0, meter="b|m")) is None
            await until(lambda: ears.rooms == ["a|m"])
            assert await one.take(claim("young", slots=1, arrived=11.0)) is None

    run(test)


def test_process_that_asks_no_more_loses_its_turn(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            assert await one.take(claim("1", slots=1)) is None
            assert await reason(two.take(claim("old", slots=1, arrived=10.0))) == "slots"
            await one.give("1")
            assert await reason(one.take(claim("young", slots=1, arrived=11.0))) == "turn"
            await until_granted(one, claim("young", slots=1, arrived=11.0))

    run(test)


def test_request_that_waits_without_asking_keeps_its_turn(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            two.queued("a|m", 10.0)
            with server.client() as client:
                await until(lambda: bool(client.exists("litellm-pool:waiting:a|m")))
            deadline = time.monotonic() + 3  # longer than a word of it counts
            while time.monotonic() < deadline:
                assert await reason(one.take(claim("young", arrived=11.0))) == "turn"
                await asyncio.sleep(0.05)
            two.queued("a|m", None)
            await until_granted(one, claim("young", arrived=11.0))

    run(test)


# Away and back


def test_outage_is_noticed_said_once_and_healed(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        ears, others = Ears(), Ears()
        async with store(server, ears) as one, store(server, others) as two:
            assert await one.take(claim("kept")) is None
            assert await one.take(claim("given")) is None
            await until(lambda: two.members == one.members == 2 and two.elsewhere("a|m") == 2)
            server.kill()
            for name in "123":
                with pytest.raises(StoreAway):
                    await one.take(claim(name))
            await until(lambda: not two.connected)
            await one.give("given")
            assert (one.connected, one.members, two.elsewhere("a|m")) == (False, 2, 2)
            server.start()
            await until(lambda: one.connected and two.connected)
            assert ears.connections == others.connections == [True, False, True]
            assert await two.take(claim("2")) is None
            assert await reason(two.take(claim("3"))) == "slots"  # the kept one counts, the given one does not
            await until(lambda: one.elsewhere("a|m") == two.elsewhere("a|m") == 1)

    with caplog.at_level(logging.INFO, "glm_pool"):
        run(test)
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if "is away" in text]) == 2, said  # once for each of the two
    assert len([text for text in said if "is back" in text]) == 2, said


def test_store_that_does_not_answer_is_away_within_two_seconds(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one:
            server.freeze()
            begin = time.monotonic()
            with pytest.raises(StoreAway):
                await one.take(claim("1", slots=1))
            assert time.monotonic() - begin < 2
            begin = time.monotonic()
            with pytest.raises(StoreAway):
                await one.take(claim("2", slots=1))
            assert time.monotonic() - begin < 0.1
            await one.give("1")
            server.thaw()
            await until_granted(one, claim("3", slots=1))  # the claim without an answer left no slot taken

    run(test)


def test_process_that_stood_still_does_not_blame_the_store(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server, ears) as process:
            asking = asyncio.create_task(process.take(claim("lease")))
            for stalls in range(3):
                for _ in range(stalls):  # up to where the command is on its way
                    await asyncio.sleep(0)
                time.sleep(1.5)
            assert await asking is None
            assert ears.connections == [True]

    run(test)


def test_store_that_comes_late_is_found(server: Server) -> None:
    server.kill()

    async def test() -> None:
        ears = Ears()
        async with store(server, ears) as one:
            assert (one.connected, one.members, one.rank, ears.connections) == (False, 1, 0, [False])
            with pytest.raises(StoreAway):
                await one.take(claim("1"))
            with pytest.raises(StoreAway):
                await one.read_health()
            server.start()
            await until_granted(one, claim("1"))
            assert ears.connections == [False, True]

    run(test)


def test_no_slot_is_given_twice_over_a_loss_of_data(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            assert await one.take(claim("1", slots=1, rpm=2, probe="key")) is None
            await until(lambda: two.members == 2)
            with server.client() as client:
                client.flushall()
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                with suppress(StoreAway):
                    assert await reason(two.take(claim("2", slots=1))) == "slots"
                await asyncio.sleep(0.02)
            assert await reason(two.take(claim("3", meter="b|m", probe="key"))) == "probe"
            assert await two.take(claim("4", meter="b|m", rpm=2)) is None
            assert await reason(two.take(claim("5", meter="b|m", rpm=2))) == "rate"  # the minute is remembered too
            await one.give("1")
            await until_granted(two, claim("2", slots=1))

    run(test)


def test_request_sent_during_the_outage_counts_afterwards(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            server.kill()
            with pytest.raises(StoreAway):
                await one.take(claim("1", slots=1))
            one.adopt(claim("1", slots=1))
            await until(lambda: not two.connected)
            server.start()
            await until(lambda: two.connected and two.elsewhere("a|m") == 1)
            assert await reason(two.take(claim("2", slots=1))) == "slots"
            await one.give("1")
            await until_granted(two, claim("2", slots=1))

    run(test)


def test_read_only_server_is_away(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one:
            with server.client() as client:
                client.replicaof("127.0.0.1", "1")
                with pytest.raises(StoreAway):
                    await one.take(claim("1"))
                client.replicaof("no", "one")
            await until_granted(one, claim("1"))

    run(test)


def test_server_whose_disk_is_full_is_away_until_there_is_room(tmp_path: Path) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(limited, ears) as one:
            assert await one.take(claim("1")) is None
            limited.fill_disk(full=True)
            await until(lambda: not one.connected, "the full disk went unnoticed")
            with pytest.raises(StoreAway, match="Errors writing to the AOF file"):
                await one.take(claim("2"))
            limited.fill_disk(full=False)
            await until_granted(one, claim("2"))
        assert ears.connections == [True, False, True], "it came and went while the disk was full"

    limited = Server(tmp_path, "--appendonly", "yes")
    limited.start()
    try:
        run(test)
    finally:
        limited.kill()


def test_scripts_that_the_server_forgot_are_sent_again(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one:
            with server.client() as client:
                client.script_flush()
            assert await one.take(claim("1")) is None

    run(test)


def test_closed_connections_do_not_fail_a_claim(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server, ears) as one, store(server) as two:
            with server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
                client.client_kill_filter(_type="pubsub", skipme=True)
                await until(lambda: client.pubsub_numsub("litellm-pool:events") == [("litellm-pool:events", 2)])
            assert await one.take(claim("1", slots=1)) is None
            await two.write_health("key", {"until": 5})
            await until(lambda: ears.healths == [("key", {"until": 5})])
            assert ears.connections == [True]

    run(test)


# Connecting


async def closed(**_: Any) -> None:
    raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


def test_a_connection_that_closed_under_a_command_means_that_the_store_is_away(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with store(server) as one:
            with monkeypatch.context() as patched:
                patched.setattr(one, "_take", closed)
                with pytest.raises(StoreAway):
                    await one.take(claim("1"))
            await until_granted(one, claim("2"))

    run(test)


def test_a_subscription_that_closed_under_a_write_is_made_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server, ears), store(server) as two:
            asked: list[str] = []

            async def once(*_: Any, **__: Any) -> None:
                asked.append("ping")
                patched.undo()
                await closed()

            with monkeypatch.context() as patched:
                patched.setattr(PubSub, "ping", once)
                await until(lambda: bool(asked))
            with server.client() as client:
                await until(lambda: client.pubsub_numsub("litellm-pool:events") == [("litellm-pool:events", 2)])
            await two.write_health("key", {"until": 5})
            await until(lambda: ears.healths == [("key", {"until": 5})])

    run(test)
    assert "Traceback" not in caplog.text


def test_password_is_used(tmp_path: Path) -> None:
    guarded = Server(tmp_path, "--requirepass", PASSWORD)
    guarded.client = lambda: Redis(unix_socket_path=str(guarded.path), password=PASSWORD)  # type: ignore[method-assign]
    guarded.start()

    async def test() -> None:
        guarded.url = f"unix://:{PASSWORD}@{guarded.path}"
        async with store(guarded) as one:
            assert await one.take(claim("1")) is None

    try:
        run(test)
    finally:
        guarded.kill()


@pytest.mark.parametrize("login", [f":{PASSWORD}@", f"someone:{PASSWORD}@", ""], ids=["password", "user", "none"])
def test_refused_login_is_told_without_the_secret(
    login: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    guarded = Server(tmp_path, "--requirepass", "another")
    guarded.client = lambda: Redis(unix_socket_path=str(guarded.path), password="another")  # type: ignore[method-assign]
    guarded.start()

    async def test() -> None:
        guarded.url = f"unix://{login}{guarded.path}"
        ears = Ears()
        async with store(guarded, ears) as one:
            assert (one.connected, ears.connections) == (False, [False])
            with pytest.raises(StoreAway) as away:
                await one.take(claim("1"))
            assert PASSWORD not in str(away.value)

    try:
        with caplog.at_level(logging.DEBUG):
            run(test)
    finally:
        guarded.kill()
    (said,) = (record.getMessage() for record in caplog.records if record.name == "glm_pool")
    assert str(guarded.path) in said
    assert "Authentication required" in said or "username-password" in said
    assert PASSWORD not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("url", [f"http://:{PASSWORD}@host", f"redis://:{PASSWORD}/@host:1", "host:6379", ""])
def test_wrong_url_is_refused_without_the_secret(url: str) -> None:
    with pytest.raises(ValueError, match="not the URL of a Redis") as refused:
        RedisStore(url)
    assert PASSWORD not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", path, "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_goes_by_the_trust_that_is_set(
    trusted: bool, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    files = ["--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(certificate)]
    guarded = Server(tmp_path, "--tls-port", str(port), "--tls-auth-clients", "no", "--bind", "127.0.0.1", *files)
    guarded.start()
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    else:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    async def test() -> None:
        guarded.url = f"rediss://localhost:{port}/0"
        async with store(guarded) as one:
            assert one.connected is trusted

    try:
        run(test)
    finally:
        guarded.kill()


def test_prefixes_keep_installations_apart(server: Server) -> None:
    async def test() -> None:
        other = RedisStore(server.url, prefix="other:")
        await other.start(Ears())
        async with store(server) as one:
            assert await one.take(claim("1", slots=1)) is None
            assert await other.take(claim("1", slots=1)) is None
            assert (one.members, other.members) == (1, 1)
        await other.stop()
        with server.client() as client:
            assert {str(key).split(":")[0] for key in client.scan_iter()} == {"litellm-pool", "other"}

    run(test)


def test_everything_is_closed_at_the_end(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one:
            await asyncio.gather(*(one.take(claim(str(n), slots=None)) for n in range(100)))
        with pytest.raises(StoreAway):
            await one.take(claim("late"))
        await one.give("1")
        await one.stop()  # a second time does nothing
        with server.client() as client:
            await until(lambda: len(client.client_list()) == 1)  # the test's own
            assert client.keys("litellm-pool:slots:*") == []

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(test)


def test_many_claims_at_once_do_not_look_like_an_outage(server: Server) -> None:
    async def test() -> None:
        ears = Ears()
        async with store(server, ears) as one:
            answers = await asyncio.gather(*(one.take(claim(str(n), slots=500)) for n in range(600)))
            assert len([answer for answer in answers if answer is None]) == 500
            assert ears.connections == [True]

    run(test)


# Health


def test_health_records_are_shared(server: Server) -> None:
    async def test() -> None:
        mine, theirs = Ears(), Ears()
        async with store(server, mine) as one, store(server, theirs) as two:
            await one.write_health("key", {"state": "parked", "until": 7.5})
            await until(lambda: theirs.healths == [("key", {"state": "parked", "until": 7.5})])
            assert await two.read_health() == {"key": {"state": "parked", "until": 7.5}}
            await one.write_health("key", None)
            await until(lambda: theirs.healths[1:] == [("key", None)])
            assert await two.read_health() == {}
            assert mine.healths == []

    run(test)


def test_process_that_comes_later_hears_of_the_records(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one:
            await one.write_health("key", {"until": 7})
        ears = Ears()
        async with store(server, ears):
            await until(lambda: ears.healths == [("key", {"until": 7})])

    run(test)


def test_a_record_that_is_heard_of_twice_is_told_once(server: Server) -> None:
    """After an outage its event may come when the store has been read already."""

    async def test() -> None:
        ears = Ears()
        with server.client() as client:
            events = client.pubsub()
            events.psubscribe("*")
            async with store(server) as one, store(server, ears):
                await one.write_health("key", {"n": 1})
                await until(lambda: ears.healths == [("key", {"n": 1})])
                heard: list[dict[str, Any]] = []

                def event_came() -> bool:
                    heard.extend(filter(None, [events.get_message(ignore_subscribe_messages=True)]))
                    return any("health" in str(message["data"]) for message in heard)

                await until(event_came)
                (event,) = [message for message in heard if "health" in str(message["data"])]
                client.publish(event["channel"], event["data"])
                await one.write_health("other", {"n": 2})
                await until(lambda: ears.healths[-1] == ("other", {"n": 2}))
            assert ears.healths == [("key", {"n": 1}), ("other", {"n": 2})]

    run(test)


def test_records_outlive_an_outage(server: Server) -> None:
    async def test() -> None:
        mine, theirs = Ears(), Ears()
        async with store(server, mine) as one, store(server, theirs) as two:
            await one.write_health("before", {"n": 1})
            await until(lambda: len(theirs.healths) == 1)
            server.kill()
            await until(lambda: not one.connected and not two.connected)
            await one.write_health("during", {"n": 2})
            await one.write_health("during", {"n": 3})
            server.start()
            await until(lambda: theirs.healths == [("before", {"n": 1}), ("during", {"n": 3})] and two.connected)
            assert await two.read_health() == {"before": {"n": 1}, "during": {"n": 3}}
            assert mine.healths == []

    run(test)


# Spending


MONTH = "2026-11"


def host(process: RedisStore | None, *clients: Client) -> Access:
    """A host with a ledger of its own."""
    access = Access(_Known(clients), Ledger(None), lambda model: None)
    if process is not None:

        async def started() -> None:
            """The store was started."""

        access.share(process, started, process)
    return access


class _Known(ClientsFile):
    def __init__(self, clients: tuple[Client, ...]) -> None:
        super().__init__(None)
        self._directory = Directory(clients)


def use(access: Access, client: Client, tokens: int) -> None:
    access.account(Visit(client, counted=True), key="", pool="", model="", tokens=Tokens(output=tokens), status=200)


async def is_over(access: Access, client: Client) -> bool:
    outcome = await access.admit(client, counted=True)
    if isinstance(outcome, Visit):
        await outcome.leave()
        return False
    assert outcome.code == "budget_used_up"
    return True


async def until_over(accesses: Iterable[Access], client: Client) -> None:
    deadline = time.monotonic() + PATIENCE
    while not all([await is_over(access, client) for access in accesses]):
        assert time.monotonic() < deadline, "the hosts did not hear of each other"
        await asyncio.sleep(0.01)


def test_hosts_hear_what_a_client_used_on_the_others(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one, store(server) as two:
            assert await one.spent_elsewhere(MONTH, "alice", "a") == Spent()
            await one.tell_spent(MONTH, "alice", "a", Spent(10, 0.1))
            await two.tell_spent(MONTH, "alice", "b", Spent(5, 1e-7))
            await two.tell_spent(MONTH, "alice", "c", Spent(10**15, 2.5))
            assert await one.spent_elsewhere(MONTH, "alice", "a") == Spent(10**15 + 5, 1e-7 + 2.5)
            assert await two.spent_elsewhere(MONTH, "alice", "b") == Spent(10**15 + 10, 0.1 + 2.5)
            assert await one.spent_elsewhere(MONTH, "bob", "a") == Spent()
            assert await one.spent_elsewhere("2026-12", "alice", "a") == Spent()

    run(test)


def test_what_was_told_never_falls_and_is_forgotten_after_the_month(server: Server) -> None:
    """Processes of one host may overtake each other."""

    async def test() -> None:
        async with store(server) as one, store(server) as two:
            for tokens in (10, 30, 20, 0, 30):
                await (one, two)[tokens % 20 == 0].tell_spent(MONTH, "alice", "a", Spent(tokens, tokens / 10))
            assert await one.spent_elsewhere(MONTH, "alice", "b") == Spent(30, 3.0)
            with server.client() as client:
                (name,) = client.keys("*spent:*")
                assert name == f"litellm-pool:spent:{MONTH}:alice"
                assert 62 * 86400 < client.ttl(name) <= 70 * 86400

    run(test)


@pytest.mark.parametrize("name", ["a.b_c-d", "0", "x" * 63])
def test_names_of_clients_stand_in_keys(server: Server, name: str) -> None:
    async def test() -> None:
        async with store(server) as one:
            await one.tell_spent(MONTH, name, "a", Spent(1, 0.5))
            assert await one.spent_elsewhere(MONTH, name, "") == Spent(1, 0.5)

    run(test)


def test_spending_of_a_store_that_is_away(server: Server) -> None:
    async def test() -> None:
        async with store(server) as one:
            server.kill()
            with pytest.raises(StoreAway):
                await one.tell_spent(MONTH, "alice", "a", Spent(1, 1.0))
            with pytest.raises(StoreAway):
                await one.spent_elsewhere(MONTH, "alice", "a")

    run(test)


def test_two_hosts_share_a_budget(server: Server) -> None:
    async def test() -> None:
        alice = Client("alice", monthly_tokens=20)
        async with store(server) as one, store(server) as two:
            hosts = [host(one, alice), host(two, alice)]
            for access in hosts:
                assert not await is_over(access, alice)
                use(access, alice, 10)
            await until_over(hosts, alice)

    run(test)


def test_budgets_over_an_outage_and_a_loss_of_data(server: Server) -> None:
    """While it is away each host knows the last word of the other; then it is told all anew."""

    async def test() -> None:
        alice = Client("alice", monthly_tokens=100)
        ears = [ReturnEars(), ReturnEars()]
        async with store(server, ears[0]) as one, store(server, ears[1]) as two:
            hosts = [host(one, alice), host(two, alice)]
            for ear, access in zip(ears, hosts, strict=True):
                ear.on_return = access.tell_all
            use(hosts[1], alice, 60)
            while (await one.spent_elsewhere(time.strftime("%Y-%m", time.gmtime()), "alice", "")).tokens < 60:
                await asyncio.sleep(0.01)
            assert not await is_over(hosts[0], alice)
            server.kill()
            use(hosts[0], alice, 40)
            await until(lambda: not one.connected and not two.connected)
            assert await is_over(hosts[0], alice)
            assert not await is_over(hosts[1], alice), "it has not heard of it"
            server.start()  # empty
            await until_over(hosts, alice)
            async with store(server) as late:
                await until_over([host(late, alice)], alice)

    run(test)


class ReturnEars(Ears):
    """Calls someone when the store is back, as the pool does."""

    on_return: Callable[[], None] | None = None

    def on_connection(self, connected: bool) -> None:
        super().on_connection(connected)
        if connected and self.on_return:
            self.on_return()


def test_places_of_a_client_outlive_an_outage(server: Server) -> None:
    """What a host let in by itself counts on the others when the store is back."""

    async def test() -> None:
        alice = Client("alice", max_parallel_requests=1)
        async with store(server) as one, store(server) as two:
            hosts = [host(one, alice), host(two, alice)]
            server.kill()
            await until(lambda: not one.connected and not two.connected)
            visit = await hosts[0].admit(alice, counted=True)
            assert isinstance(visit, Visit)
            refused = await hosts[0].admit(alice, counted=True)
            assert not isinstance(refused, Visit)
            assert refused.code == "client_parallel_limit"
            server.start()
            await until(lambda: one.connected and two.connected and two.elsewhere("client:alice") == 1)
            assert not isinstance(await hosts[1].admit(alice, counted=True), Visit)
            await visit.leave()
            deadline = time.monotonic() + PATIENCE
            while not isinstance(await hosts[1].admit(alice, counted=True), Visit):
                assert time.monotonic() < deadline, "its place is not given back"
                await asyncio.sleep(0.01)

    run(test)
