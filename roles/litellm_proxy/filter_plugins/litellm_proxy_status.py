"""Filter that prints what `GET /pool/status` tells as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

LONGEST_REASON = 80

Status = Mapping[str, Any]


def status_table(status: Status) -> str:
    """Lay the pool's state out for people: what it works by, a line a pool, a table of the keys.

    Requests in flight and slots have a column for each upstream model, as limits hold for each; where a key's models
    are not all in the state of the key, which is the worst of them, their own is there too.

    Args:
        status: the answer of `GET /pool/status`; fields that it lacks are shown as `-`.
    """
    keys = status.get("keys") or []
    models = list(dict.fromkeys(name for key in keys for name in key.get("models") or {}))
    counted = [_plain(name) for name in models] if len(models) > 1 else ["IN FLIGHT"]
    headings = ("KEY", "ACCOUNT", "STATE", *counted, "RPM", "ANSWERS", "REFUSALS", "UNTIL", "REASON")
    rows = [headings, *(_row(key, models) for key in keys)]
    return "\n".join([_strategy(status), *map(_pool, status.get("pools") or []), *_columns(rows)])


def _strategy(status: Status) -> str:
    shared = status.get("shared")
    if not shared or (shared.get("kind") == "local" and shared.get("members") == 1):
        counts = "this instance counts for itself"
    elif shared.get("kind") == "local":
        others = f"{_plain(shared.get('members'))} instances on this host"
        away = "the host's store is away: a share of each limit, as of"
        counts = f"limits shared by {others}" if shared.get("connected") else f"{away} {others}"
    elif shared.get("connected"):
        counts = f"limits shared through Redis by {_plain(shared.get('members'))} process(es)"
    else:
        counts = f"Redis is away: a share of each limit, as of {_plain(shared.get('members'))} process(es)"
    return f"{_plain(status.get('strategy'))}; {counts}"


def _pool(pool: Status) -> str:
    waiting, room = _plain(pool.get("waiting")), _plain(pool.get("queue_size"))
    longest = _plain(pool.get("queue_timeout"))
    return f"{_plain(pool.get('name'))} ({_plain(pool.get('model'))}): {waiting} of {room} waiting, {longest} s at most"


def _row(key: Status, models: Sequence[str]) -> Sequence[str]:
    refusals = key.get("refusals") or {}
    return (
        _plain(key.get("name")),
        _plain(key.get("account")),
        _plain(key.get("state")),
        *([_model(key, name) for name in models] or [_of(key.get("in_flight"), key.get("slots"))]),
        _of(key.get("rpm_used"), key.get("rpm")),
        _plain(key.get("answers")),
        " ".join(f"{_plain(code)}:{_plain(refusals[code])}" for code in sorted(refusals)) or "-",
        _plain(key.get("until")),
        _plain(key.get("reason")),
    )


def _model(key: Status, name: str) -> str:
    models = key.get("models") or {}
    model = models.get(name) or {}
    in_flight = _of(model.get("in_flight"), model.get("slots"))
    alike = len({str(other.get("state")) for other in models.values()}) < 2
    return in_flight if alike else f"{in_flight} {_plain(model.get('state'))}"


def _of(used: object, limit: object) -> str:
    """As `1/2`; only what is used where there is no limit."""
    return _plain(used) if limit is None else f"{_plain(used)}/{_plain(limit)}"


def _plain(value: object) -> str:
    """One line without control characters, which a reason that an upstream gave might have; `-` for nothing."""
    text = "".join(letter if letter.isprintable() else " " for letter in str("" if value is None else value))
    text = " ".join(text.split())
    return (text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…") or "-"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_proxy_status_table": status_table}
