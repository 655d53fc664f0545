"""What the transport does for clients with keys of their own: their pools, their budgets, their account."""

import asyncio
from typing import Any

import pytest
from pool_parts import FakeClock, in_loop, key, until
from test_transport import CHAT, COUNT, DONE, HELLO, MESSAGES, Body, Rig, answer, chunk, stream

from glm_pool.access import Visit
from glm_pool.clients import Client
from glm_pool.ledger import Use
from glm_pool.request_state import RequestState, begin
from glm_pool.tokens import Tokens

USAGE = {"prompt_tokens": 30, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 10}}


class ClientRig(Rig):
    """Its requests are those of one client."""

    who = Client("alice")

    def visit(self) -> RequestState:
        state = self.state = begin()
        state.visit = Visit(self.who, counted=True)
        return state

    async def ask(self, url: str = CHAT) -> Any:
        self.visit()
        return await self.client.post(url, json={"model": "glm-5.3"})

    def use(self, tokens: int) -> None:
        self.access.ledger.add(Use(FakeClock().wall(), self.who.name, tokens=Tokens(tokens)))


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glm_pool.clock.Clock.wall", lambda self: FakeClock().wall())


@pytest.mark.parametrize("url", [CHAT, MESSAGES, COUNT])
@in_loop
async def test_a_pool_that_is_not_the_clients_is_not_asked(url: str) -> None:
    rig = ClientRig()
    rig.who = Client("bob", pools=frozenset({"flash"}))
    await rig.ask(url)
    assert rig.state.error
    assert (rig.state.error.status, rig.state.error.code) == (403, "pool_not_allowed")
    assert rig.state.pool == "glm-pool"
    assert rig.upstream.requests == []


@in_loop
async def test_who_waits_while_the_budget_is_used_up_is_not_sent() -> None:
    rig = ClientRig(key("a", 1, rpm=3))
    rig.who = Client("alice", monthly_tokens=10)
    finish = asyncio.Event()

    async def slowly(request: Any) -> Any:
        await finish.wait()
        return await answer()(request)

    rig.upstream.script = [slowly]
    first = asyncio.ensure_future(rig.ask())
    await until(lambda: rig.upstream.requests)
    waiting = [asyncio.ensure_future(rig.ask()) for _ in range(5)]
    await until(lambda: sum(queue.count for queue in rig.pool.scheduler.queues.values()) == 5)
    rig.use(10)
    finish.set()
    assert (await first).status_code == 200
    for request in waiting:
        response = await request
        assert (response.status_code, response.json()["error"]["code"]) == (429, "budget_used_up")
    assert len(rig.upstream.requests) == 1
    await rig.comes_to_rest()
    rig.who = Client("bob")
    for _ in range(2):  # what was not sent uses nothing of the key's minute
        assert (await rig.ask()).status_code == 200


@in_loop
async def test_a_whole_answer_is_accounted() -> None:
    rig = ClientRig()
    rig.upstream.script = [answer(500), answer(document={"choices": [{"message": {"content": "hi"}}], "usage": USAGE})]
    assert (await rig.ask()).status_code == 200
    assert (rig.state.pool, rig.state.answered, rig.state.used) == ("glm-pool", ("b", "glm-5.3"), Tokens(20, 10, 9))


@in_loop
async def test_a_stream_is_accounted_however_it_ends() -> None:
    for events, used in (
        ((HELLO, chunk(content=" all"), b'data: {"choices": [], "usage": {"prompt_tokens": 3}}\n\n', DONE), (3, 0, 0)),
        ((HELLO, chunk(content=" cut")), (3, 0, 2)),
    ):
        rig = ClientRig()
        rig.upstream.script = [stream(Body(*events))]
        rig.visit()
        async with rig.client.stream("POST", CHAT, json={"model": "12"}) as response:
            await response.aread()
        assert rig.state.answered == ("a", "glm-5.3")
        assert rig.state.used == Tokens(*used)
        assert rig.state.broken is (events[-1] != DONE)
        await rig.comes_to_rest()
