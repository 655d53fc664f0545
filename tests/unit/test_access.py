"""What clients may do now, and the account of what they did."""

import asyncio
import calendar
import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pool_parts import FakeClock, in_loop, make_access, turns, until
from role_settings import MASTER_KEY

from glm_pool import access as module
from glm_pool import metrics
from glm_pool.access import Access, Visit
from glm_pool.client_errors import ClientError
from glm_pool.clients import MASTER, Client
from glm_pool.ledger import Ledger, Spent, Use
from glm_pool.shared import Claim, Listener, Refused, StoreAway
from glm_pool.tokens import Tokens

NOW = float(calendar.timegm((2026, 11, 23, 12, 0, 0)))
NOVEMBER, DECEMBER = "2026-11", "2026-12"
UNTIL_DECEMBER = calendar.timegm((2026, 12, 1, 0, 0, 0)) - NOW
KEY = "sk-alice-0123456789abcdefghijklmnop"
PRICES = {"glm-5.3": {"input": 2.0, "cached": 0.5, "output": 8.0}}


@pytest.fixture(autouse=True)
def master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_MASTER_KEY", MASTER_KEY)
    monkeypatch.setattr(module, "TELL_AGAIN_SECONDS", 0.01)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


def client(name: str = "alice", key: str = KEY, **fields: Any) -> Client:
    return Client(name, hashlib.sha256(key.encode()).hexdigest(), **fields)


class Store:
    """A shared store that can be away; knows nothing of time."""

    kind = "redis"
    return_grace = 0.0
    members = 2
    rank = 0
    quiet_until = 0.0

    def __init__(self) -> None:
        self.connected = True
        self.leases: dict[str, Claim] = {}
        self.adopted: list[Claim] = []
        self.refuse: Refused | None = None
        self.unanswered = asyncio.Event()
        self.unanswered.set()

    async def start(self, listener: Listener) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def take(self, claim: Claim) -> Refused | None:
        await self.unanswered.wait()
        if not self.connected:
            raise StoreAway
        if self.refuse:
            return self.refuse
        if claim.slots is not None and len([c for c in self.leases.values() if c.meter == claim.meter]) >= claim.slots:
            return Refused("slots")
        self.leases[claim.lease] = claim
        return None

    def adopt(self, claim: Claim) -> None:
        self.adopted.append(claim)
        self.leases[claim.lease] = claim

    def queued(self, meter: str, arrived: float | None) -> None:
        pass

    async def give(self, lease: str) -> None:
        await asyncio.sleep(0)
        self.leases.pop(lease, None)

    def elsewhere(self, meter: str) -> int:
        return 0

    def surplus(self, meter: str, limit: int) -> int:
        return 0

    def rate_surplus(self, rate: str, limit: int) -> int:
        return 0

    def rate_kept(self, rate: str) -> int:
        return 0

    def aside(self, name: str, limit: int) -> int:
        return 0

    async def write_health(self, name: str, record: dict[str, Any] | None) -> None:
        pass

    async def read_health(self) -> dict[str, dict[str, Any]]:
        return {}


class Spending:
    """Where hosts tell each other; can be away, and forget."""

    def __init__(self) -> None:
        self.connected = True
        self.told: defaultdict[tuple[str, str], dict[str, Spent]] = defaultdict(dict)
        self.tellings = 0

    async def tell_spent(self, month: str, client: str, host: str, spent: Spent) -> None:
        await asyncio.sleep(0)
        if not self.connected:
            raise StoreAway
        self.tellings += 1
        self.told[month, client][host] = spent

    async def spent_elsewhere(self, month: str, client: str, host: str) -> Spent:
        await asyncio.sleep(0)
        if not self.connected:
            raise StoreAway
        hosts = self.told.get((month, client), {})
        return sum((spent for name, spent in hosts.items() if name != host), Spent())


async def ready() -> None:
    """The store has been started."""


