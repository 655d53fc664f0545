"""How commands end."""

import enum


class Exit(enum.IntEnum):
    """Exit codes."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    DOWN = 3
    NO_PERMISSION = 4
    NOT_INSTALLED = 5
    CONFIG_INVALID = 6
    PORT_TAKEN = 7
    INTERRUPTED = 130


MEANINGS = {
    Exit.FINE: "fine",
    Exit.FAILED: "failed, or check found a fault",
    Exit.USAGE: "wrong usage, or it is not clear which instance is meant",
    Exit.DOWN: "the service is down",
    Exit.NO_PERMISSION: "no permission: run it with sudo",
    Exit.NOT_INSTALLED: "no proxy is installed here",
    Exit.CONFIG_INVALID: "the config is invalid",
    Exit.PORT_TAKEN: "the port is taken by another program",
}


class Failure(Exception):
    """A command can not do what it shall.

    Args:
        code: to exit with.
        message: for people: what is wrong and what to do.
    """

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
