"""Whether a key can be used: resting after a failure, parked until its quota returns, or out.

A key has one health for itself and one for each model, as some faults concern the use of one model only.
"""

import enum
import math
from dataclasses import dataclass, replace
from typing import Any

from glm_pool.clock import Clock
from glm_pool.faults import Fault, Kind, rest

SHORTEST_STEP = 1e-6
"""Seconds between two records; a float of this century's seconds tells them apart."""


class State(enum.Enum):
    """What a key is doing."""

    ACTIVE = "active"
    COOLING = "cooling"  # rests until a moment, then one request tries it
    PARKED = "parked"  # the quota is used up until a moment, then one request tries it
    OUT = "out"  # an account fault; only a new value or an operator brings it back


@dataclass(frozen=True)
class Record:
    """What is kept of a health over restarts and told to other processes.

    Attributes:
        state: see `State`.
        until: end of the rest, seconds since the epoch; 0 when there is none.
        code: of the fault that led here.
        failures: failures in a row.
        at: when this was written, seconds since the epoch; the later of two records holds.
    """

    state: State = State.ACTIVE
    until: float = 0.0
    code: str = ""
    failures: int = 0
    at: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The record as JSON types."""
        return {
            "state": self.state.value,
            "until": self.until,
            "code": self.code,
            "failures": self.failures,
            "at": self.at,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Record":
        """The reverse of `as_json`; raises ValueError, KeyError or TypeError on anything else."""
        until, failures, at = float(data["until"]), float(data["failures"]), float(data["at"])
        if not all(map(math.isfinite, (until, failures, at))):
            raise ValueError("a number is infinite")
        return cls(State(data["state"]), until, str(data["code"]), int(failures), at)


class Health:
    """The health of one key, or of its use of one model.

    Attributes:
        name: under which it is stored and shared.
        record: the present state.
        prober: number of the lease of the request whose outcome decides whether the key is back; 0 for none.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.record = Record()
        self.prober = 0
        self._clock = clock
        self._rest_ends = 0.0  # monotonic: a rest of seconds must not follow a jump of the wall clock

    @property
    def resting(self) -> float:
        """Seconds of rest that are left; infinite when the key is out, 0 when it may be used or tried."""
        if self.record.state is State.ACTIVE:
            return 0.0
        if self.record.state is State.OUT:
            return float("inf")
        if self.record.state is State.PARKED:
            return max(0.0, self.record.until - self._clock.wall())
        return max(0.0, self._rest_ends - self._clock.monotonic())

    @property
    def recovering(self) -> bool:
        """The rest is over, and no request has succeeded since."""
        return self.record.state is not State.ACTIVE and self.resting == 0.0

    def fail(self, fault: Fault, longest: float) -> bool:
        """Take in a fault; returns whether the state changed.

        Args:
            fault: not one of the request.
            longest: bound of the rest after faults of the server, seconds.
        """
        now, stamp = self._clock.wall(), self._stamp()
        old = self.record
        if fault.kind is Kind.ACCOUNT:
            new = Record(State.OUT, 0.0, fault.code, old.failures + 1, stamp)
        elif fault.kind is Kind.QUOTA:
            new = Record(State.PARKED, fault.until or now, fault.code, old.failures + 1, stamp)
        elif self.resting > 0:
            return False  # requests that failed side by side are one failure
        else:
            failures = old.failures + 1
            seconds = rest(fault, failures, longest)
            self._rest_ends = self._clock.monotonic() + seconds
            new = Record(State.COOLING, now + seconds, fault.code, failures, stamp)
        if old.state is State.OUT and new.state is not State.OUT:
            return False  # a late failure of another kind does not bring it back
        self.record = new
        return (old.state, old.code) != (new.state, new.code) or new.until != old.until

    def succeed(self) -> bool:
        """An answer came; a key whose rest was over is back. Returns whether the state changed."""
        if not self.recovering:
            return False
        self.record = Record(at=self._stamp())
        return True

    def enable(self) -> bool:
        """Back into use, whatever was; returns whether the state changed."""
        if self.record.state is State.ACTIVE:
            return False
        self.record = Record(at=self._stamp())
        return True

    def adopt(self, record: Record) -> bool:
        """Take over what a file or another process says, if it is newer; returns whether the state changed."""
        if record.at <= self.record.at:
            return False
        self._rest_ends = self._clock.monotonic() + max(0.0, record.until - self._clock.wall())
        changed = replace(record, at=0.0) != replace(self.record, at=0.0)
        self.record = record
        return changed

    def _stamp(self) -> float:
        """When the next record is written: after the present one, even if the clock was set back meanwhile."""
        return max(self._clock.wall(), self.record.at + SHORTEST_STEP)
