"""What an account lets through: requests in flight, requests a minute, answers in a quota window."""

from __future__ import annotations

import math
from collections import deque

from .clock import Clock, reset_text
from .config import Account
from .errors import refusal

RATE_WINDOW = 60.0


class AccountLimits:
    """What one account has used of its limits."""

    def __init__(self, clock: Clock) -> None:
        """Start with nothing used."""
        self._clock = clock
        self._taken: deque[float] = deque()
        self._in_flight: dict[str, int] = {}
        self._window_end: float | None = None
        self._answers = 0

    def admit(self, account: Account, model: str) -> Admission:
        """Let one request through; nothing is used when it is refused.

        Args:
            account: The limits that hold now.
            model: Name of the model, lower case.

        Raises:
            Refusal: 1302, 1303 or the quota's own code.
        """
        now = self._clock.now()
        self._expire(now)
        quota = account.quota
        if quota is not None and self._answers >= quota.requests:
            end = self._window_end if self._window_end is not None else now + quota.window
            raise refusal(quota.code, reset=reset_text(end), window=quota.window)
        if account.rpm is not None and len(self._taken) >= account.rpm:
            raise refusal("1303")
        in_flight = self._in_flight.get(model, 0)
        if account.max_parallel_requests is not None and in_flight >= account.max_parallel_requests:
            raise refusal("1302")
        self._taken.append(now)
        self._in_flight[model] = in_flight + 1
        if quota is not None:
            if self._window_end is None:
                # The stated time has no fraction of a second, and it must hold.
                self._window_end = float(math.ceil(now + quota.window))
            self._answers += 1
        return Admission(self, model, self._window_end)

    def clear(self) -> None:
        """Forget the minute and the quota window; requests in flight stay."""
        self._taken.clear()
        self._window_end = None
        self._answers = 0

    def _expire(self, now: float) -> None:
        while self._taken and self._taken[0] <= now - RATE_WINDOW:
            self._taken.popleft()
        if self._window_end is not None and self._window_end <= now:
            self._window_end = None
            self._answers = 0

    def _leave(self, model: str) -> None:
        self._in_flight[model] -= 1

    def _give_back(self, window_end: float | None) -> None:
        if window_end is not None and window_end == self._window_end:
            self._answers -= 1


class Admission:
    """One request that was let through."""

    def __init__(self, limits: AccountLimits, model: str, window_end: float | None) -> None:
        """Hold what leaving has to give back."""
        self._limits = limits
        self._model = model
        self._window_end = window_end
        self._open = True

    def leave(self, *, charged: bool) -> None:
        """Free the place in flight; quota is given back unless charged. Idempotent."""
        if not self._open:
            return
        self._open = False
        self._limits._leave(self._model)
        if not charged:
            self._limits._give_back(self._window_end)