async def let_in(access: Access, who: Client, **options: Any) -> Visit:
    visit = await access.admit(who, counted=options.pop("counted", True))
    assert isinstance(visit, Visit), visit
    return visit


async def refused(access: Access, who: Client, **options: Any) -> ClientError:
    error = await access.admit(who, counted=options.pop("counted", True))
    assert isinstance(error, ClientError)
    return error


def finish(access: Access, visit: Visit, tokens: int = 10, model: str = "glm-5.3", status: int = 200) -> None:
    access.account(visit, key="one", pool="glm-pool", model=model, tokens=Tokens(tokens), status=status)


async def serve(access: Access, who: Client, tokens: int = 10) -> None:
    visit = await let_in(access, who)
    finish(access, visit, tokens)
    await visit.leave()


def messages(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if word in record.getMessage()]


# Who


@pytest.mark.parametrize("shown", [KEY, f"Bearer {KEY}", f" {KEY} ", f"Bearer  {KEY}"])
def test_a_client_is_known_by_its_key(shown: str) -> None:
    alice = client()
    assert make_access(client("bob", "another"), alice).identify(shown) is alice


def test_the_master_key_is_the_administrators() -> None:
    found = make_access(client()).identify(f"Bearer {MASTER_KEY}")
    assert isinstance(found, Client)
    assert (found.name, found.is_master) == (MASTER, True)


@pytest.mark.parametrize("shown", ["", "Bearer ", KEY[:-1], f"{KEY}x", f"Basic {KEY}", "sk-Schlüssel", "Bearer"])
def test_whoever_else_is_nobody(shown: str) -> None:
    error = make_access(client()).identify(shown)
    assert isinstance(error, ClientError)
    assert (error.status, error.code) == (401, "invalid_api_key")
    assert len(shown) < 10 or shown not in error.message


def test_a_revoked_key_is_told_so_whether_expired_or_not(clock: FakeClock) -> None:
    for expires in (math.inf, 0.0):
        error = make_access(client(revoked=True, expires=expires), clock=clock).identify(KEY)
        assert isinstance(error, ClientError)
        assert (error.status, error.code) == (401, "key_revoked")
        assert "alice" in error.message
        assert KEY not in error.message


def test_a_key_expires_during_service(clock: FakeClock) -> None:
    access = make_access(client(expires=NOW + 10), clock=clock)
    clock.later(9.9)
    assert isinstance(access.identify(KEY), Client)
    clock.later(0.1)
    error = access.identify(KEY)
    assert isinstance(error, ClientError)
    assert (error.status, error.code) == (401, "key_expired")
    assert "expired (2026-11-23 12:00 UTC)" in error.message


@in_loop
async def test_who_is_let_in_before_it_expires_may_finish() -> None:
    clock = FakeClock(NOW)
    access = make_access(alice := client(expires=NOW + 10), clock=clock)
    visit = await let_in(access, alice)
    clock.later(20)
    finish(access, visit)
    await visit.leave()
    assert access.ledger.spent("alice").tokens == 10


def test_pools() -> None:
    access = make_access()
    assert access.refusal(client(), "glm-pool") is None
    bob = client("bob", pools=frozenset({"flash", "air"}))
    assert access.refusal(bob, "flash") is None
    error = access.refusal(bob, "glm-pool")
    assert error
    assert (error.status, error.code) == (403, "pool_not_allowed")
    assert error.message == "The key of bob may not use glm-pool; it may use: air, flash."


@in_loop
async def test_the_master_key_asks_models_only_where_it_may() -> None:
    master = Client(MASTER)
    assert isinstance(await make_access().admit(master, counted=True), Visit)
    for counted in (True, False):
        error = await refused(make_access(client(), master_key_answers=False), master, counted=counted)
        assert (error.status, error.code) == (403, "master_key_administers")
        assert "litellm_proxy_client_keys" in error.message


# Limits of one process


