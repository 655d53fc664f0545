"""What a client may do now: its key, its pools, its limits and budgets; and the account of what it did."""

import asyncio
import logging
import math
import os
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from glm_pool import metrics
from glm_pool.client_errors import ClientError
from glm_pool.clients import MASTER, Client, ClientsFile
from glm_pool.clock import Clock
from glm_pool.ledger import Ledger, Spent, Use, month_of, next_month
from glm_pool.limits import WINDOW
from glm_pool.master_key import is_master_key
from glm_pool.shared import Claim, SharedStore, StoreAway
from glm_pool.tokens import Tokens, cost

CLIENTS_VARIABLE = "GLM_POOL_CLIENTS_FILE"
USAGE_VARIABLE = "GLM_POOL_USAGE_FILE"
TELL_AGAIN_SECONDS = 1.0

Prices = Callable[[str], Mapping[str, float] | None]
"""LiteLLM's price of an upstream model, USD per million tokens by kind; None for one that it does not know."""

logger = logging.getLogger("glm_pool")


class SharedSpending(Protocol):
    """Where hosts tell each other what clients used; raises StoreAway."""

    async def tell_spent(self, month: str, client: str, host: str, spent: Spent) -> None:
        """Say what the client used on a host in a month, all in all."""

    async def spent_elsewhere(self, month: str, client: str, host: str) -> Spent:
        """What the client used on the other hosts."""


class Visit:
    """One request of a client, from its admission to its end.

    Attributes:
        client: whose.
        counted: it counts among the client's requests; a token count does not.
    """

    def __init__(self, client: Client, *, counted: bool, leave: Callable[[], Awaitable[None]] | None = None) -> None:
        self.client = client
        self.counted = counted
        self.began = time.monotonic()
        self._leave = leave

    async def leave(self) -> None:
        """Give back its place; a second time does nothing. Goes on when the one who waits for it is cancelled."""
        leave, self._leave = self._leave, None
        if leave is not None:
            await leave()


