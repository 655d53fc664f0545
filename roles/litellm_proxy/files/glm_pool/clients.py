"""The named keys of clients: who they are and what each may do; this host knows hashes of the keys alone."""

import hashlib
import hmac
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger("glm_pool")

MASTER = "master"
"""Name under which the master key's requests are counted."""


@dataclass(frozen=True)
class Client:
    """One key of the proxy.

    Attributes:
        name: stands for the key in logs, metrics and reports.
        sha256: of the key, hex digits; empty for the master key.
        pools: names of the pools that it may use; None for all.
        rpm: requests in any 60 s; None for any number.
        max_parallel_requests: requests in flight; None for any number.
        monthly_tokens: tokens of all kinds in a calendar month, UTC; None for any number.
        monthly_budget: USD in a calendar month, UTC; None for any sum.
        expires: seconds since the epoch from which on it is refused.
        revoked: it is refused.
    """

    name: str
    sha256: str = field(default="", repr=False)
    pools: frozenset[str] | None = None
    rpm: int | None = None
    max_parallel_requests: int | None = None
    monthly_tokens: int | None = None
    monthly_budget: float | None = None
    expires: float = math.inf
    revoked: bool = False

    @property
    def is_master(self) -> bool:
        """The administrator's."""
        return self.name == MASTER

    @property
    def has_budget(self) -> bool:
        """What it used this month has to be known before it may go on."""
        return self.monthly_tokens is not None or self.monthly_budget is not None

    def may_use(self, pool: str) -> bool:
        """Whether the pool is one of its own."""
        return self.pools is None or pool in self.pools


@dataclass(frozen=True)
class Directory:
    """All of the file.

    Attributes:
        clients: the keys.
        master_key_answers: whether the master key may ask models, too.
        prices: USD per million tokens by upstream model and kind (input, cached, output), over LiteLLM's own.
        usage_days: how long the ledger keeps what was used.
    """

    clients: tuple[Client, ...] = ()
    master_key_answers: bool = True
    prices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    usage_days: int = 400

    def find(self, key: str) -> Client | None:
        """The client of a key, revoked and expired ones too; takes as long for every key."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        found = None
        for client in self.clients:
            if hmac.compare_digest(client.sha256, digest):
                found = client
        return found


def parse(document: Mapping[str, Any]) -> Directory:
    """Read the file's content, as the role writes it.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    return Directory(
        clients=tuple(_client(entry) for entry in document["clients"]),
        master_key_answers=bool(document["master_key_answers"]),
        prices={
            str(model): {str(kind): float(usd) for kind, usd in price.items()}
            for model, price in document["prices"].items()
        },
        usage_days=int(document["usage_days"]),
    )


def _client(entry: Mapping[str, Any]) -> Client:
    pools, budget, expires = entry.get("pools"), entry.get("monthly_budget"), entry.get("expires")
    return Client(
        name=str(entry["name"]),
        sha256=bytes.fromhex(entry["sha256"]).hex(),
        pools=None if pools is None else frozenset(map(str, pools)),
        rpm=_whole(entry, "rpm"),
        max_parallel_requests=_whole(entry, "max_parallel_requests"),
        monthly_tokens=_whole(entry, "monthly_tokens"),
        monthly_budget=None if budget is None else float(budget),
        expires=math.inf if expires is None else float(expires),
        revoked=entry.get("state") == "revoked",
    )


def _whole(entry: Mapping[str, Any], field_name: str) -> int | None:
    value = entry.get(field_name)
    return None if value is None else int(value)


class ClientsFile:
    """The file as it is now: a change holds from the next request on.

    Args:
        path: of the file; None, or a file that is not there, for no clients.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, ...] | None = None
        self._complained: tuple[int, ...] | None = None
        self._directory = Directory()

    def read(self) -> Directory:
        """The content; that of before while the file can not be understood."""
        if self._path is None:
            return self._directory
        stamp = self._stamp_of(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._load(self._path)
        return self._directory

    def _load(self, path: Path) -> None:
        try:
            self._directory = parse(json.loads(path.read_bytes()))
        except FileNotFoundError:
            self._directory = Directory()
        except OSError as error:
            self._complain(path, error)
            self._stamp = None  # the next request tries again: the fault need not be the file's
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._complain(path, error)
        else:
            self._complained = None
            logger.info("event=clients_read clients=%d", len(self._directory.clients))

    def _complain(self, path: Path, error: Exception) -> None:
        stamp = self._stamp_of(path)
        if stamp != self._complained:
            logger.error(
                "event=clients_unreadable file=%s error=%s: the client keys of before hold; run the playbook again",
                path,
                type(error).__name__,
            )
        self._complained = stamp

    @staticmethod
    def _stamp_of(path: Path) -> tuple[int, ...]:
        try:
            status = path.stat()
        except OSError:
            return ()
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
