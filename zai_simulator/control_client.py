"""A client of the control API on the standard library alone."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

POLL = 0.01
"""Seconds between two looks of ``ControlClient.wait_for``."""


class ControlError(Exception):
    """The control API refused a call; the text is its reason."""


class ControlClient:
    """Reads and changes a running simulator.

    Every call raises ``ControlError`` when the simulator refuses it, and ``OSError`` when it is not there.
    """

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        """Talk to the simulator at a base URL such as ``http://127.0.0.1:8089``.

        Args:
            url: The base URL, without ``/_control``.
            timeout: Seconds after which a call is given up.
        """
        self.url = url.rstrip("/")
        self._timeout = timeout
        # The simulator is local; a proxy from the environment must not come between.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def health(self) -> dict[str, Any]:
        """Return ``{"status": "ok"}``."""
        return self._call("GET", "health")

    def stats(self) -> dict[str, Any]:
        """Return all counts: ``total``, ``keys``, ``accounts``, ``paths``, ``clients_gone`` and more."""
        return self._call("GET", "stats")

    def requests(self, limit: int = 1000) -> list[dict[str, Any]]:
        """Return the last requests, the oldest first."""
        found: list[dict[str, Any]] = self._call("GET", f"requests?limit={limit}")["requests"]
        return found

    def reset(self) -> None:
        """Set the counts to zero and take back every change made over the control API."""
        self._call("POST", "reset")

    def advance_clock(self, seconds: float) -> None:
        """Move the simulator's time forward, to end rate and quota windows."""
        self._call("POST", "clock", {"advance": seconds})

    def set_key(self, name: str, **fields: object) -> dict[str, Any]:
        """Add a key or change the given fields of one; ``fault=None`` ends its fault."""
        return self._call("PUT", f"keys/{urllib.parse.quote(name, safe='')}", fields)

    def delete_key(self, name: str) -> None:
        """Remove a key from the table."""
        self._call("DELETE", f"keys/{urllib.parse.quote(name, safe='')}")

    def set_account(self, name: str, **fields: object) -> dict[str, Any]:
        """Add an account or change the given fields of one."""
        return self._call("PUT", f"accounts/{urllib.parse.quote(name, safe='')}", fields)

    def wait_for(self, met: Callable[[dict[str, Any]], bool], timeout: float = 5.0) -> dict[str, Any]:
        """Return the counts as soon as they meet a condition.

        Args:
            met: Gets the counts of ``stats()`` and says whether they meet the condition.
            timeout: Seconds after which to give up.

        Raises:
            TimeoutError: They did not meet it in time; the text shows the last counts.
        """
        end = time.monotonic() + timeout
        while True:
            stats = self.stats()
            if met(stats):
                return stats
            if time.monotonic() > end:
                raise TimeoutError(f"not so within {timeout} s: {json.dumps(stats)}")
            time.sleep(POLL)

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.url}/_control/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(error.read().decode(errors="replace")) from None
