"""The agreement between processes, kept in Redis; `shared.SharedStore` says what it promises.

Keys, each behind the prefix (a Redis Cluster is not supported: a script touches several keys):

    members         sorted set: process, when it was last heard of
    vanished        hash: process of a host that is heard of no more, "MEMBERS RANK WHEN" of when it vanished
    meters          set: meters with leases
    slots:METER     sorted set: PROCESS:LEASE, when it ends unless renewed
    rates           set: rates with requests that began
    rate:RATE       sorted set: PROCESS:LEASE, when it began
    probe:NAME      the PROCESS:LEASE that probes
    waiting:METER   hash: process, since when a request of it waits and when it said so
    health          hash: name, {"by": process, "record": …}
    epoch           made anew when Redis lost its data
    spent:MONTH:CLIENT  hash: host, tokens and USD that the client used there
    events          channel: slots that were taken and given, health records

A process is named HOST.RANDOM. Moments are milliseconds of Redis's clock, but for the arrival of requests.
"""

import asyncio
import hashlib
import json
import logging
import secrets
import socket
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from glm_pool import redis_scripts
from glm_pool.closed_connections import closed_under_write
from glm_pool.heard_starts import HeardStarts
from glm_pool.ledger import Spent
from glm_pool.limits import WINDOW
from glm_pool.place_file import PlaceFile
from glm_pool.redis_connections import close, connection_pool, server_of
from glm_pool.redis_url import without_secrets
from glm_pool.shared import Claim, Listener, Refused, StoreAway, part_of

logger = logging.getLogger("glm_pool")

T = TypeVar("T")

LONGEST_BEAT = 1.0
"""Seconds between two heartbeats at most; also the pause between two tries to reach a store that is away."""
SILENT = 2
"""Heartbeats that a host has to miss until its part is set aside."""
QUIET_MARGIN = 0.25
"""Seconds by which clocks and ways may differ until the others have set aside what is this process's."""
RETURN_GRACE = 3.0
"""See `shared.SharedStore`."""
AT_ONCE = 16
"""Commands under way; more wait within this process, where waiting is no sign of a store that is away."""
LATER, LATEST = 0.1, 0.5
"""Seconds within which a process looks at a slot that another one was called for, should that one not take it; the
processes do so one after the other."""
LOOKS = 4
"""Looks within the timeout: one that comes late is of a process that stood still, and says nothing of the store."""


@dataclass(frozen=True)
class _Hold:
    """What a lease holds."""

    meter: str
    probe: str


def _place(text: str) -> tuple[int, int]:
    members, rank, _ = text.split()
    return int(members), int(rank)


