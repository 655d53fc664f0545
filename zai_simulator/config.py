"""The table of accounts and keys: its shape, and reading it from a file or from the control API."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from .errors import BY_CODE, QUOTA_CODES

PLANS = ("general", "coding")
MIN_KEY_LENGTH = 8


class ConfigError(ValueError):
    """The table is not usable; the text names the field and what it must be, never a key's value."""


@dataclass(frozen=True)
class Fault:
    """How a key or an account fails on purpose.

    Attributes:
        code: Error code of the answer.
        status: HTTP status instead of the code's own.
        message: Text instead of the code's own.
        http_status: Plain gateway page with this status and no code.
        times: How many requests it strikes; None for every one.
        as_200: The error body comes with HTTP status 200.
        mid_stream: It strikes streamed requests only, after their first two chunks.
        stage: ``close`` drops the connection without an answer.
        hang: Seconds for which the request is held before the rest happens.
        echo_key: The message repeats the API key.
        reset_in: Seconds until the reset time that quota codes state.
    """

    code: str | None = None
    status: int | None = None
    message: str | None = None
    http_status: int | None = None
    times: int | None = None
    as_200: bool = False
    mid_stream: bool = False
    stage: str | None = None
    hang: float | None = None
    echo_key: bool = False
    reset_in: float | None = None

    @property
    def fails(self) -> bool:
        """Whether it ends requests, rather than only holding them up."""
        return self.code is not None or self.http_status is not None or self.stage is not None

    @property
    def at_the_door(self) -> bool:
        """Whether it strikes before the request counts against any limit."""
        return self.fails and not self.mid_stream and self.hang is None


@dataclass(frozen=True)
class Quota:
    """So many answers in a window that starts with the first of them.

    Attributes:
        requests: Answers in one window.
        window: Its length in seconds.
        code: Code of the refusals once they are used up.
    """

    requests: int
    window: float
    code: str = "1308"


@dataclass(frozen=True)
class Account:
    """One Z.AI account; every limit is shared by all its keys.

    Attributes:
        name: Its name in the table.
        max_parallel_requests: Requests in flight for each model; None for no limit.
        rpm: Requests in any 60 seconds; None for no limit.
        latency: Seconds to the first byte of an answer.
        token_interval: Seconds between two chunks of a stream.
        chunks: Least number of chunks in which a stream carries its text.
        models: Models the account is entitled to; None for all.
        quota: Answers in a window; None for no limit.
        fault: How all its keys fail on purpose.
    """

    name: str
    max_parallel_requests: int | None = None
    rpm: int | None = None
    latency: float = 0.0
    token_interval: float = 0.0
    chunks: int = 1
    models: tuple[str, ...] | None = None
    quota: Quota | None = None
    fault: Fault | None = None


@dataclass(frozen=True)
class Key:
    """One API key.

    Attributes:
        name: Its name in the table, in statistics and in logs.
        key: The secret itself; it is in no text form of this object.
        account: Name of its account.
        plan: ``general`` or ``coding``.
        revoked: Whether the upstream has withdrawn it.
        fault: How it fails on purpose; goes before the account's.
    """

    name: str
    key: str = field(repr=False)
    account: str
    plan: str = "general"
    revoked: bool = False
    fault: Fault | None = None


@dataclass(frozen=True)
class Config:
    """The whole table, by name."""

    accounts: Mapping[str, Account] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)

    def with_account(self, account: Account) -> Config:
        """Return the table with that account added or put in place of its namesake."""
        return replace(self, accounts={**self.accounts, account.name: account})

    def with_key(self, key: Key) -> Config:
        """Return the table with that key added or put in place of its namesake.

        Raises:
            ConfigError: Its account is not in the table, or its secret is another key's.
        """
        where = f"keys.{key.name}"
        if key.account not in self.accounts:
            raise ConfigError(f"{where}.account: no account named {key.account!r} under accounts")
        for other in self.keys.values():
            if other.name != key.name and other.key == key.key:
                raise ConfigError(f"{where}.key: the same value as keys.{other.name}.key")
        return replace(self, keys={**self.keys, key.name: key})

    def without_key(self, name: str) -> Config:
        """Return the table without that key."""
        return replace(self, keys={k: v for k, v in self.keys.items() if k != name})


