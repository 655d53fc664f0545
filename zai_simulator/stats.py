"""What the simulator has seen: counts, places in flight and the last requests."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

KEPT_REQUESTS = 1000

CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key", "cookie", "proxy-authorization"})


@dataclass
class Gauge:
    """A number of requests in flight and the highest it has been."""

    now: int = 0
    highest: int = 0

    def up(self) -> None:
        """Count one more."""
        self.now += 1
        self.highest = max(self.highest, self.now)

    def down(self) -> None:
        """Count one fewer."""
        self.now -= 1

    def forget(self) -> None:
        """Forget the highest; what is in flight stays."""
        self.highest = self.now

    def shown(self) -> dict[str, int]:
        """Return the form the control API shows."""
        return {"in_flight": self.now, "max_in_flight": self.highest}


@dataclass
class KeyCounts:
    """The counts of one key, for requests that ask for an answer; the rest is in ``other``."""

    requests: int = 0
    answers: int = 0
    streamed: int = 0
    other: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    gauge: Gauge = field(default_factory=Gauge)


@dataclass
class Record:
    """One request from its first to its last byte.

    Attributes:
        path: Its path, without the query.
        asks: Whether it asks for an answer, unlike model lists and token counts.
        headers: Its headers, without credentials.
        credentials: Names of the headers in which credentials came.
        body: Its body as parsed from JSON; None when there was none or it was not JSON.
        key: Name of its key; None while it is not authenticated.
        model: The model's name as the client wrote it.
        stream: Whether the answer is streamed.
        status: HTTP status of the answer; None before, and for a connection without an answer.
        code: The refusal's label; None for an answer.
        gone: Whether the client left before the last byte.
        epoch: How many resets there had been when it came in; older requests count nowhere.
        at: When it came in, in seconds since the epoch.
        started: The same moment on the monotonic clock.
        duration: Seconds from then to its last byte; None while it is under way.
    """

    path: str
    asks: bool
    headers: Mapping[str, str]
    credentials: list[str]
    body: object = None
    key: str | None = None
    model: str | None = None
    stream: bool = False
    status: int | None = None
    code: str | None = None
    gone: bool = False
    epoch: int = 0
    at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    duration: float | None = None

    @property
    def open(self) -> bool:
        """Whether the request is still under way."""
        return self.duration is None

    def shown(self) -> dict[str, object]:
        """Return the form the control API shows."""
        return {
            "time": self.at,
            "path": self.path,
            "key": self.key,
            "model": self.model,
            "headers": dict(self.headers),
            "credentials": self.credentials,
            "body": self.body,
            "stream": self.stream,
            "status": self.status,
            "code": self.code,
            "client_gone": self.gone,
            "duration": self.duration,
        }


class Stats:
    """All counts since the start or the last reset."""

    def __init__(self) -> None:
        """Start at zero."""
        self.keys: dict[str, KeyCounts] = {}
        self._models: dict[str, dict[str, Gauge]] = {}
        self._epoch = 0
        self._clear()

    def _clear(self) -> None:
        self._paths: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._gone = 0
        self.requests: deque[Record] = deque(maxlen=KEPT_REQUESTS)

    def reset(self, names: Iterable[str]) -> None:
        """Set every count to zero; what is in flight stays in flight.

        Args:
            names: The keys to show, with zeros.
        """
        self._clear()
        self._epoch += 1
        gauges_of = {name: counts.gauge for name, counts in self.keys.items() if counts.gauge.now}
        self.keys = {name: KeyCounts() for name in names}
        for name, gauge in gauges_of.items():
            gauge.forget()
            self.keys[name] = KeyCounts(gauge=gauge)
        for gauges in self._models.values():
            for gauge in gauges.values():
                gauge.forget()

    def begin(self, record: Record) -> None:
        """Count a request that has come in."""
        record.epoch = self._epoch
        self._paths[record.path] += 1
        self.requests.append(record)

    def known(self, record: Record, key: str) -> None:
        """Count a request whose key was recognised."""
        record.key = key
        counts = self._of(key)
        if record.asks:
            counts.requests += 1
        else:
            counts.other += 1

    def enter(self, key: str, account: str, model: str) -> tuple[Gauge, Gauge]:
        """Count a request in flight; returns the gauges to lower when it ends."""
        gauges = self._of(key).gauge, self._models.setdefault(account, {}).setdefault(model, Gauge())
        for gauge in gauges:
            gauge.up()
        return gauges

    def answered(self, record: Record, status: int) -> None:
        """Count a request that ends with an answer."""
        self._end(record, status)
        if self._counts(record) and record.asks and record.key is not None:
            counts = self._of(record.key)
            counts.answers += 1
            counts.streamed += record.stream

    def used(self, record: Record, *, read: int, cached: int, written: int) -> None:
        """Count the tokens of a whole answer: read anew, read from the cache, written."""
        if self._counts(record) and record.key is not None:
            self._of(record.key).tokens.update({"input": read, "cached": cached, "output": written})

    def refused(self, record: Record, status: int | None, label: str) -> None:
        """Count a request that ends with a refusal, or with no answer when there is no status."""
        self._end(record, status)
        record.code = label
        if not self._counts(record):
            return
        if record.key is None:
            self._unknown[label] += 1
        elif record.asks:
            self._of(record.key).refusals[label] += 1

    def client_gone(self, record: Record) -> None:
        """Count a request whose client left before the last byte."""
        self._end(record, record.status)
        record.gone = True
        self._gone += self._counts(record)

    def not_found(self, record: Record, status: int) -> None:
        """Note a request that no endpoint takes."""
        self._end(record, status)
        record.code = str(status)

    def shown(self) -> dict[str, object]:
        """Return the form the control API shows."""
        every = self.keys.values()
        return {
            "total": {
                "requests": sum(c.requests for c in every) + self._unknown.total(),
                "answers": sum(c.answers for c in every),
                "refusals": sum(c.refusals.total() for c in every) + self._unknown.total(),
                "streamed": sum(c.streamed for c in every),
                "in_flight": sum(c.gauge.now for c in every),
            },
            "keys": {
                name: {
                    "requests": c.requests,
                    "answers": c.answers,
                    "refusals": dict(c.refusals),
                    "streamed": c.streamed,
                    "other_requests": c.other,
                    "tokens": {kind: c.tokens[kind] for kind in ("input", "cached", "output")},
                    **c.gauge.shown(),
                }
                for name, c in self.keys.items()
            },
            "accounts": {
                account: {model: gauge.shown() for model, gauge in gauges.items()}
                for account, gauges in self._models.items()
            },
            "unauthenticated": dict(self._unknown),
            "paths": dict(self._paths),
            "clients_gone": self._gone,
        }

    def list_key(self, key: str) -> None:
        """Show a key from now on, with zeros."""
        self._of(key)

    def _counts(self, record: Record) -> bool:
        return record.epoch == self._epoch

    def _of(self, key: str) -> KeyCounts:
        return self.keys.setdefault(key, KeyCounts())

    def _end(self, record: Record, status: int | None) -> None:
        record.status = status
        record.duration = round(time.monotonic() - record.started, 4)
