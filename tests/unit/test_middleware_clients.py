"""Around LiteLLM's application: who is let in, and the account of each request, whatever becomes of it."""

import asyncio
import hashlib
import json
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
from pool_parts import in_loop, make_access, until
from test_middleware import CHAT, FULL, MESSAGES, App, Failing, Message, Pooled, Send, Server, Waiting, middleware

from glm_pool.access import Access
from glm_pool.clients import Client
from glm_pool.ledger import Spent, Use
from glm_pool.tokens import Tokens

KEY = "sk-alice-0123456789abcdefghijklmnop"
ALICE = Client("alice", hashlib.sha256(KEY.encode()).hexdigest(), max_parallel_requests=1)
COUNT = f"{MESSAGES}/count_tokens"

__all__ = ["middleware"]


class Visitor(Server):
    """A client with a key of its own; notes what was written down of it before its answer was complete."""

    def __init__(self, *parts: bytes, key: str = KEY, header: str = "authorization", **options: Any) -> None:
        super().__init__(*parts, **options)
        self.scope["headers"] = [(header.encode(), key.encode())]
        self.uses: list[Use] = []
        self.known_at: bytes | None = None

    async def send(self, message: Message) -> None:
        if self.uses and self.known_at is None:
            self.known_at = message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body"):
            assert self.uses, "the next request may come now"
        await super().send(message)


class Spending(Pooled):
    """LiteLLM, answered by a key of the pool."""

    async def work(self, receive: Any) -> None:
        await super().work(receive)
        self.state.pool, self.state.answered = "glm-pool", ("team-a", "glm-5.3")
        self.state.tokens = Tokens(3, 2, 1)


class Raising(App):
    async def work(self, receive: Any) -> None:
        raise ValueError("a fault of LiteLLM")


class Breaking(Spending):
    """The upstream breaks off within the answer."""

    async def answer(self, send: Send) -> None:
        self.state.broken = True
        await super().answer(send)


class Rig:
    def __init__(self, middleware: ModuleType, app: Any, *clients: Client, **fields: Any) -> None:
        self.access: Access = make_access(*(clients or (ALICE,)), **fields)
        self.uses: list[Use] = []
        self.access.ledger.add = self.uses.append  # type: ignore[assignment, method-assign]
        self.app = middleware.PoolMiddleware(app, None, self.access)

    async def serve(self, visitor: Visitor) -> Visitor:
        visitor.uses = self.uses
        await self.app(visitor.scope, visitor.receive, visitor.send)
        return visitor

    async def assert_free(self) -> None:
        """Every place was given back."""
        visit = await self.access.admit(ALICE, counted=True)
        assert not hasattr(visit, "status"), visit


def noted(rig: Rig) -> list[tuple[str, str, str, str, bool, Tokens]]:
    return [(use.client, use.key, use.pool, use.model, use.failed, use.tokens) for use in rig.uses]


HEADERS = ["x-litellm-api-key", "authorization", "api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key"]


@pytest.mark.parametrize("header", HEADERS)
@in_loop
async def test_a_client_shows_its_key_where_litellm_looks_for_one(middleware: ModuleType, header: str) -> None:
    for key in (KEY, f"Bearer {KEY}"):
        rig = Rig(middleware, Spending())
        assert (await rig.serve(Visitor(key=key, header=header))).status == 200
        assert [use.client for use in rig.uses] == ["alice"]


@in_loop
async def test_the_first_of_several_headers_counts(middleware: ModuleType) -> None:
    for first, second in pairwise(HEADERS):
        rig = Rig(middleware, Spending())
        visitor = Visitor()
        visitor.scope["headers"] = [(second.encode(), b"sk-of-nobody"), (first.encode(), KEY.encode())]
        assert (await rig.serve(visitor)).status == 200


@pytest.mark.parametrize("path", [CHAT, MESSAGES, COUNT, "/v1/responses", f"{CHAT}/"])
@in_loop
async def test_whoever_is_nobody_reaches_nothing(middleware: ModuleType, path: str) -> None:
    app = Spending()
    rig = Rig(middleware, app)
    server = Server(path=path)
    server.scope["headers"] = [(b"authorization", b"Bearer sk-of-nobody")]
    await rig.app(server.scope, server.receive, server.send)
    assert server.status == 401
    assert json.loads(server.body)["error"]["type"] == "authentication_error"
    assert b"sk-of-nobody" not in server.body
    assert (app.scopes, rig.uses) == ([], [])


