"""Time, in one place so that tests can replace it."""

import time


class Clock:
    """The machine's time."""

    def monotonic(self) -> float:
        """Seconds that never jump, for durations."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch, for moments that the upstream states and files keep."""
        return time.time()
