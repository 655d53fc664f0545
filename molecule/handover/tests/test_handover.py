"""Requests go on while the proxy is changed in every way; none of them may fail.

The tests go from one state of the host to the next, in the order of this file, to save deploys.
"""

import json
import ssl
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from handover_support import (
    ADMIN_SOCKET,
    LATER_VALUES,
    LEAST,
    RATE,
    SLOTS,
    TURNS,
    Site,
    ended,
    keys,
    told,
    under_load,
    wait_while_running,
)
from host_support import KEY_VALUES, PORT, REPOSITORY, SECRETS, address_of, simulator_control, wait_until

from tests.certificates import self_signed
from tests.load import Load, Mix
from zai_simulator.control_client import ControlClient

SECOND = {letter: LATER_VALUES[f"key-{letter}"][0] for letter in "abc"}
THIRD = {letter: LATER_VALUES[f"key-{letter}"][1] for letter in "abc"}
ADDED = LATER_VALUES["key-d"][0]
REFUSED = {letter: f"{index:032x}.NobodyKnowsThis{index}" for index, letter in enumerate("abc", 1)}
ALL_VALUES = [*SECRETS, *SECOND.values(), *THIRD.values(), ADDED, *REFUSED.values()]

ROLE = REPOSITORY / "roles" / "litellm_proxy"
VERSION: str = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())["litellm_proxy_version"]
OTHER_VERSION = next(
    version
    for version in sorted(
        lock.stem.removeprefix("litellm-") for lock in (ROLE / "files" / "locks").glob("litellm-*.txt")
    )
    if version != VERSION
)


@pytest.fixture(scope="module")
def site() -> Site:
    return Site()


@pytest.fixture(autouse=True)
def upstream() -> ControlClient:
    """The simulator as its table has it, with all counts at zero."""
    control = simulator_control()
    control.reset()
    return control


def assert_done(done: "subprocess.CompletedProcess[str]") -> None:
    said = told(done)
    assert done.returncode == 0, said
    assert [value for value in ALL_VALUES if value in said] == []


def assert_refused(done: "subprocess.CompletedProcess[str]", *texts: str) -> None:
    said = told(done)
    assert done.returncode == 2, said
    assert [text for text in texts if text not in said] == [], said
    assert [value for value in ALL_VALUES if value in said] == []


def version_of(site: Site) -> str:
    """The release that serves, as its process shows it."""
    shown = site.host.check_output("ps -o args= -p %s", str(site.pid(site.slot())))
    return next(version for version in (VERSION, OTHER_VERSION) if f"/litellm-{version}-" in shown)


def test_add_a_key(site: Site) -> None:
    with under_load(site) as load:
        done = site.play("playbooks/rotate_keys.yml", litellm_proxy_zai_keys=keys(d=ADDED))
        changed = time.time()
        report = ended(load, "add a key, by rotate_keys.yml", more=TURNS)
    assert_done(done)
    assert report.failures == []
    assert set(report.answered_by(since=changed)) == {*KEY_VALUES, "key-d"}
    site.assert_one_serves()


def test_remove_a_key_that_is_streaming(site: Site, upstream: ControlClient) -> None:
    # its streams take 30 s, so that some are under way at any moment
    upstream.set_account("account-d", token_interval=0.3)
    with under_load(site, Mix(short=16, long=12, rate=RATE)) as load:
        done = site.play("playbooks/rotate_keys.yml", litellm_proxy_zai_keys=keys())
        changed = time.time()
        report = ended(load, "remove a key that is streaming, by rotate_keys.yml", more=TURNS)
    assert_done(done)
    assert report.failures == []
    flipped = site.flipped()
    of_the_key = [sample for sample in report.samples if sample.key == "key-d"]
    over_the_change = [sample for sample in of_the_key if sample.began < flipped < sample.ended]
    print(f"{len(over_the_change)} requests were with the removed key when the new generation took over")
    assert "long" in {sample.kind.form for sample in over_the_change}
    assert max(sample.ended for sample in of_the_key) <= changed, "the play waits for them"
    assert set(report.answered_by(since=changed)) == set(KEY_VALUES)
    site.assert_one_serves()


