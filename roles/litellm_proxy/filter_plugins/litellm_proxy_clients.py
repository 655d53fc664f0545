"""Filters for the named keys of clients: what is wrong with them, and the file that the proxy reads."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timezone
from itertools import combinations
from typing import Any

FIELDS = {
    "name", "key", "key_sha256", "pools", "rpm", "max_parallel_requests", "monthly_tokens", "monthly_budget",
    "expires", "state",
}  # fmt: skip
STATES = ("active", "revoked")
PRICE_KINDS = ("input", "cached", "output")
RESERVED = ("master",)
KEY_LENGTH, KEY_VARIETY = 32, 10
SECONDS_A_DAY = 86400
MOST = 10**15
VARIABLE = "litellm_proxy_client_keys"

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
KEY = re.compile(r"[!-~]+")
SHA256 = re.compile(r"[0-9a-f]{64}")
PLACEHOLDER = re.compile(r"change.?me|replace|your[-_ ]|placeholder|example|dummy|todo|xxxx|<|>|\.\.\.", re.IGNORECASE)
RANDOM_KEY = re.compile(r"sk-(?=.*[a-z])(?=.*[A-Z])(?=(.*[0-9]){3})[A-Za-z0-9_-]{32,}")
"""What may hold a placeholder's word by chance."""
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
MOMENT = re.compile(DAY.pattern + r"[T ]\d{2}:\d{2}(:\d{2}(\.\d{3}|\.\d{6})?)?([zZ]|[+-]\d{2}:\d{2})?", re.ASCII)
MAKE = "make one with playbooks/new_client.yml, or: echo sk-$(openssl rand -hex 24)"

Settings = Mapping[str, Any]


def faults(settings: Settings) -> list[str]:
    """List everything that is wrong with the clients, one sentence each; none repeats a secret.

    Args:
        settings: the role's public variables by name.
    """
    if settings["litellm_proxy_state"] == "absent":
        return []
    found = [*_master_key_answers(settings), *_prices(settings), *_usage_days(settings)]
    clients = settings[VARIABLE]
    if not isinstance(clients, list) or not all(isinstance(client, Mapping) for client in clients):
        return [f"{VARIABLE} must be a list of entries, each with 'name' and 'key'.", *found]
    pools = [str(pool.get("name")) for pool in _mappings(settings["litellm_proxy_pools"])]
    for index, client in enumerate(clients):
        found.extend(_entry(f"{VARIABLE}[{index}] ({_shown(client)})", client, pools))
    found.extend(_doubles(clients))
    found.extend(_others_keys(settings, clients))
    return found


def document(settings: Settings) -> dict[str, Any]:
    """What the proxy reads, with hashes instead of keys; for settings that `faults` finds nothing in."""
    return {
        "master_key_answers": bool(settings["litellm_proxy_master_key_answers"]),
        "usage_days": int(settings["litellm_proxy_usage_days"]),
        "prices": {
            str(model): {kind: float(usd) for kind, usd in price.items()}
            for model, price in settings["litellm_proxy_prices"].items()
        },
        "clients": [
            {
                "name": client["name"],
                "sha256": _digest(client),
                "state": str(client.get("state") or "active"),
                **{
                    field: int(client[field])
                    for field in ("rpm", "max_parallel_requests", "monthly_tokens")
                    if client.get(field) is not None
                },
                **(
                    {"monthly_budget": float(client["monthly_budget"])}
                    if client.get("monthly_budget") is not None
                    else {}
                ),
                **({"pools": sorted(client["pools"])} if client.get("pools") is not None else {}),
                **({"expires": expiry(client["expires"])} if client.get("expires") is not None else {}),
            }
            for client in settings[VARIABLE]
        ],
    }


def expiry(value: object) -> int:
    """The moment from which on a key is refused, seconds since the epoch; a date is valid through it, UTC.

    Raises:
        ValueError: neither a date nor a moment of ISO 8601.
    """
    text = value.isoformat() if isinstance(value, date) else str(value).strip()
    if DAY.fullmatch(text):
        return _seconds(datetime.fromisoformat(text)) + SECONDS_A_DAY
    if not MOMENT.fullmatch(text):
        raise ValueError(text)
    # Python 3.10 knows no Z
    return _seconds(datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text)))


