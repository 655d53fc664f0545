"""Lanes, a key on one model each, and lines: everything on one model."""

import enum
import math

from glm_pool.health import Health
from glm_pool.limits import Meter, Rate
from glm_pool.settings import Key
from glm_pool.tickets import Waiting
from glm_pool.turns import Turns

FIRST_GUESS = 1.0
"""Seconds that a slot is taken to be held before the first answer was seen."""


class Standing(enum.Enum):
    """What a lane can do for a ticket now."""

    FREE = "free"
    BUSY = "busy"  # all slots are in use, or a probe is under way
    RESTING = "resting"  # until a known moment
    GONE = "gone"  # until someone acts


class CountedKey:
    """A key and what it is doing, over all models.

    Attributes:
        last_code: of the upstream's last answer, as in `faults.Fault`, "200" for a success; empty before the first.
        last_at: when that was, in seconds since the epoch.
    """

    def __init__(self, settings: Key, health: Health) -> None:
        self.settings = settings
        self.health = health
        self.in_flight = 0
        self.last_use = 0
        self.last_code = ""
        self.last_at = 0.0
        self.lanes: list[Lane] = []

    @property
    def name(self) -> str:
        """The key's name."""
        return self.settings.name


class Lane:
    """A key on one model."""

    def __init__(self, key: CountedKey, model: str, meter: Meter, rate: Rate, health: Health) -> None:
        self.key = key
        self.model = model
        self.meter = meter
        self.rate = rate
        self.health = health
        self.in_flight = 0
        self.closed_until = 0.0
        self.standing = Standing.GONE
        self.wakes_at = math.inf

    @property
    def healths(self) -> tuple[Health, Health]:
        """What has to be well for the lane to be used."""
        return (self.key.health, self.health)

    @property
    def weight(self) -> float:
        """See `turns.Chooseable`."""
        return self.key.settings.weight

    @property
    def key_in_flight(self) -> int:
        """See `turns.Chooseable`."""
        return self.key.in_flight

    @property
    def last_use(self) -> int:
        """See `turns.Chooseable`."""
        return self.key.last_use


class Line:
    """Everything on one model."""

    def __init__(self, model: str, turns: Turns[Lane]) -> None:
        self.model = model
        self.turns = turns
        self.lanes: list[Lane] = []
        self.queues: list[Waiting] = []
        self.usable = 0  # lanes that are free or busy
        self.in_flight = 0
        self.hold = FIRST_GUESS  # mean seconds that a slot is held
