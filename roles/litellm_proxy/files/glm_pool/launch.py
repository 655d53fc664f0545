"""Start LiteLLM with the generation's credentials: `python -m glm_pool.launch --config … --host … --port …`.

The credentials come as one JSON file of environment variables in `$CREDENTIALS_DIRECTORY`, as systemd's
`LoadCredential=` provides it: no key value is in the unit, on the command line or in the initial environment.
"""

import argparse
import gc
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from glm_pool import body_limit

CREDENTIALS_FILE = "litellm-proxy.json"
EX_UNAVAILABLE, EX_CONFIG = 69, 78


def _refuse(message: str, code: int) -> NoReturn:
    print(f"litellm-proxy: {message}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def load_credentials(directory: str | None) -> dict[str, str]:
    """Read the variables from `directory`/litellm-proxy.json.

    Raises:
        SystemExit: 78, when the file is missing, unreadable or not an object of strings.
    """
    if not directory:
        _refuse("CREDENTIALS_DIRECTORY is not set; start through the service that the role installed", EX_CONFIG)
    path = Path(directory) / CREDENTIALS_FILE
    try:
        credentials = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        _refuse(f"cannot read the credentials {path}: {type(error).__name__}; run the playbook again", EX_CONFIG)
    if not isinstance(credentials, dict) or not all(isinstance(value, str) for value in credentials.values()):
        _refuse(f"{path} is not an object of strings; run the playbook again", EX_CONFIG)
    return credentials


def require_free_port(host: str, port: int) -> None:
    """End the start when the port is taken: LiteLLM would silently listen on a random one instead of 4000.

    Raises:
        SystemExit: 69, when `host`:`port` can not be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            _refuse(f"cannot listen on {host} port {port}: {error.strerror}", EX_UNAVAILABLE)


def require_bounds() -> None:
    """End the start when a bound on bodies is no number, rather than serve without one.

    Raises:
        SystemExit: 78.
    """
    try:
        body_limit.bound_of(os.environ)
        body_limit.patience_of(os.environ)
    except ValueError as error:
        _refuse(f"{error}; run the playbook again", EX_CONFIG)


def end_at_sigterm() -> None:
    """End at SIGTERM while LiteLLM loads; the server sets its own handler then.

    The kernel gives the first process of a container no signal that it does not handle: stopping one that starts
    would take until it is killed.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python from looking for garbage during LiteLLM's import, which makes none: a quarter of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def prepare_workers(number: int) -> None:
    """Tell the workers how many they are, and give their metrics one empty directory."""
    os.environ["GLM_POOL_WORKERS"] = str(number)
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if number == 1 or not directory:
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        return
    shutil.rmtree(directory, ignore_errors=True)
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, put the credentials into the environment and hand over to LiteLLM."""
    parser = argparse.ArgumentParser(prog="glm_pool.launch", description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--num-workers", default=1, type=int, help="processes; more than one share limits by Redis")
    arguments = parser.parse_args(argv)
    if os.getpid() == 1:
        end_at_sigterm()
    os.environ.update(load_credentials(os.environ.get("CREDENTIALS_DIRECTORY")))
    require_bounds()
    require_free_port(arguments.host, arguments.port)
    prepare_workers(arguments.num_workers)

    with without_collector():
        # after the environment is complete: LiteLLM reads it on import
        from litellm.proxy import proxy_server  # noqa: F401, what the command imports next
        from litellm.proxy.proxy_cli import run_server

    options = ["--config", arguments.config, "--host", arguments.host, "--port", str(arguments.port)]
    options += ["--num_workers", str(arguments.num_workers)]
    if arguments.num_workers > 1:
        # the default of 5 s is less than a worker's start: uvicorn would kill and start workers for ever
        options += ["--timeout_worker_healthcheck", "120"]
    run_server.main(args=options, prog_name="litellm")


if __name__ == "__main__":
    main()
