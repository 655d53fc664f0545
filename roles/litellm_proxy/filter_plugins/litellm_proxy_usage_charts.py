"""Filters that draw usage as SVG for the page: text and shapes alone, in the page's own colours."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from html import escape
from itertools import count
from typing import Any, NamedTuple

WIDTH, HEIGHT = 960, 240
LEFT, RIGHT, TOP, BOTTOM = 76, 8, 14, 26
"""Room around the plot, for the axes' labels."""
MOST_TICKS = 5
MOST_LABELS = 16
WIDEST_BAR = 48.0
OTHERS = "others"
COLOURS = 8
"""Classes c0 to c7 of the page; what has none of them has the class `rest`."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
PREFIXES = (("T", 1e12), ("G", 1e9), ("M", 1e6))

Row = Mapping[str, Any]


class Axis(NamedTuple):
    """From 0 to `top`, with a line at each multiple of `step`."""

    top: float
    step: float


def stacked(rows: Iterable[Row], days: Sequence[str], measure: str, names: Sequence[str]) -> str:
    """A bar a day, one part a client.

    Args:
        rows: with `day`, `client` and the measure.
        days: those on the axis.
        measure: `cost` or one of the counts.
        names: clients with a colour of their own, the lowest part first; the rest is one part above them.
    """
    parts = [*names, OTHERS]
    values = _values(rows, days, measure, names)
    unit = "USD" if measure == "cost" else measure
    axis = _axis(max(map(math.fsum, values), default=0.0), whole=measure != "cost")
    slot = (WIDTH - LEFT - RIGHT) / len(days)
    thick = min(WIDEST_BAR, slot * (0.74 if slot > 5 else 0.92))
    used = any(map(any, values))
    shapes = [*(_grid(axis) if used else ()), *_labels(days, slot)]
    for number, (day, of_day) in enumerate(zip(days, values, strict=True)):
        left = LEFT + slot * number + (slot - thick) / 2
        bottom = 0.0
        for part, value in enumerate(of_day):
            if not value:
                continue
            title = f"{day}, {_plain(parts[part])}: {_exact(value)} {unit}"
            colour = _colour(part if part < len(names) else COLOURS)
            top, height = _y(axis, bottom + value), (HEIGHT - TOP - BOTTOM) * value / axis.top
            shapes.append(
                f'<rect class="part {colour}" x="{left:.2f}" y="{top:.2f}" width="{thick:.2f}" '
                f'height="{height:.2f}"><title>{escape(title)}</title></rect>'
            )
            bottom += value
    if not used:
        shapes.append(f'<text class="empty" x="{(LEFT + WIDTH) / 2}" y="{HEIGHT / 2}">none in this period</text>')
    label = f"{unit} a day, by client, {days[0]} to {days[-1]}; the table below has the numbers"
    return (
        f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        + "".join(shapes)
        + "</svg>"
    )


def bar(value: float, most: float, part: int = -1) -> str:
    """A line of a table as a bar, as long as its part of the largest.

    Args:
        value: of the line.
        most: value of the largest line.
        part: number of its colour, the same as in the charts by day; -1 for the one that stands for no client.
    """
    length = max(100 * value / most, 0.4) if value and most else 0
    shape = f'<rect class="{_colour(part)}" width="{length:.2f}" height="10" rx="0.6"/>' if length else ""
    # the number beside it says the same
    return f'<svg class="bar" aria-hidden="true" viewBox="0 0 100 10" preserveAspectRatio="none">{shape}</svg>'


def _values(rows: Iterable[Row], days: Sequence[str], measure: str, names: Sequence[str]) -> list[list[float]]:
    """By day and part."""
    places = {day: number for number, day in enumerate(days)}
    parts = {name: number for number, name in enumerate(names)}
    found = [[0.0] * (len(names) + 1) for _ in days]
    for row in rows:
        if row["day"] in places:
            found[places[row["day"]]][parts.get(row["client"], len(names))] += row[measure]
    return found


def _axis(most: float, *, whole: bool) -> Axis:
    if most <= 0:
        return Axis(1.0, 1.0)
    step = 10.0 ** math.floor(math.log10(most / MOST_TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if most / (step * factor) <= MOST_TICKS)
    if whole:
        step = max(step, 1.0)
    return Axis(step * math.ceil(round(most / step, 9)), step)


def _grid(axis: Axis) -> Iterable[str]:
    for number in range(round(axis.top / axis.step) + 1):
        y = _y(axis, axis.step * number)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.2f}" y2="{y:.2f}"/>'
        yield f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.2f}">{_short(axis.step * number, axis.step)}</text>'


def _labels(days: Sequence[str], slot: float) -> Iterable[str]:
    every = math.ceil(len(days) / MOST_LABELS)
    for number in count(0, every):
        if number >= len(days):
            return
        day = date.fromisoformat(days[number])
        x = LEFT + slot * (number + 0.5)
        yield f'<text class="day" x="{x:.2f}" y="{HEIGHT - 8}">{day.day} {MONTHS[day.month - 1]}</text>'


def _y(axis: Axis, value: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / axis.top)


def _short(value: float, step: float) -> str:
    """As on an axis."""
    if not value:
        return "0"
    for prefix, unit in PREFIXES:
        if step >= unit / 2:
            return f"{value / unit:,.{1 if step % unit else 0}f} {prefix}"
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _exact(value: float) -> str:
    return f"{value:,.{0 if value == int(value) else 4 if value >= 0.1 else 6}f}"


def _colour(part: int) -> str:
    return "plain" if part < 0 else f"c{part}" if part < COLOURS else "rest"


def _plain(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split()) or "(none)"


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_proxy_usage_stacked": stacked, "litellm_proxy_usage_bar": bar}
