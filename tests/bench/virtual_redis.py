"""A real Redis under simulated time: its scripts see the simulated moment, its answers take simulated milliseconds.

Each command is executed at once over a blocking connection, so that the order is the same in every run. What is
published meanwhile is read back and handed to all simulated hosts.
"""

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

from redis import Redis

from .virtual_time import EPOCH

END = "simulation-end"
"""Channel whose message ends what was published before."""
ONE_WAY = 0.00025
"""Simulated seconds from a host to Redis, and back."""

# Redis's own clock would run at another speed: scripts get the simulated moment as KEYS, and nothing expires by itself.
# Entries carry their moment besides, by which the scripts judge them.
PRELUDE = """
local real, moment = redis, KEYS
local redis = {call = function(command, ...)
  if command == 'TIME' then return moment end
  if command == 'EXPIRE' or command == 'PEXPIRE' then return 1 end
  if command == 'SET' then
    local key, value = ...
    return real.call('SET', key, value)
  end
  return real.call(command, ...)
end}
"""


class Engine:
    """The Redis of one simulation and what it was asked.

    Args:
        client: of a Redis that nobody else uses; text, not bytes.
        loop: whose time is simulated.

    Attributes:
        calls: by the kind of command, such as take or beat.
        outcomes: answers to `take`: granted, or the reason of the refusal.
        published: messages, each of which goes to every host that hears.
        times: real seconds of each call by kind, the way to Redis and back included.
    """

    def __init__(self, client: "Redis", loop: asyncio.AbstractEventLoop) -> None:
        self.client = client
        self.calls: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.published = 0
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self._loop = loop
        self._channel = client.pubsub()  # type: ignore[no-untyped-call]
        self._hearing: list[VirtualPubSub] = []

    def subscribe(self, host: "VirtualPubSub", channel: str) -> None:
        """Hand a host what is published from now on."""
        if not self._hearing:
            self._channel.subscribe(channel)
            self._channel.subscribe(END)
            while (message := self._channel.get_message(timeout=1.0)) is None or message["channel"] != END:
                pass
        self._hearing.append(host)

    def reset(self) -> None:
        """Count anew."""
        self.calls.clear()
        self.outcomes.clear()
        self.published = 0
        self.times.clear()

    async def run(self, kind: str, command: Callable[[], Any]) -> Any:
        """Execute a command as a host's: it travels, is executed, and its answer travels."""
        await asyncio.sleep(ONE_WAY)
        self.calls[kind] += 1
        begin = time.perf_counter()
        answer = command()
        self.times[kind].append(time.perf_counter() - begin)
        if kind == "take":
            self.outcomes[answer[0] or "granted"] += 1
        self._hand_out()
        await asyncio.sleep(ONE_WAY)
        return answer

    def moment(self) -> tuple[str, str]:
        """The simulated moment as Redis's TIME gives it: seconds and microseconds."""
        seconds, part = divmod(EPOCH + self._loop.time(), 1)
        return str(int(seconds)), str(int(part * 1e6))

    def _hand_out(self) -> None:
        if not self._hearing:
            return
        self.client.publish(END, "")  # comes behind all that was published
        while (message := self._channel.get_message(timeout=1.0)) is None or message["channel"] != END:
            if message is not None and message["type"] == "message":
                self.published += 1
                for host in self._hearing:
                    host.send(message)


class VirtualRedis:
    """What `redis_store.RedisStore` uses of `redis.asyncio.Redis`, for one host."""

    def __init__(self, engine: Engine, names: dict[str, str]) -> None:
        self._engine = engine
        self._names = names
        self.connection_pool = self

    def register_script(self, text: str) -> Callable[..., Awaitable[Any]]:
        """See `Redis.register_script`; the name by which it is counted is that of the module's constant."""
        client = self._engine.client
        digest = client.script_load(PRELUDE + text)
        kind = self._names[text]

        async def call(*, args: Sequence[str | int]) -> Any:
            return await self._engine.run(
                kind, lambda: client.evalsha(digest, 2, *self._engine.moment(), *map(str, args))
            )

        return call

    def pubsub(self) -> "VirtualPubSub":
        """See `Redis.pubsub`."""
        return VirtualPubSub(self._engine)

    def pipeline(self, *, transaction: bool) -> "VirtualPipeline":
        """See `Redis.pipeline`."""
        return VirtualPipeline(self._engine)

    async def hgetall(self, name: str) -> Any:
        """See `Redis.hgetall`."""
        return await self._engine.run("hgetall", lambda: self._engine.client.hgetall(name))

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """There is nothing to end."""


class VirtualPipeline:
    """Commands that are sent together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pipeline = engine.client.pipeline(transaction=False)
        self.zadd = self._pipeline.zadd
        self.sadd = self._pipeline.sadd
        self.hsetnx = self._pipeline.hsetnx

    def pexpire(self, name: str, milliseconds: int) -> None:
        """Nothing expires by itself."""

    async def execute(self) -> Any:
        """See `Pipeline.execute`."""
        return await self._engine.run("pipeline", self._pipeline.execute)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pipeline.reset()


class VirtualPubSub:
    """A host's ear; messages come in the order in which they were published."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._travelling: deque[dict[str, Any]] = deque()
        self._here: deque[dict[str, Any]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    async def subscribe(self, channel: str) -> None:
        """See `PubSub.subscribe`."""
        self._engine.subscribe(self, channel)
        self.send({"type": "subscribe"})

    def send(self, message: dict[str, Any]) -> None:
        """Take in a message that Redis has sent."""
        self._travelling.append(message)
        asyncio.get_running_loop().call_later(ONE_WAY, self._arrive)

    def _arrive(self) -> None:
        self._here.append(self._travelling.popleft())
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get_message(self, timeout: float) -> dict[str, Any] | None:
        """See `PubSub.get_message`."""
        if not self._here:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(timeout, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
        return self._here.popleft() if self._here else None

    async def ping(self) -> None:
        """Ask whether Redis is there."""
        await self._engine.run("ping", lambda: None)

    async def aclose(self) -> None:
        """There is nothing to end."""
