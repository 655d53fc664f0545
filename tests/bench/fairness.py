"""How evenly something is shared."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from tests.load.report import percentile


def jain(values: Collection[float]) -> float:
    """Jain's index: 1 when all have the same, 1 ÷ n when one of n has everything; not a number without values.

    Source: Jain, Chiu, Hawe: A Quantitative Measure of Fairness, DEC-TR-301, 1984.
    """
    squares = sum(value * value for value in values)
    if not values:
        return math.nan
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


@dataclass(frozen=True)
class Spread:
    """Where values lie; not a number each without values."""

    least: float
    mean: float
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Collection[float]) -> Self:
        """The spread of some values."""
        if not values:
            return cls(*[math.nan] * 5)
        mean = sum(values) / len(values)
        return cls(min(values), mean, percentile(values, 50), percentile(values, 99), max(values))
