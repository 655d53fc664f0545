"""Connections that close under a write: uvloop says so with a RuntimeError, which no library takes for what it is."""

from collections.abc import Iterator
from contextlib import contextmanager

_SAYS = "the handler is closed"


@contextmanager
def closed_under_write(means: type[Exception]) -> Iterator[None]:
    """Raise the error that callers know in its place: nothing was sent, as the connection had closed."""
    try:
        yield
    except RuntimeError as error:
        if _SAYS not in str(error):
            raise
        raise means(str(error)) from error