def _seconds(moment: datetime) -> int:
    """Since the epoch; without a zone it is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return int(aware.timestamp())


def _entry(where: str, client: Mapping[str, Any], pools: Sequence[str]) -> Iterator[str]:
    for unknown in sorted(map(str, set(client) - FIELDS)):
        yield f"{where} has an unknown field {_said(unknown)}: use {', '.join(sorted(FIELDS))}."
    name = client.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        yield (
            f"{where} needs a 'name' of lower-case letters, digits, '.', '_' and '-', 63 at most (a number in quotes)."
        )
    elif name in RESERVED:
        yield f"{where} has the name {name}, under which the master key's requests are counted: use another one."
    yield from _key(where, client)
    yield from _limits(where, client)
    allowed = client.get("pools")
    if allowed is not None:
        if not isinstance(allowed, list) or not allowed:
            yield f"{where} needs 'pools' as a list of one name or more; leave it out for all."
        else:
            for pool in allowed:
                if pool not in pools:
                    known = ", ".join(pools)
                    yield f"{where} names the pool {_said(pool)}, which litellm_proxy_pools has not: {known}."
    if client.get("state") is not None and client["state"] not in STATES:
        yield f"{where} has the unknown state {_said(client['state'])}: use one of {', '.join(STATES)}."
    if client.get("expires") is not None:
        try:
            expiry(client["expires"])
        except ValueError:
            given = _said(client["expires"])
            yield f"{where} has expires {given}: use a date, such as 2027-01-31, or a moment of ISO 8601."


def _key(where: str, client: Mapping[str, Any]) -> Iterator[str]:
    key, digest = client.get("key"), client.get("key_sha256")
    if key and digest:
        yield f"{where} has 'key' and 'key_sha256': keep one of them."
    elif digest:
        if not isinstance(digest, str) or not SHA256.fullmatch(digest):
            yield f"{where} has a malformed 'key_sha256': use what this prints: printf %s KEY | sha256sum"
    elif not key:
        yield f"{where} has no 'key': {MAKE}; keep it in the vault."
    elif not isinstance(key, str):
        yield f"{where} has a malformed 'key' (not a text): quote the value in the vault."
    elif PLACEHOLDER.search(key) and not RANDOM_KEY.fullmatch(key):
        yield f"{where} has a placeholder as 'key': {MAKE}; keep it in the vault."
    elif not KEY.fullmatch(key):
        yield f"{where} has a 'key' with white space or characters that no HTTP header carries: {MAKE}."
    elif len(key) < KEY_LENGTH or len(set(key)) < KEY_VARIETY:
        yield f"{where} has a weak 'key' (it needs {KEY_LENGTH} characters, {KEY_VARIETY} of them different): {MAKE}."


def _limits(where: str, client: Mapping[str, Any]) -> Iterator[str]:
    for field in ("rpm", "max_parallel_requests", "monthly_tokens"):
        if client.get(field) is not None and not _whole_number(client[field], 1):
            yield f"{where} has {field} {_said(client[field])}: use a whole number of 1 or more, or leave it out."
    budget = client.get("monthly_budget")
    if budget is not None and not _amount(budget):
        yield f"{where} has monthly_budget {_said(budget)}: use USD, a number above 0, or leave it out."


def _doubles(clients: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for (i, one), (j, other) in combinations(enumerate(clients), 2):
        if one.get("name") and one.get("name") == other.get("name"):
            yield f"{VARIABLE}[{i}] and [{j}] have the same name ({_shown(other)}): names tell keys apart, rename one."
        if _digest(one) and _digest(one) == _digest(other):
            yield (
                f"{VARIABLE}[{i}] ({_shown(one)}) and [{j}] ({_shown(other)}) hold the same key: each client needs its "
                "own, or neither can be told from the other; replace one."
            )


def _others_keys(settings: Settings, clients: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    keys = [key.get("key") for key in _mappings(settings["litellm_proxy_zai_keys"])]
    taken = {
        _hash(settings["litellm_proxy_master_key"]): "litellm_proxy_master_key",
        **{_hash(key): "a key of litellm_proxy_zai_keys" for key in keys},
    }
    for index, client in enumerate(clients):
        if owner := taken.get(_digest(client) or "none"):
            yield f"{VARIABLE}[{index}] ({_shown(client)}) equals {owner}: {MAKE}."


def _master_key_answers(settings: Settings) -> Iterator[str]:
    name = "litellm_proxy_master_key_answers"
    if not isinstance(settings[name], bool):
        yield f"{name} is {settings[name]!r}: use true or false."


def _usage_days(settings: Settings) -> Iterator[str]:
    name = "litellm_proxy_usage_days"
    if not _whole_number(settings[name], 1) or int(settings[name]) > 10_000:
        yield f"{name} is {settings[name]!r}: use a whole number from 1 to 10000."


def _prices(settings: Settings) -> Iterator[str]:
    name, prices = "litellm_proxy_prices", settings["litellm_proxy_prices"]
    if not isinstance(prices, Mapping):
        yield f"{name} must be a mapping by upstream model, such as glm-5.3: {{input: 1.4, cached: 0.26, output: 4.4}}."
        return
    for model, price in prices.items():
        good = isinstance(price, Mapping) and {"input", "output"} <= set(price) <= set(PRICE_KINDS)
        if not good or not all(_number(usd) for usd in price.values()):
            yield (
                f"{name}[{model!r}] needs numbers of 0 or more for input, output and, if it differs, cached: USD per "
                "million tokens."
            )


def _mappings(entries: object) -> list[Mapping[str, Any]]:
    """The entries that are mappings; the role's other validator tells of the rest."""
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


def _digest(client: Mapping[str, Any]) -> str:
    return str(client.get("key_sha256") or _hash(client.get("key")))


def _hash(key: object) -> str:
    return hashlib.sha256(key.encode()).hexdigest() if isinstance(key, str) and key else ""


def _shown(client: Mapping[str, Any]) -> str:
    """The name, unless it is a key in the wrong place."""
    name = str(client.get("name") or "no name")
    return name if len(name) < KEY_LENGTH else "a long name, not shown"


def _said(value: object) -> str:
    """A value as it was given, unless it may be a key in the wrong place."""
    text = repr(value)
    return text if len(text) < KEY_LENGTH else "something long, not shown"


def _whole_number(value: object, lowest: int) -> bool:
    digits = not isinstance(value, bool) and re.fullmatch(r"[0-9]{1,16}", str(value)) is not None
    return digits and lowest <= int(str(value)) <= MOST


def _number(value: object) -> bool:
    """Something from 0 on; a float's own text may have an exponent."""
    digits = not isinstance(value, bool) and re.fullmatch(r"[0-9]{1,16}(\.[0-9]+)?(e-?[0-9]{1,3})?", str(value))
    return bool(digits) and float(str(value)) <= MOST


def _amount(value: object) -> bool:
    return _number(value) and float(str(value)) > 0


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_proxy_client_faults": faults, "litellm_proxy_clients": document}
