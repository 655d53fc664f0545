"""Real Redis and Sentinels, started with the role's files: what they agree on, and over what changes they keep it."""

from pathlib import Path

from store_hosts import ADDRESSES, StoreHost, running_store, settings

from tests.pool.redis_cluster import wait_until


def holds_together(hosts: list[StoreHost], master: str) -> bool:
    return all(host.sees() == (master, 2, 2) for host in hosts)


def test_sentinels_that_share_a_password_agree_on_another_master(tmp_path: Path) -> None:
    with running_store(tmp_path, settings()) as hosts:
        hosts[0].stop()
        others = hosts[1:]
        wait_until(lambda: others[0].sees()[0] == others[1].sees()[0] in ADDRESSES[1:])


def test_a_store_holds_together_over_another_name_other_ports_and_another_password(tmp_path: Path) -> None:
    before = settings()
    after = settings(name="another", password="0a1b2c3d4e5f60718293a4b5c6d7e8f9")
    with running_store(tmp_path, before) as hosts:
        hosts[0].client("redis").set("kept", "as it was")
        for host in hosts:
            host.stop()
        for host in hosts:
            host.configure(after)
        for host in hosts:
            host.start()
        wait_until(lambda: holds_together(hosts, ADDRESSES[0]))
        assert hosts[0].client("redis").get("kept") == "as it was"
    said = "".join(host.log.read_text() for host in hosts)
    assert before["litellm_datastore_password"] not in said
    assert after["litellm_datastore_password"] not in said
