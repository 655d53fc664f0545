"""Several processes with one Redis keep one set of limits, and go on when a process or Redis dies."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from tests.pool.pool_client import APIS, Answer, Open, PoolClient, together, wait_until
from tests.pool.pool_server import ROOT, Key, PoolServer, Rig, make_settings, table
from tests.ports import free_port
from zai_simulator.testing import running_simulator

KEYS = (
    Key("one", "alpha", slots=2),
    Key("two", "beta", slots=2),
    Key("three", "gamma", slots=2),
)
LIMITS = {"alpha": 2, "beta": 2, "gamma": 2}
PASSWORD = "redis-password-of-the-test"


class RedisServer:
    """A Redis of the tests' own on loopback; it keeps nothing over a restart."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "requirepass": PASSWORD, "save": "", "appendonly": "no"}
        self._process = subprocess.Popen(
            ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", str(value)))],
            cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"},
        )  # fmt: skip

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    subprocess.run([ROOT / "scripts/ensure-redis.sh"], check=True, stdout=subprocess.DEVNULL)
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


class Pair:
    """Two instances, as on two hosts, before one Z.AI."""

    def __init__(self, rigs: Sequence[Rig], redis: RedisServer) -> None:
        self.rigs = rigs
        self.redis = redis
        self.simulator = rigs[0].simulator
        self.control = self.simulator.control

    @property
    def clients(self) -> list[PoolClient]:
        return [rig.client for rig in self.rigs]

    def shared(self) -> list[dict[str, object]]:
        return [client.status().shown["shared"] for client in self.clients]

    def wait_for(self, connected: bool, within: float) -> None:
        wait_until(
            lambda: [shared["connected"] for shared in self.shared()] == [connected] * len(self.rigs),
            within,
            self.shared,
        )

    def settle(self) -> None:
        self.control.reset()
        self.wait_for(connected=True, within=20)
        wait_until(lambda: [shared["members"] for shared in self.shared()] == [len(self.rigs)] * 2, 30, self.shared)
        for rig in self.rigs:
            rig.settle()


@pytest.fixture(scope="module")
def running_pair(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Pair]:
    with running_simulator(table(KEYS)) as simulator, ExitStack() as stack:
        rigs = []
        settings = make_settings(KEYS, simulator.url, redis_url=redis.url)
        for name in ("host-a", "host-b"):
            server = PoolServer(tmp_path_factory.mktemp(name), settings)
            stack.callback(server.stop)
            server.start(wait=False)
            rigs.append(Rig(simulator, server, KEYS))
        for rig in rigs:
            rig.server.wait_until_ready()
            rig.warm_up()
        yield Pair(rigs, redis)
        for rig in rigs:
            rig.assert_no_secret_in_log()


@pytest.fixture
def pair(running_pair: Pair) -> Pair:
    running_pair.settle()
    return running_pair