@in_loop
async def test_requests_at_once() -> None:
    access, alice = make_access(clock=FakeClock(NOW)), client(max_parallel_requests=2)
    one, _ = [await let_in(access, alice) for _ in range(2)]
    error = await refused(access, alice)
    assert (error.status, error.code, error.retry_after, error.retry) == (429, "client_parallel_limit", 1, True)
    assert error.message == "alice may have 2 requests under way at once. Try again in 1 s."
    assert isinstance(await access.admit(client("bob", max_parallel_requests=1), counted=True), Visit)
    await one.leave()
    await one.leave()  # a second time does nothing
    await let_in(access, alice)
    assert (await refused(access, alice)).code == "client_parallel_limit"


@in_loop
async def test_requests_a_minute() -> None:
    clock = FakeClock(NOW)
    access, alice = make_access(clock=clock), client(rpm=2)
    await serve(access, alice)
    clock.later(20)
    await serve(access, alice)
    error = await refused(access, alice)
    assert (error.status, error.code, error.retry_after) == (429, "client_rate_limit", 41)
    assert error.message == "alice may send 2 requests a minute. Try again in 41 s."
    clock.later(40.5)
    assert (await refused(access, alice)).retry_after == 1
    clock.later(0.5)
    await serve(access, alice)
    assert (await refused(access, alice)).retry_after == 20


@in_loop
async def test_what_is_refused_uses_nothing_of_the_minute() -> None:
    clock = FakeClock(NOW)
    access, alice = make_access(clock=clock), client(rpm=3, max_parallel_requests=1)
    visit = await let_in(access, alice)
    for _ in range(5):
        assert (await refused(access, alice)).code == "client_parallel_limit"
    await visit.leave()
    for _ in range(2):
        await serve(access, alice)
    assert (await refused(access, alice)).code == "client_rate_limit"


@in_loop
async def test_a_limit_that_is_changed_holds_at_once() -> None:
    clock = FakeClock(NOW)
    access = make_access(clock=clock)
    for _ in range(4):
        await serve(access, client(rpm=4))
        clock.later(10)
    error = await refused(access, client(rpm=2))
    assert error.retry_after == 61 - 20
    await serve(access, client(rpm=5))


@in_loop
async def test_a_token_count_is_free() -> None:
    access, alice = make_access(clock=FakeClock(NOW)), client(rpm=1, max_parallel_requests=1, monthly_tokens=1)
    await serve(access, alice)
    for _ in range(3):
        visit = await let_in(access, alice, counted=False)
        finish(access, visit)
        await visit.leave()
    assert access.ledger.spent("alice").tokens == 10


@given(st.lists(st.sampled_from(["come", "go", "wait"]), max_size=60), st.integers(1, 3), st.integers(1, 6))
@hypothesis_settings(max_examples=60, deadline=None)
def test_limits_hold_whatever_comes(steps: list[str], slots: int, rpm: int) -> None:
    clock = FakeClock(NOW)
    access, alice = make_access(clock=clock), client(rpm=rpm, max_parallel_requests=slots)
    starts: list[float] = []

    async def run() -> None:
        visits: list[Visit] = []
        for step in steps:
            if step == "come":
                outcome = await access.admit(alice, counted=True)
                if isinstance(outcome, Visit):
                    visits.append(outcome)
                    starts.append(clock.now)
                else:
                    assert outcome.retry_after
            elif step == "go" and visits:
                await visits.pop(0).leave()
            else:
                clock.later(17)
            assert len(visits) <= slots
            assert len([start for start in starts if start > clock.now - 60]) <= rpm

    asyncio.run(run())


# Limits of several processes


def shared(*clients: Client, clock: FakeClock, ledger: Ledger | None = None) -> tuple[Access, Store, Spending]:
    access, store, spending = make_access(*clients, clock=clock, ledger=ledger), Store(), Spending()
    access.share(store, ready, spending)
    return access, store, spending


