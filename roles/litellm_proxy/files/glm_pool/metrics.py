"""Prometheus metrics of the pool; keys appear by name only."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from glm_pool.tokens import Tokens

STATES = ("active", "cooling", "probing", "parked", "out", "draining", "disabled")

ANSWERS = Counter("litellm_pool_answers", "Answers of the upstream", ["key", "model"])
REFUSALS = Counter("litellm_pool_refusals", "Refusals and failures of the upstream by code", ["key", "code"])
CLIENT_ERRORS = Counter("litellm_pool_client_errors", "Requests that the pool could not serve", ["pool", "reason"])
WAIT = Histogram(
    "litellm_pool_wait_seconds",
    "Seconds that a request waited for a key",
    ["pool"],
    buckets=(0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300),
)
WAITING = Gauge("litellm_pool_waiting", "Requests that wait for a key", ["pool"], multiprocess_mode="livesum")

CLIENT_REQUESTS = Counter("litellm_pool_client_requests", "Requests by client", ["client", "pool", "status"])
CLIENT_TOKENS = Counter("litellm_pool_client_tokens", "Tokens by client", ["client", "pool", "kind"])
CLIENT_COST = Counter("litellm_pool_client_cost_usd", "USD by client", ["client", "pool"])

Snapshot = dict[str, Any]
"""The status, as `status.snapshot` makes it."""


class KeyGauges(Collector):
    """The present state of the keys, read when the metrics are.

    Args:
        snapshot: gives the status.
    """

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        if not in_several_processes():
            REGISTRY.register(self)

    def describe(self) -> list[Metric]:
        """Nothing yet: the pool may not be there when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        in_flight = GaugeMetricFamily("litellm_pool_key_in_flight", "Requests in flight", labels=["key", "model"])
        slots = GaugeMetricFamily("litellm_pool_key_slots", "Requests that may be in flight", labels=["key", "model"])
        state = GaugeMetricFamily("litellm_pool_key_state", "1 for the present state", labels=["key", "state"])
        until = GaugeMetricFamily(
            "litellm_pool_key_until_timestamp_seconds", "End of the key's rest, 0 for none", labels=["key"]
        )
        for key in self._snapshot()["keys"]:
            for model, use in key["models"].items():
                in_flight.add_metric([key["name"], model], use["in_flight"])
                if use["slots"] is not None:
                    slots.add_metric([key["name"], model], use["slots"])
            for name in STATES:
                state.add_metric([key["name"], name], 1 if key["state"] == name else 0)
            until.add_metric([key["name"]], key["until_timestamp"] or 0)
        yield from (in_flight, slots, state, until)


def count_client(client: str, pool: str, status: int, tokens: Tokens, usd: float) -> None:
    """Count a request that has ended."""
    CLIENT_REQUESTS.labels(client, pool, str(status)).inc()
    for kind, number in (("input", tokens.input), ("cached", tokens.cached), ("output", tokens.output)):
        if number:
            CLIENT_TOKENS.labels(client, pool, kind).inc(number)
    if usd:
        CLIENT_COST.labels(client, pool).inc(usd)


def in_several_processes() -> bool:
    """Several workers write their metrics into files of one directory."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def registry(gauges: KeyGauges | None) -> CollectorRegistry:
    """What a scrape reads: this process's metrics, or with several workers the sum of theirs."""
    if not in_several_processes():
        return REGISTRY
    forget_dead_workers(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    if gauges is not None:
        together.register(gauges)
    return together


def forget_dead_workers(directory: Path) -> None:
    """Drop the gauges of workers that were killed: nothing waits there any more."""
    for file in directory.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            continue


def exposition(gauges: KeyGauges | None) -> bytes:
    """The text that Prometheus scrapes."""
    return generate_latest(registry(gauges))


def totals(name: str) -> dict[tuple[str, ...], float]:
    """The values of a counter by its labels' values, over all workers."""
    found: dict[tuple[str, ...], float] = {}
    for metric in registry(None).collect():
        for sample in metric.samples:
            if sample.name == name:
                labels = tuple(value for _, value in sorted(sample.labels.items()))
                found[labels] = found.get(labels, 0.0) + sample.value
    return found
