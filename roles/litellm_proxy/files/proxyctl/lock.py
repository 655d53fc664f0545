"""One command at a time changes what runs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxyctl.exits import Exit, Failure


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of an instance, which is its config directory itself: nothing is left behind."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError as error:
        raise Failure(Exit.NO_PERMISSION, f"{directory} cannot be read by this user: run it with sudo.") from error
    except OSError as error:
        raise Failure(Exit.NOT_INSTALLED, f"{directory} is missing: run site.yml.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failure(
                Exit.FAILED, "Another litellm-proxyctl starts, stops or restarts this proxy: wait until it has ended."
            ) from error
        yield
    finally:
        os.close(descriptor)
