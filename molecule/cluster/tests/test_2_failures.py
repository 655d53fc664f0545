"""Hosts, networks, disks and clocks fail under load: what clients see of it, and that it heals."""

import time
from collections import Counter
from functools import partial

import pytest
from cluster_support import (
    AFTER,
    FIRST,
    NOTICED,
    PROXIES,
    SECOND,
    STORES,
    THIRD,
    WORKERS,
    Cluster,
    assert_limits_held,
    ended,
    in_flight,
    seconds_until,
    slowest_between,
    under_load,
)
from host_support import wait_until


@pytest.fixture(autouse=True)
def whole(cluster: Cluster) -> None:
    wait_until(cluster.stores_are_whole, 60)


def test_a_host_is_killed(cluster: Cluster) -> None:
    with under_load(cluster) as load:
        before = time.time()
        cluster.kill(SECOND)
        after = time.time()
        noticed = seconds_until(lambda: cluster.servers()[SECOND][0] == "DOWN")
        load.wait_for(AFTER)
        cluster.start(SECOND)
        back = seconds_until(lambda: cluster.servers()[SECOND][0] == "UP", 120)
        report = ended(load, "a proxy host is killed and comes back")
    lost = {line["time"] for line in cluster.answered(before) if line["server"] == SECOND and line["end"] != "--"}
    print(
        f"down at the gateway after {noticed:.1f} s, slowest request meanwhile "
        f"{slowest_between(report, after, after + noticed + 1):.1f} s; {len(report.failures)} failed, {len(lost)} were "
        f"in flight on the host; up {back:.1f} s after its boot"
    )
    assert noticed < NOTICED
    assert len(report.failures) <= len(lost)
    assert [str(failed) for failed in report.failures if not (failed.began < after and failed.ended > before)] == []
    assert max((failed.ended for failed in report.failures), default=after) < after + NOTICED + 1
    assert_limits_held(cluster)
    # the slots of the dead are free again, and the host takes part
    wait_until(cluster.is_whole)


def test_hosts_are_cut_off_from_redis(cluster: Cluster) -> None:
    cuts = [
        (FIRST, "neither sends nor hears", {}),
        (SECOND, "sends, but does not hear", {"sends": True}),
        (THIRD, "hears, but does not send", {"hears": True}),
    ]
    before = {name: cluster.outages(name) for name in PROXIES}
    with under_load(cluster) as load:
        for name, what, options in cuts:
            began = time.time()
            with cluster.cut_off(name, STORES, **options):
                noticed = seconds_until(partial(cluster.is_connected, name, False))
                load.wait_for(3 * AFTER)
            healed = time.time()
            back = seconds_until(partial(cluster.is_connected, name))
            print(
                f"{name} {what}, from {began:.1f} to {healed:.1f}: noticed after {noticed:.1f} s, back in {back:.1f} s"
            )
        report = ended(load, "each host is cut off from Redis for a while")
    assert report.failures == []
    assert_limits_held(cluster)
    for name, workers in WORKERS.items():
        told = " ".join(cluster.outages(name)[len(before[name]) :])
        assert (told.count("is away"), told.count("is back")) == (workers, workers), "each process says it once"


def test_redis_fails_over(cluster: Cluster) -> None:
    before = cluster.master()
    with under_load(cluster) as load:
        cluster.kill(before)
        changed = seconds_until(lambda: cluster.master() != before)
        back = seconds_until(lambda: all(map(cluster.is_connected, PROXIES)))
        load.wait_for(AFTER)
        cluster.start(before)
        healed = seconds_until(cluster.stores_are_whole)
        following = cluster.master()
        cluster.redis(following, "sentinel", "failover", "litellm-pool", sentinel=True)
        planned = seconds_until(lambda: cluster.master() != following)
        wait_until(cluster.stores_are_whole)
        report = ended(load, "the master of Redis is killed; later a fail-over is ordered")
    print(
        f"another master after {changed:.1f} s, all proxies back on it {back:.1f} s later; the killed one follows "
        f"{healed:.1f} s after its boot; a planned fail-over took {planned:.1f} s"
    )
    assert report.failures == []
    assert_limits_held(cluster)


def test_the_gateway_is_reloaded_and_restarted(cluster: Cluster) -> None:
    with under_load(cluster) as load:
        for _ in range(2):
            cluster.gateway.check_output("systemctl reload litellm-gateway")
            load.wait_for(AFTER)
        assert [str(sample) for sample in load.samples if sample.failure] == []
        before = time.time()
        cluster.gateway.check_output("systemctl restart litellm-gateway")
        after = time.time()
        report = ended(load, "the gateway is reloaded twice, then restarted")
    cut = in_flight(report, before)
    refused = [sample for sample in report.failures if sample not in cut]
    print(
        f"the restart took {after - before:.1f} s: of {len(cut)} requests in flight and "
        f"{len(report.between(before, after))} that came meanwhile, {len(report.failures)} failed, "
        f"{len(refused)} of them as nobody listened"
    )
    assert [str(failed) for failed in report.failures if not (failed.began < after and failed.ended > before)] == []
    assert_limits_held(cluster)


