"""The simulator's time of day, which tests can move forward."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta, timezone

UPSTREAM_ZONE = timezone(timedelta(hours=8))
"""The zone in which Z.AI states reset times."""


class Clock:
    """Seconds since the epoch, plus what tests have added."""

    def __init__(self) -> None:
        """Start in step with the machine's clock."""
        self._ahead = 0.0

    def now(self) -> float:
        """Return the simulator's time in seconds since the epoch."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the simulator's time forward; requests under way are not hurried."""
        self._ahead += seconds

    def reset(self) -> None:
        """Go back to the machine's time."""
        self._ahead = 0.0


def reset_text(moment: float) -> str:
    """Write a moment as Z.AI writes reset times: ``YYYY-MM-DD HH:MM:SS`` in UTC+8, rounded up."""
    return datetime.fromtimestamp(math.ceil(moment), UPSTREAM_ZONE).strftime("%Y-%m-%d %H:%M:%S")
