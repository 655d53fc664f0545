"""Around LiteLLM's application: beginning and end of a request, as server and client see them."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest
from pool_parts import in_loop, make_access, plug_in, until
from role_settings import MASTER_KEY

from glm_pool import body_limit
from glm_pool.client_errors import ClientError
from glm_pool.request_state import RequestState, current

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
FULL = ClientError(429, "queue_full", "Pool glm-pool has too many waiting requests.", 7)


class Server:
    """Stands for the ASGI server and the client behind it."""

    def __init__(self, *parts: bytes, path: str = CHAT, method: str = "POST", headers: Any = ()) -> None:
        parts = parts or (b"{}",)
        headers = [(b"x-litellm-api-key", MASTER_KEY.encode()), *headers]
        self.scope = {"type": "http", "method": method, "path": path, "headers": headers}
        self.sent: list[Message] = []
        self._parts = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, 1)
        ]
        self._gone = asyncio.Event()

    def hang_up(self) -> None:
        self._gone.set()

    async def receive(self) -> Message:
        if self._parts and not self._gone.is_set():
            return self._parts.pop(0)
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._gone.set()  # as uvicorn says when the answer is complete

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        pairs = [(name.decode(), value.decode()) for name, value in self.sent[0]["headers"]]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


class App:
    """Stands for LiteLLM's application; records what reaches it."""

    def __init__(self, status: int = 200, parts: tuple[bytes, ...] = (b"{}",), headers: Any = ()) -> None:
        self.status, self.parts = status, parts
        self.headers = [(b"content-type", b"application/json"), *headers]
        self.scopes: list[Any] = []
        self.body = b""
        self.state = RequestState()
        self.ended = ""

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.state = current()
        try:
            self.body = (await receive())["body"]
            await self.work(receive)
            await self.answer(send)
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "done"

    async def work(self, receive: Receive) -> None:
        pass

    async def answer(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for number, part in enumerate(self.parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(self.parts)})

    @property
    def received(self) -> dict[str, str]:
        """The headers that reach LiteLLM."""
        found = {name.decode(): value.decode() for name, value in self.scopes[-1]["headers"]}
        assert found.pop("x-litellm-api-key") == MASTER_KEY
        return found


class Pooled(App):
    """LiteLLM, served by the pool."""

    error: ClientError | None = None

    async def work(self, receive: Receive) -> None:
        self.state.key = "team-a"
        self.state.error = self.error


class Failing(Pooled):
    """LiteLLM, refused by the pool; it writes the error in its own words."""

    error = FULL


class Waiting(App):
    """LiteLLM waiting for the pool, as its transport does."""

    async def work(self, receive: Receive) -> None:
        async def wait() -> None:
            await asyncio.Event().wait()

        work = asyncio.ensure_future(wait())
        self.state.works.add(work)
        try:
            await work
        finally:
            self.state.works.discard(work)


class Deaf(App):
    """LiteLLM, busy with something that nobody ends."""

    async def work(self, receive: Receive) -> None:
        await asyncio.Event().wait()


class Stream:
    """An answer that is being read."""

    abandoned = False

    def abandon(self) -> None:
        self.abandoned = True


