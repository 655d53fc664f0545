"""Programs of the host."""

import subprocess
from collections.abc import Mapping, Sequence

from proxyctl.exits import Exit, Failure


def run(
    command: Sequence[str], *, check: bool = True, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end.

    Args:
        command: the program, found on the path, and its arguments.
        check: Failure when it fails; with its last lines as the reason.
        environment: of it, instead of this process's own.
    """
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            env=None if environment is None else dict(environment),
        )  # fmt: skip
    except OSError as error:
        raise Failure(Exit.FAILED, f"{command[0]} does not run: {error.strerror}.") from error
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise Failure(Exit.FAILED, "\n".join([f"{' '.join(command)} failed ({done.returncode}):", *said]))
    return done
