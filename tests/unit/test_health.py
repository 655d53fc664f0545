"""Whether a key can be used: rests, parking, recovery, and what others say of it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_parts import FakeClock

from glm_pool.faults import Fault, Kind
from glm_pool.health import Health, Record, State

LONGEST = 60.0
RATE = Fault(Kind.TRANSIENT, "1302", 429, "", of_model=True)
OVERLOADED = Fault(Kind.TRANSIENT, "1305", 429, "", of_model=True)
SERVER = Fault(Kind.SERVER, "http_502", 502, "")
ACCOUNT = Fault(Kind.ACCOUNT, "1113", 429, "")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> Health:
    return Health("team-a@0123", clock)


def quota(clock: FakeClock, seconds: float) -> Fault:
    return Fault(Kind.QUOTA, "1308", 429, "", until=clock.wall() + seconds)


def fail(health: Health, fault: Fault) -> bool:
    return health.fail(fault, LONGEST)


def test_new_key_can_be_used(health: Health) -> None:
    assert (health.record, health.resting, health.recovering) == (Record(), 0.0, False)


@pytest.mark.parametrize(("fault", "seconds"), [(RATE, 5), (OVERLOADED, 30), (SERVER, 1)])
def test_key_cools_for_the_rest_of_its_fault_and_is_then_to_be_tried(
    health: Health, clock: FakeClock, fault: Fault, seconds: float
) -> None:
    assert fail(health, fault)
    assert health.record.state is State.COOLING
    assert health.record.until == clock.wall() + seconds
    assert (health.record.code, health.record.failures) == (fault.code, 1)
    assert health.resting == seconds
    clock.later(seconds - 0.5)
    assert (health.resting, health.recovering) == (0.5, False)
    clock.later(0.5)
    assert (health.resting, health.recovering) == (0.0, True)


def test_failures_side_by_side_are_one(health: Health, clock: FakeClock) -> None:
    fail(health, OVERLOADED)
    clock.later(2)
    assert not fail(health, OVERLOADED)
    assert not fail(health, SERVER)
    assert (health.record.failures, health.resting) == (1, 28)


def test_rest_grows_only_with_failed_probes(health: Health, clock: FakeClock) -> None:
    rests = []
    for _ in range(5):
        assert fail(health, OVERLOADED)
        fail(health, OVERLOADED)
        rests.append(health.resting)
        clock.later(health.resting)
    assert rests == [30, 60, 90, 120, 120]


def test_rest_after_failures_of_the_server_is_bounded(health: Health, clock: FakeClock) -> None:
    rests = []
    for _ in range(6):
        health.fail(SERVER, 10.0)
        rests.append(health.resting)
        clock.later(health.resting)
    assert rests == [1, 2, 4, 8, 10, 10]


def test_answer_to_the_probe_brings_the_key_back_and_the_next_rest_is_short_again(
    health: Health, clock: FakeClock
) -> None:
    for _ in range(3):
        fail(health, OVERLOADED)
        clock.later(health.resting)
    assert health.succeed()
    assert (health.record.state, health.record.failures, health.recovering) == (State.ACTIVE, 0, False)
    fail(health, OVERLOADED)
    assert health.resting == 30


def test_late_answer_to_an_earlier_request_does_not_end_the_rest(health: Health) -> None:
    fail(health, OVERLOADED)
    assert not health.succeed()
    assert health.resting == 30


def test_answers_of_a_key_that_is_well_change_nothing(health: Health) -> None:
    assert not health.succeed()
    assert health.record == Record()


def test_key_is_parked_until_its_window_ends(health: Health, clock: FakeClock) -> None:
    assert fail(health, quota(clock, 7200))
    assert (health.record.state, health.resting) == (State.PARKED, 7200)
    clock.later(7200)
    assert health.recovering
    assert health.succeed()
    assert health.record.state is State.ACTIVE


def test_used_up_quota_counts_for_a_key_that_cools(health: Health, clock: FakeClock) -> None:
    fail(health, OVERLOADED)
    assert fail(health, quota(clock, 7200))
    assert (health.record.state, health.resting) == (State.PARKED, 7200)


@pytest.mark.parametrize("fault", [RATE, SERVER])
def test_passing_fault_does_not_shorten_a_parking(health: Health, clock: FakeClock, fault: Fault) -> None:
    fail(health, quota(clock, 7200))
    assert not fail(health, fault)
    assert (health.record.state, health.resting) == (State.PARKED, 7200)


def test_the_latest_reset_time_holds(health: Health, clock: FakeClock) -> None:
    fail(health, quota(clock, 7200))
    assert fail(health, quota(clock, 3600))
    assert health.resting == 3600
    assert not fail(health, quota(clock, 3600))


def test_account_fault_takes_the_key_out_for_good(health: Health, clock: FakeClock) -> None:
    assert fail(health, ACCOUNT)
    assert (health.record.state, health.record.code, health.resting) == (State.OUT, "1113", math.inf)
    clock.later(10**9)
    assert (health.resting, health.recovering) == (math.inf, False)
    assert not health.succeed()
    assert not fail(health, ACCOUNT)


@pytest.mark.parametrize("first", [RATE, SERVER, Fault(Kind.QUOTA, "1308", 429, "", until=1_800_007_200.0)])
def test_account_fault_counts_before_every_other(health: Health, first: Fault) -> None:
    fail(health, first)
    assert fail(health, ACCOUNT)
    assert health.record.state is State.OUT
    assert not fail(health, first)
    assert health.record.state is State.OUT


@pytest.mark.parametrize("fault", [RATE, ACCOUNT, Fault(Kind.QUOTA, "1308", 429, "", until=1_800_007_200.0)])
def test_operator_brings_every_key_back(health: Health, clock: FakeClock, fault: Fault) -> None:
    fail(health, fault)
    clock.later(1)
    assert health.enable()
    assert (health.record, health.resting) == (Record(at=clock.wall()), 0.0)
    assert not health.enable()


# The clock on the wall is set ------------------------------------------------------


@pytest.mark.parametrize("jump", [-86_400, 86_400])
def test_rest_of_seconds_does_not_follow_the_clock_on_the_wall(health: Health, clock: FakeClock, jump: float) -> None:
    fail(health, OVERLOADED)
    clock.set_wall(jump)
    assert health.resting == 30
    clock.later(30)
    assert health.recovering


def test_end_of_a_quota_window_follows_the_clock_on_the_wall(health: Health, clock: FakeClock) -> None:
    fail(health, quota(clock, 7200))
    clock.set_wall(3600)
    assert health.resting == 3600
    clock.set_wall(3600)
    assert health.recovering


@pytest.mark.parametrize("bring_back", ["succeed", "enable"])
def test_what_happens_after_the_clock_was_set_back_counts_as_newer(
    health: Health, clock: FakeClock, bring_back: str
) -> None:
    fail(health, quota(clock, 0))
    before = health.record
    clock.set_wall(-3600)
    if bring_back == "succeed":
        health.adopt(Record(State.PARKED, 1.0, "1308", 1, before.at + 1))
        before = health.record
    assert getattr(health, bring_back)()
    assert health.record.at > before.at
    assert not health.adopt(before)


# What others say ---------------------------------------------------------------------


def test_newer_record_is_taken_over(health: Health, clock: FakeClock) -> None:
    record = Record(State.COOLING, clock.wall() + 20, "1305", 2, clock.wall() - 1)
    assert health.adopt(record)
    assert (health.record, health.resting) == (record, 20)
    clock.later(20)
    assert health.recovering
    fail(health, OVERLOADED)
    assert health.resting == 90


def test_older_record_is_not_taken_over(health: Health, clock: FakeClock) -> None:
    fail(health, OVERLOADED)
    own = health.record
    for at in (own.at, own.at - 1):
        assert not health.adopt(Record(State.OUT, 0.0, "1113", 1, at))
    assert health.record == own


def test_newer_record_that_says_the_same_is_no_change(health: Health, clock: FakeClock) -> None:
    fail(health, ACCOUNT)
    same = Record(State.OUT, 0.0, "1113", 1, clock.wall() + 5)
    assert not health.adopt(same)
    assert health.record == same


def test_record_whose_rest_is_long_over_leaves_the_key_to_be_tried(health: Health, clock: FakeClock) -> None:
    health.adopt(Record(State.COOLING, clock.wall() - 100, "1305", 2, clock.wall() - 200))
    assert (health.resting, health.recovering) == (0.0, True)


def test_recovery_elsewhere_ends_the_rest_here(health: Health, clock: FakeClock) -> None:
    fail(health, OVERLOADED)
    assert health.adopt(Record(at=clock.wall() + 1))
    assert (health.record.state, health.resting) == (State.ACTIVE, 0.0)


numbers = st.floats(0, 4e9)


@settings(deadline=None)
@given(st.builds(Record, st.sampled_from(State), numbers, st.text(), st.integers(0, 1000), numbers))
def test_record_survives_json(record: Record) -> None:
    assert Record.from_json(json.loads(json.dumps(record.as_json()))) == record


@pytest.mark.parametrize(
    "change",
    [
        {"state": "asleep"},
        {"state": None},
        {"until": "soon"},
        {"until": None},
        {"until": math.inf},
        {"failures": math.inf},
        {"failures": [1]},
        {"at": math.nan},
    ],
)
def test_no_record_is_made_of_anything_else(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Record.from_json({**Record().as_json(), **change})


@pytest.mark.parametrize("data", [[], None, "text", 5])
def test_no_record_is_made_of_what_is_no_object(data: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Record.from_json(data)
    with pytest.raises(KeyError):
        Record.from_json({})