@pytest.fixture
def middleware(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("LITELLM_MASTER_KEY", MASTER_KEY)
    module = plug_in("middleware", monkeypatch)
    monkeypatch.setattr(module, "GOODBYE_SECONDS", 0.05)
    return module


def wrap(middleware: ModuleType, app: Any, pages: Any = None) -> Application:
    wrapped: Application = middleware.PoolMiddleware(app, pages, make_access())
    return wrapped


async def serve(middleware: ModuleType, app: Any, server: Server, pages: Any = None) -> Server:
    await wrap(middleware, app, pages)(server.scope, server.receive, server.send)
    return server


# Answers ---------------------------------------------------------------------------


@in_loop
async def test_answer_names_the_key(middleware: ModuleType) -> None:
    app = Pooled(parts=(b'{"a', b'": 1}'), headers=[(b"x-request-id", b"r1")])
    server = await serve(middleware, app, Server())
    assert (server.status, server.body) == (200, b'{"a": 1}')
    assert server.headers == {
        "content-type": "application/json",
        "x-request-id": "r1",
        "x-litellm-pool-key": "team-a",
    }


@in_loop
async def test_answer_without_the_pool_stays_as_it_is(middleware: ModuleType) -> None:
    for status in (200, 400, 500):
        server = await serve(middleware, App(status), Server())
        assert (server.status, server.headers) == (status, {"content-type": "application/json"})


@in_loop
async def test_error_that_is_litellms_own_is_kept_with_the_key(middleware: ModuleType) -> None:
    server = await serve(middleware, Pooled(400, (b'{"error": "yours"}',)), Server())
    assert (server.status, server.body, server.headers["x-litellm-pool-key"]) == (
        400,
        b'{"error": "yours"}',
        "team-a",
    )


@in_loop
async def test_error_of_the_pool_is_written_in_the_clients_format(middleware: ModuleType) -> None:
    for path, api in ((CHAT, "openai"), (MESSAGES, "anthropic"), (f"{MESSAGES}/count_tokens", "anthropic")):
        for parts in ((b'{"error": "LiteLLM\'s words"}',), (b"data: {", b"}\n\n", b"")):  # at once, and as a stream
            noise = [(b"Content-Length", b"9"), (b"Retry-After", b"1"), (b"content-encoding", b"gzip")]
            app = Failing(500, parts, [*noise, (b"x-litellm-version", b"1.108.11")])
            server = await serve(middleware, app, Server(path=path))
            assert server.status == 429
            assert server.body == FULL.body(api)
            assert server.headers == {
                "content-type": "application/json",
                "content-length": str(len(server.body)),
                "retry-after": "7",
                "x-litellm-pool-key": "team-a",
                "x-litellm-version": "1.108.11",
            }
            assert app.ended == "done"


@in_loop
async def test_error_without_a_key_names_none(middleware: ModuleType) -> None:
    class Refused(Failing):
        async def work(self, receive: Receive) -> None:
            self.state.error = ClientError(503, "no_key_in_service", "no")

    server = await serve(middleware, Refused(503), Server())
    assert server.status == 503
    assert set(server.headers) == {"content-type", "content-length"}


@in_loop
async def test_error_that_litellm_got_over_is_not_told(middleware: ModuleType) -> None:
    server = await serve(middleware, Failing(200, (b"answer",)), Server())
    assert (server.status, server.body) == (200, b"answer")


@in_loop
async def test_failure_of_the_application_is_the_servers_to_handle(middleware: ModuleType) -> None:
    class Broken(App):
        async def work(self, receive: Receive) -> None:
            self.state.streams.add(stream)
            raise ZeroDivisionError

    stream = Stream()
    with pytest.raises(ZeroDivisionError):
        await serve(middleware, Broken(), Server())
    assert stream.abandoned


# Requests --------------------------------------------------------------------------


@in_loop
async def test_body_in_parts_reaches_litellm_whole(middleware: ModuleType) -> None:
    app = App()
    headers = [(b"transfer-encoding", b"chunked"), (b"x-custom", b"1")]
    await serve(middleware, app, Server(b'{"mod', b'el": ', b'"glm"}', b"", headers=headers))
    assert app.body == b'{"model": "glm"}'
    assert app.received == {"transfer-encoding": "chunked", "x-custom": "1"}


@in_loop
async def test_fields_of_the_operator_do_not_reach_litellm(middleware: ModuleType) -> None:
    content = json.dumps({"api_key": "x", "model": "glm", "extra_headers": {"a": "b"}}).encode()
    for parts, length in (
        ((content,), (b"content-length", str(len(content)).encode())),
        ((content[:9], content[9:]), (b"transfer-encoding", b"chunked")),
    ):
        app = App()
        await serve(middleware, app, Server(*parts, headers=[length, (b"content-type", b"application/json")]))
        assert app.body == b'{"model":"glm"}'
        assert app.received == {"content-type": "application/json", "content-length": "15"}


def test_dropped_fields_are_logged_by_name_only(middleware: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def scenario() -> None:
        await serve(middleware, App(), Server(b'{"api_key": "my-value", "timeout": 1, "model": "glm"}'))

    scenario()
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "event=fields_dropped fields=api_key,timeout"
    ]


@in_loop
async def test_headers_of_the_operator_do_not_reach_litellm(middleware: ModuleType) -> None:
    app = App()
    names = (b"x-litellm-timeout", b"x-litellm-stream-timeout", b"x-litellm-num-retries", b"anthropic-beta")
    await serve(middleware, app, Server(headers=[(name, b"1") for name in names]))
    assert app.received == {"anthropic-beta": "1"}


@in_loop
async def test_body_is_never_read_as_a_form(middleware: ModuleType) -> None:
    for kind in (b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"text/plain"):
        app = App()
        await serve(middleware, app, Server(b"api_key=x", headers=[(b"content-type", kind)]))
        assert (app.received, app.body) == ({"content-type": "application/json"}, b"api_key=x")
    app = App()
    await serve(middleware, app, Server(headers=[(b"content-type", b"application/JSON; charset=utf-8")]))
    assert app.received == {"content-type": "application/JSON; charset=utf-8"}


@in_loop
async def test_session_is_noted(middleware: ModuleType) -> None:
    user = {"metadata": {"user_id": "user_x_account__session_s-2"}}
    for headers, body, session in (
        ([(b"x-session-id", b"s-1")], user, "s-1"),
        ([], user, "s-2"),
        ([], {"metadata": {"user_id": "x"}}, None),
        ([], [user], None),
    ):
        app = App()
        await serve(middleware, app, Server(json.dumps(body).encode(), headers=headers))
        assert app.state.session == session


@in_loop
async def test_each_request_has_a_state_of_its_own(middleware: ModuleType) -> None:
    apps = [Waiting(), Waiting()]
    servers = [Server(), Server()]
    tasks = [asyncio.ensure_future(serve(middleware, a, s)) for a, s in zip(apps, servers, strict=True)]
    await until(lambda: all(app.state.works for app in apps))
    assert apps[0].state is not apps[1].state
    servers[0].hang_up()
    await tasks[0]
    assert [app.ended for app in apps] == ["cancelled", ""]
    servers[1].hang_up()
    await tasks[1]


# Bodies that are too large --------------------------------------------------------------


TOO_LARGE = ClientError(
    413, "request_too_large", "The request is larger than the 1,000 bytes that this proxy takes; send less."
)
CHUNKED = (b"transfer-encoding", b"chunked")


class Uploading(Server):
    """A client that has sent some parts and goes on sending, for ever or until it reads the refusal."""

    def __init__(self, *parts: bytes, leaves: bool = True, **request: Any) -> None:
        super().__init__(*parts, b"never reached", **request)
        self._parts.pop()
        self.leaves = leaves
        self.sent_before_answer = 0
        self.sent_after_answer = 0

    async def receive(self) -> Message:
        if self.sent:
            self.sent_after_answer += 1
            if self.leaves and self.sent_after_answer > 3:
                return {"type": "http.disconnect"}
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b"x" * 1000, "more_body": True}
        self.sent_before_answer += 1
        return await super().receive()