def test_rotate_all_keys(site: Site, upstream: ControlClient) -> None:
    old = [*KEY_VALUES.values(), ADDED]
    new = list(SECOND.values())
    # as many as are answered, so that every slot is in use
    with under_load(site, Mix()) as load:
        done = site.play(litellm_proxy_zai_keys=keys(**SECOND))
        before = upstream.stats()["keys"]
        report = ended(load, "rotate all keys, by site.yml")
    seen = upstream.stats()
    assert_done(done)
    assert report.failures == []
    site.assert_one_serves()

    print(json.dumps(seen["accounts"]), json.dumps(seen["total"]))
    assert seen["total"]["refusals"] == 0
    most = {name: use["max_in_flight"] for name, models in seen["accounts"].items() for use in models.values()}
    assert {name: most[name.replace("key", "account")] for name in KEY_VALUES} == dict.fromkeys(KEY_VALUES, SLOTS)
    assert all(seen["keys"][name]["requests"] == before[name]["requests"] > 0 for name in KEY_VALUES)
    assert all(before[name]["in_flight"] == 0 for name in KEY_VALUES)
    assert all(seen["keys"][f"{name}-1"]["answers"] > before[f"{name}-1"]["answers"] for name in KEY_VALUES)

    assert site.in_files(old) == []
    assert site.in_memory(old) == {}
    assert site.in_journal(old) == []
    # the search does find what is there
    # on disk, and where systemd hands it to the instance
    assert set(site.in_files(new)) == {
        f"/etc/litellm-proxy/generations/{site.generation()}/credentials/litellm-proxy.json",
        f"/run/credentials/litellm-proxy@{site.slot()}.service/litellm-proxy.json",
    }
    assert set(site.in_memory(new)) == set(new)
    assert site.in_journal(new) == []


def test_change_the_routing_strategy(site: Site) -> None:
    with under_load(site) as load:
        done = site.play(litellm_proxy_routing_strategy="least-connections")
        report = ended(load, "change the routing strategy")
    assert_done(done)
    assert report.failures == []
    assert site.proxy.call("/pool/status").json()["strategy"] == "least-connections"
    site.assert_one_serves()


def test_upgrade(site: Site) -> None:
    with under_load(site) as load:
        done = site.play(litellm_proxy_version=OTHER_VERSION)
        report = ended(load, f"another version of LiteLLM: {VERSION} to {OTHER_VERSION}")
    assert_done(done)
    assert report.failures == []
    assert version_of(site) == OTHER_VERSION
    site.assert_one_serves()


def test_roll_back(site: Site) -> None:
    after = site.generation()
    with under_load(site) as load:
        done = site.play("playbooks/rollback.yml")
        report = ended(load, f"roll back: {OTHER_VERSION} to {VERSION}")
    assert_done(done)
    assert f"LiteLLM: {OTHER_VERSION} -> {VERSION}" in told(done)
    assert report.failures == []
    assert version_of(site) == VERSION
    assert site.generation() != after
    assert set(site.in_memory(list(SECOND.values()))) == set(SECOND.values())
    site.assert_one_serves()
    # what the inventory says from now on
    del site.settings["litellm_proxy_version"]


@pytest.mark.parametrize(
    ("title", "change", "texts"),
    [
        (
            "a broken config",
            {"litellm_proxy_config_extra": {"router_settings": {"routing_strategy": "round-robin"}}},
            ["does not validate", "routing_strategy", "goes on serving"],
        ),
        (
            "a generation that dies at start",
            {"litellm_proxy_config_extra": {"general_settings": {"master_key": "sk-1234"}}},
            ["publicly known", "Its log ended with:", "goes on serving"],
        ),
        (
            "keys that are all refused",
            {"litellm_proxy_prove_keys": True, "litellm_proxy_zai_keys": keys(**REFUSED)},
            ["key-a is refused", "key-b is refused", "key-c is refused", "goes on serving"],
        ),
    ],
    ids=["broken-config", "dies-at-start", "refused-keys"],
)
def test_what_cannot_serve_changes_nothing(site: Site, title: str, change: dict[str, Any], texts: list[str]) -> None:
    before, generations = site.serving(), site.generations()
    with under_load(site) as load:
        done = site.play(**change)
        report = ended(load, title, least=min(600, LEAST))
    assert_refused(done, *texts)
    assert report.failures == []
    assert site.serving() == before, "the same process serves"
    assert site.generations() == generations
    site.assert_one_serves()