class Access:
    """Judges clients.

    Args:
        file: who there is.
        ledger: what they used.
        prices: LiteLLM's.
        clock: the time.
    """

    def __init__(self, file: ClientsFile, ledger: Ledger, prices: Prices, clock: Clock | None = None) -> None:
        self.file = file
        self.ledger = ledger
        self._prices = prices
        self._clock = clock or Clock()
        self._alone = _Counts(self._clock)
        self._store: SharedStore | None = None
        self._start: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._spending: SharedSpending | None = None
        self._elsewhere: dict[tuple[str, str], Spent] = {}  # by month and client, as last heard
        self._untold: set[str] = set()
        self._telling: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unpriced: set[str] = set()

    def share(
        self,
        store: SharedStore,
        start: Callable[[], Coroutine[Any, Any, None]],
        spending: SharedSpending | None,
    ) -> None:
        """Agree with other processes from now on.

        Args:
            store: for limits.
            start: to be waited for before the first use.
            spending: for budgets; None where all processes have one ledger.
        """
        self._store, self._start, self._spending = store, start, spending

    # Who -----------------------------------------------------------------------------------------------------------

    def identify(self, presented: str) -> Client | ClientError:
        """The client of a header's value, with or without `Bearer`, or why it is refused; no secret is repeated."""
        if is_master_key(presented):
            return Client(MASTER)
        client = self.file.read().find(presented.removeprefix("Bearer ").strip())
        if client is None:
            return ClientError(
                401,
                "invalid_api_key",
                "Authentication failed: send the proxy's key as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.",
            )
        if client.revoked:
            return ClientError(401, "key_revoked", f"The key of {client.name} was revoked; ask for another one.")
        if self._clock.wall() >= client.expires:
            moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(client.expires))
            return ClientError(401, "key_expired", f"The key of {client.name} expired ({moment}); ask for another one.")
        return client

    def refusal(self, client: Client, pool: str) -> ClientError | None:
        """Why the client may not use the pool; None when it may."""
        if client.may_use(pool):
            return None
        allowed = ", ".join(sorted(client.pools or ())) or "none"
        return ClientError(
            403, "pool_not_allowed", f"The key of {client.name} may not use {pool}; it may use: {allowed}."
        )

    # What it may do now --------------------------------------------------------------------------------------------

    async def admit(self, client: Client, *, counted: bool) -> Visit | ClientError:
        """Let a request in, or say why not. A visit must end with `leave`.

        Args:
            client: whose.
            counted: False for what uses nothing upstream.
        """
        if client.is_master and not self.file.read().master_key_answers:
            return ClientError(
                403,
                "master_key_administers",
                "The master key is for administration; send a client key (litellm_proxy_client_keys).",
            )
        if not counted:
            return Visit(client, counted=False)
        if client.has_budget and (error := await self._over_budget(client)):
            return error
        if client.rpm is None and client.max_parallel_requests is None:
            return Visit(client, counted=True)
        return await self._take_place(client)

    async def _over_budget(self, client: Client) -> ClientError | None:
        now = self._clock.wall()
        elsewhere = await self._spent_elsewhere(client.name, month_of(now))
        return self._judge_budget(client, self.ledger.spent(client.name) + elsewhere, now)

    def over_budget_by_now(self, visit: Visit) -> ClientError | None:
        """Why a request that was let in is not to be sent: others used up the budget while it waited for a key.

        Goes by what was last heard of other hosts.
        """
        client, now = visit.client, self._clock.wall()
        if not visit.counted or not client.has_budget:
            return None
        elsewhere = self._elsewhere.get((month_of(now), client.name), Spent())
        return self._judge_budget(client, self.ledger.spent(client.name) + elsewhere, now)

    @staticmethod
    def _judge_budget(client: Client, spent: Spent, now: float) -> ClientError | None:
        tokens, budget = client.monthly_tokens, client.monthly_budget
        if tokens is not None and spent.tokens >= tokens:
            said = f"{tokens:,} tokens of this month"
        elif budget is not None and spent.cost >= budget:
            said = f"USD {budget:{'.2f' if budget >= 0.01 else 'g'}} of this month"
        else:
            return None
        until = next_month(now)
        again = time.strftime("%Y-%m-%d", time.gmtime(until))
        return ClientError(
            429,
            "budget_used_up",
            f"{client.name} has used its {said}; the next month begins on {again} at 00:00 UTC.",
            math.ceil(until - now),
            retry=False,
        )

    async def _spent_elsewhere(self, client: str, month: str) -> Spent:
        if self._spending is None:
            return Spent()
        try:
            await self._started()
            spent = await self._spending.spent_elsewhere(month, client, self.ledger.host)
        except StoreAway:
            spent = Spent()
        before = self._elsewhere.get((month, client), Spent())
        # a month's use never falls: a store that says so has lost it, and is told again
        heard = self._elsewhere[month, client] = Spent(max(before.tokens, spent.tokens), max(before.cost, spent.cost))
        return heard

    async def _take_place(self, client: Client) -> Visit | ClientError:
        limits = f"client:{client.name}"
        lease = uuid.uuid4().hex
        now = self._clock.wall()
        slots, rpm = client.max_parallel_requests, client.rpm
        store = self._store
        claim = Claim(lease, limits, slots, limits, rpm, None, now, insist=True)
        away = store is None
        if store is not None:
            try:
                await self._started()
                refused = await store.take(claim)
            except StoreAway:
                away = True  # this process counts by itself until it is back
            else:
                if refused is not None:
                    return self._too_many(client, refused.reason == "rate", refused.retry_in)
        if not away:
            self._alone.note(limits)
        elif (wait := self._alone.take(limits, slots, rpm)) is not None:
            return self._too_many(client, wait > 0, wait or None)
        elif store is not None:
            store.adopt(claim)

        async def leave() -> None:
            self._alone.give(limits)
            if store is not None:
                await asyncio.shield(self._spawn(store.give(lease)))

        return Visit(client, counted=True, leave=leave)

    @staticmethod
    def _too_many(client: Client, of_rate: bool, retry_in: float | None) -> ClientError:
        seconds = max(1, math.ceil(retry_in or 1))
        again = f"Try again in {seconds} s."
        if of_rate:
            said = f"{client.name} may send {client.rpm} requests a minute. {again}"
            return ClientError(429, "client_rate_limit", said, seconds)
        said = f"{client.name} may have {client.max_parallel_requests} requests under way at once. {again}"
        return ClientError(429, "client_parallel_limit", said, seconds)

    # What it did ---------------------------------------------------------------------------------------------------

    def account(self, visit: Visit, *, key: str, pool: str, model: str, tokens: Tokens, status: int) -> None:
        """Note a request that has ended; never raises.

        Args:
            visit: the request.
            key: name of the pool's key that was used; empty for none.
            pool: name of the pool; empty where it is not known.
            model: of the upstream; empty where none was asked.
            tokens: what it used.
            status: HTTP status that the client got, 502 for an answer that broke off; 499 when it went first.
        """
        if not visit.counted:
            return
        client = visit.client
        usd = self._cost(model, tokens)
        failed = status >= 400 and status != 499
        self.ledger.add(Use(self._clock.wall(), client.name, key, pool, model, failed, tokens, usd))
        self.ledger.prune(self.file.read().usage_days)
        metrics.count_client(client.name, pool, status, tokens, usd)
        logger.info(
            "event=served client=%s pool=%s key=%s model=%s status=%d "
            "input=%d cached=%d output=%d usd=%.6f seconds=%.3f",
            client.name, pool or "-", key or "-", model or "-", status,
            tokens.input, tokens.cached, tokens.output, usd, time.monotonic() - visit.began,
        )  # fmt: skip
        if client.has_budget:
            self._tell(client.name)

    def _cost(self, model: str, tokens: Tokens) -> float:
        if not tokens.total:
            return 0.0
        price = self.file.read().prices.get(model) or self._prices(model)
        if price is None:
            if model not in self._unpriced:
                self._unpriced.add(model)
                logger.warning(
                    "event=no_price model=%s: it counts as free; set litellm_proxy_prices['%s']", model, model
                )
            return 0.0
        return cost(tokens, price)

    def tell_all(self) -> None:
        """Tell the other hosts anew what budgets have used: they may have forgotten it."""
        for client in self.file.read().clients:
            if client.has_budget:
                self._tell(client.name)

    def _tell(self, client: str) -> None:
        if self._spending is None:
            return
        self._untold.add(client)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell_until_heard(self._spending))

    async def _tell_until_heard(self, spending: SharedSpending) -> None:
        while self._untold:
            client = self._untold.pop()
            try:
                await self._started()
                month = month_of(self._clock.wall())
                await spending.tell_spent(month, client, self.ledger.host, self.ledger.spent(client))
            except StoreAway:
                self._untold.add(client)
                await asyncio.sleep(TELL_AGAIN_SECONDS)

    # Status --------------------------------------------------------------------------------------------------------

    def status(self) -> list[dict[str, Any]]:
        """Each client, with what it used on this host in the present month."""
        now = self._clock.wall()
        found = []
        for client in self.file.read().clients:
            spent = self.ledger.spent(client.name)
            state = "revoked" if client.revoked else "expired" if now >= client.expires else "active"
            found.append(
                {
                    "name": client.name,
                    "state": state,
                    "pools": None if client.pools is None else sorted(client.pools),
                    "rpm": client.rpm,
                    "max_parallel_requests": client.max_parallel_requests,
                    "monthly_tokens": client.monthly_tokens,
                    "monthly_budget": client.monthly_budget,
                    "tokens": spent.tokens,
                    "cost": round(spent.cost, 6),
                    "expires": None if client.expires == math.inf else client.expires,
                }
            )
        return found

    # Within --------------------------------------------------------------------------------------------------------

    async def _started(self) -> None:
        if self._start is not None:
            await self._start()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Counts:
    """Places and minutes of this process alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_flight: dict[str, int] = {}
        self._starts: dict[str, deque[float]] = {}

    def take(self, name: str, slots: int | None, rpm: int | None) -> float | None:
        """Take a place; None when there was one, otherwise seconds to wait, 0 for as long as an answer takes."""
        if slots is not None and self._in_flight.get(name, 0) >= slots:
            return 0.0
        now = self._clock.monotonic()
        starts = self._starts.setdefault(name, deque())
        while starts and starts[0] <= now - WINDOW:
            starts.popleft()
        if rpm is not None and len(starts) >= rpm:
            return starts[-rpm] + WINDOW - now
        self.note(name)
        return None

    def note(self, name: str) -> None:
        """Count a place that was taken anyway."""
        starts = self._starts.setdefault(name, deque())
        starts.append(self._clock.monotonic())
        while starts[0] <= starts[-1] - WINDOW:
            starts.popleft()
        self._in_flight[name] = self._in_flight.get(name, 0) + 1

    def give(self, name: str) -> None:
        """Give a place back."""
        self._in_flight[name] -= 1


def litellm_price(model: str) -> Mapping[str, float] | None:
    """LiteLLM's price of a model of Z.AI, USD per million tokens by kind; None for one that it does not know."""
    import litellm  # only there

    known = litellm.model_cost.get(f"zai/{model}")
    if not known:
        return None
    fields = {
        "input": "input_cost_per_token",
        "cached": "cache_read_input_token_cost",
        "output": "output_cost_per_token",
    }
    return {kind: float(known[field]) * 1_000_000 for kind, field in fields.items() if known.get(field) is not None}


@cache
def the_access() -> Access:
    """That of this process, made from the environment."""
    clients, usage = os.environ.get(CLIENTS_VARIABLE), os.environ.get(USAGE_VARIABLE)
    return Access(
        ClientsFile(Path(clients) if clients else None), Ledger(Path(usage) if usage else None), litellm_price
    )
