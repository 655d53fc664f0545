"""The pool's own pages, for the master key alone."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pool_parts import VALUES, FakeClock, in_loop, key, make_access, plug_in, settings
from prometheus_client import REGISTRY
from role_settings import MASTER_KEY

from glm_pool.faults import Fault, Kind
from glm_pool.pool import KeyPool
from glm_pool.settings import Pool

BEARER = {"authorization": f"Bearer {MASTER_KEY}"}
PAGES = [("GET", "/pool/status"), ("POST", "/pool/keys/a/enable"), ("GET", "/metrics"), ("GET", "/metrics/")]
RATE = Fault(Kind.TRANSIENT, "1305", 429, "", of_model=True)
QUOTA = Fault(Kind.QUOTA, "1308", 429, "", until=1_800_007_200.0)
ACCOUNT = Fault(Kind.ACCOUNT, "1113", 429, "")


class Desk:
    """The pages of a pool, and a client before them."""

    def __init__(self, endpoints: Any) -> None:
        self.clock = FakeClock()
        keys = [key("a", 2, account="billing", rpm=60), key("b", None), key("c", 1, state="draining")]
        pools = (Pool("glm-pool", "glm-5.3"), Pool("flash", "glm-5.3-flash"))
        self.pool = KeyPool(settings(*keys, pools=pools, queue_size=7, queue_timeout=8.0), clock=self.clock)
        before = set(REGISTRY._collector_to_names)
        transport = httpx.ASGITransport(endpoints.make_application(self.pool, make_access()))
        self.registered = set(REGISTRY._collector_to_names) - before
        self.client = httpx.AsyncClient(transport=transport, base_url="http://proxy")

    async def fail(self, fault: Fault, pool: str = "glm-pool") -> None:
        """A request fails with the key `a`."""
        lease = await self.pool.acquire(self.pool.ticket(pool, {"b"}, None))
        self.pool.failed(lease, fault)
        self.pool.release(lease)

    async def status(self) -> dict[str, Any]:
        response = await self.client.get("/pool/status", headers=BEARER)
        assert response.status_code == 200
        found: dict[str, Any] = response.json()
        return found

    async def key(self, name: str = "a") -> dict[str, Any]:
        (found,) = [entry for entry in (await self.status())["keys"] if entry["name"] == name]
        return dict(found)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("LITELLM_MASTER_KEY", MASTER_KEY)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    made = Desk(plug_in("endpoints", monkeypatch))
    yield made
    for collector in made.registered:
        REGISTRY.unregister(collector)


@pytest.mark.parametrize(("method", "path"), PAGES)
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
@pytest.mark.parametrize(
    "presented", ["", "Bearer", "Bearer ", MASTER_KEY[:-1], f"Bearer {MASTER_KEY}x", f"Basic {MASTER_KEY}", VALUES["a"]]
)
def test_pages_are_for_the_master_key_alone(desk: Desk, method: str, path: str, header: str, presented: str) -> None:
    @in_loop
    async def scenario() -> None:
        response = await desk.client.request(method, path, headers={header: presented})
        assert response.status_code == 401
        assert response.json()["error"]["type"] == "authentication_error"
        assert MASTER_KEY not in response.text
        assert (await desk.client.request(method, path)).status_code == 401

    scenario()


@pytest.mark.parametrize(("method", "path"), PAGES)
@pytest.mark.parametrize("headers", [BEARER, {"authorization": MASTER_KEY}, {"x-api-key": MASTER_KEY}])
def test_master_key_opens_every_page(desk: Desk, method: str, path: str, headers: dict[str, str]) -> None:
    @in_loop
    async def scenario() -> None:
        assert (await desk.client.request(method, path, headers=headers)).status_code == 200

    scenario()


@in_loop
async def test_status_shows_pools_and_keys(desk: Desk) -> None:
    await desk.pool.acquire(desk.pool.ticket("glm-pool", {"b"}, None))
    status = await desk.status()
    assert (status["strategy"], status["shared"]) == ("round-robin", None)
    assert status["pools"][0] == {
        "name": "glm-pool",
        "model": "glm-5.3",
        "waiting": 0,
        "queue_size": 7,
        "queue_timeout": 8.0,
    }
    a, b, c = status["keys"]
    assert (a["name"], a["account"], a["state"], a["in_flight"], a["slots"]) == ("a", "billing", "active", 1, 2)
    assert (a["rpm"], a["until"], a["reason"]) == (60, None, "")
    assert set(a["models"]) == {"glm-5.3", "glm-5.3-flash"}
    assert (a["models"]["glm-5.3"]["in_flight"], a["models"]["glm-5.3"]["slots"]) == (1, 2)
    assert (b["slots"], b["rpm"], b["account"]) == (None, None, "b")
    assert (c["state"], c["in_flight"]) == ("draining", 0)


@in_loop
async def test_status_shows_the_worst_of_a_keys_models(desk: Desk) -> None:
    await desk.fail(RATE, "flash")
    found = await desk.key()
    assert (found["state"], found["reason"], found["until"]) == ("cooling", "1305", "2027-01-15T08:00:30Z")
    assert [model["state"] for model in found["models"].values()] == ["active", "cooling"]
    desk.clock.later(30)
    assert (await desk.key())["state"] == "probing"
    await desk.fail(QUOTA)
    found = await desk.key()
    assert (found["state"], found["reason"], found["until"]) == ("parked", "1308", "2027-01-15T10:00:00Z")
    assert {model["state"] for model in found["models"].values()} == {"parked"}


@in_loop
async def test_status_of_a_key_that_is_out_has_no_end(desk: Desk) -> None:
    await desk.fail(ACCOUNT)
    found = await desk.key()
    assert (found["state"], found["reason"], found["until"]) == ("out", "1113", None)


@in_loop
async def test_status_counts_answers_and_refusals(desk: Desk) -> None:
    before = await desk.key()
    lease = await desk.pool.acquire(desk.pool.ticket("glm-pool", {"b"}, None))
    desk.pool.answered(lease)
    desk.pool.release(lease)
    await desk.fail(QUOTA)
    after = await desk.key()
    assert after["answers"] == before["answers"] + 1
    assert after["refusals"]["1308"] == before["refusals"].get("1308", 0) + 1


@in_loop
async def test_no_page_shows_a_key_value(desk: Desk) -> None:
    for path in ("/pool/status", "/metrics"):
        text = (await desk.client.get(path, headers=BEARER)).text
        assert not any(part in text for value in VALUES.values() for part in value.split("."))


@in_loop
async def test_key_is_brought_back(desk: Desk) -> None:
    await desk.fail(ACCOUNT)
    for changed in (True, False):
        response = await desk.client.post("/pool/keys/a/enable", headers=BEARER)
        assert (response.status_code, response.json()) == (200, {"key": "a", "changed": changed})
        assert (await desk.key())["state"] == "active"


@in_loop
async def test_unknown_key_is_not_found(desk: Desk) -> None:
    for name in ("z", "A", "a%20", "..", "%2e"):
        response = await desk.client.post(f"/pool/keys/{name}/enable", headers=BEARER)
        assert response.status_code == 404


@in_loop
async def test_pages_take_their_own_method_only(desk: Desk) -> None:
    for method, path in (("GET", "/pool/keys/a/enable"), ("POST", "/pool/status"), ("DELETE", "/metrics")):
        assert (await desk.client.request(method, path, headers=BEARER)).status_code == 405
    assert (await desk.client.get("/pool/other", headers=BEARER)).status_code == 404


@in_loop
async def test_metrics_show_the_keys(desk: Desk) -> None:
    await desk.fail(ACCOUNT)
    response = await desk.client.get("/metrics", headers=BEARER)
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'litellm_pool_key_state{key="a",state="out"} 1.0' in response.text
    assert 'litellm_pool_key_slots{key="a",model="glm-5.3"} 2.0' in response.text


def test_paths_of_the_pages_are_told_from_litellms(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = plug_in("endpoints", monkeypatch)
    ours = ("/pool/status", "/pool/keys/a/enable", "/metrics", "/metrics/")
    assert all(endpoints.is_ours(path) for path in ours)
    assert not any(endpoints.is_ours(path) for path in ("/v1/models", "/health", "/pool", "/v1/metrics", "/"))
