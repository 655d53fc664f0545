"""Connections that close under a write: uvloop says so with a RuntimeError, which no library takes for what it is."""

_SAYS = "the handler is closed"


def closed_under_write(error: RuntimeError) -> bool:
    """Whether nothing was sent, as the connection had closed."""
    return _SAYS in str(error)