@in_loop
async def test_the_store_is_asked_and_told() -> None:
    access, store, _ = shared(clock=FakeClock(NOW))
    visit = await let_in(access, client(max_parallel_requests=1, rpm=5))
    (claim,) = store.leases.values()
    assert (claim.meter, claim.slots, claim.rate, claim.rpm) == ("client:alice", 1, "client:alice", 5)
    assert (claim.arrived, claim.insist, claim.probe) == (NOW, True, None)
    assert (await refused(access, client(max_parallel_requests=1))).code == "client_parallel_limit"
    await visit.leave()
    assert store.leases == {}
    await let_in(access, client())
    assert store.leases == {}, "without limits there is nothing to agree on"


@pytest.mark.parametrize(
    ("reason", "code", "retry_after"),
    [
        (Refused("slots"), "client_parallel_limit", 1),
        (Refused("slots", 0.2), "client_parallel_limit", 1),
        (Refused("turn"), "client_parallel_limit", 1),
        (Refused("rate", 12.1), "client_rate_limit", 13),
        (Refused("rate"), "client_rate_limit", 1),
    ],
)
def test_refusals_of_the_store(reason: Refused, code: str, retry_after: int) -> None:
    async def run() -> None:
        access, store, _ = shared(clock=FakeClock(NOW))
        store.refuse = reason
        error = await refused(access, client(rpm=1, max_parallel_requests=1))
        assert (error.status, error.code, error.retry_after) == (429, code, retry_after)

    asyncio.run(run())


@in_loop
async def test_a_place_is_given_back_though_nobody_waits_for_it() -> None:
    access, store, _ = shared(clock=FakeClock(NOW))
    visit = await let_in(access, client(max_parallel_requests=1))
    leaving = asyncio.ensure_future(visit.leave())
    await asyncio.sleep(0)
    leaving.cancel()
    await until(lambda: not store.leases)


@in_loop
async def test_while_the_store_is_away_the_process_counts_by_itself() -> None:
    access, store, _ = shared(clock=FakeClock(NOW))
    alice = client(max_parallel_requests=2)
    before = await let_in(access, alice)
    store.connected = False
    during = await let_in(access, alice)
    assert (await refused(access, alice)).code == "client_parallel_limit", "what it had let in before counts"
    assert [claim.meter for claim in store.adopted] == ["client:alice"], "told when it is back"
    store.connected = True
    assert (await refused(access, alice)).code == "client_parallel_limit", "and what it let in meanwhile"
    await before.leave()
    await during.leave()
    assert store.leases == {}
    await let_in(access, alice)


@in_loop
async def test_the_minute_goes_on_while_the_store_is_away() -> None:
    clock = FakeClock(NOW)
    access, store, _ = shared(clock=clock)
    alice = client(rpm=2)
    await serve(access, alice)
    store.connected = False
    clock.later(10)
    await serve(access, alice)
    error = await refused(access, alice)
    assert (error.code, error.retry_after) == ("client_rate_limit", 51)
    assert store.leases == {}


@in_loop
async def test_the_store_is_started_first() -> None:
    access, store, spending = make_access(clock=FakeClock(NOW)), Store(), Spending()
    started: list[str] = []

    async def start() -> None:
        started.append("now")

    access.share(store, start, spending)
    await let_in(access, client(rpm=1))
    assert started == ["now"]


# Budgets


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"monthly_tokens": 1500}, "alice has used its 1,500 tokens of this month"),
        ({"monthly_budget": 0.0029}, "alice has used its USD 0.0029 of this month"),
        ({"monthly_budget": 0.0029, "monthly_tokens": 10**9}, "USD 0.0029"),
    ],
)
def test_a_budget_ends_with_the_month(fields: dict[str, Any], said: str) -> None:
    async def run() -> None:
        clock = FakeClock(NOW)
        access, alice = make_access(clock=clock, prices=PRICES), client(**fields)
        await serve(access, alice, 1449)
        await serve(access, alice, 51)
        error = await refused(access, alice)
        assert (error.status, error.code, error.retry) == (429, "budget_used_up", False)
        assert error.retry_after == UNTIL_DECEMBER
        assert said in error.message
        assert error.message.endswith("the next month begins on 2026-12-01 at 00:00 UTC.")
        clock.later(UNTIL_DECEMBER - 0.5)
        assert (await refused(access, alice)).retry_after == 1
        clock.later(0.5)
        await serve(access, alice)

    asyncio.run(run())


