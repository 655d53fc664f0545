"""Wait until an instance answers: `python -m glm_pool.ready --url http://127.0.0.1:4000 --timeout 120 [--pid N]`.

Exits 0 as soon as `/health/liveliness` answers 200, 1 when the time is over or the process has gone.
"""

import argparse
import http.client
import os
import sys
import time
import urllib.request
from collections.abc import Sequence

POLL_SECONDS = 0.25


def answers(url: str) -> bool:
    """Tell whether the instance at `url` says that it is alive."""
    # no proxy from the environment: the instance is on this host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health/liveliness", timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def exists(pid: int) -> bool:
    """Tell whether a process exists; by signal, as the service's sandbox hides it in /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Poll until the instance answers; return the exit status."""
    parser = argparse.ArgumentParser(prog="glm_pool.ready", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--timeout", required=True, type=float, help="seconds")
    parser.add_argument("--pid", type=int, help="give up when this process has gone")
    arguments = parser.parse_args(argv)
    deadline = time.monotonic() + arguments.timeout
    while time.monotonic() < deadline:
        if arguments.pid is not None and not exists(arguments.pid):
            print(f"litellm-proxy: process {arguments.pid} ended before it answered", file=sys.stderr)
            return 1
        if answers(arguments.url):
            return 0
        time.sleep(POLL_SECONDS)
    print(f"litellm-proxy: no answer within {arguments.timeout:.0f} s", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