@in_loop
async def test_an_answer_is_accounted_before_it_is_complete(middleware: ModuleType) -> None:
    rig = Rig(middleware, Spending())
    await rig.serve(Visitor())
    assert noted(rig) == [("alice", "team-a", "glm-pool", "glm-5.3", False, Tokens(3, 2, 1))]
    await rig.assert_free()


@pytest.mark.parametrize("last", [b"data: [DONE]\n\n", b"event: message_stop\ndata: {}\n\n"])
@in_loop
async def test_a_stream_is_accounted_with_its_last_event(middleware: ModuleType, last: bytes) -> None:
    """The client may send its next request when it has seen it, before the server closes the stream."""
    rig = Rig(middleware, Spending(parts=(b"data: {}\n\n", last, b"")))
    visitor = await rig.serve(Visitor())
    assert visitor.known_at == last
    assert len(rig.uses) == 1
    await rig.assert_free()


@pytest.mark.parametrize(
    ("app", "status"), [(Failing(500), FULL.status), (Pooled(400), 400), (Breaking(), 200)], ids=["pool", "own", "cut"]
)
@in_loop
async def test_failures_are_accounted_as_such(middleware: ModuleType, app: App, status: int) -> None:
    rig = Rig(middleware, app)
    assert (await rig.serve(Visitor())).status == status
    assert [use.failed for use in rig.uses] == [True]
    await rig.assert_free()


@in_loop
async def test_a_fault_of_litellm_is_accounted(middleware: ModuleType) -> None:
    rig = Rig(middleware, Raising())
    with pytest.raises(ValueError, match="a fault of LiteLLM"):
        await rig.serve(Visitor())
    assert [use.failed for use in rig.uses] == [True]
    await rig.assert_free()


@in_loop
async def test_a_client_that_goes_is_accounted_and_leaves_its_place(middleware: ModuleType) -> None:
    app = Waiting()
    rig = Rig(middleware, app)
    visitor = Visitor()
    serving = asyncio.ensure_future(rig.serve(visitor))
    await until(lambda: app.state.works)
    refused = await rig.serve(Visitor())
    assert (refused.status, len(rig.uses)) == (429, 1)
    visitor.hang_up()
    await serving
    assert [use.failed for use in rig.uses] == [True, False], "the refusal, and the one that went by itself"
    await rig.assert_free()


@in_loop
async def test_a_refusal_is_in_the_clients_format_and_counts(
    middleware: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = Client(**{**vars(ALICE), "monthly_tokens": 1})
    for path in (CHAT, MESSAGES):
        rig = Rig(middleware, Spending(), poor)
        monkeypatch.setattr(rig.access.ledger, "spent", lambda client: Spent(1))
        refused = await rig.serve(Visitor(path=path))
        assert refused.status == 429
        assert refused.headers["x-should-retry"] == "false"
        assert int(refused.headers["retry-after"]) > 0
        assert (json.loads(refused.body).get("type") == "error") == (path == MESSAGES)
        assert noted(rig) == [("alice", "", "", "", True, Tokens())]


@in_loop
async def test_a_token_count_is_not_written_down(middleware: ModuleType) -> None:
    rig = Rig(middleware, App())
    server = Server(path=COUNT)
    server.scope["headers"] = [(b"x-api-key", KEY.encode())]
    await rig.app(server.scope, server.receive, server.send)
    assert (server.status, rig.uses) == (200, [])


@in_loop
async def test_other_paths_are_litellms_business(middleware: ModuleType) -> None:
    app = App()
    rig = Rig(middleware, app)
    for method, path in (("GET", "/v1/models"), ("POST", "/key/generate"), ("GET", CHAT)):
        server = Server(path=path, method=method)
        server.scope["headers"] = [(b"authorization", b"Bearer sk-of-nobody")]
        await rig.app(server.scope, server.receive, server.send)
        assert (server.status, app.state.visit) == (200, None)
    assert rig.uses == []


@in_loop
async def test_the_master_key_is_counted_as_master(middleware: ModuleType) -> None:
    rig = Rig(middleware, Spending())
    server = Server()
    await rig.app(server.scope, server.receive, server.send)
    assert [use.client for use in rig.uses] == ["master"]