@in_loop
async def test_a_budget_leaves_others_alone_and_takes_no_place() -> None:
    access, alice = make_access(clock=FakeClock(NOW)), client(monthly_tokens=5, max_parallel_requests=1, rpm=2)
    await serve(access, alice)
    for _ in range(3):
        assert (await refused(access, alice)).code == "budget_used_up"
    await serve(access, client("bob", monthly_tokens=5))
    await serve(access, client(max_parallel_requests=1, rpm=2, monthly_tokens=50))


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("parallel", [1, 7, 100])
def test_parallel_requests_overshoot_by_what_was_in_flight_at_most(parallel: int, hosts: int) -> None:
    """All come at once; PARALLEL are served at a time, 10 tokens each."""
    most = 200
    served = 0

    async def run() -> None:
        nonlocal served
        clock, spending = FakeClock(NOW), Spending()
        accesses = [make_access(clock=clock) for _ in range(hosts)]
        for access in accesses:
            access.share(Store(), ready, spending)
        alice, places = client(monthly_tokens=most), asyncio.Semaphore(parallel)

        async def ask(number: int) -> None:
            nonlocal served
            access = accesses[number % hosts]
            async with places:
                visit = await access.admit(alice, counted=True)
                if isinstance(visit, ClientError):
                    return
                await turns(5)
                served += 10
                finish(access, visit)
                await visit.leave()
                await turns(5)  # hosts hear of it

        await asyncio.gather(*(ask(number) for number in range(300)))

    asyncio.run(run())
    assert most <= served <= most + 10 * parallel


@in_loop
async def test_who_waited_while_the_budget_was_used_up_is_not_sent() -> None:
    clock = FakeClock(NOW)
    access, alice = make_access(clock=clock), client(monthly_tokens=10)
    served, waiting, counting = [await let_in(access, alice, counted=counted) for counted in (True, True, False)]
    assert access.over_budget_by_now(waiting) is None
    finish(access, served)
    error = access.over_budget_by_now(waiting)
    assert error
    assert (error.status, error.code) == (429, "budget_used_up")
    assert access.over_budget_by_now(counting) is None
    assert access.over_budget_by_now(await let_in(access, client("bob"))) is None
    clock.later(UNTIL_DECEMBER)
    assert access.over_budget_by_now(waiting) is None


@in_loop
async def test_what_ends_while_the_store_is_asked_counts() -> None:
    access, _, spending = shared(clock=FakeClock(NOW))
    alice = client(monthly_tokens=10)
    visit = await let_in(access, alice)
    asking = asyncio.ensure_future(access.admit(alice, counted=True))
    await asyncio.sleep(0)
    finish(access, visit)
    assert isinstance(await asking, ClientError)
    assert spending.tellings <= 1


# Budgets of several hosts


def two_hosts(*clients: Client, clock: FakeClock) -> tuple[Access, Access, Spending]:
    spending = Spending()
    hosts = [make_access(*clients, clock=clock) for _ in range(2)]
    for host in hosts:
        host.share(Store(), ready, spending)
    return hosts[0], hosts[1], spending