class RedisStore:
    """Implements `shared.SharedStore`; usable within one event loop.

    Implements `access.SharedSpending` as well.

    Args:
        url: redis://, rediss:// or unix://, or redis+sentinel:// (see `redis_url.SentinelUrl`); may hold
            user and password. Certificates are checked against the system's trust, or that of SSL_CERT_FILE.
        ca: authorities that are trusted besides, as PEM text.
        prefix: what all keys in Redis begin with.
        lease_seconds: how long the slots of a process that died stay taken.
        timeout: seconds after which an unanswered command means that the store is away.
        host: name of the host, by default its own: where one process of a host is heard of, others that stay silent
            for six heartbeats are taken to be dead.
        place_file: keeps the number of processes and the place among them, for a start while the store is away.

    Raises:
        ValueError: the URL is none of Redis; the message does not repeat it.
    """

    kind = "redis"
    return_grace = RETURN_GRACE

    def __init__(
        self,
        url: str,
        prefix: str = "litellm-pool:",
        lease_seconds: float = 15.0,
        timeout: float = 1.0,
        host: str | None = None,
        place_file: Path | None = None,
        ca: str = "",
    ) -> None:
        self.connected = False
        self._place_file = PlaceFile(place_file) if place_file else None
        self.members, self.rank = self._place_file.load() if self._place_file else (1, 0)
        self.quiet_until = 0.0
        self._shown, self._secrets = without_secrets(url)
        # the channel and the heartbeat have their own connections; `_answered` judges before the clock does
        self._redis = Redis.from_pool(connection_pool(url, AT_ONCE + 2, timeout, 10 * timeout, ca))
        self._take = self._redis.register_script(redis_scripts.TAKE)
        self._give = self._redis.register_script(redis_scripts.GIVE)
        self._beat = self._redis.register_script(redis_scripts.BEAT)
        self._read_starts = self._redis.register_script(redis_scripts.STARTS)
        self._leave = self._redis.register_script(redis_scripts.LEAVE)
        self._write = self._redis.register_script(redis_scripts.HEALTH)
        self._tell_spent = self._redis.register_script(redis_scripts.SPENT)
        self._prefix = prefix
        name = hashlib.sha256((host or socket.gethostname()).encode()).hexdigest()[:12]
        self._process = f"{name}.{secrets.token_hex(6)}"
        self._lease_seconds = lease_seconds
        self._pause = min(LONGEST_BEAT, lease_seconds / 3)
        self._timeout = timeout
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._listener: Listener | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[Any]] = set()
        self._wake = asyncio.Event()
        self._subscribed = asyncio.Event()

        self._trouble: str | None = None  # why the store is away, once that was said
        self._epoch: str | None = None
        self._server: tuple[str, int] | None = None  # where Sentinels say which
        self._new_data: tuple[object, float, float] = (None, 0.0, 0.0)  # not trusted yet, since and until when
        self._ranks: dict[str, int] = {}  # of all that count as members, by process
        self._vanished: dict[str, tuple[int, int]] = {}  # members and rank when it vanished, by process
        self._counts: dict[str, dict[str, int]] = {}  # slots by meter and process, of the others
        self._others_starts = HeardStarts()
        self._kept: dict[str, int] = {}  # own starts within the window when the store went away, by rate
        self._heard: set[str] = set()  # meters that a message told of since the last heartbeat was sent

        self._later: dict[str, asyncio.TimerHandle] = {}  # meters to be looked at

        self._held: dict[str, _Hold] = {}
        self._owed: dict[str, tuple[_Hold, float]] = {}  # to be given back until a monotonic moment
        self._starts: dict[str, deque[tuple[float, str]]] = {}  # by rate: monotonic moment and lease
        self._asked: dict[str, float] = {}  # arrival of the request that waits, by meter, as Redis has it
        self._queued: dict[str, float] = {}

        self._health: dict[str, str] = {}  # as Redis has it
        self._unsent: dict[str, str] = {}
        self._missed = True  # what was told while nothing was heard
        self._writing = asyncio.Lock()

    # The protocol ------------------------------------------------------------------------------------------------

    async def start(self, listener: Listener) -> None:
        """Connect, announce this process, begin to hear; does not raise when the store is away."""
        self._listener = listener
        with suppress(StoreAway):
            await self._heartbeat(idle=True)
        self._tasks = [asyncio.create_task(self._forever(step)) for step in (self._next_heartbeat, self._hear)]
        if self.connected:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._subscribed.wait(), self._timeout)

    async def stop(self) -> None:
        """Give back every lease and leave."""
        self._listener = None
        for timer in self._later.values():
            timer.cancel()
        self._later.clear()
        while running := [task for task in self._tasks if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=0.1)  # before Python 3.12 `wait_for` can swallow a cancellation
        await asyncio.gather(*self._background, return_exceptions=True)
        for lease in list(self._held):
            await self.give(lease)
        if self.connected:
            waiting = {*self._asked, *self._queued}
            with suppress(StoreAway):
                await self._call(lambda: self._leave(args=[self._prefix, self._process, *waiting]))
        self.connected = False
        if self._place_file:
            self._place_file.release()
        await close(self._redis.connection_pool)

    async def take(self, claim: Claim) -> Refused | None:
        """Take a slot, a place in the minute and the probe, all or none; None when granted. Raises StoreAway."""
        if not self.connected:
            raise StoreAway(self._trouble)
        asking = self._spawn(self._ask(claim))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            self._spawn(self._take_back(asking, claim.lease))
            raise

    async def give(self, lease: str) -> None:
        """Give back what the lease holds; never raises."""
        if hold := self._held.pop(lease, None):
            self._owe(lease, hold)
            if self.connected:
                await asyncio.shield(self._spawn(self._pay(lease)))

    def elsewhere(self, meter: str) -> int:
        """Slots of the meter that other processes hold, as last heard."""
        return sum(self._counts.get(meter, {}).values())

    def surplus(self, meter: str, limit: int) -> int:
        """See `shared.SharedStore`."""
        return self._beyond_parts(meter, limit, self._counts.get(meter, {}))

    def rate_surplus(self, rate: str, limit: int) -> int:
        """See `shared.SharedStore`."""
        beyond = self._beyond_parts(rate, limit, self._others_starts.by_process(rate))
        return beyond + self._others_starts.unheard(rate)

    def rate_kept(self, rate: str) -> int:
        """See `shared.SharedStore`."""
        return self._kept.get(rate, 0)

    def aside(self, name: str, limit: int) -> int:
        """See `shared.SharedStore`."""
        held = self._counts.get(name, {})
        checksum = zlib.crc32(name.encode())
        parts = {process: part_of(limit, *at, checksum) for process, at in self._vanished.items()}
        return sum(max(0, part - held.get(process, 0)) for process, part in parts.items())

    async def write_health(self, name: str, record: dict[str, Any] | None) -> None:
        """Store and announce the health record of a key; None removes it. Never raises."""
        self._unsent[name] = "" if record is None else json.dumps({"by": self._process, "record": record})
        if self.connected:
            await asyncio.shield(self._spawn(self._try_to_send_health()))

    async def read_health(self) -> dict[str, dict[str, Any]]:
        """All stored health records by name. Raises StoreAway."""
        if not self.connected:
            raise StoreAway(self._trouble)
        stored = await self._stored_health()
        return {name: json.loads(text)["record"] for name, text in stored.items()}

    # Beyond the protocol -----------------------------------------------------------------------------------------

    def adopt(self, claim: Claim) -> None:
        """Count a request that was sent while the store was away: `give` ends it, the next heartbeat tells of it."""
        self._remember(claim)

    def queued(self, meter: str, arrived: float | None) -> None:
        """Say since when a request of this process waits for the meter; None for nobody.

        Needed where no claim is made because this process sees itself that no slot is free. The next heartbeat
        tells the others, and each one repeats it until it is withdrawn.
        """
        if arrived is None:
            self._queued.pop(meter, None)
        else:
            self._queued[meter] = arrived

    async def tell_spent(self, month: str, client: str, host: str, spent: Spent) -> None:
        """See `access.SharedSpending`; what is told may not fall, as processes of one host may overtake each other."""
        key = f"{self._prefix}spent:{month}:{client}"
        await self._call(lambda: self._tell_spent(args=[key, host, spent.tokens, repr(spent.cost)]))

    async def spent_elsewhere(self, month: str, client: str, host: str) -> Spent:
        """See `access.SharedSpending`."""
        told = await self._call(lambda: self._redis.hgetall(f"{self._prefix}spent:{month}:{client}"))
        found = Spent()
        for name, text in told.items():
            if name != host:
                tokens, usd = str(text).split()
                found += Spent(int(tokens), float(usd))
        return found

    # Leases ------------------------------------------------------------------------------------------------------

    async def _ask(self, claim: Claim) -> Refused | None:
        elsewhere = [m for m, arrived in self._asked.items() if arrived == claim.arrived and m != claim.meter]
        arguments: list[str | int] = [
            self._prefix,
            self._process,
            self._epoch or "",
            round(self._lease_seconds * 1000),
            self._member(claim.lease),
            claim.meter,
            "" if claim.slots is None else claim.slots,
            claim.rate,
            "" if claim.rpm is None else claim.rpm,
            claim.probe or "",
            repr(claim.arrived),
            "" if claim.next_arrived is None else repr(claim.next_arrived),
            "1" if claim.insist else "",
            zlib.crc32(claim.meter.encode()),
            zlib.crc32(claim.rate.encode()),
            round(self._pause * SILENT * 1000),
            *elsewhere,
        ]
        try:
            reason, retry_in = await self._call(lambda: self._take(args=arguments))
        except StoreAway:
            self._owe(claim.lease, _Hold(claim.meter, claim.probe or ""))  # it may have been granted
            raise
        if reason == "lost":
            self._wake.set()
            raise self._went_away("it lost its data")
        if reason:
            self._asked[claim.meter] = claim.arrived
            return Refused(reason, retry_in / 1000 if retry_in >= 0 else None)
        self._remember(claim)
        for meter in (claim.meter, *elsewhere):
            self._asked.pop(meter, None)
        if claim.next_arrived is not None:
            self._asked[claim.meter] = claim.next_arrived
        return None

    async def _take_back(self, asking: "asyncio.Task[Refused | None]", lease: str) -> None:
        """The one who asked has gone before the answer."""
        with suppress(StoreAway):
            await asking
        await self.give(lease)

    def _remember(self, claim: Claim) -> None:
        self._held[claim.lease] = _Hold(claim.meter, claim.probe or "")
        self._owed.pop(claim.lease, None)
        self._own_starts(claim.rate).append((time.monotonic(), self._member(claim.lease)))

    def _own_starts(self, rate: str) -> deque[tuple[float, str]]:
        """Those within the window."""
        starts = self._starts.setdefault(rate, deque())
        while starts and starts[0][0] <= time.monotonic() - WINDOW:
            starts.popleft()
        return starts

    def _beyond_parts(self, name: str, limit: int, uses: Mapping[str, int]) -> int:
        """What others use of a limit beyond their even parts, by process."""
        checksum = zlib.crc32(name.encode())
        beyond = 0
        for process, use in uses.items():
            rank = self._ranks.get(process)
            part = 0 if rank is None else part_of(limit, len(self._ranks), rank, checksum)
            beyond += max(0, use - part)
        return beyond

    def _owe(self, lease: str, hold: _Hold) -> None:
        self._owed[lease] = (hold, time.monotonic() + self._lease_seconds)

    async def _pay(self, lease: str) -> None:
        """Give back what is owed; where the store is away, a later heartbeat does it."""
        if lease not in self._owed:
            return
        hold, _ = self._owed[lease]
        arguments = [self._prefix, self._process, self._member(lease), hold.meter, hold.probe]
        with suppress(StoreAway):
            await self._call(lambda: self._give(args=arguments))
            self._owed.pop(lease, None)

    def _member(self, lease: str) -> str:
        return f"{self._process}:{lease}"

    # The heartbeat -----------------------------------------------------------------------------------------------

    async def _next_heartbeat(self) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self._pause)
        self._wake.clear()
        await self._heartbeat()

    async def _heartbeat(self, *, idle: bool = False) -> None:
        """Renew what this process holds, learn what the others hold, and come back when the store does.

        Args:
            idle: nobody could use anything yet.

        Raises:
            StoreAway: the store does not answer, or is not to be relied on yet.
        """
        if not self.connected:  # connections to a server that has gone would each have to fail first
            await self._send(self._redis.connection_pool.disconnect(inuse_connections=False))
        agrees = self.connected or idle  # or it may have gone on by itself
        sent = dict(self._held)
        self._heard.clear()
        state = {
            "leases": [(self._member(lease), hold.meter, hold.probe) for lease, hold in sent.items()],
            "waiting": [(meter, repr(arrived)) for meter, arrived in self._queued.items()],
        }
        arguments: list[str | int] = [
            self._prefix,
            self._process,
            round(self._lease_seconds * 1000),
            round(self._pause * SILENT * 1000),
            round(self._pause * 3000),
            "" if agrees else "1",
            json.dumps(state),
        ]
        if agrees:
            self.quiet_until = time.monotonic() + SILENT * self._pause + QUIET_MARGIN
        reply = json.loads(await self._send(self._beat(args=arguments)))
        # what was given back in the meantime may have been renewed after that
        for lease in sent.keys() - self._held.keys():
            self._owe(lease, sent[lease])
        server = server_of(self._redis.connection_pool)
        lost, moved = self._epoch not in (None, reply["epoch"]), self._server not in (None, server)
        if lost or not self.connected:
            await self._restore(reply["now"], health=lost or moved)
        if lost or moved:  # another master may not have heard what the one before was told last
            self._await_others((reply["epoch"], server), reply["now"] if moved else 0, reply["members"])
        self._epoch, self._server = reply["epoch"], server
        names = sorted({*reply["members"], *reply["vanished"]})
        self._ranks = {process: rank for rank, process in enumerate(names)}
        self._learn_who_vanished(reply["vanished"])
        self.members, self.rank = len(names), self._ranks[self._process]
        if self._place_file:
            here = self._process.partition(".")[0] + "."
            self._place_file.save(self.members, [rank for rank, name in enumerate(names) if name.startswith(here)])
        for meter in {*self._counts, *reply["counts"]} - self._heard:
            self._learn(meter, reply["counts"].get(meter, {}))
        self._came_back()
        for lease, (_, until) in list(self._owed.items()):
            if time.monotonic() < until:
                await self._pay(lease)
            else:
                self._owed.pop(lease, None)
        await self._send_health()
        if self._missed:
            await self._catch_up()

    def _learn_who_vanished(self, told: dict[str, str]) -> None:
        """What was set aside for those that are back, or were waited for long enough, is to be had again."""
        before = self._vanished.keys()
        self._vanished = {process: _place(text) for process, text in told.items()}
        if before - self._vanished.keys():
            self._tell(lambda listener: listener.on_shares())

    def _await_others(self, data: object, now: float, heard: dict[str, float]) -> None:
        """After a loss of data slots seem free until the others have told what they hold: wait for that.

        Args:
            data: names what is there now.
            now: moment on the store's clock from which on a process has told this data; 0 for any.
            heard: when each process was heard of last, by the same clock.

        Raises:
            StoreAway: not all have, and there is still hope.
        """
        if self._new_data[0] != data:
            self._new_data = (data, now, time.monotonic() + 3 * self._pause)
        _, since, until = self._new_data
        present = {process for process, moment in heard.items() if moment >= since}
        if self._ranks.keys() - self._vanished.keys() - present and time.monotonic() < until:
            raise self._went_away("it lost its data" if not since else "another server took over")

    async def _restore(self, now: int, *, health: bool) -> None:
        """Tell what the store can have missed: requests of the last minute, and health records if it lost them."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for rate, starts in self._starts.items():
                key = f"{self._prefix}rate:{rate}"
                moments = {lease: now - 1000 * (time.monotonic() - moment) for moment, lease in starts}
                if moments:
                    pipe.sadd(f"{self._prefix}rates", rate)
                    pipe.zadd(key, moments, nx=True)
                    pipe.pexpire(key, round(WINDOW * 1000))
            if health:
                for name, text in self._health.items():
                    pipe.hsetnx(f"{self._prefix}health", name, text)
            await self._send(pipe.execute())

    # Events ------------------------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Listen to the channel until the connection is lost."""
        pubsub = self._redis.pubsub()
        try:
            with closed_under_write(ConnectionResetError):
                await self._listen(pubsub)
        except (RedisError, OSError, asyncio.TimeoutError):
            pass  # the heartbeat says that the store is away
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
        await asyncio.sleep(self._pause)

    async def _listen(self, pubsub: PubSub) -> None:
        await asyncio.wait_for(pubsub.subscribe(f"{self._prefix}events"), self._timeout)
        silent = 0
        while silent < 3:  # a server that vanished never closes the connection
            message = await pubsub.get_message(timeout=self._timeout)
            if message is None:
                silent += 1
                await asyncio.wait_for(pubsub.ping(), self._timeout)
                continue
            silent = 0
            if message["type"] == "subscribe":
                self._missed = True
                self._subscribed.set()
                self._wake.set()
            elif message["type"] == "message":
                self._on_event(json.loads(message["data"]))

    def _on_event(self, event: dict[str, Any]) -> None:
        ours = event["by"] == self._process
        if "rate" in event:
            if not ours:
                self._others_starts.hear(event["rate"], event["by"])
            # of its own this process may not know yet
            self._others_starts.compare(event["rate"], event["used"], len(self._own_starts(event["rate"])) + ours)
        if "meter" in event:
            self._heard.add(event["meter"])
            mine = event.get("to") in (None, self._process)
            self._learn(event["meter"], event["counts"], room=event["room"] and not ours and mine, later=not mine)
        else:
            self._on_health(event["health"], event["record"], tell=not ours)

    def _learn(self, meter: str, counts: dict[str, int], *, room: bool = False, later: bool = False) -> None:
        """Take in what a meter's slots are used for.

        Args:
            meter: its name.
            counts: slots by process, this one's included.
            room: a slot may be free for this process.
            later: another process was called for what came free. Were all to ask at once, each slot would cost as many
                questions as there are processes.
        """
        before = self.elsewhere(meter)
        self._counts.pop(meter, None)
        if others := {process: count for process, count in counts.items() if process != self._process}:
            self._counts[meter] = others
        if not room and self.elsewhere(meter) >= before:
            return
        if not later:
            self._tell(lambda listener: listener.on_room(meter))
        elif meter not in self._later:
            pause = LATER + (LATEST - LATER) * self.rank / max(1, self.members)
            self._later[meter] = asyncio.get_running_loop().call_later(pause, self._look, meter)

    def _look(self, meter: str) -> None:
        del self._later[meter]
        self._tell(lambda listener: listener.on_room(meter))

    # Health ------------------------------------------------------------------------------------------------------

    async def _send_health(self) -> None:
        async with self._writing:  # two records of one key must not overtake each other
            for name, text in list(self._unsent.items()):
                arguments = [self._prefix, self._process, name, text]
                await self._call(lambda arguments=arguments: self._write(args=arguments))  # type: ignore[misc]
                if self._unsent.get(name) == text:
                    del self._unsent[name]

    async def _try_to_send_health(self) -> None:
        with suppress(StoreAway):  # a later heartbeat sends it
            await self._send_health()

    async def _stored_health(self) -> dict[str, str]:
        stored = await self._call(lambda: self._redis.hgetall(f"{self._prefix}health"))
        return {str(name): str(text) for name, text in stored.items()}

    async def _catch_up(self) -> None:
        """Learn of what was told while nothing was heard."""
        self._missed = False
        try:
            await self._catch_up_on_health()
            await self._catch_up_on_starts()
        except StoreAway:
            self._missed = True
            raise

    async def _catch_up_on_starts(self) -> None:
        """Learn what the others began within the window."""
        told = json.loads(await self._call(lambda: self._read_starts(args=[self._prefix, self._process])))
        now = time.monotonic()
        found: dict[str, list[tuple[float, str]]] = {}
        for rate, numbers in told.items():
            for name, number in numbers.items():
                process, age = name.split()
                if process != self._process:
                    found.setdefault(rate, []).extend([(now - int(age), process)] * number)
        self._others_starts.learn(found)

    async def _catch_up_on_health(self) -> None:
        """Learn of the records that were written while nothing was heard."""
        stored = await self._stored_health()
        for name in {*stored, *self._health}:
            text = stored.get(name, "")
            if text != self._health.get(name, ""):
                self._on_health(name, text, tell=not text or json.loads(text)["by"] != self._process)

    def _on_health(self, name: str, text: str, *, tell: bool) -> None:
        if text == self._health.get(name, ""):
            return  # read in the store before its event came
        if text:
            self._health[name] = text
        else:
            self._health.pop(name, None)
        record = json.loads(text)["record"] if text else None
        if tell:
            self._tell(lambda listener: listener.on_health(name, record))

    # The connection ----------------------------------------------------------------------------------------------

    async def _call(self, command: Callable[[], Awaitable[T]]) -> T:
        """Send a command when it is its turn."""
        async with self._gate:
            if not self.connected:
                raise StoreAway(self._trouble)
            answer = await self._send(command())
        if self._server is not None and server_of(self._redis.connection_pool) != self._server:
            self._wake.set()
            raise self._went_away("another server took over")
        return answer

    async def _send(self, command: Awaitable[T]) -> T:
        asking = asyncio.ensure_future(command)
        try:
            if await self._answered(asking):
                with closed_under_write(ConnectionResetError):
                    return asking.result()
        except (RedisError, OSError) as error:
            raise self._went_away(f"{type(error).__name__}: {error}") from None
        finally:
            if not asking.done():
                asking.cancel()
                await asyncio.wait({asking})
        raise self._went_away(f"no answer within {self._timeout:g} s")

    async def _answered(self, asking: "asyncio.Future[Any]") -> bool:
        """Wait for the timeout at most, not counting the time in which this process itself stood still."""
        part = self._timeout / LOOKS
        looks = 0
        for _ in range(4 * LOOKS):
            began = time.monotonic()
            await asyncio.wait({asking}, timeout=part)
            looks += time.monotonic() - began < 2 * part
            if asking.done() or looks == LOOKS:
                break
        return asking.done()

    def _went_away(self, trouble: str) -> StoreAway:
        """Take note that the store can not be used; the exception is the caller's to raise."""
        for secret in self._secrets:
            trouble = trouble.replace(secret, "***")
        if self.connected or self._trouble is None:
            if self.connected:
                self._wake.set()  # one broken connection is no outage: the next heartbeat tells
                self._kept = {rate: len(self._own_starts(rate)) for rate in self._starts}
            self.connected = False
            self._trouble = trouble
            logger.warning("shared store %s is away, each process keeps to its share: %s", self._shown, trouble)
            self._tell(lambda listener: listener.on_connection(False))
        return StoreAway(trouble)

    def _came_back(self) -> None:
        if self.connected:
            return
        self.connected = True
        self._wake.set()  # only who says it again counts as heard
        if self._trouble is not None:
            self._trouble = None
            logger.warning("shared store %s is back", self._shown)
        self._tell(lambda listener: listener.on_connection(True))

    # Helpers -----------------------------------------------------------------------------------------------------

    def _tell(self, event: Callable[[Listener], None]) -> None:
        if self._listener is None:
            return
        try:
            event(self._listener)
        except Exception:  # a listener's fault must not end the heartbeat
            logger.exception("shared store: an event was not taken in")

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._background.add(task)  # the event loop itself holds tasks weakly
        task.add_done_callback(self._background.discard)
        return task

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except StoreAway:
                pass  # said where it was noticed
            except Exception:
                logger.exception("shared store: an unexpected error; going on")
                await asyncio.sleep(self._pause)