@pytest.fixture
def bounded(middleware: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Bodies of more than 1,000 bytes are refused."""
    monkeypatch.setenv("GLM_POOL_MAX_BODY", "1000")
    monkeypatch.setattr(body_limit, "LINGER_SECONDS", 0.05)
    return middleware


def assert_refused(server: Server, app: App, api: str = "openai") -> None:
    assert (server.status, server.body, app.scopes) == (413, TOO_LARGE.body(api), [])
    assert server.headers == {
        "content-type": "application/json",
        "content-length": str(len(server.body)),
        "connection": "close",
    }
    assert [message.get("more_body", False) for message in server.sent[1:]] == [True, False]


def length(number: int) -> tuple[bytes, bytes]:
    return b"content-length", str(number).encode()


@in_loop
async def test_body_that_says_it_is_too_large_is_refused_unread(bounded: ModuleType) -> None:
    for path, api in ((CHAT, "openai"), (MESSAGES, "anthropic"), ("/key/generate", "openai")):
        app, server = App(), Uploading(path=path, headers=[length(1001)])
        await serve(bounded, app, server)
        assert_refused(server, app, api)
        assert server.sent_before_answer == 0


@in_loop
async def test_body_of_unknown_length_is_refused_as_soon_as_it_is_too_large(bounded: ModuleType) -> None:
    for path, api in ((CHAT, "openai"), (MESSAGES, "anthropic"), (f"{MESSAGES}/count_tokens", "anthropic")):
        app, server = App(), Uploading(b"x" * 600, b"x" * 401, b"x" * 600, path=path, headers=[CHUNKED])
        await serve(bounded, app, server)
        assert_refused(server, app, api)
        assert server.sent_before_answer == 2


@in_loop
async def test_pages_and_other_methods_are_bounded_too(bounded: ModuleType) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        for headers, parts in (([length(5000)], [b"x" * 5000]), ([CHUNKED], [b"x" * 999, b"xx"])):
            app, server = App(), Uploading(*parts, path="/config/update", method=method, headers=headers)
            await serve(bounded, app, server)
            assert_refused(server, app)
    app, pages, server = App(), Untouched(), Uploading(path="/pool/keys/a/enable", headers=[length(5000)])
    await serve(bounded, app, server, pages)
    assert_refused(server, app)
    assert pages.scopes == []


@in_loop
async def test_body_up_to_the_bound_is_served(bounded: ModuleType) -> None:
    content = b'{"model":"' + b"g" * 988 + b'"}'
    for method, headers, parts in (
        ("POST", [length(1000)], [content]),
        ("POST", [CHUNKED], [content[:300], content[300:], b""]),
        ("PUT", [CHUNKED], [content[:300], content[300:], b""]),
    ):
        app = App()
        server = await serve(bounded, app, Server(*parts, headers=headers, method=method))
        assert (server.status, app.body) == (200, content)


@in_loop
async def test_body_is_not_bounded_where_the_operator_sets_no_bound(
    middleware: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.dumps({"model": "g" * 5_000_000}).encode()
    for value in (None, "", "0"):
        if value is not None:
            monkeypatch.setenv("GLM_POOL_MAX_BODY", value)
        app = App()
        server = await serve(middleware, app, Server(content, headers=[length(len(content))]))
        assert (server.status, app.body) == (200, content)


@in_loop
async def test_refused_client_can_finish_its_upload_and_read_the_answer(bounded: ModuleType) -> None:
    server = Server(b"x" * 900, b"x" * 900, b"x" * 900, b"x", headers=[CHUNKED])
    await serve(bounded, App(), server)
    assert (server.status, await server.receive()) == (413, {"type": "http.disconnect"})  # nothing is left unread


@in_loop
async def test_refused_client_that_sends_for_ever_is_cut_off(bounded: ModuleType) -> None:
    app, server = App(), Uploading(headers=[length(10**12)], leaves=False)
    await serve(bounded, app, server)
    assert_refused(server, app)


@in_loop
async def test_refused_client_whose_body_has_ended_is_not_waited_for(
    bounded: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limit, "LINGER_SECONDS", 3600)
    app, server = App(), Server(b"x" * 1001, headers=[CHUNKED])
    await serve(bounded, app, server)
    assert_refused(server, app)


@in_loop
async def test_client_that_goes_before_the_bound_is_reached_is_not_answered(bounded: ModuleType) -> None:
    app, server = App(), Server(b"x" * 900, b"x" * 900, headers=[CHUNKED])
    server.hang_up()
    await serve(bounded, app, server)
    assert (app.scopes, server.sent) == ([], [])


@in_loop
async def test_client_that_stops_in_the_middle_of_its_body_is_told(
    middleware: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limit, "patience_of", lambda _: 0.01)
    app, server = App(), Server(b"x" * 900, b"never sent", headers=[length(910)])
    server._parts.pop()
    await serve(middleware, app, server)
    assert (server.status, app.scopes) == (408, [])
    assert b"send it again" in server.body


def test_refused_body_is_logged(bounded: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def scenario() -> None:
        await serve(bounded, App(), Server(headers=[length(1001)]))

    scenario()
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "event=body_refused max_body=1000"
    ]


def test_bound_that_is_no_number_is_not_taken_for_none(middleware: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("50M", "-1", "1.5", " "):
        monkeypatch.setenv("GLM_POOL_MAX_BODY", value)
        with pytest.raises(ValueError, match=r"GLM_POOL_MAX_BODY is .* give a number of bytes"):
            wrap(middleware, App())


# Other paths -------------------------------------------------------------------------


class Untouched(App):
    """Serves what the middleware has no business with; it gets the server's own functions."""

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.scopes.append((scope, receive, send))


@in_loop
async def test_requests_without_a_body_reach_litellm_untouched(middleware: ModuleType) -> None:
    for path in ("/v1/models", CHAT, "/health/liveliness", "/pool/status"):
        app, server = Untouched(), Server(b'{"api_key": "x"}', path=path, method="GET")
        before = dict(server.scope)
        await serve(middleware, app, server)
        assert app.scopes == [(before, server.receive, server.send)]


@in_loop
async def test_fields_of_litellms_own_pages_are_not_dropped(middleware: ModuleType) -> None:
    for path in ("/key/generate", "/v1/messages/batches"):
        app = App()
        await serve(middleware, app, Server(b'{"api_key": "x"}', path=path))
        assert app.body == b'{"api_key": "x"}'


@in_loop
async def test_lifespan_and_websockets_pass(middleware: ModuleType) -> None:
    for kind in ("lifespan", "websocket"):
        app, pages, server = Untouched(), Untouched(), Server()
        scope = {"type": kind, "path": "/pool/status"}
        await wrap(middleware, app, pages)(scope, server.receive, server.send)
        assert app.scopes == [(scope, server.receive, server.send)]
        assert pages.scopes == []


@in_loop
async def test_pages_of_the_pool_do_not_reach_litellm(middleware: ModuleType) -> None:
    for path in ("/pool/status", "/pool/keys/a/enable", "/metrics", "/metrics/"):
        app, pages, server = Untouched(), Untouched(), Server(path=path, method="GET")
        await serve(middleware, app, server, pages)
        assert (len(app.scopes), len(pages.scopes)) == (0, 1)


@in_loop
async def test_paths_of_the_pool_are_served_with_and_without_prefix_and_slash(middleware: ModuleType) -> None:
    for path in (
        "/chat/completions",
        "/v1/chat/completions/",
        "/openai/deployments/glm/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages/count_tokens",
    ):
        server = await serve(middleware, Pooled(), Server(path=path))
        assert server.headers["x-litellm-pool-key"] == "team-a"


# Goodbyes ----------------------------------------------------------------------------


@in_loop
async def test_client_that_goes_before_its_request_is_whole_reaches_nobody(middleware: ModuleType) -> None:
    app, server = App(), Server(b"{", b"}")
    server.hang_up()
    await serve(middleware, app, server)
    assert (app.scopes, server.sent) == ([], [])


@in_loop
async def test_client_that_goes_while_it_waits_leaves_the_queue_at_once(middleware: ModuleType) -> None:
    app, server, stream = Waiting(), Server(), Stream()
    serving = asyncio.ensure_future(serve(middleware, app, server))
    await until(lambda: app.state.works)
    app.state.streams.add(stream)
    server.hang_up()
    await serving
    assert (app.ended, server.sent, stream.abandoned) == ("cancelled", [], True)


@in_loop
async def test_application_that_does_not_notice_is_cancelled_in_time(middleware: ModuleType) -> None:
    app, server, stream = Deaf(), Server(), Stream()
    serving = asyncio.ensure_future(serve(middleware, app, server))
    await until(lambda: app.scopes)
    app.state.streams.add(stream)
    server.hang_up()
    await until(lambda: stream.abandoned)
    assert app.ended == ""
    await serving
    assert app.ended == "cancelled"


@in_loop
async def test_application_hears_that_the_client_has_gone(middleware: ModuleType) -> None:
    heard = []

    class Listening(App):
        async def work(self, receive: Receive) -> None:
            heard.append(await receive())
            heard.append(await receive())

    app, server = Listening(), Server()
    serving = asyncio.ensure_future(serve(middleware, app, server))
    await until(lambda: app.scopes)
    server.hang_up()
    await serving
    assert heard == [{"type": "http.disconnect"}] * 2
    assert app.ended == "done"


@in_loop
async def test_client_that_goes_within_a_stream_ends_it(middleware: ModuleType) -> None:
    class Streaming(Pooled):
        async def answer(self, send: Send) -> None:
            self.state.streams.add(stream)
            await send({"type": "http.response.start", "status": 200, "headers": self.headers})
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await asyncio.Event().wait()

    app, server, stream = Streaming(), Server(), Stream()
    serving = asyncio.ensure_future(serve(middleware, app, server))
    await until(lambda: len(server.sent) == 2)
    assert not stream.abandoned
    server.hang_up()
    await serving
    assert (stream.abandoned, app.ended) == (True, "cancelled")


@in_loop
async def test_work_after_the_answer_is_not_disturbed_by_the_goodbye(middleware: ModuleType) -> None:
    done = asyncio.Event()

    class Tidying(Pooled):
        async def answer(self, send: Send) -> None:
            await super().answer(send)
            await done.wait()

    for app, status in ((Tidying(), 200), (Tidying(500), 500)):
        app.error = FULL if status == 500 else None
        server = Server()
        done.clear()
        serving = asyncio.ensure_future(serve(middleware, app, server))
        await until(lambda server=server: len(server.sent) == 2)  # type: ignore[misc]
        await asyncio.sleep(0.1)  # longer than a goodbye
        assert app.ended == ""
        done.set()
        await serving
        assert app.ended == "done"


@in_loop
async def test_server_that_stops_ends_the_application(middleware: ModuleType) -> None:
    app, server, stream = Waiting(), Server(), Stream()
    serving = asyncio.ensure_future(serve(middleware, app, server))
    await until(lambda: app.state.works)
    app.state.streams.add(stream)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await until(lambda: app.ended == "cancelled")
    assert stream.abandoned


@in_loop
async def test_nothing_is_left_running_after_a_request(middleware: ModuleType) -> None:
    await serve(middleware, Pooled(), Server())
    app, server = Waiting(), Server()
    serving = asyncio.ensure_future(serve(middleware, app, server))
    await until(lambda: app.state.works)
    server.hang_up()
    await serving
    here = {asyncio.current_task()}
    await until(lambda: len(asyncio.all_tasks() - here) <= 1)  # in_loop's own is left
