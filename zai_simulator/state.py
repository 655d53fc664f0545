"""Everything that changes while the simulator runs."""

from __future__ import annotations

from .clock import Clock
from .config import Config, parse_account, parse_key
from .faults import FaultBook
from .limits import AccountLimits
from .prompts import PromptCache
from .stats import Stats


class State:
    """The table in force, what the accounts have used, and the statistics.

    Attributes:
        config: The table in force: the file's, with the control API's changes.
        clock: The simulator's time.
        faults: How often each fault may still strike.
        stats: Counts and the last requests.
    """

    def __init__(self, config: Config) -> None:
        """Start with the table of the file."""
        self._baseline = config
        self.config = config
        self.clock = Clock()
        self.faults = FaultBook(self.clock)
        self.stats = Stats()
        self._limits: dict[str, AccountLimits] = {}
        self._caches: dict[str, PromptCache] = {}
        self.reset()

    def reset(self) -> None:
        """Go back to the file's table with nothing used and nothing counted.

        Requests under way stay in flight and still hold their places.
        """
        self.config = self._baseline
        self.clock.reset()
        self.faults.arm_all(self.config)
        self._caches.clear()
        for limits in self._limits.values():
            limits.clear()
        self.stats.reset(self.config.keys)

    def limits(self, account: str) -> AccountLimits:
        """Return what an account has used of its limits."""
        return self._limits.setdefault(account, AccountLimits(self.clock))

    def cache(self, key: str) -> PromptCache:
        """Return a key's prompt cache."""
        return self._caches.setdefault(key, PromptCache())

    def put_key(self, name: str, values: object) -> None:
        """Add a key, or change the given fields of one.

        Raises:
            ConfigError: The fields do not make a usable key.
        """
        key = parse_key(name, values, self.config.keys.get(name))
        self.config = self.config.with_key(key)
        self.stats.list_key(name)
        if isinstance(values, dict) and "fault" in values:
            self.faults.arm("keys", name, key.fault)

    def delete_key(self, name: str) -> bool:
        """Remove a key; returns whether there was one."""
        there = name in self.config.keys
        self.config = self.config.without_key(name)
        return there

    def put_account(self, name: str, values: object) -> None:
        """Add an account, or change the given fields of one.

        Raises:
            ConfigError: The fields do not make a usable account.
        """
        account = parse_account(name, values, self.config.accounts.get(name))
        self.config = self.config.with_account(account)
        if isinstance(values, dict) and "fault" in values:
            self.faults.arm("accounts", name, account.fault)
