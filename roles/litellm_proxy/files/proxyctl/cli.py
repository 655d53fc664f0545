"""The command line."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from litellm_proxy_usage import FIELDS

from proxyctl import commands, remote
from proxyctl.exits import MEANINGS, Exit, Failure
from proxyctl.instance import Instance
from proxyctl.pool import Client
from proxyctl.report import Report
from proxyctl.settings import Settings, find
from proxyctl.usage import usage

ASKING = ("status", "keys", "check")
COMMANDS = {
    "start": "start gateway and proxy, and wait until they answer",
    "stop": "stop both; running requests get litellm_proxy_stop_timeout seconds",
    "restart": "replace the running instance by a fresh one; behind the gateway no request fails",
    "status": "service, generation, version, port, and the keys with their state and counts",
    "logs": "the proxy's log",
    "keys": "the keys alone",
    "check": "config, port, service, upstreams and each key, a line each with ok, warn or FAIL",
    "usage": "requests, tokens and money by client, key or pool in a period, also while the service is down",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args(argv)
    report = Report(as_json=arguments.json)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # as Ctrl-C: what was begun is taken back
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        return int(_run(arguments, report))
    except Failure as failure:
        report.fail(failure.code, str(failure))
        return int(failure.code)
    except KeyboardInterrupt:
        report.fail(Exit.INTERRUPTED, "Interrupted.")
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # who read has seen enough; nothing may be written at the end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.FINE)


def _run(arguments: argparse.Namespace, report: Report) -> Exit:
    url = arguments.url if arguments.command in ASKING else ""
    port = _port(arguments.port)
    try:
        settings = find(arguments.settings, port)
        asked = _asked(url, settings) if url else None
    except Failure:
        if not url:
            raise
        return _remote(arguments.command, report, remote.client(url))
    if arguments.command == "usage":
        return usage(settings, report, arguments)
    instance = Instance(settings, report)
    if arguments.command == "logs":
        command = instance.service.log_command(arguments.lines, follow=arguments.follow)
        os.execvp(command[0], command)
    if arguments.command in ASKING:
        return {"status": commands.status, "keys": commands.keys, "check": commands.check}[arguments.command](
            instance, asked
        )
    return {"start": commands.start, "stop": commands.stop, "restart": commands.restart}[arguments.command](instance)


def _asked(url: str, settings: Settings) -> Client:
    """Asks another URL of an instance of this host, with the host's own master key."""
    key = Instance(settings, Report(as_json=False)).layout.credentials()["LITELLM_MASTER_KEY"]
    return Client(url, os.environ.get("LITELLM_MASTER_KEY") or key)


def _remote(command: str, report: Report, asked: Client) -> Exit:
    return {"status": remote.status, "keys": remote.show_keys, "check": remote.check}[command](report, asked)


def _port(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Failure(Exit.USAGE, f"{text!r} is no TCP port (--port, LITELLM_PORT).")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog="litellm-proxyctl",
        description="The LiteLLM proxy of this host: start, stop, restart, look.",
        epilog=f"""environment:
  LITELLM_PORT        port of the instance that is meant, where there are several (--port)
  LITELLM_PROXY_URL   URL that status, keys and check ask instead of this host's own (--url)
  LITELLM_MASTER_KEY  master key for that URL, on a machine that has no proxy of its own

exit codes:
{codes}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_options(parser, once=True)
    # before and after the command; what is given before it is not reset by what is not given after it
    common = argparse.ArgumentParser(add_help=False)
    _add_options(common, once=False)
    found = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = found.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        if name == "logs":
            command.add_argument("-f", "--follow", action="store_true", help="go on as more is written")
            command.add_argument("-n", "--lines", type=int, default=100, metavar="N", help="begin N lines back (100)")
        if name == "usage":
            command.add_argument("--from", dest="begin", default="", metavar="DATE", help="first day, UTC (2026-11-01)")
            command.add_argument("--to", dest="end", default="", metavar="DATE", help="last day, included")
            command.add_argument("--days", default="", metavar="N", help="the last N days, today included, instead")
            command.add_argument("--by", default="", metavar="FIELDS", help=f"{', '.join(FIELDS)}; several with commas")
    return parser


def _add_options(parser: argparse.ArgumentParser, *, once: bool) -> None:
    def default(value: object) -> object:
        return value if once else argparse.SUPPRESS

    parser.add_argument(
        "--json", action="store_true", default=default(False), help="one JSON document instead of tables"
    )
    parser.add_argument(
        "--port", default=default(os.environ.get("LITELLM_PORT", "")), help="port of the instance (LITELLM_PORT)"
    )
    parser.add_argument(
        "--url",
        default=default(os.environ.get("LITELLM_PROXY_URL", "")),
        help="ask this endpoint (LITELLM_PROXY_URL)",
    )
    parser.add_argument("--settings", default=default(None), metavar="FILE", help="settings of the instance")