@in_loop
async def test_hosts_share_a_budget() -> None:
    alice = client(monthly_tokens=25)
    one, other, spending = two_hosts(alice, clock=FakeClock(NOW))
    await serve(one, alice)
    await serve(other, alice)
    await until(lambda: len(spending.told[NOVEMBER, "alice"]) == 2)
    assert set(spending.told[NOVEMBER, "alice"].values()) == {Spent(10, 0.0)}
    await serve(one, alice)
    await until(lambda: spending.told[NOVEMBER, "alice"].get(one.ledger.host) == Spent(20, 0.0))
    for host in (one, other):
        assert (await refused(host, alice)).code == "budget_used_up"


@in_loop
async def test_clients_without_a_budget_are_nobodys_business() -> None:
    alice = client(rpm=5)
    one, _, spending = two_hosts(alice, clock=FakeClock(NOW))
    await serve(one, alice)
    one.tell_all()
    await turns()
    assert spending.told == {}


@in_loop
async def test_while_the_store_is_away_the_last_word_of_others_counts() -> None:
    alice = client(monthly_tokens=25)
    one, other, spending = two_hosts(alice, clock=FakeClock(NOW))
    await serve(other, alice, 20)
    await until(lambda: spending.told)
    await serve(one, alice, 1)
    spending.connected = False
    await serve(one, alice, 4)
    assert (await refused(one, alice)).code == "budget_used_up"
    await serve(other, alice, 1)  # it heard nothing of the first one's
    spending.connected = True
    await until(lambda: spending.told[NOVEMBER, "alice"].get(one.ledger.host) == Spent(5, 0.0))
    assert (await refused(other, alice)).code == "budget_used_up"
    await turns()


@in_loop
async def test_a_store_that_lost_its_data_is_told_again() -> None:
    alice, bob = client(monthly_tokens=30), client("bob", monthly_budget=1)
    one, other, spending = two_hosts(alice, bob, client("carol"), clock=FakeClock(NOW))
    await serve(one, alice, 20)
    await serve(other, alice, 20)
    await until(lambda: len(spending.told[NOVEMBER, "alice"]) == 2)
    assert (await refused(one, alice)).code == "budget_used_up"
    spending.told.clear()
    assert (await refused(one, alice)).code == "budget_used_up", "a month's use never falls"
    for host in (one, other):
        host.tell_all()
    await until(lambda: len(spending.told) == 2)
    await until(lambda: len(spending.told[NOVEMBER, "alice"]) == 2)
    assert sum(spending.told[NOVEMBER, "alice"].values(), Spent()) == Spent(40, 0.0)
    assert set(spending.told) == {(NOVEMBER, "alice"), (NOVEMBER, "bob")}


@in_loop
async def test_a_new_month_begins_on_all_hosts() -> None:
    clock, alice = FakeClock(NOW), client(monthly_tokens=10)
    one, other, spending = two_hosts(alice, clock=clock)
    await serve(one, alice)
    await until(lambda: spending.told)
    assert isinstance(await other.admit(alice, counted=True), ClientError)
    clock.later(UNTIL_DECEMBER)
    await serve(other, alice, 4)
    await until(lambda: spending.told[DECEMBER, "alice"])
    await serve(one, alice, 6)
    await until(lambda: len(spending.told[DECEMBER, "alice"]) == 2)
    assert isinstance(await other.admit(alice, counted=True), ClientError)


@in_loop
async def test_many_uses_are_told_in_few_words() -> None:
    alice = client(monthly_tokens=10**6)
    one, _, spending = two_hosts(alice, clock=FakeClock(NOW))
    visits = [await let_in(one, alice) for _ in range(50)]
    for visit in visits:
        finish(one, visit)
    await until(lambda: spending.told[NOVEMBER, "alice"].get(one.ledger.host) == Spent(500, 0.0))
    assert spending.tellings < 5


# The account


def noted(access: Access, monkeypatch: pytest.MonkeyPatch) -> list[Use]:
    """What is written down from now on."""
    uses: list[Use] = []
    monkeypatch.setattr(access.ledger, "add", uses.append)
    return uses


