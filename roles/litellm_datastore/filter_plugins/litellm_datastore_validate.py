"""Filters that judge the store's settings on the controller, before any host is touched."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

STATES = ("present", "absent")
HOSTS = (1, 3)
LIMITS = {
    "litellm_datastore_port": (1024, 65535),
    "litellm_datastore_sentinel_port": (1024, 65535),
    "litellm_datastore_down_after": (1, 60),
}
"""Lowest and highest value of each number."""
PASSWORD_LENGTH, PASSWORD_VARIETY = 20, 8

PLACEHOLDER = re.compile(r"change.?me|replace|your[-_ ]|placeholder|example|dummy|todo|xxxx|<|>|\.\.\.", re.IGNORECASE)
# what needs no quotes in redis.conf, and none in a URL
PASSWORD = re.compile(r"[A-Za-z0-9_.~-]+")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MEMORY = re.compile(r"[1-9]\d{0,9}[KMG]")

Settings = Mapping[str, Any]


def faults(settings: Settings) -> list[str]:
    """List everything that is wrong, one sentence each: the variable, what is wrong, what to do.

    Args:
        settings: the role's public variables by name.

    Returns:
        The faults, empty when the settings can work; none repeats a secret.
    """
    if settings["litellm_datastore_state"] == "absent":
        return []
    return [
        *_state(settings),
        *_hosts(settings),
        *_numbers(settings),
        *_password(settings),
        *_names(settings),
        *_tls(settings),
    ]


def _state(settings: Settings) -> Iterator[str]:
    name = "litellm_datastore_state"
    if settings[name] not in STATES:
        yield f"{name} is {settings[name]!r}: use one of {', '.join(STATES)}."


def _hosts(settings: Settings) -> Iterator[str]:
    name, hosts = "litellm_datastore_hosts", settings["litellm_datastore_hosts"]
    if not isinstance(hosts, list) or len(hosts) not in HOSTS or len(set(map(str, hosts))) != len(hosts):
        number = len(hosts) if isinstance(hosts, list) else "no list of"
        yield (
            f"{name} has {number} host(s): put one host into the group litellm_redis, or three, of which any one may "
            "be lost; two could not agree which of them is lost."
        )


def _numbers(settings: Settings) -> Iterator[str]:
    for name, (lowest, highest) in LIMITS.items():
        value = settings[name]
        if isinstance(value, bool) or not re.fullmatch(r"\d+", str(value)) or not lowest <= int(value) <= highest:
            yield f"{name} is {value!r}: use a whole number from {lowest} to {highest}."
    if str(settings["litellm_datastore_port"]) == str(settings["litellm_datastore_sentinel_port"]):
        yield "litellm_datastore_port and litellm_datastore_sentinel_port are the same: use two different ports."


def _password(settings: Settings) -> Iterator[str]:
    name, password = "litellm_datastore_password", settings["litellm_datastore_password"]
    make = "make one with: openssl rand -hex 24; keep it in the vault"
    if not password:
        yield f"{name} is not set: {make}."
    elif not isinstance(password, str) or not PASSWORD.fullmatch(password):
        yield f"{name} has other characters than letters, digits and _ . ~ -: {make}."
    elif PLACEHOLDER.search(password):
        yield f"{name} is a placeholder: {make}."
    elif len(password) < PASSWORD_LENGTH or len(set(password)) < PASSWORD_VARIETY:
        yield (f"{name} is weak (it needs {PASSWORD_LENGTH} characters, {PASSWORD_VARIETY} of them different): {make}.")


def _names(settings: Settings) -> Iterator[str]:
    name = "litellm_datastore_name"
    if not NAME.fullmatch(str(settings[name])):
        yield f"{name} is {settings[name]!r}: use letters, digits, '.', '_' and '-', 63 at most."
    memory = "litellm_datastore_memory_max"
    if not MEMORY.fullmatch(str(settings[memory])):
        yield f"{memory} is {settings[memory]!r}: use a number with K, M or G, such as 256M."


def _tls(settings: Settings) -> Iterator[str]:
    names = [f"litellm_datastore_{part}" for part in ("certificate", "certificate_key", "ca")]
    given = [name for name in names if settings[name]]
    for name in names:
        text = settings[name]
        if given and not text:
            yield f"{name} is not set, and {', '.join(given)} is: TLS needs all three; leave all out for none."
        elif text and "-----BEGIN " not in str(text):
            yield f"{name} is no PEM text: give the content of the file, not its path."


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_datastore_faults": faults}
