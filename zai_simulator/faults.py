"""Failures on purpose: which fault strikes a request, and what the client then sees."""

from __future__ import annotations

from .clock import Clock, reset_text
from .config import Account, Config, Fault, Key
from .errors import BY_CODE, Refusal, refusal

DEFAULT_RESET = 5 * 3600.0


class ConnectionDrop(Exception):
    """A request ends with a closed connection and no answer."""

    label = "closed"


class Strike:
    """One fault that one request met."""

    def __init__(self, fault: Fault, key: Key, clock: Clock) -> None:
        """Hold the fault and whose request it strikes."""
        self.fault = fault
        self._key = key
        self._clock = clock

    def error(self, model: str) -> Refusal | ConnectionDrop:
        """Return how the request ends.

        Args:
            model: Name of the requested model, for the messages that name it.
        """
        fault = self.fault
        if fault.stage == "close":
            return ConnectionDrop()
        if fault.code is None:
            status = fault.http_status or 500
            return Refusal(None, status, self._text(fault.message or f"{status}"))
        entry = BY_CODE.get(fault.code)
        if entry is None:
            made = Refusal(fault.code, fault.status or 500, "")
        else:
            ahead = fault.reset_in if fault.reset_in is not None else entry.window or DEFAULT_RESET
            made = refusal(fault.code, model=model, reset=reset_text(self._clock.now() + ahead))
        status = 200 if fault.as_200 else fault.status or made.status
        return Refusal(fault.code, status, self._text(fault.message or made.message))

    def _text(self, message: str) -> str:
        return f"{message} (API key: {self._key.key})" if self.fault.echo_key else message


class FaultBook:
    """How often each fault may still strike."""

    def __init__(self, clock: Clock) -> None:
        """Start with no fault used up."""
        self._clock = clock
        self._left: dict[tuple[str, str], int] = {}

    def arm(self, kind: str, name: str, fault: Fault | None) -> None:
        """Note a fault that was just set, or removed, on ``keys`` or ``accounts`` NAME."""
        self._left.pop((kind, name), None)
        if fault is not None and fault.times is not None:
            self._left[(kind, name)] = fault.times

    def arm_all(self, config: Config) -> None:
        """Start again with every fault of the table."""
        self._left.clear()
        for key in config.keys.values():
            self.arm("keys", key.name, key.fault)
        for account in config.accounts.values():
            self.arm("accounts", account.name, account.fault)

    def strike(self, key: Key, account: Account, *, at_the_door: bool, streamed: bool) -> Strike | None:
        """Use up one strike of the first fault that fits, the key's before the account's.

        Args:
            key: Whose request it is.
            account: The key's account.
            at_the_door: True before limits are looked at, False once the request is in flight.
            streamed: Whether the client asked for a stream.
        """
        for kind, name, fault in (("keys", key.name, key.fault), ("accounts", account.name, account.fault)):
            if fault is None or fault.at_the_door is not at_the_door:
                continue
            if fault.mid_stream and not streamed:
                continue
            left = self._left.get((kind, name))
            if left == 0:
                continue
            if left is not None:
                self._left[(kind, name)] = left - 1
            return Strike(fault, key, self._clock)
        return None
