"""Put the mixed load on a proxy before the simulated Z.AI: `python -m load URL`. Exits 1 when a request failed."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from .clients import Load, Mix, Target


def main() -> int:
    """Parse the arguments, run the load, print its report; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load", description=__doc__, epilog="The clients' key comes from the environment variable LOAD_API_KEY."
    )
    parser.add_argument("url", help="base URL of the proxy, http or https")
    parser.add_argument("--requests", type=int, default=2000, help="at least so many (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0, help="at least so long")
    parser.add_argument("--short", type=int, default=Mix.short, help="clients of short requests (default: %(default)s)")
    parser.add_argument("--long", type=int, default=Mix.long, help="clients of long streams (default: %(default)s)")
    parser.add_argument("--rate", type=float, help="most requests a second (default: as many as are answered)")
    parser.add_argument("--model", default=Target.model, help="(default: %(default)s)")
    parser.add_argument("--ca", type=Path, help="PEM file to trust; without it every certificate is taken")
    parser.add_argument("--paths", nargs=2, default=Target.paths, metavar=("OPENAI", "ANTHROPIC"))
    arguments = parser.parse_args()
    if not (api_key := os.environ.get("LOAD_API_KEY", "")):
        parser.error("set LOAD_API_KEY")
    target = Target(
        arguments.url.rstrip("/"),
        api_key,
        arguments.model,
        arguments.ca.read_text() if arguments.ca else "",
        tuple(arguments.paths),
    )
    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: ended.append(number))
    with Load(target, Mix(arguments.short, arguments.long, arguments.rate)) as load:
        end = time.monotonic() + arguments.seconds
        while not ended and (time.monotonic() < end or len(load.samples) < arguments.requests):
            time.sleep(0.1)
        report = load.stop()
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
