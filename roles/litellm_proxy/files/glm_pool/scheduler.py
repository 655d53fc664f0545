"""The pool scheduler: which request is sent with which key, and when. No input or output, no event loop.

Words: a *lane* is a key on one model; lanes of one account and model share a *meter* (requests in flight), all
lanes of an account share a *rate* (requests a minute). A *line* is everything on one model: its lanes, and the pools
whose requests wait for them. A *ticket* is a request that wants a lane, a *lease* is its hold on one.

It always holds that no ticket waits while a lane is free that it could use.
"""

import heapq
import itertools
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from glm_pool.clock import Clock
from glm_pool.faults import Fault
from glm_pool.health import Health
from glm_pool.lanes import CountedKey, Lane, Line, Standing
from glm_pool.limits import Meter, Rate, Share, Whole
from glm_pool.settings import Settings
from glm_pool.tickets import BORROWED, Lease, Reason, Refusal, Ticket, Waiting
from glm_pool.turns import Turns

LONGEST_LOOK_AHEAD = 30.0
"""Seconds after which a parked key is looked at again, in case the wall clock was set."""
SESSIONS_KEPT = 10_000
USABLE = (Standing.FREE, Standing.BUSY)


class Scheduler:
    """Hands out lanes to tickets within every limit.

    Args:
        settings: the pools and keys.
        clock: the time.
        share: how much of each limit is this process's; all of it by default.
    """

    def __init__(self, settings: Settings, clock: Clock, share: Share | None = None) -> None:
        self.settings = settings
        self.clock = clock
        share = share or Whole()
        self.keys: dict[str, CountedKey] = {}
        self.healths: dict[str, Health] = {}
        self.meters: dict[str, Meter] = {}
        self.rates: dict[str, Rate] = {}
        self.lines: dict[str, Line] = {}
        self.queues: dict[str, Waiting] = {}
        self._meter_lanes: dict[str, list[Lane]] = {}
        self._rate_lanes: dict[str, list[Lane]] = {}
        self._numbers = itertools.count(1)
        self._uses = itertools.count(1)
        self._wakes: list[tuple[float, int, Lane]] = []
        self._deadlines: list[tuple[float, int, Ticket]] = []
        self._homes: OrderedDict[tuple[str, str], str] = OrderedDict()
        for key in settings.keys:
            self.keys[key.name] = CountedKey(key, self._new_health(key.identity))
        for pool in settings.pools:
            line = self.lines.setdefault(pool.model, Line(pool.model, Turns(settings.strategy)))
            queue = Waiting(pool)
            line.queues.append(queue)
            self.queues[pool.name] = queue
        for line in self.lines.values():
            for counted in self.keys.values():
                self._add_lane(line, counted, share)
        self.review(lane for line in self.lines.values() for lane in line.lanes)

    # Tickets ---------------------------------------------------------------

    def enter(self, ticket: Ticket) -> Lease | Refusal | None:
        """Serve a ticket now, refuse it, or let it wait (None); then `notify` tells how it ends.

        A ticket that comes again after a failure keeps its place by its number, and its waits add up.
        """
        queue = self.queues[ticket.pool]
        line = self.lines[queue.pool.model]
        again = ticket.number > 0
        if not again:
            ticket.number = next(self._numbers)
        lane = self._home(ticket, line) or self._choose(ticket, line)
        if lane is not None:
            return self._grant(ticket, lane, 0.0)
        now = self.clock.monotonic()
        patience = max(0.0, self.settings.queue_timeout - ticket.waited)
        if refusal := self._hopeless(ticket, line, patience):
            return refusal
        if queue.count >= self.settings.queue_size and not again:
            return Refusal(Reason.QUEUE_FULL, self._expected(line, queue))
        if patience <= 0:
            return Refusal(Reason.QUEUE_TIMEOUT, self._expected(line, queue))
        ticket.began, ticket.deadline = now, now + patience
        heapq.heappush(self._deadlines, (ticket.deadline, ticket.number, ticket))
        queue.add(ticket)
        return None

    def borrow(self, ticket: Ticket) -> Lease | Refusal:
        """A lane for a request that takes no slot upstream, such as a token count; it never waits."""
        line = self.lines[self.queues[ticket.pool].pool.model]
        well = [
            lane
            for lane in line.lanes
            if lane.standing in USABLE
            and lane.key.name not in ticket.tried
            and not any(health.recovering for health in lane.healths)
        ]
        if not well:
            return self._hopeless(ticket, line, 0.0) or self.out_of_tries(ticket)
        lane = well[next(self._numbers) % len(well)]
        return Lease(next(self._numbers), ticket, lane, self.clock.monotonic(), 0.0, (), BORROWED, open=False)

    def out_of_tries(self, ticket: Ticket) -> Refusal:
        """The refusal of a ticket that may not try again."""
        return Refusal(Reason.TRIED, self._retry_after(self.lines[self.queues[ticket.pool].pool.model]))

    def leave(self, ticket: Ticket) -> None:
        """A waiting ticket's client has gone."""
        if ticket.waiting:
            self.queues[ticket.pool].remove(ticket)

    def release(self, lease: Lease) -> None:
        """Give back a slot; a second time does nothing."""
        if not lease.open:
            return
        line = self.lines[lease.lane.model]
        line.hold += (self.clock.monotonic() - lease.began - line.hold) / 8
        self._put_back(lease)

    def undo(self, lease: Lease, reason: str, retry_in: float) -> Lease | Refusal | None:
        """The shared store did not confirm a lease: nothing was sent, the ticket goes on waiting at its place.

        Args:
            lease: to be undone.
            reason: what was refused, as in `shared.Refused`.
            retry_in: seconds before it is worth asking the store again.
        """
        lane, ticket = lease.lane, lease.ticket
        closed_until = self.clock.monotonic() + retry_in
        lane.rate.undo(lease.began)
        if reason == "rate":
            lane.rate.closed_until = closed_until
        elif reason == "probe":
            lane.closed_until = closed_until
        else:
            lane.meter.closed_until = closed_until
            lane.meter.insist = reason == "turn"
        ticket.waited += lease.waited
        self._put_back(lease, dispatch=False)
        self.review(self._rate_lanes[lane.rate.name])
        outcome = self.enter(ticket)
        self._dispatch_for(self._rate_lanes[lane.rate.name])
        return outcome

    def succeed(self, lease: Lease) -> list[Health]:
        """The upstream answers: returns the healths that are well again."""
        return self._verdict(lease, [health for health in lease.lane.healths if health.succeed()])

    def fail(self, lease: Lease, fault: Fault) -> list[Health]:
        """The upstream refused: returns the healths whose state changed. The lease stays open."""
        health = lease.lane.health if fault.of_model else lease.lane.key.health
        changed = health.fail(fault, self.settings.cooldown_time)
        return self._verdict(lease, [health] if changed else [])

    def _verdict(self, lease: Lease, changed: list[Health]) -> list[Health]:
        probed = self._end_probes(lease)
        if changed or probed:
            self.review(lease.lane.key.lanes)
            self._dispatch_for(lease.lane.key.lanes)
        return changed

    # Events ----------------------------------------------------------------

    def poll(self) -> float | None:
        """Do what is due by now; returns the seconds until the next thing is, None for nothing."""
        now = self.clock.monotonic()
        awake = []
        while self._wakes and self._wakes[0][0] <= now:
            moment, _, lane = heapq.heappop(self._wakes)
            if moment == lane.wakes_at:
                lane.wakes_at = math.inf
                awake.append(lane)
        if awake:
            self.review(awake)
            self._dispatch_for(awake)
        while self._deadlines and (self._deadlines[0][0] <= now or not self._deadlines[0][2].waiting):
            deadline, _, ticket = heapq.heappop(self._deadlines)
            if ticket.waiting and ticket.deadline == deadline:
                queue = self.queues[ticket.pool]
                queue.remove(ticket)
                ticket.notify(Refusal(Reason.QUEUE_TIMEOUT, self._expected(self.lines[queue.pool.model], queue)))
        nearest = min((heap[0][0] for heap in (self._wakes, self._deadlines) if heap), default=math.inf)
        return None if nearest == math.inf else max(0.0, nearest - self.clock.monotonic())

    def health_changed(self, health: Health) -> None:
        """A health was set from outside: a file, another process, an operator."""
        # a probe of before decides nothing any more
        health.prober = 0
        lanes = [lane for key in self.keys.values() for lane in key.lanes if health in lane.healths]
        self.review(lanes)
        self._dispatch_for(lanes)

    def room(self, meter: str) -> None:
        """Another process gave back a slot."""
        if meter in self.meters:
            self.meters[meter].closed_until = 0.0
            self.review(self._meter_lanes[meter])
            self._dispatch_for(self._meter_lanes[meter])

    def shares_changed(self) -> None:
        """This process's share of the limits is another."""
        for meter in self.meters.values():
            meter.closed_until = 0.0
        for rate in self.rates.values():
            rate.closed_until = 0.0
        lanes = [lane for line in self.lines.values() for lane in line.lanes]
        self.review(lanes)
        self._dispatch_for(lanes)

    def oldest_waiting(self, model: str) -> float | None:
        """When the request came that has waited longest on a model, seconds since the epoch."""
        heads = [ticket.arrived for queue in self.lines[model].queues for ticket in queue.heads()]
        return min(heads, default=None)

    # Standing --------------------------------------------------------------

    def review(self, lanes: Iterable[Lane]) -> None:
        """Look at lanes anew after something about them has changed."""
        now = self.clock.monotonic()
        for lane in lanes:
            standing, seconds = self._look(lane, now)
            line = self.lines[lane.model]
            was_usable, usable = (s in USABLE for s in (lane.standing, standing))
            line.usable += usable - was_usable
            lane.standing = standing
            if seconds < math.inf and now + seconds < lane.wakes_at:
                lane.wakes_at = now + seconds
                heapq.heappush(self._wakes, (lane.wakes_at, next(self._numbers), lane))
            if standing is Standing.FREE:
                line.turns.offer(lane)
            else:
                line.turns.withdraw(lane)
            if was_usable and not usable:
                self._give_up(line)

    def _look(self, lane: Lane, now: float) -> tuple[Standing, float]:
        """A lane's standing, and the seconds after which it is worth looking again."""
        if lane.key.settings.state != "active":
            return Standing.GONE, math.inf
        rest = max(health.resting for health in lane.healths)
        if rest == math.inf:
            return Standing.GONE, math.inf
        if rest > 0:
            return Standing.RESTING, min(rest, LONGEST_LOOK_AHEAD)
        wait = lane.rate.wait(now)
        if wait > 0:
            return Standing.BUSY if lane.rate.is_shared else Standing.RESTING, min(wait, LONGEST_LOOK_AHEAD)
        closed = max(lane.meter.closed_until, lane.closed_until) - now
        if closed > 0:
            return Standing.BUSY, closed
        probed = any(health.recovering and health.prober for health in lane.healths)
        if probed or lane.meter.full:
            return Standing.BUSY, math.inf
        return Standing.FREE, math.inf

    def return_time(self, lanes: Sequence[Lane]) -> float:
        """Seconds until the first of the lanes can be used, slots aside; infinite when none ever can."""
        now = self.clock.monotonic()
        return min((self._return_of(lane, now) for lane in lanes), default=math.inf)

    def _return_of(self, lane: Lane, now: float) -> float:
        if lane.key.settings.state != "active":
            return math.inf
        return max(*(health.resting for health in lane.healths), lane.rate.wait(now))

    def _hopeless(self, ticket: Ticket, line: Line, patience: float) -> Refusal | None:
        """The refusal of a ticket that no lane can serve within its patience, None when one may."""
        if line.usable > sum(lane.standing in USABLE for lane in self._tried_lanes(ticket, line)):
            return None
        left = [lane for lane in line.lanes if lane.key.name not in ticket.tried]
        seconds = self.return_time(left)
        if seconds <= patience and seconds < math.inf:
            return None
        retry_after = self._retry_after(line)
        if ticket.tried:
            return Refusal(Reason.TRIED, retry_after)
        return Refusal(Reason.NO_KEY if retry_after is None else Reason.RESTING, retry_after)

    def _retry_after(self, line: Line) -> float | None:
        """Seconds until a key returns, None when none does by itself."""
        back = self.return_time(line.lanes)
        return None if back == math.inf else max(1.0, back)

    def _give_up(self, line: Line) -> None:
        """A usable lane has gone: tickets that can not be served in time need not wait.

        Those that have tried keys are asked one by one. Of the others none is refused unless all are; who has waited
        for longer is told at the end of his own time.
        """
        now = self.clock.monotonic()
        nobody = not line.usable and self.return_time(line.lanes) > self.settings.queue_timeout
        for queue in line.queues:
            for ticket in queue.all() if nobody else queue.again():
                if refusal := self._hopeless(ticket, line, ticket.deadline - now):
                    queue.remove(ticket)
                    ticket.notify(refusal)

    def _tried_lanes(self, ticket: Ticket, line: Line) -> list[Lane]:
        return [self._lane(name, line.model) for name in ticket.tried if name in self.keys]

    def _lane(self, name: str, model: str) -> Lane:
        return next(lane for lane in self.keys[name].lanes if lane.model == model)

    def _expected(self, line: Line, queue: Waiting) -> float:
        """Seconds until a request that comes now would have its turn, as far as can be told."""
        back = self.return_time(line.lanes)
        if back > 0:
            return max(1.0, back) if back < math.inf else self.settings.queue_timeout
        return max(1.0, line.hold * (queue.count + 1) / max(1, line.in_flight))

    # Grants ----------------------------------------------------------------

    def _home(self, ticket: Ticket, line: Line) -> Lane | None:
        """The lane that the ticket's session uses, if it is free."""
        if not self.settings.session_affinity or ticket.session is None:
            return None
        name = self._homes.get((line.model, ticket.session))
        if name is None or name in ticket.tried:
            return None
        lane = self._lane(name, line.model)
        return lane if lane.standing is Standing.FREE else None

    def _settle(self, ticket: Ticket, lane: Lane) -> None:
        """Remember the session's lane; one that is only full for now keeps its sessions."""
        if not self.settings.session_affinity or ticket.session is None:
            return
        home = (lane.model, ticket.session)
        name = self._homes.pop(home, None)
        if name is not None and name not in ticket.tried:
            old = self._lane(name, lane.model)
            if old.standing is Standing.BUSY:
                lane = old
        self._homes[home] = lane.key.name
        while len(self._homes) > SESSIONS_KEPT:
            self._homes.popitem(last=False)

    def _grant(self, ticket: Ticket, lane: Lane, waited: float) -> Lease:
        now = self.clock.monotonic()
        line = self.lines[lane.model]
        choice = self.settings.strategy
        if ticket.session and self._homes.get((lane.model, ticket.session)) == lane.key.name:
            choice = "session"
        self._settle(ticket, lane)
        probes = tuple(health for health in lane.healths if health.recovering)
        number = next(self._numbers)
        for health in probes:
            health.prober = number
        lane.meter.in_flight += 1
        lane.key.in_flight += 1
        lane.in_flight += 1
        line.in_flight += 1
        lane.key.last_use = next(self._uses)
        lane.rate.start(now)
        line.turns.taken(lane)
        # keys of one account fill up together; the rate concerns all of the account's lanes, a probe all of the key's
        limited = lane.rate.rpm is not None
        touched = self._rate_lanes[lane.rate.name] if limited else self._meter_lanes[lane.meter.name]
        self.review([*touched, *lane.key.lanes] if probes else touched)
        return Lease(number, ticket, lane, now, waited, probes, "probe" if probes else choice)

    def _put_back(self, lease: Lease, *, dispatch: bool = True) -> None:
        lease.open = False
        lane = lease.lane
        lane.meter.in_flight -= 1
        lane.key.in_flight -= 1
        lane.in_flight -= 1
        self.lines[lane.model].in_flight -= 1
        self._end_probes(lease)
        touched = list(dict.fromkeys((*self._meter_lanes[lane.meter.name], *lane.key.lanes)))
        self.review(touched)
        if dispatch:
            self._dispatch_for(touched)

    def _end_probes(self, lease: Lease) -> bool:
        """The request proves nothing more; returns whether it was one that should."""
        probed, lease.probes = lease.probes, ()
        for health in probed:
            if health.prober == lease.number:
                health.prober = 0
        return bool(probed)

    def _dispatch_for(self, lanes: Iterable[Lane]) -> None:
        for model in dict.fromkeys(lane.model for lane in lanes):
            self._dispatch(self.lines[model])

    def _dispatch(self, line: Line) -> None:
        """Give free lanes to waiting tickets, the first come first, over all pools of the model."""
        while found := self._next(line):
            ticket, lane = found
            self.queues[ticket.pool].remove(ticket)
            waited = self.clock.monotonic() - ticket.began
            ticket.notify(self._grant(ticket, lane, waited))

    def _next(self, line: Line) -> tuple[Ticket, Lane] | None:
        heads = [ticket for queue in line.queues if queue.count for ticket in queue.heads()]
        for ticket in sorted(heads, key=lambda head: head.number):
            lane = self._home(ticket, line) or self._choose(ticket, line)
            if lane is not None:
                return ticket, lane
            if not ticket.tried:
                return None  # it would have taken any lane: there is none
        return None

    def _choose(self, ticket: Ticket, line: Line) -> Lane | None:
        while lane := line.turns.choose(lambda lane: lane.key.name not in ticket.tried):
            if not lane.meter.full:
                return lane
            self.review([lane])  # other processes have taken its slots since it was looked at
        return None

    # Set-up ----------------------------------------------------------------

    def _new_health(self, name: str) -> Health:
        return self.healths.setdefault(name, Health(name, self.clock))

    def _add_lane(self, line: Line, key: CountedKey, share: Share) -> None:
        account = key.settings.account
        name = f"{account}|{line.model}"
        active = [k for k in self.settings.keys if k.account == account and k.state == "active"]
        if name not in self.meters:
            slots = [k.max_parallel_requests for k in active if k.max_parallel_requests]
            self.meters[name] = Meter(name, min(slots, default=None), share)
        if account not in self.rates:
            self.rates[account] = Rate(account, min((k.rpm for k in active if k.rpm), default=None), share)
        health = self._new_health(f"{key.settings.identity}/{line.model}")
        lane = Lane(key, line.model, self.meters[name], self.rates[account], health)
        line.lanes.append(lane)
        key.lanes.append(lane)
        self._meter_lanes.setdefault(name, []).append(lane)
        self._rate_lanes.setdefault(account, []).append(lane)
