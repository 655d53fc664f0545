"""How the next key is chosen."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from glm_pool.strategies import LeastConnections, RoundRobin, Strategy, Weighted

NONE: Mapping[str, int] = {}


def names(count: int) -> list[str]:
    return [f"key-{index:02}" for index in range(count)]


def take(strategy: Strategy, candidates: Sequence[str], count: int, pool: str = "pool") -> list[str]:
    return [strategy.pick(pool, candidates, NONE) for _ in range(count)]


def spread(picks: Sequence[str], candidates: Sequence[str]) -> int:
    counts = Counter(picks)
    return max(counts[name] for name in candidates) - min(counts[name] for name in candidates)


@pytest.mark.parametrize("count", range(1, 13))
def test_round_robin_never_prefers_a_key(count: int) -> None:
    keys = names(count)
    picks = take(RoundRobin(), keys, 5 * count)
    for length in range(1, len(picks) + 1):
        assert spread(picks[:length], keys) <= 1


@pytest.mark.parametrize("count", range(2, 13))
def test_round_robin_does_not_use_a_key_twice_in_a_row(count: int) -> None:
    picks = take(RoundRobin(), names(count), 5 * count)
    assert [pair for pair in itertools.pairwise(picks) if pair[0] == pair[1]] == []


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("turns", ["ab", "aab", "aaab", "abc", "abbc", "aabb"])
def test_round_robin_balances_each_of_several_pools_and_their_sum(count: int, turns: str) -> None:
    keys, strategy = names(count), RoundRobin()
    picks: dict[str, list[str]] = {pool: [] for pool in turns}
    for pool in itertools.islice(itertools.cycle(turns), 8 * count * len(turns)):
        picks[pool].append(strategy.pick(pool, keys, NONE))
        assert all(spread(taken, keys) <= 1 for taken in picks.values())
        assert spread([name for taken in picks.values() for name in taken], keys) < len(picks)


@pytest.mark.parametrize("count", [2, 4, 6, 8])
def test_alternating_pools_do_not_pair_up_with_an_even_number_of_keys(count: int) -> None:
    keys, strategy = names(count), RoundRobin()
    picks = [strategy.pick(pool, keys, NONE) for pool in ["a", "b"] * (10 * count)]
    assert set(picks[0::2]) == set(keys)
    assert set(picks[1::2]) == set(keys)
    for start in range(0, len(picks), count):
        assert spread(picks[start : start + count], keys) <= 1


def test_round_robin_leaves_out_a_key_that_is_away_and_takes_it_up_again() -> None:
    keys, strategy = names(3), RoundRobin()
    assert sorted(take(strategy, keys, 3)) == keys
    away = take(strategy, keys[:2], 10)
    assert spread(away, keys[:2]) == 0
    back = take(strategy, keys, 9)
    assert keys[2] in back[:2]
    assert spread(back, keys) <= 1


def test_a_key_that_comes_back_is_not_flooded() -> None:
    keys, strategy = names(4), RoundRobin()
    take(strategy, keys[1:], 300)
    assert spread(take(strategy, keys, 40), keys) <= 1


def test_round_robin_takes_up_a_new_key() -> None:
    strategy = RoundRobin()
    take(strategy, names(2), 7)
    assert "new" in take(strategy, [*names(2), "new"], 3)


def test_least_connections_chooses_the_idle_key() -> None:
    strategy = LeastConnections()
    assert strategy.pick("pool", names(3), {"key-00": 2, "key-01": 0, "key-02": 1}) == "key-01"
    assert strategy.pick("pool", names(3), {"key-00": 1, "key-01": 3, "key-02": 2}) == "key-00"


def test_least_connections_ignores_keys_that_are_no_candidates() -> None:
    assert LeastConnections().pick("pool", ["a", "b"], {"a": 5, "b": 6, "away": 0}) == "a"


@pytest.mark.parametrize("count", range(1, 9))
def test_least_connections_lets_equal_keys_take_turns(count: int) -> None:
    assert spread(take(LeastConnections(), names(count), 6 * count), names(count)) == 0


def test_least_connections_fills_up_evenly() -> None:
    strategy, running = LeastConnections(), Counter[str]()
    for _ in range(20):
        running[strategy.pick("pool", names(4), running)] += 1
    assert running == dict.fromkeys(names(4), 5)


@pytest.mark.parametrize(
    "weights", [{"a": 3, "b": 1}, {"a": 5, "b": 1, "c": 1}, {"a": 2, "b": 3, "c": 7, "d": 1}, {"a": 1}]
)
def test_weighted_gives_exact_shares_in_every_cycle(weights: dict[str, float]) -> None:
    strategy = Weighted(weights)
    for _ in range(4):
        assert Counter(take(strategy, sorted(weights), int(sum(weights.values())))) == weights


def test_weighted_is_smooth() -> None:
    assert take(Weighted({"a": 3, "b": 1}), ["a", "b"], 4) == ["a", "a", "b", "a"]
    assert "".join(take(Weighted({"a": 5, "b": 1, "c": 1}), ["a", "b", "c"], 7)) == "aabacaa"


def test_weighted_repeats_itself() -> None:
    weights = {"a": 2, "b": 3, "c": 7}
    assert take(Weighted(weights), "abc", 50) == take(Weighted(weights), "abc", 50)


def test_weighted_counts_a_key_without_weight_as_one() -> None:
    assert Counter(take(Weighted({"a": 2}), ["a", "b"], 30)) == {"a": 20, "b": 10}


def test_weighted_counts_every_pool_on_its_own() -> None:
    strategy = Weighted({"a": 3, "b": 1})
    picks = [(pool, strategy.pick(pool, ["a", "b"], NONE)) for pool in ["one", "two"] * 8]
    assert Counter(picks) == {("one", "a"): 6, ("one", "b"): 2, ("two", "a"): 6, ("two", "b"): 2}


def test_weighted_shares_among_those_that_are_left() -> None:
    strategy = Weighted({"a": 3, "b": 1, "c": 2})
    take(strategy, ["a", "b", "c"], 6)
    assert Counter(take(strategy, ["b", "c"], 30)) == {"b": 10, "c": 20}
    assert Counter(take(strategy, ["a", "b", "c"], 60)) == {"a": 30, "b": 10, "c": 20}
