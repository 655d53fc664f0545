"""An entry of litellm_proxy_client_keys, made from what an operator gives on the command line."""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timezone
from typing import Any

LIMITS = ("rpm", "max_parallel_requests", "monthly_tokens")
OPTIONS = ("pools", *LIMITS, "monthly_budget", "expires")
RESERVED = ("master",)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{3}|\.\d{6})?)?([zZ]|[+-]\d{2}:\d{2})?)?", re.ASCII)
"""What the role takes, too: of ISO 8601 the forms that every Python reads alike."""
MOST = 10**15


def name_fault(name: str) -> str:
    """What is wrong with a client's name; empty where it can be used."""
    if not name:
        return "Which client? Give a name: -e name=alice."
    if not NAME.fullmatch(name):
        return (
            f"name is {name!r}: use up to 63 lower-case letters, digits, '.', '_' and '-', a letter or digit first, "
            "such as -e name=alice."
        )
    if name in RESERVED:
        return f"name is {name!r}, which stands for the master key in reports: use another one."
    return ""


def url_fault(url: str) -> str:
    """What is wrong with the endpoint's address; empty where it is right or left out."""
    if not url or URL.fullmatch(url):
        return ""
    return f"url is {url!r}: use the endpoint's address as clients reach it, such as https://llm.example.com:4000."


def limits(given: Mapping[str, Any], pools: list[str], now: datetime) -> tuple[dict[str, Any], list[str]]:
    """Judge the options that make up an entry's limits; None and an empty text count as not given.

    Args:
        given: the options by name; numbers may be texts, as `-e rpm=60` gives them, and pools one text with commas.
        pools: names of the pools that there are; empty where they are not known.
        now: the present moment, with a time zone.

    Returns:
        The entry's fields, and the faults, one sentence each.
    """
    present = {name: given[name] for name in OPTIONS if given.get(name) not in (None, "")}
    entry: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in present.items():
        try:
            entry[name] = _pools(value, pools) if name == "pools" else _option(name, value, now)
        except ValueError as fault:
            faults.append(f"{name} is {_shown(value)}: {fault}.")
    return entry, faults


def _option(name: str, value: object, now: datetime) -> Any:
    if name == "expires":
        return _expires(value, now)
    return _money(value) if name == "monthly_budget" else _whole_number(value)


def _whole_number(value: object) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,16}", str(value)) or not 1 <= int(str(value)) <= MOST:
        raise ValueError("use a whole number of 1 or more, or leave it out for no limit")
    return int(str(value))


def _money(value: object) -> float:
    try:
        amount = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        amount = math.nan
    if not 0 < amount <= MOST:
        raise ValueError("use US dollars above 0, such as 20 or 12.5, or leave it out for no limit")
    return amount


def _expires(value: object, now: datetime) -> str:
    # a date that YAML has read already
    text = value.isoformat() if isinstance(value, date) else str(value).strip()
    try:
        if not MOMENT.fullmatch(text):
            raise ValueError(text)
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))  # Python 3.10 knows no Z
    except ValueError:
        raise ValueError("use a date such as 2027-01-31, or a moment such as 2027-01-31T18:00:00Z") from None
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        # valid through that day
        moment = moment.replace(hour=23, minute=59, second=59, tzinfo=timezone.utc)
    elif moment.tzinfo is None:
        raise ValueError("say in which time zone: 2027-01-31T18:00:00Z is UTC, 2027-01-31T18:00:00+01:00 an hour ahead")
    if moment <= now:
        raise ValueError("this is over already, use a later one")
    return text


def _pools(value: object, known: list[str]) -> list[str]:
    names = list(_names(value))
    if not names:
        raise ValueError("name at least one pool, or leave it out for all")
    if len(set(names)) < len(names):
        raise ValueError("name each pool once")
    missing = [name for name in names if known and name not in known]
    if missing:
        raise ValueError(f"there is no pool {', '.join(missing)} in litellm_proxy_pools, which has {', '.join(known)}")
    return names


def _names(value: object) -> Iterator[str]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError("use names of litellm_proxy_pools, as a list or with commas between them")
    for item in items:
        if not isinstance(item, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]*", item.strip()):
            raise ValueError("use names of litellm_proxy_pools, as a list or with commas between them")
        yield item.strip()


def _shown(value: object) -> str:
    return repr(value.isoformat() if isinstance(value, date) else value)
