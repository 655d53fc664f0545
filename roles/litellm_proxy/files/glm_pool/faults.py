"""What a failed upstream answer means for its key: Z.AI's error codes, as data.

Source of the codes: docs.z.ai, API reference, error codes.
"""

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from glm_pool.masking import Masker


class Kind(enum.Enum):
    """What is done about a fault."""

    TRANSIENT = "transient"  # another key at once, this one rests
    QUOTA = "quota"  # the key is parked until its window ends
    ACCOUNT = "account"  # the key is out until someone acts
    REQUEST = "request"  # back to the client, the key is fine
    SERVER = "server"  # another key at once, this one rests, longer each time


@dataclass(frozen=True)
class Fault:
    """One failed answer of the upstream.

    Attributes:
        kind: what is done about it.
        code: Z.AI's code, or `http_502`, `timeout`, `connection`.
        status: HTTP status for the client, should it come to that.
        message: the upstream's text.
        of_model: concerns the key's use of this model only, not the whole key.
        until: end of the quota window, seconds since the epoch; None when not known.
    """

    kind: Kind
    code: str
    status: int
    message: str
    of_model: bool = False
    until: float | None = None

    def masked(self, masker: Masker) -> "Fault":
        """The fault without secrets in its message."""
        return replace(self, message=masker.text(self.message))


HOUR = 3600.0
FIVE_HOURS, DAY = 5 * HOUR, 24 * HOUR
UPSTREAM_ZONE = timezone(timedelta(hours=8))
LONGEST_WINDOW = 32 * DAY

TRANSIENT_STEPS = {
    "1302": (5.0, 10.0, 20.0, 30.0),
    "1303": (5.0, 10.0, 20.0, 30.0),
    "1305": (30.0, 60.0, 90.0, 120.0),
}
"""Seconds that a key rests after the first, second … failure in a row; the last holds for all later ones."""
PLAIN_429_STEPS = (5.0, 10.0, 20.0, 30.0)
QUOTA_WINDOWS = {
    **dict.fromkeys(("1308", "1317", "1320"), FIVE_HOURS),
    **dict.fromkeys(("1310", "1316", "1318", "1319", "1321"), DAY),
}
"""Seconds that a key is parked when the message states no reset time."""
ACCOUNT_CODES = {"1000", "1001", "1002", "1003", "1004", "1005", "1113", "1309", "1313", "1314", "1315"}
MODEL_CODES = {"1220", "1311"}
REQUEST_CODES = {"1210", "1211", "1213", "1214", "1261", "1301"}

STATUS_OF_TYPES = {
    "invalid_request_error": "400",
    "authentication_error": "401",
    "permission_error": "403",
    "not_found_error": "404",
    "request_too_large": "413",
    "rate_limit_error": "429",
    "overloaded_error": "529",
}
"""The HTTP status that an error stands for where there is neither a code nor a status, as in a stream."""

_RESET = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?")
_CODE_IN_TEXT = re.compile(r"\W*(?:\[(1\d{3})\]|(?:\w+\W{1,3}){0,2}\bcode\W{1,3}(1\d{3})\b)", re.IGNORECASE)
"""At the beginning only: further on a message may quote what the client wrote."""


def rest(fault: Fault, failures: int, longest: float) -> float:
    """Seconds that a key rests.

    Args:
        fault: a transient fault or one of the server.
        failures: failures in a row, this one included, from 1.
        longest: bound of the rest after faults of the server, which grows 1, 2, 4 …
    """
    if fault.kind is Kind.TRANSIENT:
        steps = TRANSIENT_STEPS.get(fault.code, PLAIN_429_STEPS)
        return steps[min(failures, len(steps)) - 1]
    return min(2.0 ** min(failures - 1, 32), longest)


def connection(message: str, *, timeout: bool = False) -> Fault:
    """The upstream was not reached, or went away, or said nothing for too long."""
    if timeout:
        return Fault(Kind.SERVER, "timeout", 504, message)
    return Fault(Kind.SERVER, "connection", 502, message)


def from_answer(status: int, body: bytes, now: float) -> Fault:
    """Judge an answer that is an error by its status."""
    return _judge(status, error_of(_parsed(body)) or ("", ""), now)


def from_success(body: Any, now: float) -> Fault | None:
    """Judge the parsed body of an answer with status 200; None when it is no error."""
    found = error_of(body)
    return None if found is None else _judge(200, found, now)


def error_of(body: Any) -> tuple[str, str] | None:
    """Code and message of an error body: OpenAI's, Anthropic's or the plain `code`, `msg`, `success` form."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if isinstance(error, dict):
        message = str(error.get("message") or "")
        return _code(error, message), message
    if isinstance(error, str):
        return _code(body, error), error
    if body.get("success") is False:
        message = str(body.get("msg") or body.get("message") or "")
        return _code(body, message), message
    return None


def reset_time(message: str, now: float) -> float | None:
    """The reset time that a message states (UTC+8), in seconds since the epoch; None if absent, past or absurd."""
    for match in _RESET.finditer(message):
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
        try:
            moment = datetime(year, month, day, hour, minute, second, tzinfo=UPSTREAM_ZONE).timestamp()
        except ValueError:
            continue
        if now < moment <= now + LONGEST_WINDOW:
            return moment
    return None


def _judge(status: int, error: tuple[str, str], now: float) -> Fault:
    code, message = error
    if re.fullmatch(r"[45]\d\d", code):  # the HTTP status once more, or instead
        status, code = (int(code) if status < 400 else status), ""
    answered = status if status >= 400 else 0
    if code in TRANSIENT_STEPS:
        return Fault(Kind.TRANSIENT, code, 429, message, of_model=True)
    if code in QUOTA_WINDOWS:
        until = reset_time(message, now)
        return Fault(Kind.QUOTA, code, 429, message, until=now + QUOTA_WINDOWS[code] if until is None else until)
    if code in ACCOUNT_CODES or code in MODEL_CODES:
        return Fault(Kind.ACCOUNT, code, answered or 403, message, of_model=code in MODEL_CODES)
    if code in REQUEST_CODES:
        return Fault(Kind.REQUEST, code, answered or 400, message)
    return _judge_status(status, code or f"http_{status}", message)


def _judge_status(status: int, code: str, message: str) -> Fault:
    """Without a code that is known, the HTTP status decides."""
    if status == 429:
        return Fault(Kind.TRANSIENT, code, 429, message, of_model=True)
    if status in (401, 402):
        return Fault(Kind.ACCOUNT, code, status, message)
    if status == 408:
        return connection(message, timeout=True)
    if 400 <= status < 500 and status != 403:  # 403 without a code is a gateway's, not the account's
        return Fault(Kind.REQUEST, code, status, message)
    return Fault(Kind.SERVER, code, status if status >= 500 else 502, message)


def _code(error: Mapping[str, Any], message: str) -> str:
    """The stated code, or the one that an error carries as its type or in its message only."""
    for stated in (error.get("code"), error.get("type")):
        if str(stated).isdigit():
            return str(stated)
    if found := _CODE_IN_TEXT.match(message):
        return found.group(1) or found.group(2)
    return STATUS_OF_TYPES.get(str(error.get("type")), "")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