def test_kill_the_old_instance_while_it_drains(site: Site) -> None:
    leaving = site.slot()
    old = site.pid(leaving)
    # streams of 20 s, so that there is something to drain
    with under_load(site, Mix(long_words=201, rate=RATE)) as load:
        with site.playing(litellm_proxy_routing_strategy="weighted") as playing:
            wait_while_running(playing, lambda: site.slot() != leaving and site.servers()[leaving][0] == "DRAIN")
            killed = time.time()
            shown = site.host.check_output(
                "echo 'show stat' | socat stdio UNIX-CONNECT:%s; kill -9 %s", ADMIN_SOCKET, str(old)
            )
            done = playing.result()
        report = ended(load, "kill -9 of the old instance while it drains")
    assert_done(done)
    in_flight = site.sessions(shown)[leaving][1]
    print(f"{in_flight} requests were in flight on the killed instance, {len(report.failures)} of all failed")
    assert in_flight > 0
    assert len(report.failures) <= in_flight
    assert [str(failed) for failed in report.failures if not failed.began < killed < failed.ended < killed + 10] == []
    assert site.slot() != leaving
    assert site.proxy.call("/pool/status").json()["strategy"] == "weighted"
    site.assert_one_serves()


def starting(site: Site, free: str) -> bool:
    """Whether the new instance is on its way, and the old one serves."""
    return site.slot() != free and site.state(free) == "activating"


def draining(site: Site, free: str) -> bool:
    """Whether the new instance has taken over, and the old one has requests left."""
    return site.slot() == free and site.state({"a": "b", "b": "a"}[free]) == "active"


def test_power_loss_in_the_middle(site: Site) -> None:
    change: dict[str, Any] = {"litellm_proxy_zai_keys": keys(**THIRD)}
    before = site.generation()
    for moment, done in ((starting, False), (draining, True)):
        free = {"a": "b", "b": "a"}[site.slot()]
        # something to wait for in the drain
        with Load(site.target, Mix(short=0, long=2, long_words=601)), site.playing(**change) as playing:
            wait_while_running(playing, partial(moment, site, free))
            site.power_loss()
        assert playing.result().returncode != 0
        wait_until(site.proxy.alive, 120)
        site.assert_one_serves()
        assert (site.generation() != before) == done, "the flip decides which one serves"

    with under_load(site) as load:
        finished = site.play(**change)
        report = ended(load, "the run after a power loss")
    assert_done(finished)
    assert report.failures == []
    assert site.host.run("test -e /etc/litellm-proxy/generations/%s/credentials/litellm-proxy.json", before).rc != 0
    site.assert_one_serves()


def vaulted(directory: Path, certificate: str, key: str) -> list[str]:
    """Options of a play that reads both from an encrypted file."""
    password, file = directory / "password", directory / "certificate.yml"
    password.write_text("invented\n")
    file.write_text(
        yaml.safe_dump({"litellm_gateway_certificate": certificate, "litellm_gateway_certificate_key": key})
    )
    encrypt = ["ansible-vault", "encrypt", "--vault-password-file", str(password), str(file)]
    subprocess.run(encrypt, check=True, capture_output=True)
    return ["--extra-vars", f"@{file}", "--vault-password-file", str(password)]


def test_renew_the_certificate(site: Site, tmp_path: Path) -> None:
    address = address_of(site.host)
    old, new = self_signed("old", address), self_signed("new", address)

    def served() -> bytes:
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((address, PORT)))

    assert_done(site.play("site.yml", *vaulted(tmp_path, *old)))
    site.trust = old[0] + new[0]
    assert served() == ssl.PEM_cert_to_DER_cert(old[0])
    serving = site.serving()
    with under_load(site) as load:
        done = site.play("site.yml", *vaulted(tmp_path, *new))
        changed = time.time()
        report = ended(load, "renew the certificate, over https")
    assert_done(done)
    assert old[1] not in done.stdout
    assert new[1] not in done.stdout
    assert report.failures == []
    assert served() == ssl.PEM_cert_to_DER_cert(new[0])
    assert {sample.kind.connection for sample in report.samples if sample.began > changed} == {"kept", "new"}
    assert site.serving() == serving, "it concerns the gateway alone"
