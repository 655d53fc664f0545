"""The cluster is changed, shrinks and grows while requests go on; none of them may fail."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

from cluster_support import (
    FIRST,
    PROXIES,
    SECOND,
    THIRD,
    WORKERS,
    Cluster,
    assert_done,
    assert_each_asked_once,
    assert_limits_held,
    changed,
    ended,
    told,
    under_load,
)
from host_support import KEY_VALUES, wait_until

from tests.load import Load, Mix

# what leaves the playbooks most of two cores; streams of 5 s, as every drain waits for them
PLANNED = Mix(short=10, long=4, rate=6, long_words=51)


@contextmanager
def watched(cluster: Cluster) -> Iterator[list[dict[str, str]]]:
    """The states of the servers at the gateway, noted again and again meanwhile."""
    seen: list[dict[str, str]] = []
    over = Event()

    def watch() -> None:
        while not over.wait(0.3):
            seen.append({name: state for name, (state, _) in cluster.servers().items()})

    with ThreadPoolExecutor(1) as thread:
        watching = thread.submit(watch)
        try:
            yield seen
        finally:
            over.set()
            watching.result()


def test_keys_take_strict_turns_over_the_cluster(cluster: Cluster) -> None:
    cluster.settle()
    # no more at once than there are slots: nobody's turn is passed over
    with Load(cluster.target, Mix(short=4, long=0, rate=20)) as load:
        load.wait_for(120)
        report = load.stop()
    assert report.failures == []
    counts = [cluster.simulator.stats()["keys"][name]["requests"] for name in KEY_VALUES]
    print(f"requests by key: {counts}")
    assert sum(counts) == report.requests
    assert max(counts) - min(counts) <= sum(WORKERS.values()), "each process takes the keys in turns"


def test_a_check_of_the_store_and_the_gateway_changes_nothing(cluster: Cluster) -> None:
    checked = cluster.play("site.yml", "--check", "--diff", "--limit", "litellm_redis:litellm_gateway")
    assert_done(checked)
    assert changed(checked) == set()


def test_a_roll_that_fails_or_is_killed_is_continued_and_can_be_taken_back(cluster: Cluster) -> None:
    # the canary, then the others
    change: dict[str, Any] = {"litellm_proxy_serial": [1, "100%"], "litellm_proxy_queue_timeout": 50}
    before = {name: cluster.queue_timeout(name) for name in PROXIES}
    with under_load(cluster, PLANNED) as load, watched(cluster) as seen:
        with cluster.broken_start(FIRST):
            failed = cluster.play("playbooks/proxy.yml", **change)
        after_failure = {name: cluster.queue_timeout(name) for name in PROXIES}
        in_rotation = {name: state for name, (state, _) in cluster.servers().items()}
        killed = cluster.killed_play(lambda: cluster.servers()[FIRST][0] != "UP", "playbooks/proxy.yml", **change)
        continued = cluster.play("playbooks/proxy.yml", **change)
        current = "basename $(readlink -f /etc/litellm-proxy/current)"
        names = {cluster.proxy(name).host.check_output(current) for name in (FIRST, SECOND)}
        continued_to = {name: cluster.queue_timeout(name) for name in PROXIES}
        back = cluster.play("playbooks/rollback.yml", "--limit", f"{FIRST}:{SECOND}")
        report = ended(load, "a roll that fails on the first host, is killed there, is continued, and is taken back")
    assert failed.returncode != 0
    assert f"{FIRST} failed, as said above. It serves all the same" in told(failed)
    assert "Hosts after it were not touched" in told(failed)
    assert after_failure == before
    assert set(in_rotation.values()) == {"UP"}
    assert killed.returncode == -9
    assert_done(continued)
    assert changed(continued) <= set(PROXIES), "what is done is left as it is"
    assert continued_to == dict.fromkeys(PROXIES, 50)
    assert len(names) == 1, "one generation has one name on all hosts with the same settings, for a rollback of all"
    assert_done(back)
    assert {name: cluster.queue_timeout(name) for name in PROXIES} == {**before, THIRD: 50}
    assert report.failures == []
    assert_each_asked_once(cluster, report)
    assert_limits_held(cluster)
    away = [{name for name, state in states.items() if state != "UP"} for states in seen]
    assert set().union(*away) == set(PROXIES), "each was drained"
    assert [hosts for hosts in away if FIRST in hosts and len(hosts) > 1] == [], "the canary goes alone"
    wait_until(cluster.is_whole)


def test_remove_a_host_and_add_a_new_one(cluster: Cluster) -> None:
    with under_load(cluster, PLANNED) as load:
        removed = cluster.play("playbooks/remove.yml", "--limit", SECOND, litellm_proxy_remove_confirmed=True)
        remaining = cluster.servers()
        cluster.replace(SECOND)
        added = cluster.play(litellm_proxy_serial="100%")
        began = time.time()
        load.wait_for(150)
        report = ended(load, "remove a host, and add a new machine of its name")
    assert_done(removed)
    assert SECOND not in remaining
    assert THIRD in remaining
    assert_done(added)
    assert report.failures == []
    assert_each_asked_once(cluster, report)
    assert_limits_held(cluster)
    assert SECOND in {line["server"] for line in cluster.answered(began)}
