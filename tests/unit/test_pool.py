"""The pool in the event loop: leases, log lines, metrics, the file, and the agreement with other processes."""

import asyncio
import functools
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pool_parts import VALUES, FakeClock, in_loop, key, settings, turns, until
from prometheus_client import REGISTRY

from glm_pool import pool as module
from glm_pool.faults import Fault, Kind
from glm_pool.health import Record, State
from glm_pool.limits import WINDOW
from glm_pool.pool import KeyPool, Unavailable
from glm_pool.settings import Key, Pool
from glm_pool.shared import Claim, Listener, Refused, StoreAway
from glm_pool.shared_limits import SharedLimits
from glm_pool.status import status
from glm_pool.tickets import Lease, Reason, Ticket

RATE = Fault(Kind.TRANSIENT, "1302", 429, "", of_model=True)
ACCOUNT = Fault(Kind.ACCOUNT, "1113", 429, "")
REQUEST = Fault(Kind.REQUEST, "1210", 400, "")


class Store:
    """A shared store that does what a test tells it to, and writes down what it is asked."""

    kind = "redis"
    return_grace = 3.0

    def __init__(self) -> None:
        self.connected = True
        self.members = 2
        self.rank = 0
        self.claims: list[Claim] = []
        self.adopted: list[Claim] = []
        self.given: list[str] = []
        self.queues: dict[str, float | None] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.written: list[tuple[str, dict[str, Any] | None]] = []
        self.answers: list[Refused | StoreAway | None] = []
        self.started = 0
        self.stopped = False
        self.slow = asyncio.Event()
        self.slow.set()
        self.held_elsewhere = 0
        self.over = self.began_beyond = self.began = 0
        self.quiet_until = 0.0
        self.listener: Listener | None = None

    async def start(self, listener: Listener) -> None:
        await self.slow.wait()
        self.started += 1
        self.listener = listener

    async def stop(self) -> None:
        self.stopped = True

    async def take(self, claim: Claim) -> Refused | None:
        self.claims.append(claim)
        await self.slow.wait()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, StoreAway):
            raise answer
        return answer

    def adopt(self, claim: Claim) -> None:
        self.adopted.append(claim)

    def queued(self, meter: str, arrived: float | None) -> None:
        self.queues[meter] = arrived

    async def give(self, lease: str) -> None:
        await asyncio.sleep(0)
        self.given.append(lease)

    def elsewhere(self, meter: str) -> int:
        return self.held_elsewhere

    def surplus(self, meter: str, limit: int) -> int:
        return self.over

    def rate_surplus(self, rate: str, limit: int) -> int:
        return self.began_beyond

    def rate_kept(self, rate: str) -> int:
        return self.began

    def aside(self, name: str, limit: int) -> int:
        return 0

    async def write_health(self, name: str, record: dict[str, Any] | None) -> None:
        self.written.append((name, record))

    async def read_health(self) -> dict[str, dict[str, Any]]:
        if not self.connected:
            raise StoreAway
        return self.records


