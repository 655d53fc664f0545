"""The state of the pool as data: for `GET /pool/status` and the gauges."""

import math
import time
from typing import Any

from glm_pool import metrics
from glm_pool.health import Health, State
from glm_pool.lanes import CountedKey, Lane
from glm_pool.pool import KeyPool

ORDER = ("active", "probing", "cooling", "parked", "out", "draining", "disabled")
"""States from well to worst; a key shows the worst of its models."""


def snapshot(pool: KeyPool) -> dict[str, Any]:
    """Keys and pools without the counters."""
    scheduler, store = pool.scheduler, pool.store
    return {
        "strategy": pool.settings.strategy,
        "shared": ({"kind": store.kind, "connected": store.connected, "members": store.members} if store else None),
        "pools": [
            {
                "name": entry.name,
                "model": entry.model,
                "waiting": scheduler.queues[entry.name].count,
                "queue_size": pool.settings.queue_size,
                "queue_timeout": pool.settings.queue_timeout,
            }
            for entry in pool.settings.pools
        ],
        "keys": [_key(pool, key) for key in scheduler.keys.values()],
    }


def status(pool: KeyPool) -> dict[str, Any]:
    """The whole status."""
    document = snapshot(pool)
    answers = metrics.totals("litellm_pool_answers_total")
    refusals = metrics.totals("litellm_pool_refusals_total")
    for key in document["keys"]:
        name = key["name"]
        key["answers"] = int(sum(count for (of, _), count in answers.items() if of == name))
        key["refusals"] = {code: int(count) for (code, of), count in sorted(refusals.items()) if of == name}
    return document


def _key(pool: KeyPool, key: CountedKey) -> dict[str, Any]:
    models = {lane.model: _lane(pool, lane) for lane in key.lanes}
    worst = max(models.values(), key=lambda model: ORDER.index(model["state"]))
    rate = key.lanes[0].rate
    slots = [model["slots"] for model in models.values()]
    return {
        "name": key.name,
        "account": key.settings.account,
        "state": worst["state"],
        "in_flight": key.in_flight,
        "slots": None if None in slots else max(slots),
        "rpm_used": rate.used(time.monotonic()),
        "rpm": rate.rpm,
        "until": worst["until"],
        "until_timestamp": worst["until_timestamp"],
        "reason": worst["reason"],
        "last_code": key.last_code,
        "last_at": _moment(key.last_at),
        "models": models,
    }


def _lane(pool: KeyPool, lane: Lane) -> dict[str, Any]:
    state, health = _state(lane)
    until = None
    if health is not None and health.record.until and 0 < health.resting < math.inf:
        until = health.record.until
    elsewhere = pool.store.elsewhere(lane.meter.name) if pool.store else 0
    return {
        "state": state,
        "in_flight": lane.in_flight,
        "account_in_flight": lane.meter.in_flight + elsewhere,
        "slots": lane.meter.limit,
        "until": _moment(math.ceil(until)) if until else None,
        "until_timestamp": until,
        "reason": health.record.code if health else "",
    }


def _moment(seconds: float) -> str | None:
    """UTC in ISO 8601; None for never."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None


def _state(lane: Lane) -> tuple[str, Health | None]:
    """The state's name, and the health that it comes from."""
    configured = lane.key.settings.state
    if configured != "active":
        return configured, None
    ill = [health for health in lane.healths if health.record.state is not State.ACTIVE]
    if not ill:
        return "active", None
    health = max(ill, key=lambda one: one.resting)
    return ("probing" if health.recovering else health.record.state.value), health
