"""The agreement between processes over a Redis that fails over: each store stands for a process."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError

from glm_pool.redis_connections import close, connection_pool
from glm_pool.redis_store import RedisStore
from glm_pool.shared import Claim, Refused, StoreAway
from tests.pool.redis_cluster import NAME, PASSWORD, PATIENCE, Cluster, running_cluster, wait_until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    assert shutil.which("redis-server"), "redis-server is missing; run scripts/ensure-redis.sh"
    with running_cluster(tmp_path) as found:
        yield found


class Deaf:
    """A listener that does nothing."""

    def on_room(self, meter: str) -> None:
        pass

    def on_shares(self) -> None:
        pass

    def on_health(self, name: str, record: dict[str, Any] | None) -> None:
        pass

    def on_connection(self, connected: bool) -> None:
        pass


@asynccontextmanager
async def store(cluster: Cluster) -> AsyncIterator[RedisStore]:
    process = RedisStore(cluster.url)
    await process.start(Deaf())
    try:
        yield process
    finally:
        await process.stop()


def claim(lease: str, slots: int = 2) -> Claim:
    return Claim(lease, meter="a|m", slots=slots, rate="a", rpm=None, probe=None, arrived=100.0, insist=True)


async def judged(process: RedisStore, request: Claim) -> Refused | None:
    """What the store says of a claim, as soon as it says anything."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while True:
        with suppress(StoreAway):
            return await process.take(request)
        assert asyncio.get_running_loop().time() < end, "the store stays away"
        await asyncio.sleep(0.02)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def in_thread(work: Callable[[], object]) -> None:
    await asyncio.to_thread(work)


@pytest.mark.parametrize("planned", [False, True], ids=["killed", "by the operator"])
def test_no_slot_is_given_twice_over_a_fail_over(cluster: Cluster, planned: bool) -> None:
    async def test() -> None:
        async with store(cluster) as one, store(cluster) as other:
            before = cluster.master()
            assert await one.take(claim("1")) is None
            assert await one.take(claim("2")) is None
            if planned:
                cluster.sentinels[0].client().sentinel_failover(NAME)
            else:
                before.kill()
            answers: list[Refused | None] = []

            async def ask() -> None:
                for number in range(40):
                    answers.append(await judged(other, claim(f"more-{number}")))
                    await asyncio.sleep(0.1)

            asking = asyncio.create_task(ask())
            await in_thread(lambda: wait_until(lambda: cluster.master() is not before))
            await asking
            assert [answer.reason for answer in answers if answer] == ["slots"] * 40
            assert await judged(one, claim("3")) is not None
            await one.give("1")
            assert await judged(other, claim("4")) is None

    run(test)


def test_the_outage_of_a_fail_over_is_short_and_said_without_the_secret(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with store(cluster) as one:
            before = cluster.master()
            before.kill()
            await in_thread(lambda: wait_until(lambda: not one.connected))
            await in_thread(lambda: wait_until(lambda: one.connected))
            assert cluster.master() is not before
            before.start()
            await in_thread(lambda: wait_until(cluster.is_whole))
            assert await judged(one, claim("1")) is None

    with caplog.at_level(logging.INFO, logger="glm_pool"):
        run(test)
    assert "is away" in caplog.text
    assert "is back" in caplog.text
    assert PASSWORD not in caplog.text


def test_sentinels_that_are_away_do_not_matter_while_one_answers(cluster: Cluster) -> None:
    async def test() -> None:
        for sentinel in cluster.sentinels[:2]:
            sentinel.kill()
        async with store(cluster) as one:
            assert one.connected
            assert await one.take(claim("1", slots=1)) is None

    run(test)


def test_a_sentinel_that_was_away_is_asked_again(cluster: Cluster) -> None:
    async def test() -> None:
        first, *others = cluster.sentinels
        first.kill()
        pool = connection_pool(cluster.url, most=8, timeout=1.0, patience=10.0)
        await asyncio.gather(*(Redis.from_pool(pool).ping() for _ in range(8)))
        await in_thread(first.start)
        for sentinel in others:
            sentinel.kill()
        await pool.disconnect()
        assert await Redis.from_pool(pool).ping()
        first.kill()
        await pool.disconnect()
        with pytest.raises(MasterNotFoundError, match=r"^No master found for 'pool'$"):
            await Redis.from_pool(pool).ping()
        await close(pool)

    run(test)
