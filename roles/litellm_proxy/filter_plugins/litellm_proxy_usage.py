"""Filters over rows of the usage ledger: the period they are of, their sums, the table that people read.

A row has `day`, `client`, `key`, `pool`, `model`, the counts of `COUNTS` and `cost` in USD.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

FIELDS = ("day", "client", "key", "pool", "model", "host")
"""What rows can be summed by."""
COUNTS = ("requests", "failed", "input", "cached", "output")
"""Whole numbers; `input`, `cached` and `output` are tokens, and no token is in two of them."""
TOKENS = ("input", "cached", "output")
UNNAMED = "(none)"
"""In place of an empty name: no key answered, or the pool is unknown."""
MOST_DAYS = 3660
YEARS = range(2000, 3000)
DIGITS = ((0.0, 2), (0.1, 6), (10.0, 4))
"""Of USD after the point, for sums up to these."""

Row = Mapping[str, Any]


def period(
    begin: object = "",
    end: object = "",
    days: object = "",
    *,
    today: str,
    names: Sequence[str] = ("from", "to", "days"),
) -> dict[str, str]:
    """First and last day, both included, in UTC; the present month where nothing is given.

    One end alone goes with the month: from the first of its month, to the end of the present one.

    Args:
        begin: first day, as 2026-11-01; empty for none.
        end: last day.
        days: number of days that end today, instead of both.
        today: the present day.
        names: what the three are called where they are given.

    Returns:
        `from` and `to`, and `fault`: what is wrong with what was given, empty for nothing.
    """
    given = [str("" if value is None else value).strip() for value in (begin, end, days)]
    now = date.fromisoformat(today)
    fault = _fault(given, names)
    if fault:
        return {"from": "", "to": "", "fault": fault}
    if given[2]:
        return _period(now - timedelta(days=int(given[2]) - 1), now)
    last = date.fromisoformat(given[1]) if given[1] else _month_end(max(now, date.fromisoformat(given[0] or today)))
    first = date.fromisoformat(given[0]) if given[0] else last.replace(day=1)
    if (last - first).days >= MOST_DAYS:
        return {"from": "", "to": "", "fault": f"{first} to {last} is longer than {MOST_DAYS} days: ask for less."}
    return _period(first, last)


def days_of(begin: str, end: str) -> list[str]:
    """Every day of a period, as text."""
    first = date.fromisoformat(begin)
    return [str(first + timedelta(days=number)) for number in range((date.fromisoformat(end) - first).days + 1)]


def sums(rows: Iterable[Row], by: Collection[str]) -> list[dict[str, Any]]:
    """Rows with the same values of the fields `by`, added up.

    Each has those fields, the counts, `tokens`, `cost` and its `share` of the whole, 0 to 1: of the money, or of the
    tokens where nothing cost any. By day the earliest is first, otherwise what cost most.
    """
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(str(row[field]) for field in by), []).append(row)
    added = [{**dict(zip(by, values, strict=True)), **_added(group)} for values, group in found.items()]
    measure = measure_of(added)
    whole = math.fsum(row[measure] for row in added)
    for row in added:
        row["share"] = row[measure] / whole if whole else 0.0
    added.sort(key=lambda row: [row[field] for field in by])
    if "day" not in by:
        added.sort(key=lambda row: (row["cost"], row["tokens"], row["requests"]), reverse=True)
    return added


def total(rows: Iterable[Row]) -> dict[str, Any]:
    """All of them, added up."""
    return _added(list(rows))


def measure_of(rows: Iterable[Row]) -> str:
    """What shares are of: `cost`, or `tokens` where nothing cost any."""
    return "cost" if any(row["cost"] for row in rows) else "tokens"


def money(value: float, whole: float) -> str:
    """USD, with as many digits as the sum they belong to needs."""
    return f"{value:,.{next((digits for most, digits in DIGITS if whole <= most), 2)}f}"


def table(rows: Sequence[Row], by: Sequence[str]) -> str:
    """Lay sums out for people: names to the left, numbers to the right, the whole below."""
    added, whole = sums(rows, by), total(rows)
    shares = f"OF {'USD' if measure_of(added) == 'cost' else 'TOKENS'}"
    lines = [[*(field.upper() for field in by), *(name.upper() for name in COUNTS), "USD", shares]]
    lines += [
        [*(plain(row[field]) for field in by), *_numbers(row, whole["cost"]), f"{row['share']:.1%}"] for row in added
    ]
    lines.append(["total", *[""] * (len(by) - 1), *_numbers(whole, whole["cost"]), "100.0%" if added else "-"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < len(by) else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def plain(value: object) -> str:
    """A name in one line without control characters."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return " ".join(text.split()) or UNNAMED


def _fault(given: Sequence[str], names: Sequence[str]) -> str:
    for value, name in zip(given[:2], names[:2], strict=True):
        if value and not _is_day(value):
            return f"{name} {value!r} is no day: write it as 2026-11-30."
    days, name = given[2], names[2]
    if days and not (days.isdecimal() and 0 < int(days) <= MOST_DAYS):
        return f"{name} {days!r} is no number of days, 1 to {MOST_DAYS}."
    if days and (given[0] or given[1]):
        return f"{name} goes with neither {names[0]} nor {names[1]}: give one or the other."
    if given[0] and given[1] and given[0] > given[1]:
        return f"{names[0]} {given[0]} is after {names[1]} {given[1]}: exchange them."
    return ""


def _is_day(text: str) -> bool:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return False
    # later Pythons read other forms too
    return day.isoformat() == text and day.year in YEARS


def _period(first: date, last: date) -> dict[str, str]:
    return {"from": str(first), "to": str(last), "fault": ""}


def _month_end(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def _added(rows: Sequence[Row]) -> dict[str, Any]:
    counts = {name: sum(int(row[name]) for row in rows) for name in COUNTS}
    tokens = sum(counts[name] for name in TOKENS)
    return {**counts, "tokens": tokens, "cost": math.fsum(float(row["cost"]) for row in rows)}


def _numbers(row: Row, whole: float) -> list[str]:
    return [*(f"{row[name]:,}" for name in COUNTS), money(row["cost"], whole)]


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "litellm_proxy_usage_days": lambda period: days_of(period["from"], period["to"]),
            "litellm_proxy_usage_money": money,
            "litellm_proxy_usage_period": lambda given, today: period(*given.values(), today=today, names=list(given)),
            "litellm_proxy_usage_plain": plain,
            "litellm_proxy_usage_sums": sums,
            "litellm_proxy_usage_table": table,
            "litellm_proxy_usage_total": total,
        }
