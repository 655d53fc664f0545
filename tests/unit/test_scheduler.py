"""The pool scheduler alone, on a clock of its own: limits, order, turns, waiting, recovery."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from glm_pool.clock import Clock
from glm_pool.faults import Fault, Kind
from glm_pool.lanes import Standing
from glm_pool.scheduler import LONGEST_LOOK_AHEAD, Scheduler
from glm_pool.settings import Key, Pool, Settings
from glm_pool.tickets import Lease, Reason, Refusal, Ticket

HOUR = 3600.0
TRANSIENT = Fault(Kind.TRANSIENT, "1302", 429, "", of_model=True)
OVERLOADED = Fault(Kind.TRANSIENT, "1305", 429, "", of_model=True)
SERVER = Fault(Kind.SERVER, "http_502", 502, "")
ACCOUNT = Fault(Kind.ACCOUNT, "1113", 429, "")
NO_ACCESS = Fault(Kind.ACCOUNT, "1311", 429, "", of_model=True)


class FakeClock(Clock):
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ahead = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.ahead


class Desk:
    """A scheduler with its clock, and what came of every ticket."""

    def __init__(self, *keys: Key, pools: tuple[Pool, ...] = (Pool("p", "glm"),), **options: Any) -> None:
        self.clock = FakeClock()
        self.scheduler = Scheduler(Settings(pools, keys, **options), self.clock)
        self.outcomes: dict[Ticket, Lease | Refusal] = {}

    def ask(self, pool: str = "p", *, tried: set[str] | None = None, session: str | None = None) -> Ticket:
        ticket = Ticket(pool, lambda outcome: None, self.clock.wall(), tried or set(), session)
        self.enter(ticket)
        return ticket

    def enter(self, ticket: Ticket) -> None:
        self.outcomes.pop(ticket, None)
        ticket.notify = lambda outcome: self.outcomes.__setitem__(ticket, outcome)
        outcome = self.scheduler.enter(ticket)
        if outcome is not None:
            self.outcomes[ticket] = outcome

    def lease(self, ticket: Ticket) -> Lease:
        outcome = self.outcomes[ticket]
        assert isinstance(outcome, Lease), outcome
        return outcome

    def key(self, ticket: Ticket) -> str:
        return self.lease(ticket).lane.key.name

    def refusal(self, ticket: Ticket) -> Refusal:
        outcome = self.outcomes[ticket]
        assert isinstance(outcome, Refusal), outcome
        return outcome

    def waits(self, ticket: Ticket) -> bool:
        return ticket not in self.outcomes

    def finish(self, ticket: Ticket) -> None:
        lease = self.lease(ticket)
        self.scheduler.succeed(lease)
        self.scheduler.release(lease)

    def fail(self, ticket: Ticket, fault: Fault) -> None:
        """The try failed; the request goes on to another key."""
        lease = self.lease(ticket)
        self.scheduler.fail(lease, fault)
        self.scheduler.release(lease)
        ticket.tried.add(lease.lane.key.name)
        ticket.waited += lease.waited
        self.enter(ticket)

    def later(self, seconds: float) -> None:
        """Let time pass as the event loop would: waking whenever something is due."""
        end = self.clock.now + seconds
        while (due := self.scheduler.poll()) is not None and self.clock.now + due <= end:
            self.clock.now += due + 1e-6
        self.clock.now = max(self.clock.now, end)
        self.scheduler.poll()

    def answer_one(self, pool: str = "p", **options: Any) -> str:
        ticket = self.ask(pool, **options)
        name = self.key(ticket)
        self.finish(ticket)
        return name


def key(name: str, slots: int | None = 1, **options: Any) -> Key:
    return Key(name, options.pop("account", name), f"value-of-{name}", max_parallel_requests=slots, **options)


# Turns -----------------------------------------------------------------------


def test_round_robin_takes_strict_turns() -> None:
    desk = Desk(key("a"), key("b"), key("c"))
    assert [desk.answer_one() for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_round_robin_is_even_over_pools_that_take_turns() -> None:
    desk = Desk(key("a"), key("b"), key("c"), pools=(Pool("p", "glm"), Pool("q", "glm"), Pool("r", "other")))
    served = Counter(desk.answer_one("pqr"[n % 3]) for n in range(30))
    assert set(served.values()) == {10}


def test_round_robin_passes_over_a_full_key() -> None:
    desk = Desk(key("a"), key("b"), key("c"))
    held = desk.ask()
    assert desk.key(held) == "a"
    assert [desk.answer_one() for _ in range(4)] == ["b", "c", "b", "c"]


def test_a_key_that_was_away_makes_up_for_nothing() -> None:
    desk = Desk(key("a", 9), key("b", 9), key("c", 9))
    first = desk.ask()
    desk.fail(first, OVERLOADED)
    desk.finish(first)
    for _ in range(20):
        desk.answer_one()
    desk.later(31)
    served = [desk.answer_one() for _ in range(9)]
    assert Counter(served) == {"a": 3, "b": 3, "c": 3}


def test_least_connections_takes_the_idlest_key() -> None:
    desk = Desk(key("a", 9), key("b", 9), key("c", 9), strategy="least-connections")
    tickets = [desk.ask() for _ in range(6)]
    assert Counter(map(desk.key, tickets)) == {"a": 2, "b": 2, "c": 2}
    for ticket in tickets:
        if desk.key(ticket) == "b":
            desk.finish(ticket)
    assert [desk.key(desk.ask()) for _ in range(2)] == ["b", "b"]


def test_weights_are_kept_smoothly() -> None:
    desk = Desk(key("a", 9, weight=3), key("b", 9, weight=1), strategy="weighted")
    served = [desk.answer_one() for _ in range(40)]
    assert Counter(served) == {"a": 30, "b": 10}
    assert all("b" in served[n : n + 4] for n in range(36))
    assert all(one != "b" or other != "b" for one, other in pairwise(served))


def test_weights_are_kept_among_keys_with_a_free_slot_only() -> None:
    desk = Desk(key("a", 1, weight=100), key("b", 9, weight=1), strategy="weighted")
    held = desk.ask()
    assert desk.key(held) == "a"
    assert [desk.answer_one() for _ in range(3)] == ["b", "b", "b"]


# Sessions ----------------------------------------------------------------------


def test_a_session_stays_on_its_key_while_that_has_a_slot() -> None:
    desk = Desk(key("a", 2), key("b", 2), key("c", 2), session_affinity=True)
    desk.answer_one()
    home = desk.answer_one(session="s")
    assert [desk.answer_one(session="s") for _ in range(5)] == [home] * 5


def test_a_session_goes_elsewhere_while_its_key_is_full_and_returns() -> None:
    desk = Desk(key("a", 1), key("b", 1), session_affinity=True)
    held = desk.ask(session="s")
    home = desk.key(held)
    assert desk.answer_one(session="s") != home
    desk.finish(held)
    assert desk.answer_one(session="s") == home


def test_a_session_moves_when_its_key_fails() -> None:
    desk = Desk(key("a", 1), key("b", 1), session_affinity=True)
    ticket = desk.ask(session="s")
    desk.fail(ticket, ACCOUNT)
    new = desk.key(ticket)
    desk.finish(ticket)
    assert desk.answer_one(session="s") == new


def test_without_affinity_sessions_take_turns() -> None:
    desk = Desk(key("a"), key("b"))
    assert [desk.answer_one(session="s") for _ in range(4)] == ["a", "b", "a", "b"]


# Limits ------------------------------------------------------------------------


def test_keys_of_one_account_share_its_slots() -> None:
    desk = Desk(key("a", 2, account="x"), key("b", 2, account="x"))
    tickets = [desk.ask() for _ in range(3)]
    assert [desk.waits(ticket) for ticket in tickets] == [False, False, True]
    desk.finish(tickets[0])
    assert not desk.waits(tickets[2])


def test_the_smallest_limit_of_an_account_counts() -> None:
    desk = Desk(key("a", 3, account="x"), key("b", 1, account="x"))
    assert [desk.waits(desk.ask()) for _ in range(2)] == [False, True]


def test_pools_of_one_model_share_slots_and_other_models_do_not() -> None:
    desk = Desk(key("a", 1), pools=(Pool("p", "glm"), Pool("q", "glm"), Pool("r", "flash")))
    held = desk.ask("p")
    assert desk.waits(desk.ask("q"))
    assert not desk.waits(desk.ask("r"))
    assert desk.key(held) == "a"


def test_the_first_come_is_served_first_over_pools_of_one_model() -> None:
    desk = Desk(key("a", 1), pools=(Pool("p", "glm"), Pool("q", "glm")))
    running = desk.ask("p")
    waiting = [desk.ask("pq"[n % 2]) for n in range(6)]
    for ticket in waiting:
        desk.finish(running)
        running = ticket
        assert not desk.waits(ticket)


def test_rpm_holds_in_a_sliding_window() -> None:
    desk = Desk(key("a", None, rpm=3))
    for _ in range(3):
        desk.answer_one()
        desk.later(10)
    late = desk.ask()
    assert desk.waits(late)
    desk.later(31.5)  # the first start leaves the window 61 s after it
    assert desk.key(late) == "a"
    assert desk.waits(desk.ask())


def test_rpm_is_shared_by_the_models_and_keys_of_an_account() -> None:
    desk = Desk(
        key("a", None, account="x", rpm=2),
        key("b", None, account="x", rpm=2),
        pools=(Pool("p", "glm"), Pool("q", "flash")),
        queue_timeout=70.0,
    )
    desk.answer_one("p")
    desk.answer_one("q")
    assert desk.waits(desk.ask("p"))


def test_without_limits_nothing_waits() -> None:
    desk = Desk(key("a", None))
    assert not any(desk.waits(desk.ask()) for _ in range(1000))


# Waiting -----------------------------------------------------------------------


def test_the_queue_is_bounded_and_says_when_to_come_back() -> None:
    desk = Desk(key("a", 1), queue_size=2)
    desk.ask()
    waiting = [desk.ask() for _ in range(2)]
    refused = desk.refusal(desk.ask())
    assert refused.reason is Reason.QUEUE_FULL
    assert refused.retry_after is not None
    assert refused.retry_after >= 1
    assert all(map(desk.waits, waiting))


def test_waiting_is_bounded_in_time() -> None:
    desk = Desk(key("a", 1), queue_timeout=5.0)
    desk.ask()
    late = desk.ask()
    desk.later(4.9)
    assert desk.waits(late)
    desk.later(0.2)
    assert desk.refusal(late).reason is Reason.QUEUE_TIMEOUT


def test_the_retry_after_of_a_full_queue_grows_with_the_answers_times() -> None:
    desk = Desk(key("a", 1), queue_size=0)
    for _ in range(30):
        ticket = desk.ask()
        desk.later(20)
        desk.finish(ticket)
    desk.ask()
    refused = desk.refusal(desk.ask())
    assert refused.retry_after == pytest.approx(20, rel=0.2)


def test_a_client_that_leaves_frees_its_place() -> None:
    desk = Desk(key("a", 1), queue_size=1)
    held, waiting = desk.ask(), desk.ask()
    desk.scheduler.leave(waiting)
    after = desk.ask()
    assert desk.waits(after)
    desk.finish(held)
    assert desk.key(after) == "a"
    assert desk.waits(waiting)


def test_nobody_waits_for_keys_that_return_too_late() -> None:
    desk = Desk(key("a"), queue_timeout=60.0)
    ticket = desk.ask()
    until = desk.clock.wall() + 5 * HOUR
    desk.fail(ticket, Fault(Kind.QUOTA, "1308", 429, "", until=until))
    assert desk.refusal(ticket).reason is Reason.TRIED
    refused = desk.refusal(desk.ask())
    assert refused.reason is Reason.RESTING
    assert refused.retry_after == pytest.approx(5 * HOUR)


def test_those_who_wait_are_told_when_the_last_key_goes_for_long() -> None:
    desk = Desk(key("a", 1), queue_timeout=60.0)
    running, waiting = desk.ask(), desk.ask()
    desk.fail(running, Fault(Kind.QUOTA, "1308", 429, "", until=desk.clock.wall() + HOUR))
    assert desk.refusal(waiting).reason is Reason.RESTING


def test_a_retry_is_told_when_the_last_key_that_it_has_not_tried_goes() -> None:
    desk = Desk(key("a", 1), key("b", 1))
    first, second = desk.ask(), desk.ask()
    desk.fail(first, SERVER)
    desk.later(1.1)
    assert desk.waits(first)
    desk.scheduler.fail(desk.lease(second), ACCOUNT)
    assert desk.refusal(first).reason is Reason.TRIED


def test_those_who_wait_go_on_waiting_for_a_key_that_rests_shortly() -> None:
    desk = Desk(key("a", 1), queue_timeout=60.0)
    running, waiting = desk.ask(), desk.ask()
    desk.fail(running, TRANSIENT)
    assert desk.waits(waiting)
    desk.later(5.1)
    assert desk.key(waiting) == "a"


def test_without_any_key_in_service_it_says_so() -> None:
    desk = Desk(key("a", state="disabled"), key("b", state="draining"))
    refused = desk.refusal(desk.ask())
    assert refused == Refusal(Reason.NO_KEY, None)


# Failures ----------------------------------------------------------------------


def test_a_failed_request_goes_to_another_key_and_tries_each_once() -> None:
    desk = Desk(key("a"), key("b"), key("c"))
    ticket = desk.ask()
    tried = [desk.key(ticket)]
    for _ in range(2):
        desk.fail(ticket, SERVER)
        tried.append(desk.key(ticket))
    desk.fail(ticket, SERVER)
    assert sorted(tried) == ["a", "b", "c"]
    assert desk.refusal(ticket).reason is Reason.TRIED


def test_a_retry_waits_for_the_keys_that_it_has_not_tried() -> None:
    desk = Desk(key("a", 1), key("b", 1))
    first, second = desk.ask(), desk.ask()
    desk.fail(first, SERVER)
    assert desk.waits(first)
    desk.finish(second)
    assert desk.key(first) == "b"


def test_a_retry_keeps_its_place_before_those_who_came_later() -> None:
    desk = Desk(key("a", 1), key("b", 1))
    first, second = desk.ask(), desk.ask()
    later = desk.ask()
    desk.fail(first, SERVER)
    desk.finish(second)
    assert desk.key(first) == "b"
    assert desk.waits(later)


def test_a_resting_key_comes_back_by_one_request() -> None:
    desk = Desk(key("a", 4), key("b", 1, state="disabled"))
    ticket = desk.ask()
    desk.fail(ticket, TRANSIENT)
    waiting = [desk.ask() for _ in range(4)]
    desk.later(5.1)
    assert [desk.waits(w) for w in waiting] == [False, True, True, True]
    desk.scheduler.succeed(desk.lease(waiting[0]))
    assert not any(map(desk.waits, waiting))


def test_a_probe_that_fails_makes_the_rest_longer() -> None:
    desk = Desk(key("a", 4), queue_timeout=500.0)
    desk.fail(desk.ask(), OVERLOADED)
    for rest in (60.0, 90.0, 120.0, 120.0):
        probe = desk.ask()
        desk.later(200)
        desk.fail(probe, OVERLOADED)
        assert desk.scheduler.keys["a"].lanes[0].health.resting == pytest.approx(rest)


def test_a_probe_whose_client_leaves_is_followed_by_another() -> None:
    desk = Desk(key("a", 4))
    desk.fail(desk.ask(), TRANSIENT)
    first, second = desk.ask(), desk.ask()
    desk.later(5.1)
    desk.scheduler.release(desk.lease(first))
    assert desk.key(second) == "a"


def test_a_model_without_access_leaves_the_key_to_the_others() -> None:
    desk = Desk(key("a"), key("b"), pools=(Pool("p", "glm"), Pool("q", "flash")))
    ticket = desk.ask("p")
    desk.fail(ticket, NO_ACCESS)
    desk.finish(ticket)
    assert {desk.answer_one("p") for _ in range(4)} == {"b"}
    assert {desk.answer_one("q") for _ in range(4)} == {"a", "b"}


def test_an_account_fault_takes_the_key_out_of_every_pool() -> None:
    desk = Desk(key("a"), key("b"), pools=(Pool("p", "glm"), Pool("q", "flash")))
    ticket = desk.ask("p")
    desk.fail(ticket, ACCOUNT)
    desk.finish(ticket)
    desk.later(30 * 24 * HOUR)
    assert {desk.answer_one("pq"[n % 2]) for n in range(6)} == {"b"}


def test_a_parked_key_returns_when_the_wall_clock_says_so() -> None:
    desk = Desk(key("a"), queue_timeout=120.0)
    ticket = desk.ask()
    desk.fail(ticket, Fault(Kind.QUOTA, "1308", 429, "", until=desk.clock.wall() + HOUR))
    desk.clock.ahead += HOUR  # the machine's clock was set
    desk.later(60)
    assert desk.answer_one() == "a"


def test_a_token_count_takes_no_slot_and_no_resting_key() -> None:
    desk = Desk(key("a", 1), key("b", 1))
    held = [desk.ask(), desk.ask()]
    counts = {desk.scheduler.borrow(Ticket("p", lambda outcome: None, 0.0)) for _ in range(4)}
    assert all(isinstance(lease, Lease) for lease in counts)
    desk.fail(held[0], SERVER)
    borrowed = desk.scheduler.borrow(Ticket("p", lambda outcome: None, 0.0))
    assert isinstance(borrowed, Lease)
    assert borrowed.lane.key.name == desk.key(held[1])
    desk.scheduler.release(borrowed)
    assert desk.scheduler.keys[desk.key(held[1])].in_flight == 1


def test_a_lease_that_others_did_not_confirm_is_asked_for_again() -> None:
    desk = Desk(key("a", 1))
    ticket, behind = desk.ask(), desk.ask()
    assert desk.scheduler.undo(desk.lease(ticket), "slots", 0.25) is None
    desk.outcomes.pop(ticket)
    assert desk.waits(behind)
    desk.later(0.3)
    assert desk.key(ticket) == "a"
    assert desk.waits(behind)


# Properties ---------------------------------------------------------------------

FAULTS = (
    TRANSIENT,
    OVERLOADED,
    SERVER,
    ACCOUNT,
    NO_ACCESS,
    Fault(Kind.QUOTA, "1308", 429, "", until=1_800_005_000.0),
)
ACCOUNTS = ("x", "y", "z")
MODELS = ("glm", "flash")


@st.composite
def some_keys(draw: st.DrawFn) -> tuple[Key, ...]:
    number = draw(st.integers(1, 6))
    return tuple(
        key(
            f"k{n}",
            draw(st.sampled_from([1, 2, 3, None])),
            account=draw(st.sampled_from(ACCOUNTS)),
            rpm=draw(st.sampled_from([None, None, 2, 5])),
            weight=draw(st.sampled_from([1.0, 2.0, 5.0])),
            state=draw(st.sampled_from(["active", "active", "active", "draining", "disabled"])),
        )
        for n in range(number)
    )


class AnyTraffic(RuleBasedStateMachine):
    """Arrivals, answers, failures, clients that leave and clocks that jump, in any order."""

    @initialize(
        keys=some_keys(),
        strategy=st.sampled_from(["round-robin", "least-connections", "weighted"]),
        affinity=st.booleans(),
        queue_size=st.sampled_from([0, 2, 50]),
    )
    def start(self, keys: tuple[Key, ...], strategy: str, affinity: bool, queue_size: int) -> None:
        pools = (Pool("p", "glm"), Pool("q", "glm"), Pool("r", "flash"))
        self.desk = Desk(
            *keys, pools=pools, strategy=strategy, session_affinity=affinity, queue_size=queue_size, queue_timeout=100.0
        )
        self.asked: list[Ticket] = []
        self.starts: list[tuple[str, float]] = []
        self.seen: set[Lease] = set()
        self.tries: Counter[tuple[int, str]] = Counter()

    @rule(pool=st.sampled_from("pqr"), session=st.sampled_from([None, "s", "t"]))
    def arrive(self, pool: str, session: str | None) -> None:
        self.asked.append(self.desk.ask(pool, session=session))

    @rule(choice=st.randoms(use_true_random=False))
    def answer(self, choice: Any) -> None:
        if held := self._held():
            ticket = choice.choice(held)
            self.desk.finish(ticket)
            self._over(ticket)

    @rule(choice=st.randoms(use_true_random=False), fault=st.sampled_from(FAULTS))
    def fail(self, choice: Any, fault: Fault) -> None:
        if held := self._held():
            self.desk.fail(choice.choice(held), fault)

    @rule(choice=st.randoms(use_true_random=False))
    def client_goes(self, choice: Any) -> None:
        if not self.asked:
            return
        ticket = choice.choice(self.asked)
        if self.desk.waits(ticket):
            self.desk.scheduler.leave(ticket)
        elif isinstance(lease := self.desk.outcomes[ticket], Lease):
            self.desk.scheduler.release(lease)
        self._over(ticket)

    @rule(seconds=st.sampled_from([0.01, 1.0, 7.0, 61.5, 130.0, 20_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.desk.later(seconds)

    @rule(seconds=st.sampled_from([-10_000.0, -1.0, 1.0, 10_000.0]))
    def clock_is_set(self, seconds: float) -> None:
        self.desk.clock.ahead += seconds
        self.desk.later(LONGEST_LOOK_AHEAD + 1)  # by then it has been noticed

    @rule(choice=st.randoms(use_true_random=False), reason=st.sampled_from(["slots", "turn", "rate", "probe"]))
    def others_refuse(self, choice: Any, reason: str) -> None:
        if held := self._held():
            ticket = choice.choice(held)
            lease = self.desk.lease(ticket)
            self.desk.outcomes.pop(ticket)
            self.starts = [start for start in self.starts if start != (lease.lane.rate.name, lease.began)][:]
            outcome = self.desk.scheduler.undo(lease, reason, 0.25)
            if outcome is not None:
                self.desk.outcomes[ticket] = outcome

    @rule()
    def operator_enables(self) -> None:
        for health in self.desk.scheduler.healths.values():
            if health.enable():
                self.desk.scheduler.health_changed(health)

    @invariant()
    def limits_hold(self) -> None:
        scheduler = self.desk.scheduler
        held = [self.desk.lease(ticket) for ticket in self._held()]
        for name, meter in scheduler.meters.items():
            in_flight = sum(lease.lane.meter is meter for lease in held)
            assert in_flight == meter.in_flight, f"{name} leaks or forgets slots"
            assert meter.limit is None or in_flight <= meter.limit
        for counted in scheduler.keys.values():
            assert counted.in_flight == sum(lease.lane.key is counted for lease in held)
            if counted.settings.state != "active":
                assert counted.in_flight == 0

    @invariant()
    def rates_hold(self) -> None:
        for lease in (self.desk.lease(ticket) for ticket in self._held()):
            if lease not in self.seen:
                self.seen.add(lease)
                self.starts.append((lease.lane.rate.name, lease.began))
        for name, rate in self.desk.scheduler.rates.items():
            moments = sorted(moment for owner, moment in self.starts if owner == name)
            if rate.rpm is not None:
                assert all(moments[n + rate.rpm] - moments[n] > 60 for n in range(len(moments) - rate.rpm))

    @invariant()
    def each_key_is_tried_at_most_once(self) -> None:
        for ticket in self._held():
            assert self.desk.key(ticket) not in ticket.tried

    @invariant()
    def nobody_waits_while_a_usable_lane_is_free(self) -> None:
        scheduler = self.desk.scheduler
        scheduler.poll()
        for ticket in self.asked:
            if self.desk.waits(ticket):
                model = scheduler.queues[ticket.pool].pool.model
                free = {
                    lane.key.name
                    for lane in scheduler.lines[model].lanes
                    if scheduler._look(lane, scheduler.clock.monotonic())[0] is Standing.FREE
                }
                assert free <= ticket.tried

    @invariant()
    def one_request_probes_a_recovering_key(self) -> None:
        leases = [self.desk.lease(ticket) for ticket in self._held()]
        # one of before an operator's word does not count
        probes = Counter(h.name for lease in leases for h in lease.probes if h.prober == lease.number)
        assert all(count == 1 for count in probes.values())

    @invariant()
    def the_queues_count_who_waits(self) -> None:
        waiting = Counter(ticket.pool for ticket in self.asked if self.desk.waits(ticket))
        for name, queue in self.desk.scheduler.queues.items():
            assert queue.count == waiting[name]

    def _held(self) -> list[Ticket]:
        return [t for t in self.asked if isinstance(o := self.desk.outcomes.get(t), Lease) and o.open]

    def _over(self, ticket: Ticket) -> None:
        self.asked.remove(ticket)
        self.desk.outcomes.pop(ticket, None)


TestAnyTraffic = AnyTraffic.TestCase
TestAnyTraffic.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)


@given(
    slots=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    order=st.lists(st.sampled_from(["arrive", "answer"]), max_size=120),
)
@settings(max_examples=150, deadline=None)
def test_the_first_come_is_served_first(slots: list[int], order: list[str]) -> None:
    desk = Desk(*(key(f"k{n}", count) for n, count in enumerate(slots)), queue_size=1000)
    asked: list[Ticket] = []
    for step in order:
        if step == "arrive":
            asked.append(desk.ask())
        else:
            held = [t for t in asked if not desk.waits(t) and desk.lease(t).open]
            if held:
                desk.finish(held[len(held) // 2])
        waits = [desk.waits(ticket) for ticket in asked]
        assert waits == sorted(waits), "a later one was served before an earlier one"
        running = sum(not desk.waits(t) and desk.lease(t).open for t in asked)
        assert running == min(sum(slots), running + sum(waits)), "a slot is free while somebody waits"


@given(keys=st.integers(2, 8), requests=st.integers(1, 80), pools=st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_the_spread_of_round_robin_is_at_most_one(keys: int, requests: int, pools: int) -> None:
    desk = Desk(*(key(f"k{n}", 5) for n in range(keys)), pools=tuple(Pool(f"p{n}", "glm") for n in range(pools)))
    served = Counter({f"k{n}": 0 for n in range(keys)})
    served.update(desk.answer_one(f"p{n % pools}") for n in range(requests))
    assert max(served.values()) - min(served.values()) <= 1


@given(failing=st.integers(0, 3), requests=st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_the_spread_over_the_keys_that_are_left_is_at_most_one(failing: int, requests: int) -> None:
    desk = Desk(*(key(f"k{n}", 5) for n in range(5)))
    served: Counter[str] = Counter()
    for _ in range(requests):
        ticket = desk.ask()
        while desk.key(ticket) in {f"k{i}" for i in range(failing)}:
            desk.fail(ticket, ACCOUNT)
        served[desk.key(ticket)] += 1
        desk.finish(ticket)
    left = [served[f"k{n}"] for n in range(failing, 5)]
    assert max(left) - min(left) <= 1 + failing


class Beside:
    """What other processes leave of two slots."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()

    def slots(self, meter: str, limit: int) -> int:
        return limit - self.taken[meter]

    def rpm(self, rate: str, limit: int) -> int:
        return limit


def test_slots_that_other_processes_took_since_are_not_asked_for() -> None:
    share = Beside()
    keys = tuple(Key(name, name, "", max_parallel_requests=2) for name in "ab")
    scheduler = Scheduler(Settings((Pool("p", "glm"),), keys), FakeClock(), share)

    def served() -> str | None:
        outcome = scheduler.enter(Ticket("p", lambda outcome: None, 0.0))
        return outcome.lane.key.name if isinstance(outcome, Lease) else None

    share.taken["a|glm"] = 2
    assert [served(), served(), served()] == ["b", "b", None]
    share.taken.clear()
    scheduler.room("a|glm")
    assert scheduler.queues["p"].count == 0
    assert [served(), served()] == ["a", None]  # the first slot went to the one who waited
