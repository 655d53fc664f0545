"""The commands that act on an instance of this host."""

import time
from typing import Any

from litellm_proxy_status import status_table

from proxyctl.checks import FAIL, findings
from proxyctl.exits import Exit, Failure
from proxyctl.handover import hand_over
from proxyctl.instance import Instance
from proxyctl.lock import locked
from proxyctl.pool import OWN_STRATEGY, Client
from proxyctl.ports import need_ports
from proxyctl.report import columns
from proxyctl.service import need_rights

PRECEDENCE = (Exit.CONFIG_INVALID, Exit.PORT_TAKEN, Exit.DOWN, Exit.NO_PERMISSION, Exit.FAILED)
"""Of several faults the first of these decides the exit code of `check`."""


def start(instance: Instance) -> Exit:
    """Have it serve."""
    need_rights(instance.settings)
    with locked(instance.layout.directory):
        return _ended(instance, _start(instance))


def stop(instance: Instance) -> Exit:
    """Have it serve no more, until the next start or boot."""
    need_rights(instance.settings)
    with locked(instance.layout.directory):
        return _ended(instance, _stop(instance))


def restart(instance: Instance) -> Exit:
    """Replace the running instance by a fresh one."""
    need_rights(instance.settings)
    with locked(instance.layout.directory):
        return _ended(instance, _restart(instance))


def status(instance: Instance, client: Client | None) -> Exit:
    """What runs, and the state of the keys.

    Args:
        instance: on this host.
        client: asks for the keys; None for the instance itself.
    """
    slot = instance.layout.slot()
    manifest = instance.layout.manifest()
    running, gateway = instance.service.running(slot), instance.gateway_runs()
    own = instance.client(slot)
    alive = running and own.alive()
    facts: dict[str, Any] = {
        "state": "running" if alive and gateway else "starting" if running and gateway else "down",
        "mode": instance.settings.mode,
        "slot": slot or None,
        "since": instance.service.since(slot) if running else "",
        "generation": instance.layout.generation(),
        "version": manifest.get("version"),
        "port": instance.settings.port,
        "url": instance.settings.url,
        "instance_url": own.url,
        "gateway": ("running" if gateway else "down") if instance.settings.behind_gateway else None,
    }
    for line in columns(_lines(facts)):
        instance.report.say(line)
    document: dict[str, Any] = {"ok": bool(alive and gateway), "service": facts, "pool": None}
    if alive or client is not None:
        pool = (client or own).pool()
        document["pool"] = pool
        if pool is None:
            document["message"] = OWN_STRATEGY
        instance.report.say("")
        instance.report.say(status_table(pool) if pool else f"keys: {OWN_STRATEGY}")
    if document["ok"]:
        instance.report.end(document)
        return Exit.FINE
    document["message"] = (
        "The instance is starting, or hangs: litellm-proxyctl logs"
        if facts["state"] == "starting"
        else "The service is down: litellm-proxyctl start"
    )
    instance.report.say(document["message"])
    instance.report.end({**document, "exit_code": Exit.DOWN})
    return Exit.DOWN


def keys(instance: Instance, client: Client | None) -> Exit:
    """The state of the keys alone."""
    slot = instance.layout.slot()
    if client is None and not instance.service.running(slot):
        raise Failure(Exit.DOWN, "The service is down: litellm-proxyctl start")
    pool = (client or instance.client(slot)).pool()
    if pool is None:
        raise Failure(Exit.FAILED, f"{OWN_STRATEGY[0].upper()}{OWN_STRATEGY[1:]}.")
    instance.report.say(status_table(pool))
    instance.report.end({"ok": True, "pool": pool})
    return Exit.FINE


def check(instance: Instance, client: Client | None) -> Exit:
    """Look for faults, one line a finding."""
    need_rights(instance.settings)
    found = []
    for finding in findings(instance, client or instance.client(instance.layout.slot())):
        found.append(finding)
        instance.report.say(f"{finding.level:<4}  {finding.what:<8}  " + finding.text.replace("\n", "\n" + " " * 16))
    codes = {finding.code for finding in found if finding.level == FAIL}
    code = next((one for one in PRECEDENCE if one in codes), Exit.FINE)
    instance.report.end(
        {
            "ok": code is Exit.FINE,
            "exit_code": code,
            "findings": [{"level": one.level.lower(), "what": one.what, "text": one.text} for one in found],
        }
    )
    return code


def _start(instance: Instance) -> str:
    if instance.serves():
        return "It runs already."
    slot = instance.layout.slot()
    need_ports(instance.settings, instance.layout, slot)
    since = time.time()
    instance.start_gateway()
    instance.service.start(slot)
    instance.wait_until_alive(slot, since)
    instance.service.settle()
    instance.wait_until_up(slot)
    return f"Started: generation {instance.layout.generation()} answers on {instance.settings.url}."


def _stop(instance: Instance) -> str:
    slots = [slot for slot in instance.slots() if instance.service.running(slot)]
    if not slots and not (instance.settings.behind_gateway and instance.gateway_runs()):
        return "It is stopped already."
    if slots:
        instance.report.say(f"Running requests get {instance.settings.stop_timeout:g} s to finish.")
    # the instance first: its answers go out through the gateway
    instance.service.unsettle()
    for slot in slots:
        instance.service.stop(slot)
    instance.stop_gateway()
    return "Stopped, until litellm-proxyctl start or the next boot."


def _restart(instance: Instance) -> str:
    slot = instance.layout.slot()
    if not (instance.gateway_runs() and instance.service.running(slot)):
        instance.report.say("It is not running; it is started.")
        return _start(instance)
    if instance.settings.behind_gateway and slot:
        return hand_over(instance)
    instance.report.say("Without a gateway a restart interrupts: requests are refused until it answers again.")
    since = time.time()
    instance.service.stop(slot)
    instance.service.start(slot, fresh=True)
    instance.wait_until_alive(slot, since)
    return f"Restarted: generation {instance.layout.generation()} answers on {instance.settings.url}."


def _ended(instance: Instance, message: str) -> Exit:
    instance.report.say(message)
    instance.report.end({"ok": True, "message": message})
    return Exit.FINE


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    how = ", ".join(filter(None, [facts["mode"], f"slot {facts['slot']}" if facts["slot"] else ""]))
    since = f", since {facts['since']}" if facts["since"] else ""
    return [
        ("service", f"{facts['state']} ({how}){since}"),
        ("generation", f"{facts['generation']}, LiteLLM {facts['version']}"),
        ("endpoint", f"{facts['url']}, port {facts['port']}"),
        *([("gateway", facts["gateway"])] if facts["gateway"] else []),
        *([("instance", facts["instance_url"])] if facts["slot"] else []),
    ]
