"""A proxy on another machine: only its endpoint is known."""

import os
from typing import Any

from litellm_proxy_status import status_table

from proxyctl.checks import FAIL, keys
from proxyctl.exits import Exit, Failure
from proxyctl.pool import OWN_STRATEGY, Client
from proxyctl.report import Report


def client(url: str) -> Client:
    """Asks the endpoint with the master key of the environment."""
    key = os.environ.get("LITELLM_MASTER_KEY", "")
    if not key:
        raise Failure(
            Exit.NO_PERMISSION,
            f"There is no master key for {url}: set LITELLM_MASTER_KEY, or on the proxy's own host run it with sudo.",
        )
    return Client(url, key)


def status(report: Report, asked: Client) -> Exit:
    """Whether it answers, and the state of the keys."""
    if not asked.alive():
        raise Failure(
            Exit.DOWN, f"{asked.url} does not answer /health/liveliness: it is down, or not reached from here."
        )
    report.say(f"service   answers\nendpoint  {asked.url}\n")
    pool = asked.pool()
    report.say(status_table(pool) if pool else f"keys: {OWN_STRATEGY}")
    document: dict[str, Any] = {"ok": True, "service": {"state": "running", "url": asked.url}, "pool": pool}
    report.end(document if pool else {**document, "message": OWN_STRATEGY})
    return Exit.FINE


def show_keys(report: Report, asked: Client) -> Exit:
    """The state of the keys alone."""
    pool = asked.pool()
    if pool is None:
        raise Failure(Exit.FAILED, f"{OWN_STRATEGY[0].upper()}{OWN_STRATEGY[1:]}.")
    report.say(status_table(pool))
    report.end({"ok": True, "pool": pool})
    return Exit.FINE


def check(report: Report, asked: Client) -> Exit:
    """What can be seen from here: the endpoint and the keys."""
    if not asked.alive():
        raise Failure(
            Exit.DOWN, f"{asked.url} does not answer /health/liveliness: it is down, or not reached from here."
        )
    found = list(keys(asked))
    report.say(f"ok    service   {asked.url} answers")
    for finding in found:
        report.say(f"{finding.level:<4}  {finding.what:<8}  {finding.text}")
    code = next((finding.code for finding in found if finding.level == FAIL), Exit.FINE)
    report.end(
        {
            "ok": code is Exit.FINE,
            "exit_code": code,
            "findings": [{"level": one.level.lower(), "what": one.what, "text": one.text} for one in found],
        }
    )
    return code
