"""The simulation in a tiny size, and its arithmetic."""

import asyncio
import math
import time
from collections.abc import Iterator

import pytest
from pool_parts import FakeClock
from redis import Redis

from tests.bench.fairness import Spread, jain
from tests.bench.services import start_redis_on_socket
from tests.bench.simulation import Plan, Result, Simulation, Upstream, exists, message_cost, table
from tests.bench.virtual_time import StandstillError, virtual_time

TINY = Plan("tiny", hosts=3, keys=4, slots=2, clients=60, latency=2.0, warm_up=5, seconds=20)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Redis"]:
    directory = tmp_path_factory.mktemp("redis")
    socket = directory / "redis.sock"
    with (
        start_redis_on_socket(directory) as server,
        Redis(unix_socket_path=str(socket), decode_responses=True) as client,
    ):
        asyncio.run(server.ready(lambda: exists(socket), 10))
        yield client


@pytest.fixture(scope="module")
def result(redis: "Redis") -> Result:
    return Simulation(TINY, redis).run()


def test_jains_index_is_one_for_equals_and_one_in_n_for_one_that_has_everything() -> None:
    assert jain([3, 3, 3]) == pytest.approx(1)
    assert jain([9, 0, 0]) == pytest.approx(1 / 3)
    assert jain([0, 0]) == 1
    assert math.isnan(jain([]))


def test_spread_of_values() -> None:
    assert Spread.of([float(value) for value in range(101)]) == Spread(0, 50, 50, 99, 100)
    assert math.isnan(Spread.of([]).p99)


def test_demand_sets_how_long_clients_think() -> None:
    plan = Plan("", keys=10, slots=2, clients=100, latency=10, demand=1.0)
    assert plan.think == pytest.approx(100 / 2 - 10)
    assert plan.waiting == pytest.approx(10 / 50)  # nobody waits yet, each is served a fifth of the time


def test_upstream_counts_slots_in_use() -> None:
    clock = FakeClock()
    upstream = Upstream(clock)
    upstream.began("a")
    upstream.began("a")
    upstream.reset()
    clock.now += 2
    upstream.ended("a")
    clock.now += 3
    assert (upstream.used(), upstream.most, upstream.answers["a"]) == (2 * 2 + 1 * 3, 2, 1)


def test_simulated_time_passes_without_waiting() -> None:
    with virtual_time() as (loop, clock):
        begin, real = clock.monotonic(), time.monotonic()
        loop.run_until_complete(asyncio.sleep(3600))
        assert clock.monotonic() - begin == pytest.approx(3600)
        assert time.monotonic() - real < 5


def test_a_simulation_in_which_nothing_can_happen_any_more_ends() -> None:
    with virtual_time() as (loop, _):
        future = loop.create_future()
        with pytest.raises(StandstillError):
            loop.run_until_complete(future)
        future.cancel()


def test_limits_hold_and_slots_are_used_over_all_hosts(result: Result) -> None:
    assert result.most == TINY.slots
    assert result.efficiency > 0.95
    assert not result.misses()
    assert {answer.host for answer in result.answers} == {0, 1, 2}


def test_a_slot_that_comes_free_is_asked_for_by_few(result: Result) -> None:
    # the one that was called and the one that gave it, not every host
    assert result.calls["take"] / len(result.answers) < 3
    assert result.outcomes["granted"] == pytest.approx(len(result.answers), rel=0.1)


def test_every_host_says_once_a_second_that_it_lives(result: Result) -> None:
    assert result.calls["beat"] / TINY.seconds == pytest.approx(TINY.hosts, rel=0.1)


def test_the_same_seed_gives_the_same_answers(redis: "Redis", result: Result) -> None:
    again = Simulation(TINY, redis).run()
    assert [answer.client for answer in again.answers] == [answer.client for answer in result.answers]


def test_the_table_has_a_column_for_each_plan(redis: "Redis", result: Result) -> None:
    lines = table([result, result]).splitlines()
    assert lines[0] == "|  | tiny | tiny |"
    assert {line.count("|") for line in lines} == {4}
    assert message_cost(redis, 2) >= 0
