"""What Prometheus scrapes: by key name, of one process or of several."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from role_settings import ROLE

from glm_pool import metrics

SNAPSHOT: dict[str, Any] = {
    "keys": [
        {
            "name": "a",
            "state": "cooling",
            "until_timestamp": 1_800_000_030.5,
            "models": {"glm-5.3": {"in_flight": 1, "slots": 2}, "flash": {"in_flight": 0, "slots": None}},
        },
        {"name": "b", "state": "active", "until_timestamp": None, "models": {"glm-5.3": {"in_flight": 0, "slots": 5}}},
    ]
}


@pytest.fixture
def gauges(monkeypatch: pytest.MonkeyPatch) -> Iterator[metrics.KeyGauges]:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    made = metrics.KeyGauges(lambda: SNAPSHOT)
    yield made
    REGISTRY.unregister(made)


def samples(text: bytes) -> dict[str, float]:
    """Values by name and labels, as they are written."""
    lines = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_present_state_of_the_keys_is_shown(gauges: metrics.KeyGauges) -> None:
    found = samples(metrics.exposition(gauges))
    assert found['litellm_pool_key_in_flight{key="a",model="glm-5.3"}'] == 1
    assert found['litellm_pool_key_slots{key="b",model="glm-5.3"}'] == 5
    assert found['litellm_pool_key_until_timestamp_seconds{key="a"}'] == 1_800_000_030.5
    assert found['litellm_pool_key_until_timestamp_seconds{key="b"}'] == 0
    for key, state in (("a", "cooling"), ("b", "active")):
        states = {name: found[f'litellm_pool_key_state{{key="{key}",state="{name}"}}'] for name in metrics.STATES}
        assert [name for name, value in states.items() if value == 1] == [state]
        assert set(states.values()) == {0, 1}


def test_key_without_a_limit_has_no_number_of_slots(gauges: metrics.KeyGauges) -> None:
    found = samples(metrics.exposition(gauges))
    assert 'litellm_pool_key_slots{key="a",model="flash"}' not in found
    assert found['litellm_pool_key_in_flight{key="a",model="flash"}'] == 0


def test_state_is_read_when_the_metrics_are(gauges: metrics.KeyGauges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SNAPSHOT, "keys", [])
    assert not any(name.startswith("litellm_pool_key_") for name in samples(metrics.exposition(gauges)))


def test_counters_have_the_names_that_are_documented(gauges: metrics.KeyGauges) -> None:
    metrics.ANSWERS.labels("named", "glm-5.3").inc()
    metrics.REFUSALS.labels("named", "1302").inc(2)
    metrics.CLIENT_ERRORS.labels("named", "queue_full").inc()
    metrics.WAIT.labels("named").observe(0.02)
    metrics.WAITING.labels("named").set(3)
    found = samples(metrics.exposition(gauges))
    assert found['litellm_pool_answers_total{key="named",model="glm-5.3"}'] == 1
    assert found['litellm_pool_refusals_total{code="1302",key="named"}'] == 2
    assert found['litellm_pool_client_errors_total{pool="named",reason="queue_full"}'] == 1
    assert found['litellm_pool_wait_seconds_bucket{le="0.1",pool="named"}'] == 1
    assert found['litellm_pool_wait_seconds_bucket{le="0.01",pool="named"}'] == 0
    assert found['litellm_pool_waiting{pool="named"}'] == 3
    assert metrics.totals("litellm_pool_answers_total")[("named", "glm-5.3")] == 1
    assert metrics.totals("litellm_pool_refusals_total")[("1302", "named")] == 2
    assert metrics.totals("litellm_pool_unknown_total") == {}


WORKER = """
import os, sys
from glm_pool import metrics
metrics.ANSWERS.labels("a", "glm-5.3").inc(int(sys.argv[1]))
metrics.WAITING.labels("glm-pool").set(int(sys.argv[1]))
if sys.argv[2:]:
    gauges = metrics.KeyGauges(lambda: {"keys": []})
    sys.stdout.buffer.write(metrics.exposition(gauges))
    sys.stdout.write(f"totals {metrics.totals('litellm_pool_answers_total')[('a', 'glm-5.3')]}\\n")
"""


def test_metrics_of_several_workers_are_added_up_and_dead_ones_do_not_wait(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROLE / "files")}

    def work(*arguments: str) -> str:
        command = [sys.executable, "-c", WORKER, *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    work("3")
    found = samples(work("4", "show").encode())
    assert found['litellm_pool_answers_total{key="a",model="glm-5.3"}'] == 7
    assert found['litellm_pool_waiting{pool="glm-pool"}'] == 4
    assert found["totals"] == 7
