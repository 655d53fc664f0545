"""Errors as the client's own API writes them."""

import json
import math
from dataclasses import dataclass
from typing import Any

from glm_pool.faults import Fault, Kind
from glm_pool.tickets import Reason, Refusal

OPENAI, ANTHROPIC = "openai", "anthropic"

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {**_OPENAI_TYPES, 413: "request_too_large", 529: "overloaded_error"}


@dataclass(frozen=True)
class ClientError:
    """What a client is told.

    Attributes:
        status: HTTP status.
        code: Z.AI's code or the pool's own word.
        message: without any secret.
        retry_after: seconds; None when trying again does not help by itself.
        retry: whether the client's program should try again by itself.
    """

    status: int
    code: str
    message: str
    retry_after: int | None = None
    retry: bool = True

    def document(self, api: str) -> dict[str, Any]:
        """The body in the format of an API, `openai` or `anthropic`."""
        types = _ANTHROPIC_TYPES if api == ANTHROPIC else _OPENAI_TYPES
        kind = types.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        if api == ANTHROPIC:
            return {"type": "error", "error": {"type": kind, "code": self.code, "message": self.message}}
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.code}}

    def body(self, api: str) -> bytes:
        """`document` as bytes."""
        return json.dumps(self.document(api), ensure_ascii=False).encode()

    def event(self, api: str) -> bytes:
        """The error as an event of a stream that has begun."""
        prefix = b"event: error\n" if api == ANTHROPIC else b""
        return prefix + b"data: " + self.body(api) + b"\n\n"

    def headers(self) -> dict[str, str]:
        """Headers that belong to the body."""
        headers = {"content-type": "application/json"}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if not self.retry:
            headers["x-should-retry"] = "false"  # the SDKs go by it
        return headers


def api_of(path: str) -> str:
    """The API whose format the client of a path reads."""
    return ANTHROPIC if "/messages" in path else OPENAI


def of_request(fault: Fault) -> ClientError:
    """The upstream does not take the request as it is."""
    return ClientError(fault.status, fault.code, fault.message or "The upstream refused the request.")


def in_stream(fault: Fault) -> ClientError:
    """The upstream failed after the answer had begun."""
    said = f": {fault.message}" if fault.message else ""
    return ClientError(fault.status, fault.code, f"The upstream broke off the answer ({fault.code}){said}")


def unavailable(pool: str, refusal: Refusal, faults: list[tuple[str, Fault]]) -> ClientError:
    """The pool can not serve the request.

    Args:
        pool: its name.
        refusal: why.
        faults: key name and fault of each try of this request.
    """
    seconds = None if refusal.retry_after is None else max(1, math.ceil(refusal.retry_after))
    again = "" if seconds is None else f" Try again in {seconds} s."
    if refusal.reason in (Reason.QUEUE_FULL, Reason.QUEUE_TIMEOUT):
        full = refusal.reason is Reason.QUEUE_FULL
        what = "has too many waiting requests" if full else "had no free slot within the time that requests may wait"
        return ClientError(429, refusal.reason.value, f"Pool {pool} {what}.{again}", seconds)
    if refusal.reason is Reason.TRIED:
        said = "; ".join(f"{key}: {fault.code}" for key, fault in faults)
        message = f"No key of pool {pool} could serve the request ({said}).{again}"
        return ClientError(_status_of(faults), refusal.reason.value, message, seconds)
    if refusal.reason is Reason.RESTING:
        return ClientError(429, refusal.reason.value, f"Every key of pool {pool} is resting.{again}", seconds)
    return ClientError(
        503, refusal.reason.value, f"Pool {pool} has no key in service; its operator has to act (see /pool/status)."
    )


def _status_of(faults: list[tuple[str, Fault]]) -> int:
    """Limits: 429. Nothing but failures of the upstream: the last one's status. Refused keys only: 503."""
    kinds = [fault.kind for _, fault in faults]
    if Kind.TRANSIENT in kinds or Kind.QUOTA in kinds:
        return 429
    last = [fault.status for _, fault in faults if fault.kind is Kind.SERVER]
    return last[-1] if last else 503
