"""What `check` looks at."""

import http.client
import re
import socket
import ssl
import subprocess
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from litellm_gateway_haproxy import Gone

from proxyctl.exits import Exit, Failure
from proxyctl.instance import Instance
from proxyctl.pool import OWN_STRATEGY, Client
from proxyctl.ports import owner, taken
from proxyctl.programs import run
from proxyctl.settings import Settings

OK, WARN, FAIL = "ok", "warn", "FAIL"
UPSTREAM_SECONDS = 10
REASON_LINES = 8
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
REFUSAL = "config validation failed"
NOISE = (":WARNING:", ":CRITICAL:")
"""What LiteLLM logs of a config without its credentials, beside the reason."""
STATES = {"active": OK, "draining": OK, "disabled": OK, "out": FAIL}
"""What a key's state means; the others pass by themselves."""


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        level: ok, warn or FAIL.
        what: was looked at.
        text: what was found.
        code: to exit with when it is a FAIL.
    """

    level: str
    what: str
    text: str
    code: Exit = Exit.FAILED


def findings(instance: Instance, client: Client) -> Iterator[Finding]:
    """All of them, one after the other.

    Args:
        instance: on this host.
        client: asks for the keys.
    """
    yield config(instance)
    port = owner(instance.settings, instance.settings.port)
    if port.kind == "foreign":
        yield Finding(FAIL, "port", taken(instance.settings, port), Exit.PORT_TAKEN)
    elif port.kind == "free":
        yield Finding(FAIL, "port", f"nobody listens on port {port.port}: litellm-proxyctl start", Exit.DOWN)
    else:
        yield Finding(OK, "port", f"port {port.port} is held by {port.who}")
    up = service(instance)
    yield up
    if instance.settings.behind_gateway and up.level == OK:
        yield gateway(instance)
    for url in instance.settings.upstreams:
        yield upstream(url, instance.settings)
    if up.level == OK:
        yield from keys(client)


def config(instance: Instance) -> Finding:
    """LiteLLM's own judgement of the config of the generation that serves."""
    manifest = instance.layout.manifest()
    place = instance.layout.current.resolve()
    done = run(instance.service.validate_command(instance.layout.slot()), check=False)
    if done.returncode == 0:
        return Finding(OK, "config", f"generation {place.name} is valid (LiteLLM {manifest['version']})")
    return Finding(
        FAIL,
        "config",
        "\n".join([f"generation {place.name} is invalid: run site.yml", *_reason(instance, done)]),
        Exit.CONFIG_INVALID,
    )


def _reason(instance: Instance, done: subprocess.CompletedProcess[str]) -> list[str]:
    """What LiteLLM says of a config that it refuses, without what it logs beside that."""
    lines = [
        line
        for line in COLOUR.sub("", instance.masked(f"{done.stdout}\n{done.stderr}")).strip().splitlines()
        if not any(noise in line for noise in NOISE)
    ]
    begin = next((number for number, line in enumerate(lines) if REFUSAL in line), 0)
    return lines[begin:][-REASON_LINES:]


def service(instance: Instance) -> Finding:
    """Whether the instance runs and answers."""
    slot = instance.layout.slot()
    if not instance.gateway_runs():
        return Finding(FAIL, "service", "the gateway is stopped: litellm-proxyctl start", Exit.DOWN)
    if not instance.service.running(slot):
        return Finding(FAIL, "service", "the instance is stopped: litellm-proxyctl start", Exit.DOWN)
    if not instance.client(slot).alive():
        return Finding(FAIL, "service", "the instance runs and does not answer: litellm-proxyctl logs", Exit.DOWN)
    where = f" in slot {slot}" if slot else ""
    return Finding(OK, "service", f"generation {instance.layout.generation()} answers{where}")


def gateway(instance: Instance) -> Finding:
    """Whether the gateway sends requests to the instance."""
    slot = instance.layout.slot()
    try:
        up = instance.server(slot).up()
    except Gone as error:
        return Finding(FAIL, "gateway", f"does not answer ({error}): systemctl status litellm-gateway")
    if up:
        return Finding(OK, "gateway", f"sends requests to slot {slot}")
    return Finding(FAIL, "gateway", f"takes slot {slot} for down: journalctl -t litellm-gateway", Exit.DOWN)


def upstream(url: str, settings: Settings) -> Finding:
    """Whether an upstream is reached; any HTTP answer shows that it is."""
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        trust = ssl.create_default_context(cafile=settings.ca_bundle)
        connection = http.client.HTTPSConnection(host, port, timeout=UPSTREAM_SECONDS, context=trust)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=UPSTREAM_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        connection.getresponse()
    except ssl.SSLCertVerificationError as error:
        return Finding(
            FAIL, "upstream", f"{url} has a certificate that is not trusted ({error.verify_message}): see "
            "litellm_proxy_ca_bundle",
        )  # fmt: skip
    except socket.gaierror as error:
        return Finding(FAIL, "upstream", f"{url}: the name {host} is not found ({error.strerror}): see the host's DNS")
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        return Finding(FAIL, "upstream", f"{url} is not reached ({reason}): see the host's firewall and routes")
    finally:
        connection.close()
    return Finding(OK, "upstream", f"{url} is reached")


def keys(client: Client) -> Iterator[Finding]:
    """State and last answer of each key."""
    try:
        pool = client.pool()
    except Failure as failure:
        yield Finding(FAIL, "keys", str(failure), failure.code)
        return
    if pool is None:
        yield Finding(OK, "keys", OWN_STRATEGY)
        return
    for key in pool["keys"]:
        yield _key(key)


def _key(key: dict[str, Any]) -> Finding:
    state = str(key.get("state"))
    text = f"{key.get('name')} is {state}"
    if key.get("reason"):
        text += f" ({key['reason']})"
    if key.get("until"):
        text += f" until {key['until']}"
    text += f", last answer {key['last_code']} at {key.get('last_at')}" if key.get("last_code") else ", not used yet"
    if state == "out":
        text += ": correct it at Z.AI, then playbooks/enable_key.yml, or give it a new value"
    return Finding(STATES.get(state, WARN), "key", text)
