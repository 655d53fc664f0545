"""The situations in which the routings are compared."""

import hashlib
from dataclasses import dataclass

MODEL = "glm-5.3"
LATENCY = 1.0
"""Seconds that the simulated Z.AI takes for an answer."""


@dataclass(frozen=True)
class Key:
    """An upstream key on an account of its own.

    Attributes:
        slots: requests in flight that the account grants.
        fault: dead (revoked: 401), parked (out of quota: 1308) or nothing.
    """

    name: str
    slots: int
    fault: str = ""

    @property
    def value(self) -> str:
        """A made-up key in Z.AI's form, the same in every run."""
        digest = hashlib.sha256(self.name.encode()).hexdigest()
        return f"{digest[:32]}.{digest[32:48]}"


@dataclass(frozen=True)
class Case:
    """One row group of the table.

    Attributes:
        pools: names that clients ask for, all served by `MODEL`; clients take them in turn.
        clients: each sends its next request as soon as it has an answer or an error.
        seconds: the measured window.
    """

    name: str
    title: str
    keys: tuple[Key, ...]
    clients: int
    seconds: float
    pools: tuple[str, ...] = ("glm-pool",)
    workers: int = 1

    @property
    def live_slots(self) -> int:
        """Requests that the usable keys take at once."""
        return sum(key.slots for key in self.keys if not key.fault)

    @property
    def ideal(self) -> float:
        """Answers in the window with every slot in use all the time."""
        return self.live_slots * self.seconds / LATENCY


def _keys(*slots: int) -> tuple[Key, ...]:
    return tuple(Key(f"k{index}", count) for index, count in enumerate(slots, 1))


CASES = (
    Case("saturated", "3 equal keys of 2 slots, 12 clients", _keys(2, 2, 2), clients=12, seconds=25),
    Case(
        "faulty",
        "5 keys of 2, one dead (401), one parked (1308), 12 clients",
        (Key("k1", 2), Key("k2", 2, "dead"), Key("k3", 2), Key("k4", 2, "parked"), Key("k5", 2)),
        clients=12,
        seconds=25,
    ),
    Case("unequal", "3 keys of 1, 2 and 5, 16 clients", _keys(1, 2, 5), clients=16, seconds=25),
    Case("pools", "2 pools on 3 keys of 2, 6 clients each", _keys(2, 2, 2), 12, 25, pools=("glm-pool-a", "glm-pool-b")),
    Case("workers", "2 workers with Redis, 3 keys of 2, 12 clients", _keys(2, 2, 2), 12, 25, workers=2),
)
