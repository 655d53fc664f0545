"""An event loop whose time is simulated: it jumps to the next timer as soon as nothing is left to do."""

import asyncio
import selectors
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

from glm_pool import redis_store, shared_limits
from glm_pool.clock import Clock

BEGIN = 1_000_000.0
"""Moment at which the simulated time begins, in seconds of no particular clock."""
EPOCH = 1_700_000_000.0
"""The wall clock at moment 0."""


class StandstillError(Exception):
    """Everybody waits for something that no timer will bring."""


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the time that it should wait has passed when it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StandstillError
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs coroutines in simulated time; there are no sockets and threads in it."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """The simulated moment in seconds."""
        return self._virtual.now


class VirtualClock(Clock):
    """The plug-in's clock, by the loop's time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        """Seconds."""
        return self._loop.time()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self._loop.time()


@contextmanager
def virtual_time() -> Iterator[tuple[VirtualLoop, VirtualClock]]:
    """A loop and a clock; the modules of the plug-in that read the machine's clock read this one meanwhile."""
    loop = VirtualLoop()
    machine = SimpleNamespace(monotonic=loop.time)
    try:
        with mock.patch.object(redis_store, "time", machine), mock.patch.object(shared_limits, "time", machine):
            yield loop, VirtualClock(loop)
    finally:
        loop.close()
