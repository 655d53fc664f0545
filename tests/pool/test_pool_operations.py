"""What operators see and do: status, metrics, key states, and state that outlives the process."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pool.pool_client import APIS, Open, seconds_until
from tests.pool.pool_server import Key, PoolServer, Rig, make_settings, table
from tests.ports import free_port
from zai_simulator.testing import running_simulator

Hold = Callable[..., Open]


@pytest.mark.parametrize("key", [None, "sk-not-the-master-key-at-all"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/pool/status"), ("GET", "/metrics"), ("POST", "/pool/keys/one/enable")]
)
def test_needs_the_master_key(rig: Rig, method: str, path: str, key: str | None) -> None:
    answer = rig.client.call(path, method=method, key=key)
    assert answer.status == 401, answer
    assert b"alpha" not in answer.raw
    assert b"litellm_pool" not in answer.raw


@pytest.mark.parametrize("path", ["/pool/status/", "//pool/status", "/pool/./status", "/POOL/STATUS", "/pool/keys"])
def test_no_way_around(rig: Rig, path: str) -> None:
    answer = rig.client.call(path, key=None)
    assert answer.status in (401, 404, 307), answer
    assert b"alpha" not in answer.raw


def test_status_shows_pools_and_keys(rig: Rig, hold: Hold) -> None:
    rig.fault(hang=50, times=2)
    for _ in range(6):
        hold(rig, "openai")
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 6)
    status = rig.status()
    assert status.shown["strategy"] == "round-robin"
    assert status.shown["shared"] is None
    pool = {"name": "glm-pool", "model": "glm-5.3", "waiting": 0, "queue_size": 100, "queue_timeout": 60}
    assert pool.items() <= status.pool("glm-pool").items()
    assert [pool["name"] for pool in status.shown["pools"]] == ["glm-pool", "second", "flash"]
    key = status.key("one")
    assert set(key) >= {
        "name", "account", "state", "in_flight", "slots", "rpm_used", "rpm", "answers", "refusals", "until", "reason",
        "models",
    }  # fmt: skip
    assert (key["account"], key["state"], key["in_flight"], key["rpm"]) == ("alpha", "active", 2, None)
    model = {"state": "active", "in_flight": 2, "slots": 2, "until": None, "reason": ""}
    assert model.items() <= key["models"]["glm-5.3"].items()


def test_draining_and_disabled_keys_are_shown_and_not_used(rig: Rig) -> None:
    keys = {rig.client.ask(api).key for api in APIS for _ in range(6)}
    assert keys == {"one", "two", "three"}
    states = rig.status().states
    assert states == {"one": "active", "two": "active", "three": "active", "resting": "draining", "off": "disabled"}
    for name in ("resting", "off"):
        assert rig.stats_of(name)["requests"] == 0
        rig.client.enable(name)
        assert rig.status().states[name] == states[name], "group_vars decide, not the status page"


def test_enabling_a_key(rig: Rig) -> None:
    rig.control.set_key("one", fault={"code": "1113", "times": 1})
    for _ in range(3):
        assert rig.client.ask("openai").status == 200
    assert rig.status().key("one")["state"] == "out"
    assert rig.client.enable("one").status == 200
    shown = rig.status().key("one")
    assert (shown["state"], shown["until"], shown["reason"]) == ("active", None, "")
    assert "one" in {rig.client.ask("openai").key for _ in range(3)}
    assert rig.client.enable("nobody").status == 404
    assert rig.client.call("/pool/keys/one/enable").status in (404, 405)


def sample(metrics: dict[str, float], name: str, **labels: str) -> float:
    """The one sample of a metric that has these labels; 0 where there is none."""
    found = [
        value
        for written, value in metrics.items()
        if written.partition("{")[0] == name and labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', written)).items()
    ]
    assert len(found) <= 1, (name, labels)
    return found[0] if found else 0


def test_metrics(rig: Rig, hold: Hold) -> None:
    before = rig.client.metrics()
    rig.fault(code="1220")
    assert rig.client.ask("anthropic", model="flash").status == 503
    rig.settle()
    rig.control.set_key("one", fault={"code": "1308", "reset_in": 3600, "times": 1})
    for _ in range(3):
        assert rig.client.ask("openai").status == 200
    rig.control.set_key("two", fault={"hang": 50, "times": 2})
    rig.control.set_key("three", fault={"hang": 50, "times": 2})
    for _ in range(5):
        hold(rig, "openai")
    rig.control.wait_for(lambda stats: stats["total"]["in_flight"] == 4)
    after = rig.client.metrics()

    def grown(name: str, **labels: str) -> float:
        return sample(after, name, **labels) - sample(before, name, **labels)

    assert sample(after, "litellm_pool_key_in_flight", key="two", model="glm-5.3") == 2
    assert sample(after, "litellm_pool_key_slots", key="two", model="glm-5.3") == 2
    assert sample(after, "litellm_pool_waiting", pool="glm-pool") == 1
    assert sample(after, "litellm_pool_wait_seconds_count", pool="glm-pool") > 0
    answers = [grown("litellm_pool_answers_total", key=key, model="glm-5.3") for key in ("one", "two", "three")]
    assert answers[0] == 0
    assert sum(answers) == 3
    assert grown("litellm_pool_refusals_total", key="one", code="1308") == 1
    assert sample(after, "litellm_pool_key_state", key="one", state="parked") == 1
    assert sample(after, "litellm_pool_key_state", key="one", state="active") == 0
    assert sample(after, "litellm_pool_key_state", key="two", state="active") == 1
    assert sample(after, "litellm_pool_key_state", key="off", state="disabled") == 1
    assert sample(after, "litellm_pool_key_state", key="resting", state="draining") == 1
    until = sample(after, "litellm_pool_key_until_timestamp_seconds", key="one")
    assert abs(until - time.time() - seconds_until(rig.status().key("one"))) < 2
    assert sample(after, "litellm_pool_key_until_timestamp_seconds", key="two") == 0
    assert grown("litellm_pool_client_errors_total", pool="flash") == 1


def test_decisions_are_in_the_log(rig: Rig) -> None:
    mark = rig.server.log_mark()
    answer = rig.client.ask("openai")
    lines = [line for line in rig.server.log_since(mark) if f"key={answer.key}" in line]
    assert len(lines) == 2, rig.server.log_since(mark)
    for word in ("event=granted", "pool=glm-pool", "wait", "INFO"):
        assert word in lines[0]
    for word in ("event=served", "client=master", "pool=glm-pool", "status=200", "INFO"):
        assert word in lines[1]


def test_health_stays_public_and_plain(rig: Rig) -> None:
    assert rig.client.call("/health/liveliness", key=None).status == 200
    assert rig.client.call("/health/readiness", key=None).status == 200


KEEP_KEYS = (
    Key("stays", "alpha", slots=1),
    Key("parks", "beta", slots=1),
    Key("gone", "gamma", slots=1, base=f"http://127.0.0.1:{free_port()}"),
)


def test_state_survives_a_restart(tmp_path: Path) -> None:
    """It begins with a broken file; one of the keys has an upstream that refuses connections all the time."""
    with running_simulator(table(KEEP_KEYS)) as simulator:
        server = PoolServer(tmp_path, make_settings(KEEP_KEYS, simulator.url, routing_strategy="least-connections"))
        rig = Rig(simulator, server, KEEP_KEYS)
        try:
            server.state_file.write_text('{"keys": [')
            server.start()
            assert set(rig.status().states.values()) == {"active"}
            assert [line for line in server.log_since(0) if "WARNING" in line and "pool-state.json" in line]
            rig.control.set_key("parks", fault={"code": "1310", "reset_in": 7200})
            for api in APIS:
                for stream in (False, True):
                    answer = rig.client.ask(api, stream=stream)
                    assert (answer.status, answer.key) == (200, "stays"), answer
            before = rig.status()
            assert before.key("parks")["state"] == "parked"
            assert before.model("gone")["state"] in ("cooling", "probing")
            server.stop()
            assert server.state_file.stat().st_mode & 0o077 == 0
            for key in KEEP_KEYS:
                assert key.value not in server.state_file.read_text()

            rig.control.reset()
            server.start()
            assert shown(rig.status().key("parks")) == shown(before.key("parks"))
            for _ in range(4):
                assert rig.client.ask("openai").key == "stays"
            assert rig.stats_of("parks")["requests"] == 0
        finally:
            server.stop()
        rig.assert_no_secret_in_log()


def shown(key: dict[str, Any]) -> tuple[Any, ...]:
    return key["state"], key["until"], key["reason"]
