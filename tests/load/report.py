"""What the load has seen, and the tables that say so."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .questions import Kind

SHOWN_FAILURES = 20
SHOWN_SLOWEST = 3


@dataclass(frozen=True)
class Sample:
    """One request that is over.

    Attributes:
        began: when it was sent, in seconds since the epoch.
        took: seconds to the last byte, or to the failure.
        failure: `connect`, `reset` (before the answer began), `truncated`, `status`, `content`, `timeout`,
            `unfinished` (cut by the load's own end), or nothing for a whole answer.
        detail: what exactly, for a reader.
        age: seconds since its connection was made; None when none was.
        key: name of the pool key that answered, as the answer's header says; empty without one.
    """

    kind: Kind
    began: float
    took: float
    failure: str = ""
    detail: str = ""
    age: float | None = None
    key: str = ""

    @property
    def ended(self) -> float:
        """When it was over, in seconds since the epoch."""
        return self.began + self.took

    def __str__(self) -> str:
        age = "no connection" if self.age is None else f"connection {self.age:.1f} s old"
        return f"{_clock(self.ended)} {self.failure or 'answered'} after {self.took:.2f} s, {self.kind}, {age}" + (
            f": {self.detail}" if self.detail else ""
        )


@dataclass(frozen=True)
class Report:
    """The outcome of a load.

    Attributes:
        began: when the load began, in seconds since the epoch.
        seconds: how long it ran.
        samples: every request, in the order in which they ended.
    """

    began: float
    seconds: float
    samples: Sequence[Sample]

    @property
    def requests(self) -> int:
        """Number of requests."""
        return len(self.samples)

    @property
    def failures(self) -> list[Sample]:
        """The requests that did not get a whole answer."""
        return [sample for sample in self.samples if sample.failure]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    def answered_by(self, since: float = 0.0) -> Counter[str]:
        """Answers by the key's name, of requests that were sent at `since` (seconds since the epoch) or later."""
        return Counter(sample.key for sample in self.samples if not sample.failure and sample.began >= since)

    def last_of(self, names: Collection[str]) -> float | None:
        """When the last answer of these keys was over, in seconds since the epoch; None when they gave none."""
        return max((sample.ended for sample in self.samples if sample.key in names), default=None)

    def between(self, begin: float, end: float) -> list[Sample]:
        """The requests that were sent in the window, in seconds since the epoch."""
        return [sample for sample in self.samples if begin <= sample.began < end]

    def __str__(self) -> str:
        lines = [_table(_kind_rows(self.samples)), "", _table(_key_rows(self.samples, self.began)), ""]
        lines.append(
            f"{self.requests} requests in {self.seconds:.1f} s ({self.rate:.1f} a second), "
            f"{len(self.failures)} failed; slowest:"
        )
        slowest = sorted(self.samples, key=lambda sample: sample.took, reverse=True)
        lines += [f"  {sample}" for sample in slowest[:SHOWN_SLOWEST]]
        if self.failures:
            counts = Counter(sample.failure for sample in self.failures)
            lines.append("failed: " + ", ".join(f"{count} {failure}" for failure, count in counts.most_common()))
            lines += [f"  {sample}" for sample in self.failures[:SHOWN_FAILURES]]
        return "\n".join(lines)


def percentile(values: Iterable[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed; not a number without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


def _kind_rows(samples: Sequence[Sample]) -> list[list[str]]:
    rows = [["API", "form", "connection", "requests", "failed", "p50 s", "p99 s"]]
    kinds = sorted({sample.kind for sample in samples}, key=str)
    for kind in kinds:
        rows.append([kind.api, kind.form, kind.connection, *_counts([s for s in samples if s.kind == kind])])
    rows.append(["all", "", "", *_counts(samples)])
    return rows


def _counts(samples: Sequence[Sample]) -> list[str]:
    took = [sample.took for sample in samples]
    failed = sum(bool(sample.failure) for sample in samples)
    return [str(len(samples)), str(failed), f"{percentile(took, 50):.2f}", f"{percentile(took, 99):.2f}"]


def _key_rows(samples: Sequence[Sample], began: float) -> list[list[str]]:
    rows = [["key", "answers", "first s", "last s"]]
    for name in sorted({sample.key for sample in samples if sample.key}):
        ended = [sample.ended - began for sample in samples if sample.key == name and not sample.failure]
        first, last = (f"{min(ended):.1f}", f"{max(ended):.1f}") if ended else ("", "")
        rows.append([name, str(len(ended)), first, last])
    return rows


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f"{moment % 1:.3f}"[1:]
