"""The pool at work: the scheduler in the event loop, with its file, its log lines, its metrics and its shared store."""

import asyncio
import gc
import logging
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from glm_pool import metrics
from glm_pool.clock import Clock
from glm_pool.faults import Fault, Kind
from glm_pool.health import Health, Record, State
from glm_pool.lanes import Lane
from glm_pool.scheduler import Scheduler
from glm_pool.settings import Settings
from glm_pool.shared import Claim, Refused, SharedStore, StoreAway
from glm_pool.shared_limits import SharedLimits
from glm_pool.state_file import StateFile
from glm_pool.tickets import Lease, Refusal, Ticket

logger = logging.getLogger("glm_pool")

SETTLE_SECONDS = 0.2
"""An answer that was cut short still counts at the upstream until it notices."""
ASK_AGAIN_SECONDS = {"turn": 0.03, "slots": 0.25, "rate": 1.0, "probe": 0.5}
"""When to ask the shared store again, where it does not say."""
MAKE_WAY_SECONDS = 0.003
"""Pause before LiteLLM works on an answer while others wait: it takes the event loop for milliseconds, in which slots
that came free at the same time would stay empty."""
WATCH_SECONDS = 1.0


class Unavailable(Exception):
    """The pool can not serve a request."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason.value)
        self.refusal = refusal


class KeyPool:
    """Hands out leases on keys.

    Args:
        settings: the pools and keys.
        store: agreement with other processes; None when this is the only one.
        workers: processes of this instance.
        clock: the time.
    """

    def __init__(
        self, settings: Settings, store: SharedStore | None = None, workers: int = 1, clock: Clock | None = None
    ) -> None:
        self.settings = settings
        self.store = store
        self._clock = clock or Clock()
        self._limits = SharedLimits(store, workers) if store else None
        self.scheduler = Scheduler(settings, self._clock, self._limits)
        self._file = StateFile(Path(settings.state_file)) if settings.state_file else None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._saving = False
        self._dirty = False
        self._starting: asyncio.Future[None] | None = None
        self._names: dict[int, str] = {}
        self._giving: set[int] = set()  # leases on their way back to the store
        self.on_return: list[Callable[[], None]] = []  # called when the store answers (again)
        for pool in settings.pools:
            metrics.WAITING.labels(pool.name).set(0)

    # Life ------------------------------------------------------------------

    async def start(self) -> None:
        """Take over what is known of the keys, and begin to hear of changes; done once, for all who ask."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        if not self._starting.done():
            await asyncio.shield(self._starting)

    def start_soon(self) -> None:
        """Start in the background; raises RuntimeError where no event loop runs."""
        asyncio.get_running_loop()
        self._spawn(self.start())

    async def _start(self) -> None:
        if self._file:
            self._adopt(self._file.load())
            self._spawn(self._watch_file(self._file))
        if self.store:
            await self.store.start(self)
            await self._read_store(self.store)
        # LiteLLM's 750,000 objects are there to stay: looking through all of them would stop every request for half a
        # second, once, after the first few dozen
        gc.freeze()

    async def stop(self) -> None:
        """Save, and leave the shared store."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._timer:
            self._timer.cancel()
        self.save_now()
        if self.store:
            await self.store.stop()

    def save_now(self) -> None:
        """Write what is not yet in the file."""
        if self._file and self._dirty:
            self._dirty = False
            self._file.save(self._records())

    # Requests --------------------------------------------------------------

    def ticket(self, pool: str, tried: set[str], session: str | None) -> Ticket:
        """A request's ticket, for all its tries."""
        return Ticket(pool, lambda outcome: None, self._clock.wall(), tried, session)

    async def acquire(self, ticket: Ticket, *, counted: bool = True) -> Lease:
        """Wait for a lease; it must end with `release`. Raises Unavailable.

        When the waiting task is cancelled, the ticket leaves the queue.

        Args:
            ticket: of the request.
            counted: False for what takes no slot upstream; it neither waits nor counts.
        """
        if not counted:
            return self._borrow(ticket)
        waited_before = ticket.waited
        lease = await self._granted(ticket)
        ticket.waited += lease.waited
        waited = ticket.waited - waited_before
        metrics.WAIT.labels(ticket.pool).observe(waited)
        logger.info(
            "event=granted pool=%s key=%s model=%s wait=%.3f reason=%s in_flight=%s try=%d",
            ticket.pool,
            lease.lane.key.name,
            lease.lane.model,
            waited,
            lease.choice,
            f"{lease.lane.meter.in_flight}/{lease.lane.meter.limit or '-'}",
            len(ticket.tried) + 1,
        )
        return lease

    def out_of_tries(self, ticket: Ticket) -> Refusal:
        """The refusal of a request that has failed as often as it may."""
        refusal = self.scheduler.out_of_tries(ticket)
        self._refused(ticket, refusal)
        return refusal

    def _borrow(self, ticket: Ticket) -> Lease:
        outcome = self.scheduler.borrow(ticket)
        if isinstance(outcome, Refusal):
            self._refused(ticket, outcome)
            raise Unavailable(outcome)
        return outcome

    async def _granted(self, ticket: Ticket) -> Lease:
        future = self._listen(ticket)
        outcome: Lease | Refusal | None = self.scheduler.enter(ticket)
        while True:
            if outcome is None:
                outcome = await self._wait(ticket, future)
            self._schedule()
            if isinstance(outcome, Refusal):
                self._refused(ticket, outcome)
                raise Unavailable(outcome)
            refused = await self._confirm(outcome)
            if refused is None:
                return outcome
            retry_in = refused.retry_in or ASK_AGAIN_SECONDS.get(refused.reason, 1.0)
            future = self._listen(ticket)
            outcome = self.scheduler.undo(outcome, refused.reason, retry_in)

    def _listen(self, ticket: Ticket) -> "asyncio.Future[Lease | Refusal]":
        """What comes of the ticket should it have to wait; before it does, so that nothing is missed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Lease | Refusal] = loop.create_future()

        def notify(outcome: Lease | Refusal) -> None:
            if not future.done():
                future.set_result(outcome)
            elif isinstance(outcome, Lease):  # the client has gone between two turns of the loop
                loop.call_soon(self._put_back, outcome)

        ticket.notify = notify
        return future

    async def _wait(self, ticket: Ticket, future: "asyncio.Future[Lease | Refusal]") -> Lease | Refusal:
        queue = self.scheduler.queues[ticket.pool]
        metrics.WAITING.labels(ticket.pool).set(queue.count)
        logger.info("event=queued pool=%s waiting=%d", ticket.pool, queue.count)
        self._tell_queued(ticket)
        self._schedule()
        try:
            return await future
        except asyncio.CancelledError:
            self.scheduler.leave(ticket)
            if future.done() and not future.cancelled() and isinstance(lease := future.result(), Lease):
                self._put_back(lease)
            logger.info("event=left pool=%s reason=client_gone", ticket.pool)
            raise
        finally:
            metrics.WAITING.labels(ticket.pool).set(queue.count)
            self._tell_queued(ticket)

    def release(self, lease: Lease, *, settle: bool = False) -> None:
        """Give back the slot.

        Args:
            lease: a second time does nothing.
            settle: the upstream was cut off and needs a moment to notice.
        """
        if not lease.open:
            return
        if settle:
            asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._put_back, lease)
        else:
            self._put_back(lease)

    def put_back_unused(self, lease: Lease) -> None:
        """Give back the slot; nothing was sent."""
        lease.lane.rate.undo(lease.began)
        self._put_back(lease)

    def crowded(self, lease: Lease) -> bool:
        """Whether requests wait for the model of a lease."""
        return any(queue.count for queue in self.scheduler.lines[lease.lane.model].queues)

    async def hand_on(self, lease: Lease) -> None:
        """Give back the slot of a whole answer, and let those who wait for one go first."""
        crowded = self.crowded(lease)
        self.release(lease)
        if crowded:
            await asyncio.sleep(MAKE_WAY_SECONDS)

    def answered(self, lease: Lease) -> None:
        """The upstream answers the request: the key works."""
        if not lease.counted:
            return
        metrics.ANSWERS.labels(lease.lane.key.name, lease.lane.model).inc()
        self._heard(lease, "200")
        self._told(self.scheduler.succeed(lease), None, lease)

    def failed(self, lease: Lease, fault: Fault) -> None:
        """The upstream refused or failed the request; `release` has still to be called."""
        key = lease.lane.key.name
        metrics.REFUSALS.labels(key, fault.code).inc()
        self._heard(lease, fault.code)
        logger.info(
            "event=refused pool=%s key=%s model=%s code=%s kind=%s",
            lease.ticket.pool,
            key,
            lease.lane.model,
            fault.code,
            fault.kind.value,
        )
        if fault.kind is not Kind.REQUEST:
            lease.ticket.tried.add(key)
            self._told(self.scheduler.fail(lease, fault), fault, lease)

    def _heard(self, lease: Lease, code: str) -> None:
        key = lease.lane.key
        key.last_code, key.last_at = code, self._clock.wall()

    def enable(self, name: str) -> bool:
        """Bring a key back into use that rests or is out; returns whether anything changed."""
        key = self.scheduler.keys[name]
        changed = [h for h in (key.health, *(lane.health for lane in key.lanes)) if h.enable()]
        for health in changed:
            self.scheduler.health_changed(health)
            logger.warning("event=enabled key=%s by=operator", name)
        self._told(changed, None, None)
        return bool(changed)

    # Shared store (shared.Listener) ------------------------------------------

    def on_room(self, meter: str) -> None:
        """See `shared.Listener`."""
        self.scheduler.room(meter)
        self._schedule()

    def on_health(self, name: str, record: dict[str, Any] | None) -> None:
        """See `shared.Listener`."""
        if record is not None:
            try:
                self._adopt({name: Record.from_json(record)})
            except (ValueError, KeyError, TypeError):
                logger.warning("event=shared_state_unreadable name=%s", name.split("@")[0])

    def on_shares(self) -> None:
        """See `shared.Listener`."""
        self._shares_changed()

    def on_connection(self, connected: bool) -> None:
        """See `shared.Listener`."""
        if self._limits:
            loop = asyncio.get_running_loop()
            for seconds in self._limits.connection_changed():
                loop.call_later(seconds + 0.01, self._shares_changed)
        if connected and self.store:
            self._spawn(self._read_store(self.store))
            for call in self.on_return:
                call()
        self._shares_changed()

    def _shares_changed(self) -> None:
        self.scheduler.shares_changed()
        self._schedule()

    def _tell_queued(self, ticket: Ticket) -> None:
        """Let other processes know since when this one waits, so that none is passed over for ever."""
        if self.store:
            model = self.scheduler.queues[ticket.pool].pool.model
            oldest = self.scheduler.oldest_waiting(model)
            for meter in {lane.meter.name for lane in self.scheduler.lines[model].lanes}:
                self.store.queued(meter, oldest)

    async def _confirm(self, lease: Lease) -> Refused | None:
        """Ask the shared store for what the scheduler granted."""
        if self.store is None:
            return None
        lane = lease.lane
        claim = Claim(
            lease=self._names.setdefault(lease.number, uuid.uuid4().hex),
            meter=lane.meter.name,
            slots=lane.meter.limit,
            rate=lane.rate.name,
            rpm=lane.rate.rpm,
            probe=lease.probes[0].name if lease.probes else None,
            arrived=lease.ticket.arrived,
            next_arrived=self.scheduler.oldest_waiting(lane.model),
            insist=lane.meter.insist,
        )
        lane.meter.insist = False
        try:
            refused = await self.store.take(claim)
        except StoreAway:
            # granted under the even part, unless that is used up
            refused = self._beyond_part(lane)
            if refused is None:
                self.store.adopt(claim)
        except BaseException:
            self._put_back(lease)
            raise
        if refused:
            self._names.pop(lease.number, None)
        return refused

    def _beyond_part(self, lane: Lane) -> Refused | None:
        """What this process has too much of for its part, the last grant included."""
        slots, rpm = lane.meter.limit, lane.rate.rpm
        if self._limits and slots is not None and lane.meter.in_flight > self._limits.slots(lane.meter.name, slots):
            return Refused("slots")
        used = lane.rate.used(self._clock.monotonic())
        if self._limits and rpm is not None and used > self._limits.rpm(lane.rate.name, rpm):
            return Refused("rate")
        return None

    async def _read_store(self, store: SharedStore) -> None:
        """Merge what others know with what this process knows; the newer holds."""
        try:
            shared = await store.read_health()
        except StoreAway:
            return
        for name, record in shared.items():
            self.on_health(name, record)
        for name, own in self._records().items():
            if name not in shared or float(shared[name].get("at", 0)) < own.at:
                await store.write_health(name, own.as_json())

    # Within ----------------------------------------------------------------

    def _put_back(self, lease: Lease) -> None:
        name = self._names.pop(lease.number, None)
        if lease.number in self._giving:
            return
        if self.store is not None and name is not None and lease.open:
            self._giving.add(lease.number)
            self._spawn(self._give(self.store, name, lease))
            return
        self.scheduler.release(lease)
        self._schedule()

    async def _give(self, store: SharedStore, name: str, lease: Lease) -> None:
        """First there, then here: a ticket of this process that is next asks there again."""
        try:
            await store.give(name)
        finally:
            self._giving.discard(lease.number)
            self.scheduler.release(lease)
            self._schedule()

    def _refused(self, ticket: Ticket, refusal: Refusal) -> None:
        metrics.CLIENT_ERRORS.labels(ticket.pool, refusal.reason.value).inc()
        logger.info(
            "event=unavailable pool=%s reason=%s retry_after=%s",
            ticket.pool,
            refusal.reason.value,
            "-" if refusal.retry_after is None else f"{refusal.retry_after:.0f}",
        )

    def _told(self, changed: Iterable[Health], fault: Fault | None, lease: Lease | None) -> None:
        """Log, keep and share the healths that changed."""
        any_changed = False
        for health in changed:
            any_changed = True
            self._log_change(health, fault, lease)
            if self.store:
                self._spawn(self.store.write_health(health.name, health.record.as_json()))
        if any_changed:
            self._save()
        self._schedule()

    def _log_change(self, health: Health, fault: Fault | None, lease: Lease | None) -> None:
        if lease is None:
            return
        key, record = lease.lane.key.name, health.record
        scope = lease.lane.model if health is lease.lane.health else "*"
        if record.state is State.ACTIVE:
            logger.info("event=recovered key=%s model=%s", key, scope)
        elif record.state is State.OUT:
            logger.error(
                "event=out key=%s model=%s code=%s account=%s: the upstream refuses this key; correct it and replace "
                "its value, or run playbooks/enable_key.yml",
                key,
                scope,
                record.code,
                lease.lane.key.settings.account,
            )
        else:
            logger.warning(
                "event=%s key=%s model=%s code=%s until=%s failures=%d",
                record.state.value,
                key,
                scope,
                record.code,
                time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.until)),
                record.failures,
            )

    def _adopt(self, records: dict[str, Record]) -> None:
        for name, record in records.items():
            health = self.scheduler.healths.get(name)
            if health is not None and health.adopt(record):
                logger.info("event=learnt key=%s state=%s", name.split("@")[0], health.record.state.value)
                self.scheduler.health_changed(health)
        self._schedule()

    def _records(self) -> dict[str, Record]:
        return {name: h.record for name, h in self.scheduler.healths.items() if h.record.at > 0}

    def _save(self) -> None:
        """Write the file soon; changes that come meanwhile are written together."""
        self._dirty = self._file is not None
        if self._file and not self._saving:
            self._saving = True
            self._spawn(self._write_file(self._file))

    async def _write_file(self, file: StateFile) -> None:
        try:
            while self._dirty:
                self._dirty = False
                await asyncio.to_thread(file.save, self._records())
        except asyncio.CancelledError:
            self._dirty = True  # it may not have come to its turn; `stop` saves once more
            raise
        finally:
            self._saving = False

    async def _watch_file(self, file: StateFile) -> None:
        """Learn what another instance on this host finds out."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self._saving and file.changed():
                self._adopt(await asyncio.to_thread(file.load))

    def _schedule(self) -> None:
        """Set the timer to the next thing that is due."""
        delay = self.scheduler.poll()
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if delay is not None:
            self._timer = asyncio.get_running_loop().call_later(delay, self._schedule)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