@in_loop
async def test_the_account_names_everything(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "glm_pool")
    access = make_access(clock=FakeClock(NOW), prices=PRICES)
    uses = noted(access, monkeypatch)
    access.account(
        await let_in(access, client("a-name")),
        key="one",
        pool="glm-pool",
        model="glm-5.3",
        tokens=Tokens(1_000_000, 2_000_000, 500_000),
        status=200,
    )
    assert uses == [Use(NOW, "a-name", "one", "glm-pool", "glm-5.3", False, Tokens(1_000_000, 2_000_000, 500_000), 7.0)]
    (line,) = messages(caplog, "event=served")
    assert "client=a-name pool=glm-pool key=one model=glm-5.3 status=200 input=1000000 cached=2000000" in line
    assert "output=500000 usd=7.000000 seconds=" in line
    assert metrics.totals("litellm_pool_client_requests_total")["a-name", "glm-pool", "200"] == 1
    assert metrics.totals("litellm_pool_client_tokens_total")["a-name", "cached", "glm-pool"] == 2_000_000
    assert metrics.totals("litellm_pool_client_cost_usd_total")["a-name", "glm-pool"] == 7


@pytest.mark.parametrize(
    ("status", "failed"), [(200, False), (400, True), (429, True), (500, True), (502, True), (499, False)]
)
def test_failures_are_what_the_client_saw(status: int, failed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    access = make_access(clock=FakeClock(NOW))
    uses = noted(access, monkeypatch)
    finish(access, Visit(client(), counted=True), status=status)
    assert [use.failed for use in uses] == [failed]


@in_loop
async def test_a_model_without_a_price_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    access = make_access(clock=FakeClock(NOW), prices=PRICES)
    for model in ("odd-1", "odd-1", "odd-2", "glm-5.3"):
        finish(access, Visit(client(), counted=True), model=model)
    finish(access, Visit(client(), counted=True), tokens=0, model="odd-3")
    told = messages(caplog, "event=no_price")
    assert [line.split()[1] for line in told] == ["model=odd-1:", "model=odd-2:"]
    assert "set litellm_proxy_prices['odd-1']" in told[0]
    assert access.ledger.spent("alice").tokens == 40
    assert access.ledger.spent("alice").cost == pytest.approx(20 / 1e6)


def test_the_operators_prices_go_before_litellms() -> None:
    def litellms(model: str) -> Mapping[str, float] | None:
        return {"input": 100.0, "output": 100.0}

    access = make_access(clock=FakeClock(NOW), prices={**PRICES, "gift": {"input": 0.0, "output": 0.0}})
    access._prices = litellms
    for model in ("glm-5.3", "other", "gift"):
        finish(access, Visit(client(), counted=True), tokens=1_000_000, model=model)
    assert access.ledger.spent("alice").cost == pytest.approx(102)


# Status


def test_status_shows_clients_and_no_secret(clock: FakeClock) -> None:
    access = make_access(
        client("alice", pools=frozenset({"b", "a"}), rpm=1, monthly_tokens=100, expires=NOW + 5),
        client("bob", "k2", revoked=True, monthly_budget=2.5),
        client("carol", "k3", expires=NOW - 1, max_parallel_requests=3),
        clock=clock,
        prices=PRICES,
    )
    finish(access, Visit(client(), counted=True), tokens=1234)
    alice, bob, carol = access.status()
    assert alice == {
        "name": "alice",
        "state": "active",
        "pools": ["a", "b"],
        "rpm": 1,
        "max_parallel_requests": None,
        "monthly_tokens": 100,
        "monthly_budget": None,
        "tokens": 1234,
        "cost": 0.002468,
        "expires": NOW + 5,
    }
    assert (bob["state"], bob["pools"], bob["monthly_budget"], bob["expires"]) == ("revoked", None, 2.5, None)
    assert (carol["state"], carol["tokens"]) == ("expired", 0)
    clock.later(5)
    assert access.status()[0]["state"] == "expired"
    assert client().sha256 not in str(access.status())