def load(clients: Sequence[PoolClient], requests: int = 48, parallel: int = 12) -> list[Answer]:
    calls = [partial(clients[n % len(clients)].ask, APIS[n // 2 % 2], stream=n // 4 % 2 == 0) for n in range(requests)]
    return together(calls, parallel)


def assert_within_limits(rig: Rig, answers: Sequence[Answer]) -> None:
    assert [answer.status for answer in answers] == [200] * len(answers), next(a for a in answers if a.status != 200)
    stats = rig.control.stats()
    assert stats["total"]["refusals"] == 0
    highest = {account: models["glm-5.3"]["max_in_flight"] for account, models in stats["accounts"].items()}
    assert all(highest[account] <= limit for account, limit in LIMITS.items()), highest


def test_two_hosts_use_the_limits_and_never_exceed_them(pair: Pair) -> None:
    pair.rigs[0].accounts(latency=0.3, token_interval=0.02)
    answers = load(pair.clients)
    assert_within_limits(pair.rigs[0], answers)
    accounts = pair.control.stats()["accounts"]
    assert [accounts[account]["glm-5.3"]["max_in_flight"] for account in LIMITS] == [2, 2, 2]
    for rig in pair.rigs:
        rig.wait_idle(2)


def test_one_host_may_use_all_of_them(pair: Pair) -> None:
    pair.rigs[0].fault(hang=50, times=2)
    held: list[Open] = [pair.clients[1].send("openai") for _ in range(6)]
    try:
        pair.control.wait_for(lambda stats: stats["total"]["in_flight"] == 6)
        late = pair.clients[0].send("anthropic")
        wait_until(lambda: pair.rigs[0].status().waiting == 1, 5)
        assert pair.control.stats()["total"]["requests"] == 6
        held.pop().leave()
        assert late.finish().status == 200
    finally:
        for request in held:
            request.leave()


def test_a_key_that_one_host_found_bad_rests_on_both(pair: Pair) -> None:
    pair.control.set_key("one", fault={"code": "1308", "reset_in": 3600})
    for _ in range(3):
        assert pair.clients[0].ask("openai").status == 200
    wait_until(lambda: [rig.status().states["one"] for rig in pair.rigs] == ["parked", "parked"], 3)
    for _ in range(3):
        assert pair.clients[1].ask("openai").status == 200
    assert pair.rigs[0].stats_of("one")["requests"] == 1
    assert pair.clients[1].enable("one").status == 200
    wait_until(lambda: [rig.status().states["one"] for rig in pair.rigs] == ["active", "active"], 3)


def test_a_cooled_key_is_probed_by_one_host_only(pair: Pair) -> None:
    pair.rigs[0].accounts(latency=0.2)
    pair.control.set_key("one", fault={"code": "1302", "times": 1})
    answers = load(pair.clients, requests=12)
    pair.control.set_account("alpha", latency=1.5)
    while pair.rigs[0].stats_of("one")["answers"] < 3 and len(answers) < 1000:
        answers += load(pair.clients, requests=24)
    assert {answer.status for answer in answers} == {200}
    records = [record for record in pair.control.requests() if record["key"] == "one"]
    first_refused = next(number for number, record in enumerate(records) if record["code"] == "1302")
    probe, *later = records[first_refused + 1 :]
    while later and later[0]["time"] < records[first_refused]["time"] + 4:  # was under way when the refusal came
        probe, *later = later
    assert all(record["time"] >= probe["time"] + probe["duration"] - 0.05 for record in later)
    assert pair.control.stats()["total"]["refusals"] == 1


def test_redis_goes_and_returns(pair: Pair) -> None:
    """Each host keeps to its half meanwhile; the loss is told once."""
    marks = [rig.server.log_mark() for rig in pair.rigs]
    pair.redis.stop()
    try:
        pair.wait_for(connected=False, within=10)
        pair.rigs[0].accounts(latency=0.2)
        answers = load(pair.clients, requests=36)
        assert_within_limits(pair.rigs[0], answers)
    finally:
        pair.redis.start()
    pair.wait_for(connected=True, within=20)
    for rig, mark in zip(pair.rigs, marks, strict=True):
        lines = rig.server.log_since(mark)
        for told in ("is away", "is back"):
            assert len([line for line in lines if "WARNING" in line and told in line]) == 1, lines
        assert len([line for line in lines if "ERROR" in line]) == 0, lines
    pair.control.reset()
    wait_until(lambda: [shared["members"] for shared in pair.shared()] == [2, 2], 10, pair.shared)
    pair.rigs[0].accounts(latency=0.2)
    answers = load(pair.clients)
    assert_within_limits(pair.rigs[0], answers)


def test_redis_dies_under_load(pair: Pair) -> None:
    """Requests that hold a slot finish, those that wait go on; the limits hold through the loss of all its data."""
    pair.rigs[0].accounts(latency=0.4)
    began = time.monotonic()

    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(load, pair.clients, 72)
        pair.control.wait_for(lambda stats: stats["total"]["requests"] >= 12)
        pair.redis.stop()
        try:
            pair.wait_for(connected=False, within=10)
        finally:
            pair.redis.start()
        answers = loading.result()
    assert time.monotonic() - began < 60
    assert_within_limits(pair.rigs[0], answers)


def test_redis_dies_while_one_host_has_every_slot(pair: Pair) -> None:
    """The other host's share is its own again once those requests can have ended: nobody waits for ever."""
    pair.rigs[0].fault(hang=50, times=2)
    held = [pair.clients[1].send("openai") for _ in range(6)]
    pair.control.wait_for(lambda stats: stats["total"]["in_flight"] == 6)
    wait_until(lambda: pair.rigs[0].status().model("one")["account_in_flight"] == 2, 5)
    pair.redis.stop()
    try:
        pair.wait_for(connected=False, within=10)
        for request in held:
            request.leave()
        pair.control.wait_for(lambda stats: stats["total"]["in_flight"] == 0)
        answers = together([partial(client.ask, "anthropic", timeout=100) for client in pair.clients])
    finally:
        pair.redis.start()
    assert [answer.status for answer in answers] == [200, 200], answers
    assert pair.control.stats()["total"]["refusals"] == 0


def test_killed_process_gives_its_slots_back(pair: Pair) -> None:
    """kill -9 with every slot in use: within the time of the leases all of them are the other host's.

    The last of the pair's tests: one host is gone after it.
    """
    pair.rigs[0].fault(hang=50, times=2)
    lost: list[Open] = [pair.clients[1].send("openai") for _ in range(6)]
    pair.control.wait_for(lambda stats: stats["total"]["in_flight"] == 6)
    pair.rigs[1].server.kill()
    for request in lost:
        request.leave()
    pair.control.wait_for(lambda stats: stats["total"]["in_flight"] == 0)
    survivor = pair.rigs[0]
    survivor.control.reset()
    survivor.accounts(latency=1)
    answers = load([survivor.client], requests=12)
    assert_within_limits(survivor, answers)
    assert [survivor.control.stats()["accounts"][account]["glm-5.3"]["max_in_flight"] for account in LIMITS] == [2] * 3
    wait_until(lambda: survivor.status().shown["shared"]["members"] == 1, 30)


@pytest.fixture(scope="module")
def workers_rig(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Rig]:
    # a database of its own: the pair's processes are no members of it
    url = redis.url.removesuffix("/0") + "/1"
    with running_simulator(table(KEYS)) as simulator:
        settings = make_settings(KEYS, simulator.url, redis_url=url, num_workers=2, queue_timeout=30)
        server = PoolServer(tmp_path_factory.mktemp("workers"), settings)
        rig = Rig(simulator, server, KEYS)
        try:
            server.start()
            wait_until(lambda: rig.status().shown["shared"]["members"] == 2, 60, lambda: rig.status())
            for _ in range(4):  # both of them, most likely
                rig.warm_up()
            yield rig
        finally:
            server.stop()
        rig.assert_no_secret_in_log()


def test_two_workers_keep_the_limits(workers_rig: Rig) -> None:
    workers_rig.control.reset()
    workers_rig.accounts(latency=0.3, token_interval=0.02)
    answers = load([workers_rig.client])
    assert_within_limits(workers_rig, answers)
    for _ in range(8):  # whichever of them is asked
        workers_rig.wait_idle(3)
    metrics = workers_rig.client.metrics()
    counted = sum(value for name, value in metrics.items() if name.startswith("litellm_pool_answers_total{"))
    assert counted >= len(answers)


def test_stopped_workers_say_goodbye(workers_rig: Rig, redis: RedisServer) -> None:
    """Nothing is set aside for them. The last of the rig's tests."""
    workers_rig.server.stop()
    with Redis.from_url(redis.url.removesuffix("/0") + "/1", decode_responses=True) as client:
        assert client.zrange("litellm-pool:members", 0, -1) == []