@pytest.fixture(autouse=True)
def short_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.02)
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(module, "ASK_AGAIN_SECONDS", dict.fromkeys(module.ASK_AGAIN_SECONDS, 0.01))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """The lines of the pool so far."""
    with caplog.at_level(logging.INFO, logger="glm_pool"):
        yield lambda: [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


class Metrics:
    """What the counters have grown by since a test began."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self._before = {
            (s.name, frozenset(s.labels.items())): s.value for metric in REGISTRY.collect() for s in metric.samples
        }

    def grown(self, name: str, **labels: str) -> float:
        now = REGISTRY.get_sample_value(name, labels) or 0.0
        return now - self._before.get((name, frozenset(labels.items())), 0.0)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def make(*keys: Key, store: Store | None = None, **options: Any) -> KeyPool:
    return KeyPool(settings(*keys, **options), store)


def ticket(pool: KeyPool, session: str | None = None) -> Ticket:
    return pool.ticket("glm-pool", set(), session)


async def lease(pool: KeyPool) -> Lease:
    return await pool.acquire(ticket(pool))


def idle(pool: KeyPool) -> bool:
    """Every slot is back and nobody waits."""
    meters = [meter.in_flight for meter in pool.scheduler.meters.values()]
    keys = [key.in_flight for key in pool.scheduler.keys.values()]
    return not any((*meters, *keys)) and not any(queue.count for queue in pool.scheduler.queues.values())


def later(pool: KeyPool, clock: FakeClock, seconds: float) -> None:
    """Let time pass, and the pool wake up."""
    clock.later(seconds)
    pool._schedule()


async def refusal(pool: KeyPool) -> Any:
    with pytest.raises(Unavailable) as refused:
        await lease(pool)
    return refused.value.refusal


# Leases ------------------------------------------------------------------------------


@in_loop
async def test_slots_are_handed_out_and_handed_on() -> None:
    pool = make(key("a"))
    first = await lease(pool)
    waiting = asyncio.ensure_future(lease(pool))
    await turns()
    assert not waiting.done()
    pool.release(first)
    second = await waiting
    assert second.lane.key.name == "a"
    pool.release(second)
    assert idle(pool)


@in_loop
async def test_second_release_does_nothing() -> None:
    pool = make(key("a", 2))
    one, _other = await lease(pool), await lease(pool)
    pool.release(one)
    pool.release(one)
    pool.release(one, settle=True)
    assert pool.scheduler.keys["a"].in_flight == 1


@in_loop
async def test_slot_of_an_answer_that_was_cut_short_comes_back_a_moment_later() -> None:
    pool = make(key("a"))
    held = await lease(pool)
    pool.release(held, settle=True)
    pool.release(held, settle=True)
    waiting = asyncio.ensure_future(lease(pool))
    await turns()
    assert not waiting.done()
    pool.release(await waiting)
    await until(lambda: idle(pool))


@in_loop
async def test_request_that_waits_too_long_is_refused(metrics: Metrics) -> None:
    pool = make(key("a"), queue_timeout=0.02)
    held = await lease(pool)
    refused = await refusal(pool)
    assert refused.reason is Reason.QUEUE_TIMEOUT
    assert metrics.grown("litellm_pool_client_errors_total", pool="glm-pool", reason="queue_timeout") == 1
    pool.release(held)
    assert idle(pool)


@in_loop
async def test_request_that_finds_the_queue_full_is_refused_at_once(metrics: Metrics) -> None:
    pool = make(key("a"), queue_size=1)
    held = await lease(pool)
    waiting = asyncio.ensure_future(lease(pool))
    await turns()
    assert (await refusal(pool)).reason is Reason.QUEUE_FULL
    assert metrics.grown("litellm_pool_client_errors_total", pool="glm-pool", reason="queue_full") == 1
    pool.release(held)
    pool.release(await waiting)
    assert idle(pool)


@in_loop
async def test_cooled_key_comes_back_by_itself() -> None:
    pool = make(key("a"))
    held = await lease(pool)
    pool.failed(held, Fault(Kind.SERVER, "http_502", 502, ""))
    pool.release(held)
    pool.scheduler.keys["a"].health._rest_ends = pool._clock.monotonic() + 0.03
    for lane in pool.scheduler.keys["a"].lanes:
        lane.wakes_at = float("inf")
    pool.scheduler.review(pool.scheduler.keys["a"].lanes)
    probe = await lease(pool)
    assert probe.choice == "probe"
    pool.answered(probe)
    pool.release(probe)
    assert pool.scheduler.keys["a"].health.record.state is State.ACTIVE


@in_loop
async def test_token_count_neither_waits_nor_counts(metrics: Metrics) -> None:
    pool = make(key("a"))
    held = await lease(pool)
    counting = await pool.acquire(ticket(pool), counted=False)
    assert counting.lane.key.name == "a"
    pool.answered(counting)
    pool.release(counting)
    pool.release(counting, settle=True)
    assert pool.scheduler.keys["a"].in_flight == 1
    assert metrics.grown("litellm_pool_answers_total", key="a", model="glm-5.3") == 0
    pool.failed(held, ACCOUNT)
    with pytest.raises(Unavailable) as refused:
        await pool.acquire(ticket(pool), counted=False)
    assert refused.value.refusal.reason is Reason.NO_KEY
    pool.release(held)


@in_loop
async def test_last_answer_of_a_key_is_told() -> None:
    clock = FakeClock()
    pool = KeyPool(settings(key("a")), clock=clock)

    def told() -> tuple[str, str | None]:
        (shown,) = status(pool)["keys"]
        return shown["last_code"], shown["last_at"]

    assert told() == ("", None)
    held = await lease(pool)
    pool.answered(held)
    assert told() == ("200", "2027-01-15T08:00:00Z")
    clock.later(5)
    pool.failed(held, REQUEST)
    assert told() == ("1210", "2027-01-15T08:00:05Z")
    pool.release(held)


# Cancellation ------------------------------------------------------------------------


@in_loop
async def test_client_that_goes_leaves_the_queue() -> None:
    pool = make(key("a"))
    held = await lease(pool)
    waiting = [asyncio.ensure_future(lease(pool)) for _ in range(3)]
    await turns()
    waiting[0].cancel()
    await turns()
    pool.release(held)
    pool.release(await waiting[1])
    pool.release(await waiting[2])
    assert waiting[0].cancelled()
    assert idle(pool)


@in_loop
async def test_no_slot_is_lost_when_client_and_grant_cross() -> None:
    """Grant and goodbye come between two turns of the loop, in either order."""
    for cancel_first, store in ((True, None), (False, None), (True, Store()), (False, Store())):
        pool = make(key("a"), store=store)
        held = await lease(pool)
        going, staying = (asyncio.ensure_future(lease(pool)) for _ in range(2))
        await turns()
        steps: list[Callable[[], object]] = [going.cancel, functools.partial(pool.release, held)]
        for step in steps if cancel_first else reversed(steps):
            step()
        with pytest.raises(asyncio.CancelledError):
            await going
        pool.release(await staying)
        await until(functools.partial(idle, pool))


@in_loop
async def test_no_slot_is_lost_when_all_clients_go_at_once() -> None:
    pool = make(key("a"), key("b", 2))
    held = [await lease(pool) for _ in range(3)]
    waiting = [asyncio.ensure_future(lease(pool)) for _ in range(20)]
    await turns()
    for one, client in zip(held, waiting, strict=False):
        pool.release(one)
        client.cancel()
    for client in waiting:
        client.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await until(lambda: idle(pool))


# What it says ------------------------------------------------------------------------


def test_every_decision_is_logged(log: Callable[[], list[str]]) -> None:
    @in_loop
    async def scenario() -> None:
        pool = make(key("a"), pools=(Pool("glm-pool", "glm-5.3"),))
        held = await lease(pool)
        waiting = asyncio.ensure_future(lease(pool))
        leaving = asyncio.ensure_future(lease(pool))
        await turns()
        leaving.cancel()
        await turns()
        pool.release(held)
        pool.release(await waiting)

    scenario()
    lines = log()
    assert lines[:3] == [
        "INFO event=granted pool=glm-pool key=a model=glm-5.3 wait=0.000 reason=round-robin in_flight=1/1 try=1",
        "INFO event=queued pool=glm-pool waiting=1",
        "INFO event=queued pool=glm-pool waiting=2",
    ]
    assert lines[3] == "INFO event=left pool=glm-pool reason=client_gone"
    assert lines[4].startswith("INFO event=granted pool=glm-pool key=a model=glm-5.3 wait=0.0")
    assert len(lines) == 5


def test_faults_and_what_follows_from_them_are_logged(log: Callable[[], list[str]]) -> None:
    clock = FakeClock(0.0)

    @in_loop
    async def scenario() -> None:
        pool = KeyPool(settings(key("a", account="billing")), clock=clock)
        for fault in (REQUEST, RATE, Fault(Kind.QUOTA, "1308", 429, "", until=7200.0), ACCOUNT):
            held = await lease(pool)
            pool.failed(held, fault)
            pool.release(held)
            later(pool, clock, 4000.0 if fault is RATE else 8000.0)
        assert (await refusal(pool)).reason is Reason.NO_KEY
        pool.enable("a")
        pool.answered(held := await lease(pool))
        pool.release(held)

    scenario()
    refused = "INFO event=refused pool=glm-pool key=a model=glm-5.3"
    lines = [line for line in log() if "event=granted" not in line]
    assert lines[0] == f"{refused} code=1210 kind=request"
    assert lines[1:3] == [
        f"{refused} code=1302 kind=transient",
        "WARNING event=cooling key=a model=glm-5.3 code=1302 until=1970-01-01T02:13:25Z failures=1",
    ]
    assert lines[3] == f"{refused} code=1308 kind=quota"
    assert lines[4].startswith("WARNING event=parked key=a model=* code=1308 until=1970-01-01T02:00:00Z")
    assert lines[5] == f"{refused} code=1113 kind=account"
    assert lines[6].startswith("ERROR event=out key=a model=* code=1113 account=billing: ")
    assert "enable_key.yml" in lines[6]
    assert lines[7] == "INFO event=unavailable pool=glm-pool reason=no_key_in_service retry_after=-"
    assert "WARNING event=enabled key=a by=operator" in lines
    assert len([line for line in lines if line.startswith("ERROR")]) == 1


def test_recovery_is_logged_and_no_line_has_a_key_value(log: Callable[[], list[str]]) -> None:
    clock = FakeClock()

    @in_loop
    async def scenario() -> None:
        pool = KeyPool(settings(key("a")), clock=clock)
        for fault in (RATE, None):
            held = await lease(pool)
            if fault:
                pool.failed(held, fault)
            else:
                pool.answered(held)
            pool.release(held)
            later(pool, clock, 5)

    scenario()
    lines = log()
    assert lines[-1] == "INFO event=recovered key=a model=glm-5.3"
    assert "reason=probe" in lines[-2]
    assert not any(part in line for line in lines for part in VALUES["a"].split("."))


@in_loop
async def test_answers_refusals_and_waits_are_counted(metrics: Metrics) -> None:
    pool = make(key("a"), key("b"))
    for fault in (None, None, RATE, REQUEST):
        held = await lease(pool)
        if fault:
            pool.failed(held, fault)
        else:
            pool.answered(held)
        pool.release(held)
    answers = [metrics.grown("litellm_pool_answers_total", key=name, model="glm-5.3") for name in "ab"]
    assert answers == [1, 1]
    assert metrics.grown("litellm_pool_refusals_total", key="a", code="1302") == 1
    assert metrics.grown("litellm_pool_refusals_total", key="b", code="1210") == 1
    assert metrics.grown("litellm_pool_wait_seconds_count", pool="glm-pool") == 4


@in_loop
async def test_waiting_requests_are_counted() -> None:
    def waiting() -> float | None:
        return REGISTRY.get_sample_value("litellm_pool_waiting", {"pool": "glm-pool"})

    pool = make(key("a"))
    held = await lease(pool)
    clients = [asyncio.ensure_future(lease(pool)) for _ in range(3)]
    await turns()
    assert waiting() == 3
    clients[0].cancel()
    await turns()
    assert waiting() == 2
    pool.release(held)
    for client in clients[1:]:
        pool.release(await client)
    await turns()
    assert waiting() == 0


# The file ----------------------------------------------------------------------------


def saved(path: Path) -> dict[str, str]:
    """States in the file by key name."""
    if not path.exists():
        return {}
    return {name.split("@")[0]: record["state"] for name, record in json.loads(path.read_text())["keys"].items()}


@in_loop
async def test_state_is_saved_and_taken_over_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    pool = make(key("a"), key("b"), state_file=str(path))
    await pool.start()
    held = await lease(pool)
    pool.failed(held, ACCOUNT)
    pool.release(held)
    await until(lambda: saved(path) == {"a": "out"})
    await pool.stop()

    following = make(key("a"), key("b"), state_file=str(path))
    await following.start()
    assert following.scheduler.keys["a"].health.record.state is State.OUT
    assert [(await lease(following)).lane.key.name] == ["b"]
    await following.stop()


@in_loop
async def test_new_value_under_an_old_name_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    pool = make(key("a"), state_file=str(path))
    pool.failed(await lease(pool), ACCOUNT)
    pool.save_now()
    following = make(key("a", value="another-value"), state_file=str(path))
    await following.start()
    assert following.scheduler.keys["a"].health.record.state is State.ACTIVE
    await following.stop()
    await pool.stop()


@in_loop
async def test_process_on_the_same_host_learns_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    one, other = (make(key("a"), state_file=str(path)) for _ in range(2))
    await one.start()
    await other.start()
    one.failed(await lease(one), ACCOUNT)
    health = other.scheduler.keys["a"].health
    await until(lambda: health.record.state is State.OUT)
    assert other.enable("a")
    await until(lambda: one.scheduler.keys["a"].health.record.state is State.ACTIVE)
    await one.stop()
    await other.stop()


@in_loop
async def test_state_is_saved_on_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    pool = make(key("a"), state_file=str(path))
    pool.failed(await lease(pool), ACCOUNT)
    pool.save_now()
    assert saved(path) == {"a": "out"}
    await pool.stop()


@in_loop
async def test_state_is_saved_when_it_changes_right_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    pool = make(key("a"), state_file=str(path))
    await pool.start()
    pool.failed(await lease(pool), ACCOUNT)
    await pool.stop()
    assert saved(path) == {"a": "out"}


@in_loop
async def test_pool_works_where_no_file_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    pool = make(key("a"), key("b"), state_file=str(tmp_path / "file" / "state.json"))
    await pool.start()
    pool.failed(await lease(pool), ACCOUNT)
    assert (await lease(pool)).lane.key.name == "b"
    await pool.stop()


# Operators ---------------------------------------------------------------------------


@in_loop
async def test_operator_brings_a_key_back_and_those_who_wait_are_served() -> None:
    pool = make(key("a"), key("b"))
    first, second = await lease(pool), await lease(pool)
    pool.failed(first, ACCOUNT)
    pool.release(first)
    waiting = asyncio.ensure_future(lease(pool))
    await turns()
    assert not waiting.done()
    assert pool.enable("a")
    assert (await waiting).lane.key.name == "a"
    assert not pool.enable("a")
    pool.release(second)


@in_loop
async def test_operator_brings_a_key_back_on_every_model() -> None:
    pool = make(key("a", 2), pools=(Pool("glm-pool", "glm-5.3"), Pool("flash", "flash")))
    for name in ("glm-pool", "flash"):
        held = await pool.acquire(pool.ticket(name, set(), None))
        pool.failed(held, RATE)
        pool.release(held)
    assert pool.enable("a")
    assert {health.record.state for health in pool.scheduler.healths.values()} == {State.ACTIVE}


@in_loop
async def test_unknown_key_can_not_be_brought_back() -> None:
    with pytest.raises(KeyError):
        make(key("a")).enable("z")


# The shared store ----------------------------------------------------------------------


@in_loop
async def test_every_lease_is_claimed_and_given_back() -> None:
    store = Store()
    pool = make(key("a", 2, account="billing", rpm=60), store=store)
    await pool.start()
    held = await lease(pool)
    (claim,) = store.claims
    assert (claim.meter, claim.slots, claim.rate, claim.rpm, claim.probe, claim.insist) == (
        held.lane.meter.name,
        2,
        "billing",
        60,
        None,
        False,
    )
    assert claim.meter == "billing|glm-5.3"
    pool.release(held)
    await until(lambda: idle(pool))
    assert store.given == [claim.lease]
    await pool.stop()
    assert (store.started, store.stopped) == (1, True)


@in_loop
async def test_refused_claim_is_asked_again_and_takes_no_slot_meanwhile() -> None:
    for refused in (Refused("slots"), Refused("rate", 0.01), Refused("probe"), Refused("turn", 0.005)):
        store = Store()
        store.answers = [refused, refused]
        pool = make(key("a", rpm=60), store=store)
        await pool.start()
        asking = asyncio.ensure_future(lease(pool))
        await until(lambda store=store: store.claims)  # type: ignore[misc]
        await turns(3)
        assert pool.scheduler.meters["a|glm-5.3"].in_flight == 0
        held = await asking
        assert len(store.claims) == 3
        assert len({claim.lease for claim in store.claims}) == 3
        assert [claim.insist for claim in store.claims[1:]] == [refused.reason == "turn"] * 2
        assert held.lane.rate.used(pool._clock.monotonic()) == 1
        pool.release(held)
        await until(lambda pool=pool: idle(pool))  # type: ignore[misc]
        assert store.given == [store.claims[-1].lease]
        await pool.stop()


@in_loop
async def test_room_elsewhere_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_AGAIN_SECONDS", {"slots": 30.0})
    store = Store()
    store.answers = [Refused("slots")]
    pool = make(key("a"), store=store)
    await pool.start()
    asking = asyncio.ensure_future(lease(pool))
    await until(lambda: store.claims)
    await turns()
    assert not asking.done()
    pool.on_room("a|glm-5.3")
    pool.release(await asking)
    await until(lambda: idle(pool))
    await pool.stop()


@in_loop
async def test_other_processes_hear_since_when_the_longest_waits() -> None:
    store, clock = Store(), FakeClock()
    pool = KeyPool(settings(key("a"), key("b", account="b")), store, clock=clock)
    await pool.start()
    held = [await lease(pool) for _ in range(2)]
    waiting = []
    for _ in range(2):
        clock.later(1)
        waiting.append(asyncio.ensure_future(lease(pool)))
        await turns()
    first, second = (1_800_000_000.0 + seconds for seconds in (1, 2))
    assert store.queues == {"a|glm-5.3": first, "b|glm-5.3": first}
    waiting[0].cancel()
    await turns()
    assert store.queues == {"a|glm-5.3": second, "b|glm-5.3": second}
    pool.release(held[0])
    await waiting[1]
    assert store.queues == {"a|glm-5.3": None, "b|glm-5.3": None}
    await pool.stop()


@in_loop
async def test_client_that_goes_while_the_store_is_asked_leaves_nothing_behind() -> None:
    store = Store()
    pool = make(key("a"), store=store)
    await pool.start()
    store.slow.clear()
    asking = asyncio.ensure_future(lease(pool))
    await until(lambda: store.claims)
    asking.cancel()
    store.slow.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: idle(pool))
    assert store.given == [claim.lease for claim in store.claims]
    await pool.stop()


@in_loop
async def test_store_that_goes_away_leaves_the_pool_its_part() -> None:
    store = Store()
    pool = make(key("a", 4), store=store)
    await pool.start()
    store.connected = False
    pool.on_connection(False)
    store.answers = [StoreAway()] * 10
    held = [await lease(pool) for _ in range(2)]
    waiting = asyncio.ensure_future(lease(pool))
    await turns()
    assert not waiting.done()
    pool.release(held[0])
    await waiting
    assert [claim.lease for claim in store.adopted] == [
        claim.lease for claim in store.claims
    ]  # counted once it is back
    store.connected = True
    store.answers = []
    pool.on_connection(True)
    held.append(await lease(pool))
    assert pool.scheduler.meters["a|glm-5.3"].in_flight == 3
    await pool.stop()


@in_loop
async def test_store_that_fails_in_the_middle_grants_no_more_than_the_part() -> None:
    store = Store()
    store.rank = 1
    pool = make(key("a", 2), store=store)
    await pool.start()
    held = [await lease(pool) for _ in range(2)]
    pool.release(held.pop())
    await until(lambda: len(store.given) == 1)

    async def fail(claim: Claim) -> None:
        store.connected = False
        raise StoreAway

    store.take = fail  # type: ignore[method-assign]
    waiting = asyncio.ensure_future(lease(pool))
    await turns()
    assert not waiting.done()  # of two slots in two processes one is ours, and that is in use
    pool.release(held.pop())
    pool.release(await waiting)
    await until(lambda: idle(pool))
    await pool.stop()


@in_loop
async def test_requests_a_minute_that_the_store_did_not_confirm_keep_to_the_part() -> None:
    store = Store()
    pool = make(replace(key("a"), max_parallel_requests=None, rpm=4), store=store)
    await pool.start()

    async def fail(claim: Claim) -> None:
        await asyncio.sleep(0)
        store.connected = False
        raise StoreAway

    store.take = fail  # type: ignore[method-assign]
    asked = [asyncio.ensure_future(lease(pool)) for _ in range(4)]  # all of the minute, as the store answers
    await until(lambda: len(store.adopted) == 2)
    await turns()
    assert [task.done() for task in asked].count(True) == 2
    counting = pool.scheduler.borrow(ticket(pool))
    assert isinstance(counting, Lease), "a key whose minute is shared does not rest"
    pool.scheduler.release(counting)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    await pool.stop()


@in_loop
async def test_probe_is_claimed_by_the_name_of_its_health() -> None:
    store, clock = Store(), FakeClock()
    pool = KeyPool(settings(key("a")), store, clock=clock)
    await pool.start()
    held = await lease(pool)
    pool.failed(held, RATE)
    pool.release(held)
    await until(lambda: idle(pool))
    later(pool, clock, 5)
    probe = await lease(pool)
    assert store.claims[-1].probe == probe.lane.health.name
    assert store.claims[-1].probe.endswith("/glm-5.3")
    await pool.stop()


@in_loop
async def test_health_is_shared() -> None:
    store = Store()
    pool = make(key("a"), key("b"), store=store)
    await pool.start()
    held = await lease(pool)
    pool.failed(held, ACCOUNT)
    await until(lambda: store.written)
    health = pool.scheduler.keys["a"].health
    assert store.written == [(health.name, health.record.as_json())]
    other = pool.scheduler.keys["b"].health
    pool.on_health(other.name, Record(State.OUT, 0.0, "1000", 1, pool._clock.wall()).as_json())
    assert other.record.code == "1000"
    for nonsense in ({}, {"state": "asleep"}, None):
        pool.on_health(other.name, nonsense)
    pool.on_health("unknown@0", Record().as_json())
    assert other.record.code == "1000"
    await pool.stop()


@in_loop
async def test_newer_of_own_and_shared_health_holds_at_the_start() -> None:
    store = Store()
    pool = make(key("a"), key("b"), store=store)
    now = pool._clock.wall()
    a, b = (pool.scheduler.keys[name].health for name in "ab")
    a.adopt(Record(State.OUT, 0.0, "1113", 1, now))
    b.adopt(Record(State.OUT, 0.0, "1113", 1, now - 20))
    store.records = {
        a.name: Record(at=now - 10).as_json(),
        b.name: Record(State.PARKED, now + 600, "1308", 1, now - 10).as_json(),
    }
    await pool.start()
    await until(lambda: store.written)
    assert [name for name, _ in store.written] == [a.name]
    assert (a.record.code, b.record.code) == ("1113", "1308")
    await pool.stop()


@in_loop
async def test_store_that_is_away_at_the_start_stops_nobody() -> None:
    store = Store()
    store.connected = False
    store.answers = [StoreAway()]
    pool = make(key("a", 2), store=store)
    await pool.start()
    pool.release(await lease(pool))
    await until(lambda: idle(pool))
    await pool.stop()


@in_loop
async def test_start_that_its_client_does_not_wait_for_is_made_up_for() -> None:
    store = Store()
    store.slow.clear()
    pool = make(key("a"), store=store)
    first = asyncio.ensure_future(pool.start())
    await turns()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    store.slow.set()
    await pool.start()
    await until(lambda: store.started == 1, "the store was never started")
    await pool.stop()


@in_loop
async def test_all_who_come_during_the_start_wait_for_it() -> None:
    store = Store()
    store.slow.clear()
    pool = make(key("a"), store=store)
    pool.start_soon()
    starts = [asyncio.ensure_future(pool.start()) for _ in range(3)]
    await turns()
    assert not any(start.done() for start in starts)
    store.slow.set()
    await asyncio.gather(*starts)
    await pool.start()
    assert store.started == 1
    await pool.stop()


def test_pool_can_not_start_where_no_loop_runs() -> None:
    with pytest.raises(RuntimeError):
        make(key("a")).start_soon()


@in_loop
async def test_slot_is_given_back_there_before_it_is_free_here_however_often_it_is_released() -> None:
    store = Store()
    pool = make(key("a"), store=store)
    await pool.start()
    giving, given = asyncio.Event(), asyncio.Event()

    async def give(lease: str) -> None:
        giving.set()
        await given.wait()

    store.give = give  # type: ignore[method-assign]
    held = await lease(pool)
    pool.release(held)
    await giving.wait()
    pool.release(held)
    assert pool.scheduler.keys["a"].in_flight == 1
    given.set()
    await until(lambda: idle(pool))
    await pool.stop()


class TickingClock(FakeClock):
    """Time that passes whenever someone looks."""

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now


@in_loop
async def test_request_that_the_store_refused_hears_of_a_lane_that_frees_meanwhile() -> None:
    for microseconds in range(500, 12_000, 500):
        store = Store()
        store.answers = [Refused("slots", microseconds / 1e6)]
        pool = KeyPool(settings(key("a")), store, clock=TickingClock())
        await pool.start()
        try:
            held = await asyncio.wait_for(lease(pool), 0.3)
        except asyncio.TimeoutError:
            pytest.fail(f"nobody told the request of its lane, closed for {microseconds} microseconds")
        pool.release(held)
        await until(lambda pool=pool: idle(pool))  # type: ignore[misc]
        await pool.stop()


# Shares --------------------------------------------------------------------------------


def limits(rank: int, members: int, least: int = 1, elsewhere: int = 0, connected: bool = False) -> SharedLimits:
    store = Store()
    store.connected, store.rank, store.members, store.held_elsewhere = connected, rank, members, elsewhere
    return SharedLimits(store, least)


@pytest.mark.parametrize("members", [1, 2, 3, 4, 7])
def test_parts_of_all_processes_add_up_to_the_limit(members: int) -> None:
    for name in ("a|glm-5.3", "b|glm-5.3", "team", ""):
        for limit in range(20):
            slots = [limits(rank, members).slots(name, limit) for rank in range(members)]
            rates = [limits(rank, members).rpm(name, limit) for rank in range(members)]
            assert sum(slots) == sum(rates) == limit
            assert max(slots) - min(slots) <= 1


def test_what_does_not_divide_goes_to_different_processes() -> None:
    lucky = {limits(rank, 2).slots(f"key-{n}", 1) and rank for n in range(20) for rank in range(2)}
    assert lucky == {0, 1}


def test_processes_that_never_reached_the_store_are_as_many_as_the_workers() -> None:
    assert limits(0, 1, least=2).slots("a", 4) == 2
    assert limits(0, 3, least=2).slots("a", 6) == 2


def test_slots_that_others_leave_are_ours_while_the_store_answers() -> None:
    shared = limits(0, 2, elsewhere=3, connected=True)
    assert [shared.slots("a", limit) for limit in (2, 3, 5)] == [-1, 0, 2]
    assert shared.rpm("a", 60) == 60


def test_slots_that_others_held_are_respected_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("glm_pool.shared_limits.time.monotonic", lambda: now[0])
    store = Store()
    store.connected, store.over, store.quiet_until = False, 1, now[0] + 1.5
    shared = SharedLimits(store, 1)
    pause, grace = shared.connection_changed()
    assert pause == 1.5
    assert shared.slots("a", 4) == 0, "the others may still use all of it"
    now[0] += pause
    assert shared.slots("a", 4) == 1
    now[0] += grace - pause
    assert shared.slots("a", 4) == 2


def test_what_others_began_is_respected_when_the_store_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("glm_pool.shared_limits.time.monotonic", lambda: now[0])
    store = Store()
    store.connected, store.began_beyond, store.quiet_until = False, 20, now[0] + 1.5
    shared = SharedLimits(store, 1)
    assert shared.rpm("a", 60) == 0, "the others may still use all of it"
    now[0] += 1.5
    assert shared.rpm("a", 60) == 10
    store.began = 25
    assert shared.rpm("a", 60) == 25, "as much as it had begun stays its own"
    store.began = 40
    assert shared.rpm("a", 60) == 30, "up to its part"
    store.began_beyond = 0
    assert shared.rpm("a", 60) == 30


def test_even_part_holds_a_while_longer_when_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("glm_pool.shared_limits.time.monotonic", lambda: now[0])
    store = Store()
    shared = SharedLimits(store, 1)
    assert shared.slots("a", 4) == 4
    (grace,) = shared.connection_changed()
    now[0] += grace
    assert shared.slots("a", 4) == 4
    assert shared.rpm("a", 60) == 60
    shared.connection_changed()
    assert shared.slots("a", 4) == 2  # the others may not have told the store yet what they sent meanwhile
    assert shared.rpm("a", 60) == 30


def test_window_of_the_rate_has_a_margin() -> None:
    assert WINDOW == 61