def load_config(path: Path) -> Config:
    """Read the table from a YAML or JSON file.

    Raises:
        ConfigError: The file cannot be read or its content is not a usable table.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    try:
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: line {error.lineno}: {error.msg}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path} is not YAML: line {line}: {error.problem}") from None
    except yaml.YAMLError:
        raise ConfigError(f"{path} is not YAML") from None
    return parse_config(data)


def parse_config(data: object) -> Config:
    """Make the table from ``{accounts: {NAME: {...}}, keys: [{name, key, account, ...}]}``.

    Raises:
        ConfigError: A field is missing, unknown or of the wrong kind.
    """
    top = _mapping(data, "config")
    _known(top, ("accounts", "keys"), "")
    config = Config()
    for name, values in _mapping(top.get("accounts") or {}, "accounts").items():
        config = config.with_account(parse_account(str(name), values or {}))
    entries = top.get("keys") or []
    if not isinstance(entries, list):
        raise ConfigError("keys: must be a list of mappings")
    for index, entry in enumerate(entries):
        values = dict(_mapping(entry, f"keys[{index}]"))
        name = _text(values.pop("name", None), f"keys[{index}].name")
        if name in config.keys:
            raise ConfigError(f"keys[{index}].name: {name!r} is there twice")
        config = config.with_key(parse_key(name, values))
    return config


def parse_account(name: str, values: object, base: Account | None = None) -> Account:
    """Make an account from its fields; those not given keep what ``base`` has.

    Raises:
        ConfigError: A field is unknown or of the wrong kind.
    """
    where = f"accounts.{name}"
    given = _read(_mapping(values, where), _ACCOUNT_FIELDS, where)
    return replace(base or Account(name), **given)


def parse_key(name: str, values: object, base: Key | None = None) -> Key:
    """Make a key from its fields; those not given keep what ``base`` has.

    Raises:
        ConfigError: A field is unknown, missing or of the wrong kind.
    """
    where = f"keys.{name}"
    given = _read(_mapping(values, where), _KEY_FIELDS, where)
    if base is not None:
        return replace(base, **given)
    for required in ("key", "account"):
        if required not in given:
            raise ConfigError(f"{where}.{required}: is required")
    return Key(name=name, **given)


Reader = Callable[[object, str], Any]


def _read(values: Mapping[str, object], readers: Mapping[str, Reader], where: str) -> dict[str, Any]:
    _known(values, readers, where)
    return {name: readers[name](value, f"{where}.{name}") for name, value in values.items()}


def _known(values: Mapping[str, object], names: Collection[str], where: str) -> None:
    for name in values:
        if name not in names:
            prefix = f"{where}." if where else ""
            raise ConfigError(f"{prefix}{name}: unknown field; known are {', '.join(names)}")


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: must be a mapping")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: must be a text that is not empty")
    return value


def _secret(value: object, where: str) -> str:
    text = _text(value, where)
    if len(text) < MIN_KEY_LENGTH or any(c.isspace() for c in text):
        raise ConfigError(f"{where}: must have at least {MIN_KEY_LENGTH} characters and no white space")
    return text


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: must be true or false")
    return value


def _one_of(*allowed: str) -> Reader:
    def read(value: object, where: str) -> str:
        if value not in allowed:
            raise ConfigError(f"{where}: must be one of {', '.join(allowed)}")
        return str(value)

    return read


def _whole(least: int) -> Reader:
    def read(value: object, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{where}: must be a whole number, at least {least}")
        return value

    return read


def _seconds(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigError(f"{where}: must be a number of seconds, at least 0")
    return float(value)


def _http_status(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 599:
        raise ConfigError(f"{where}: must be an HTTP status from 200 to 599")
    return value


def _models(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{where}: must be a list of model names")
    return tuple(item.lower() for item in value)


def _code(value: object, where: str) -> str:
    text = str(value)
    if isinstance(value, bool) or not text.isdigit():
        raise ConfigError(f"{where}: must be an error code")
    return text


def _quota(value: object, where: str) -> Quota:
    given = _read(_mapping(value, where), _QUOTA_FIELDS, where)
    for required in ("requests", "window"):
        if required not in given:
            raise ConfigError(f"{where}.{required}: is required")
    quota = Quota(**given)
    if quota.code not in QUOTA_CODES:
        raise ConfigError(f"{where}.code: must be one of {', '.join(sorted(QUOTA_CODES))}")
    return quota


def _fault(value: object, where: str) -> Fault:
    fault = Fault(**_read(_mapping(value, where), _FAULT_FIELDS, where))
    if not fault.fails and fault.hang is None:
        raise ConfigError(f"{where}: needs one of code, http_status, stage, hang")
    if fault.code is not None and fault.http_status is not None:
        raise ConfigError(f"{where}.http_status: means an answer without a code; use status beside code")
    if fault.code is not None and fault.code not in BY_CODE and not (fault.status and fault.message):
        raise ConfigError(f"{where}.code: {fault.code} is not in the table; give status and message too")
    if fault.mid_stream and not fault.fails:
        raise ConfigError(f"{where}.mid_stream: needs one of code, http_status, stage")
    return fault


def _or_none(read: Reader) -> Reader:
    return lambda value, where: None if value is None else read(value, where)


_FAULT_FIELDS: dict[str, Reader] = {
    "code": _code,
    "status": _http_status,
    "message": _text,
    "http_status": _http_status,
    "times": _whole(1),
    "as_200": _flag,
    "mid_stream": _flag,
    "stage": _one_of("close"),
    "hang": _seconds,
    "echo_key": _flag,
    "reset_in": _seconds,
}
_QUOTA_FIELDS: dict[str, Reader] = {"requests": _whole(0), "window": _seconds, "code": _code}
_ACCOUNT_FIELDS: dict[str, Reader] = {
    "max_parallel_requests": _or_none(_whole(0)),
    "rpm": _or_none(_whole(0)),
    "latency": _seconds,
    "token_interval": _seconds,
    "chunks": _whole(1),
    "models": _or_none(_models),
    "quota": _or_none(_quota),
    "fault": _or_none(_fault),
}
_KEY_FIELDS: dict[str, Reader] = {
    "key": _secret,
    "account": _text,
    "plan": _one_of(*PLANS),
    "revoked": _flag,
    "fault": _or_none(_fault),
}


def describe(entry: Account | Key) -> dict[str, object]:
    """Return an entry's fields for the control API, without the secret."""
    shown: dict[str, object] = {}
    for item in fields(entry):
        value = getattr(entry, item.name)
        if item.name == "key":
            continue
        if isinstance(value, Fault | Quota):
            value = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name)}
        shown[item.name] = value
    return shown
