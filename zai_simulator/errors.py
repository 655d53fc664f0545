"""Z.AI's error codes as data, and the refusal that carries one of them to the client."""

from __future__ import annotations

from dataclasses import dataclass

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True)
class ErrorCode:
    """One business error code.

    Attributes:
        code: The number that stands in the body's ``error.code``, as text.
        status: HTTP status that goes with it.
        message: Text; ``{reset}``, ``{model}``, ``{field}`` and ``{units}`` are filled in.
        window: For quota codes the length of the window in seconds when nothing else states it.
    """

    code: str
    status: int
    message: str
    window: float | None = None


_RESET = "Your limit will reset at {reset}"

ERROR_CODES: tuple[ErrorCode, ...] = (
    # Who is asking
    ErrorCode("1000", 401, "Authentication Failed"),
    ErrorCode("1001", 401, "Authentication parameter not received in Header, unable to authenticate"),
    ErrorCode("1002", 401, "Invalid Authentication Token, please check that it is sent correctly"),
    ErrorCode("1003", 401, "Authentication Token expired, please obtain a new one"),
    ErrorCode("1004", 401, "Authentication failed with the provided Authentication Token"),
    ErrorCode("1005", 401, "The API key has been disabled"),
    # The account and its plan
    ErrorCode("1113", 429, "Insufficient balance or no resource package. Please recharge."),
    ErrorCode("1220", 403, "You do not have permission to access {model}"),
    ErrorCode("1309", 429, "Your GLM Coding Plan package has expired. Please renew it to go on."),
    ErrorCode("1311", 429, "The current subscription plan does not include access to {model}"),
    ErrorCode("1313", 429, "Your account's usage does not comply with the Fair Usage Policy and is restricted."),
    ErrorCode("1314", 429, "Your account's access to the GLM Coding Plan is suspended."),
    ErrorCode("1315", 429, "Your account is not entitled to this resource."),
    # The request
    ErrorCode("1210", 400, "Invalid API parameter, please check the documentation. {field}"),
    ErrorCode("1211", 400, "Unknown Model, please check the model code."),
    ErrorCode("1214", 400, "The {field} parameter is invalid. Please check the documentation."),
    ErrorCode("1301", 400, "System detected potentially unsafe or sensitive content in input or generation."),
    # For a moment
    ErrorCode("1302", 429, "Rate limit reached for requests: too many at the same time"),
    ErrorCode("1303", 429, "Rate limit reached for requests: too many in a short time"),
    ErrorCode("1305", 429, "The service may be temporarily overloaded, please try again later"),
    # For the rest of a window
    ErrorCode("1308", 429, "Usage limit reached for {units}. " + _RESET, 5 * HOUR),
    ErrorCode("1310", 429, "Weekly/Monthly Limit Exhausted. " + _RESET, 7 * DAY),
    ErrorCode("1316", 429, "Daily usage limit reached. " + _RESET, DAY),
    ErrorCode("1317", 429, "Usage limit reached for {units}, credits used up. " + _RESET, 5 * HOUR),
    ErrorCode("1318", 429, "Weekly credits used up. " + _RESET, 7 * DAY),
    ErrorCode("1319", 429, "Monthly credits used up. " + _RESET, 30 * DAY),
    ErrorCode("1320", 429, "Seat usage limit reached. " + _RESET, 5 * HOUR),
    ErrorCode("1321", 429, "Team usage limit reached. " + _RESET, 7 * DAY),
)

BY_CODE = {entry.code: entry for entry in ERROR_CODES}
QUOTA_CODES = frozenset(entry.code for entry in ERROR_CODES if entry.window is not None)

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def anthropic_type(status: int) -> str:
    """Return the ``error.type`` with which the Anthropic format names an HTTP status."""
    return _ANTHROPIC_TYPES.get(status, "api_error")


class Refusal(Exception):
    """A request ends with an error answer.

    Attributes:
        code: Text of ``error.code``; None for a gateway's plain page that carries no code.
        status: HTTP status of the answer.
        message: Text of ``error.message``.
        label: Name under which the statistics count it: the code, or ``http_502`` and the like.
    """

    def __init__(self, code: str | None, status: int, message: str) -> None:
        """Hold what the error answer will say."""
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.label = code if code is not None else f"http_{status}"


def refusal(
    code: str,
    *,
    field: str = "",
    model: str = "this model",
    reset: str = "",
    window: float | None = None,
) -> Refusal:
    """Make the refusal that belongs to a code of the table.

    Args:
        code: A code of ``ERROR_CODES``; raises KeyError for any other.
        field: Name of the request field at fault, for the codes whose message names it.
        model: Model name, for the codes whose message names it.
        reset: End of the quota window in the upstream's notation.
        window: Length of the quota window in seconds.
    """
    entry = BY_CODE[code]
    units = _units(window if window is not None else entry.window or 0.0)
    message = entry.message.format(field=field, model=model, reset=reset, units=units).strip()
    return Refusal(entry.code, entry.status, message)


def _units(seconds: float) -> str:
    for size, name in ((DAY, "day"), (HOUR, "hour"), (60.0, "minute")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {name}"
    return f"{seconds:g} second"