def test_a_host_stands_still(cluster: Cluster) -> None:
    with under_load(cluster) as load:
        with cluster.paused(FIRST):
            time.sleep(1)  # shorter than any check notices
        load.wait_for(AFTER)
        assert [str(sample) for sample in load.samples if sample.failure] == []
        before = time.time()
        with cluster.paused(FIRST):
            noticed = seconds_until(lambda: cluster.servers()[FIRST][0] == "DOWN")
            elsewhere = time.time()
            load.wait_for(2 * AFTER)
            passed = time.time()
        back = seconds_until(lambda: cluster.servers()[FIRST][0] == "UP")
        report = ended(load, "a host stands still, for 1 s and for longer")
    print(
        f"down at the gateway after {noticed:.1f} s; up {back:.1f} s after it goes on; slowest request that came in "
        f"between {slowest_between(report, elsewhere, passed):.1f} s; {len(report.failures)} failed"
    )
    assert noticed < NOTICED
    assert [str(failed) for failed in report.failures if not (failed.began < elsewhere and failed.ended > before)] == []
    assert slowest_between(report, elsewhere, passed) < 10
    assert_limits_held(cluster)


def test_a_host_is_slow(cluster: Cluster) -> None:
    with under_load(cluster) as load:
        with cluster.throttled(FIRST, 0.15):
            began = time.time()
            load.wait_for(4 * AFTER)
            passed = time.time()
        report = ended(load, "a host has a seventh of a core")
    answered = Counter(line["server"] for line in cluster.answered(began) if line["time"] < passed)
    print(f"answers meanwhile: {dict(answered)}; slowest {slowest_between(report, began, passed):.1f} s")
    assert report.failures == []
    assert_limits_held(cluster)
    wait_until(cluster.is_whole)


def test_disks_are_full(cluster: Cluster) -> None:
    master = cluster.master()
    unit = cluster.proxy(FIRST).unit()
    with (
        cluster.small_disk(FIRST, "/var/lib/litellm-proxy", unit),
        cluster.small_disk(master, "/var/lib/litellm-datastore", "litellm-datastore"),
    ):
        wait_until(cluster.stores_are_whole)
        master = cluster.master()
        with under_load(cluster) as load:
            cluster.fill(FIRST, "/var/lib/litellm-proxy")
            cluster.fill(master, "/var/lib/litellm-datastore")
            load.wait_for(3 * AFTER)
            print(f"master before: {master}, after: {cluster.master()}")
            for name in PROXIES:
                print(name, cluster.shared(name), cluster.outages(name)[-2:])
            report = ended(load, "the disks of a proxy and of Redis are full")
            assert report.failures == []
            assert_limits_held(cluster)
    wait_until(cluster.stores_are_whole)
    wait_until(cluster.is_whole)


@pytest.mark.parametrize("minutes", [10, -10], ids=["fast", "slow"])
def test_a_clock_is_wrong(cluster: Cluster, minutes: int) -> None:
    with cluster.clock_off(THIRD, minutes):
        with under_load(cluster) as load:
            cluster.simulator.set_key("key-b", fault={"http_status": 502, "times": 3})
            load.wait_for(3 * AFTER)
            report = ended(load, f"the clock of a host is {minutes} minutes off")
        took: dict[str, list[float]] = {}
        for line in cluster.answered(report.began):
            took.setdefault(line["server"], []).append(line["ms"]["first_byte"])
        print({name: f"{len(times)} answers, slowest {max(times)} ms" for name, times in took.items()})
        print({name: cluster.states(name) for name in PROXIES})
        assert report.failures == []
        assert cluster.simulator.stats()["keys"]["key-b"]["answers"] > AFTER / 2, "the key came back"
        assert_limits_held(cluster)


def test_a_key_parked_by_one_host_is_parked_for_all(cluster: Cluster) -> None:
    def is_parked(name: str) -> bool:
        return cluster.states(name)["key-b"] == "parked"

    cluster.settle()
    cluster.simulator.set_key("key-b", fault={"code": "1308", "reset_in": 3600})
    try:
        wait_until(lambda: cluster.proxy(FIRST).chat().ok and is_parked(FIRST))
        for name in PROXIES:
            wait_until(partial(is_parked, name))
        asked = cluster.simulator.stats()["keys"]["key-b"]["requests"]
        with_others = [cluster.proxy(name).chat().status_code for name in PROXIES for _ in range(6)]
        assert set(with_others) == {200}
        assert cluster.simulator.stats()["keys"]["key-b"]["requests"] == asked
        shown = cluster.play("playbooks/status.yml").stdout
        assert shown.count("parked") >= len(PROXIES)
    finally:
        cluster.simulator.set_key("key-b", fault=None)
        cluster.proxy(FIRST).call("/pool/keys/key-b/enable", {})
    wait_until(lambda: all(cluster.states(name)["key-b"] == "active" for name in PROXIES))
