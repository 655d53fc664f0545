"""Requests of LiteLLM on their way to a key: addressing, fail-over, streams, and slots that always come back."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pool_parts import (
    ANTHROPIC_BASE,
    OPENAI_BASE,
    VALUES,
    in_loop,
    key,
    make_access,
    settings,
    turns,
    until,
)
from prometheus_client import REGISTRY

from glm_pool import pool as pool_module
from glm_pool import streams
from glm_pool.health import State
from glm_pool.masking import MASK, Masker
from glm_pool.pool import KeyPool
from glm_pool.request_state import RequestState, begin
from glm_pool.settings import Key, Pool
from glm_pool.transport import MaskingTransport, PoolTransport, target_of

CHAT = "https://glm-pool.invalid/glm-pool/openai/chat/completions"
MESSAGES = "https://glm-pool.invalid/glm-pool/anthropic/v1/messages"
COUNT = f"{MESSAGES}/count_tokens"
ANSWER = {"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}

Step = Callable[[httpx.Request], Awaitable[httpx.Response]]


def chunk(**delta: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}).encode() + b"\n\n"


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


ROLE, HELLO, WORLD, DONE = chunk(role="assistant"), chunk(content="hello"), chunk(content="world"), b"data: [DONE]\n\n"
START, PING = event("message_start", message={}), event("ping")
TEXT, STOP = event("content_block_delta", delta={"type": "text_delta", "text": "hello"}), event("message_stop")
CUT_OFF = httpx.RemoteProtocolError("peer closed connection")
SILENCE = httpx.ReadTimeout("")
CLOSED = RuntimeError("unable to perform operation on <TCPTransport closed=True reading=False>; the handler is closed")
ERROR = {
    "openai": lambda code: b"data: " + json.dumps({"error": {"code": code, "message": "no"}}).encode() + b"\n\n",
    "anthropic": lambda code: event("error", error={"type": "api_error", "code": code, "message": "no"}),
}


# A made-up upstream ------------------------------------------------------------------


class Body(httpx.AsyncByteStream):
    """A streamed answer: bytes, exceptions, and `...` for an upstream that says nothing more."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.closed = False
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            await asyncio.sleep(0)
            if part is ...:
                await asyncio.Event().wait()
            if isinstance(part, BaseException):
                raise part
            self.read += 1
            yield part

    async def aclose(self) -> None:
        self.closed = True


class Upstream(httpx.AsyncBaseTransport):
    """Answers by a script, and well when that is at its end; remembers what it was sent."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.script: list[Step] = []
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return await (self.script.pop(0) if self.script else answer())(request)

    async def aclose(self) -> None:
        self.closed = True

    @property
    def keys(self) -> list[str]:
        """The names of the keys in the order of their use."""
        names = {value: name for name, value in VALUES.items()}
        used = [r.headers.get("x-api-key") or r.headers["authorization"].split()[1] for r in self.requests]
        return [names[value] for value in used]


def answer(status: int = 200, document: object = ANSWER, headers: dict[str, str] | None = None) -> Step:
    async def step(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=document, headers=headers)

    return step


def raw(status: int, content: bytes, kind: str = "application/json") -> Step:
    async def step(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=content, headers={"content-type": kind})

    return step


def refuse(code: str, status: int = 429, message: str = "no") -> Step:
    return answer(status, {"error": {"code": code, "message": message}})


def fail(error: BaseException) -> Step:
    async def step(request: httpx.Request) -> httpx.Response:
        raise error

    return step


async def hang(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


def stream(body: Body, status: int = 200) -> Step:
    async def step(request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "text/event-stream; charset=utf-8", "content-encoding": "identity"}
        return httpx.Response(status, headers=headers, stream=body)

    return step


class Rig:
    """The transport with keys, a made-up upstream, and a client as LiteLLM has one."""

    def __init__(self, *keys: Key, **options: Any) -> None:
        keys = keys or (key("a"), key("b"), key("c"))
        options.setdefault("pools", (Pool("glm-pool", "glm-5.3"), Pool("my/pool ü", "glm-5.3")))
        self.pool = KeyPool(settings(*keys, **options))
        self.upstream, self.direct = Upstream(), Upstream()
        masker, self.access = Masker(VALUES.values()), make_access()
        self.transport = PoolTransport(lambda: self.pool, self.upstream, self.direct, masker, self.access)
        self.client = httpx.AsyncClient(transport=self.transport)
        self.state = RequestState()

    async def post(self, url: str = CHAT, **options: Any) -> httpx.Response:
        options.setdefault("json", {"model": "glm-5.3"})
        self.state = begin()
        return await self.client.post(url, **options)

    def start(self, url: str = CHAT) -> "asyncio.Task[httpx.Response]":
        return asyncio.ensure_future(self.post(url))

    @asynccontextmanager
    async def stream(self, url: str = CHAT) -> AsyncIterator[httpx.Response]:
        self.state = begin()
        async with self.client.stream("POST", url, json={"stream": True}) as response:
            yield response

    async def read(self, url: str = CHAT) -> tuple[int, bytes]:
        async with self.stream(url) as response:
            return response.status_code, await response.aread()

    @property
    def idle(self) -> bool:
        """Every slot is back and nobody waits."""
        meters = [meter.in_flight for meter in self.pool.scheduler.meters.values()]
        return not any(meters) and not any(queue.count for queue in self.pool.scheduler.queues.values())

    def states(self) -> dict[str, State]:
        """The worst state of each key."""
        return {
            name: max((h.record.state for h in (k.health, k.lanes[0].health)), key=list(State).index)
            for name, k in self.pool.scheduler.keys.items()
        }

    async def comes_to_rest(self) -> None:
        await until(lambda: self.idle, "a slot did not come back")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "SETTLE_SECONDS", 0.02)
    monkeypatch.setattr(streams, "TAIL_SECONDS", 0.05)


def error_of(content: bytes, api: str = "openai") -> dict[str, Any]:
    """The error of an answer, in the form of the API."""
    document = json.loads(content)
    if api == "anthropic":
        assert document["type"] == "error"
    found: dict[str, Any] = document["error"]
    return found


def last_error(content: bytes, api: str) -> dict[str, Any]:
    """The error event that a stream ends with."""
    *_, last = content.removesuffix(b"\n\n").split(b"\n\n")
    if api == "anthropic":
        name, _, last = last.partition(b"\n")
        assert name == b"event: error"
    assert last.startswith(b"data: ")
    return error_of(last[6:], api)


# Addresses ---------------------------------------------------------------------------


@in_loop
async def test_request_reaches_the_keys_own_address_with_its_value() -> None:
    rig = Rig(key("a"))
    content = b'{"model": "glm-5.3", "messages": ["h\xc3\xa9"]}'
    for url, address, header, value in (
        (CHAT, f"{OPENAI_BASE}/chat/completions", "authorization", f"Bearer {VALUES['a']}"),
        (MESSAGES, f"{ANTHROPIC_BASE}/v1/messages", "x-api-key", VALUES["a"]),
        (f"{MESSAGES}?beta=true&x=%2F", f"{ANTHROPIC_BASE}/v1/messages?beta=true&x=%2F", "x-api-key", VALUES["a"]),
        (COUNT, f"{ANTHROPIC_BASE}/v1/messages/count_tokens", "x-api-key", VALUES["a"]),
    ):
        response = await rig.post(url, json=None, content=content)
        assert (response.status_code, response.json()) == (200, ANSWER)
        sent = rig.upstream.requests[-1]
        assert (sent.method, str(sent.url), sent.headers[header]) == ("POST", address, value)
        assert await sent.aread() == content
        assert sent.headers["host"] == "api.z.ai"
        assert sent.headers["content-length"] == str(len(content))


@in_loop
async def test_base_with_a_slash_at_its_end_is_joined_by_one() -> None:
    rig = Rig(key("a", openai_api_base="https://one.example/v4/", anthropic_api_base="http://two.example:81/x/"))
    await rig.post(CHAT)
    await rig.post(MESSAGES)
    assert [str(request.url) for request in rig.upstream.requests] == [
        "https://one.example/v4/chat/completions",
        "http://two.example:81/x/v1/messages",
    ]


@in_loop
async def test_headers_that_the_upstream_needs_and_no_others_are_sent() -> None:
    rig = Rig(key("a"))
    wanted = {
        "accept": "application/json",
        "content-type": "application/json",
        "user-agent": "claude-cli/3.0",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "x",
        "accept-language": "de",
    }
    unwanted = {"authorization": "Bearer pool-scheduler", "x-api-key": "pool-scheduler", "cookie": "c=1"}
    unwanted |= {"x-forwarded-for": "10.0.0.1", "x-custom": "1", "accept-encoding": "gzip"}
    for url in (CHAT, MESSAGES):
        await rig.post(url, headers={**wanted, **unwanted})
        sent = dict(rig.upstream.requests[-1].headers)
        authentication = sent.pop("x-api-key" if url == MESSAGES else "authorization")
        assert VALUES["a"] in authentication
        assert {sent.pop(name) for name in ("host", "content-length")}
        assert sent == {**wanted, "accept-encoding": "identity"}


@in_loop
async def test_timeouts_are_the_pools_and_not_the_clients() -> None:
    rig = Rig(key("a"), request_timeout=300.0)
    await rig.post(timeout=0.001)
    assert rig.upstream.requests[0].extensions["timeout"] == {
        "connect": 10.0,
        "read": 300.0,
        "write": 300.0,
        "pool": None,
    }
    rig = Rig(key("a"), request_timeout=3.0)
    await rig.post()
    assert rig.upstream.requests[0].extensions["timeout"]["connect"] == 3.0


@in_loop
async def test_headers_of_the_answer_are_those_that_say_something() -> None:
    rig = Rig(key("a"))
    rig.upstream.script = [
        answer(
            headers={"x-log-id": "l", "x-request-id": "r", "set-cookie": "c=1", "server": "nginx", "retry-after": "1"}
        )
    ]
    headers = (await rig.post()).headers
    assert (headers["x-log-id"], headers["x-request-id"], headers["content-type"]) == ("l", "r", "application/json")
    assert not {"set-cookie", "server", "retry-after"} & set(headers)


@pytest.mark.parametrize(
    ("url", "pool", "api", "path"),
    [
        (CHAT, "glm-pool", "openai", b"/chat/completions"),
        (f"{MESSAGES}?beta=true", "glm-pool", "anthropic", b"/v1/messages?beta=true"),
        ("https://glm-pool.invalid/my%2Fpool%20%C3%BC/openai/chat/completions", "my/pool ü", "openai", None),
    ],
)
def test_url_names_pool_and_api(url: str, pool: str, api: str, path: bytes | None) -> None:
    target = target_of(httpx.URL(url))
    assert (target.pool, target.api) == (pool, api)
    assert target.path == (path or b"/chat/completions")


@in_loop
async def test_pool_with_a_name_of_any_signs_is_served() -> None:
    rig = Rig(key("a"))
    response = await rig.post("https://glm-pool.invalid/my%2Fpool%20%C3%BC/openai/chat/completions")
    assert response.status_code == 200


@in_loop
async def test_other_hosts_pass() -> None:
    rig = Rig(key("a"))
    for url in ("https://api.openai.com/v1/chat/completions", "https://glm-pool.invalid.example/a/b/c"):
        await rig.post(url, headers={"authorization": "Bearer theirs", "x-custom": "1"})
        sent = rig.direct.requests[-1]
        assert (str(sent.url), sent.headers["authorization"], sent.headers["x-custom"]) == (url, "Bearer theirs", "1")
    assert rig.upstream.requests == []


@in_loop
async def test_closing_one_client_leaves_the_upstream_to_the_others() -> None:
    rig = Rig()
    await rig.client.aclose()
    assert (rig.direct.closed, rig.upstream.closed) == (True, False)


# Fail-over before the answer -----------------------------------------------------------

FAULTS: dict[str, tuple[Step, State]] = {
    "1302": (refuse("1302"), State.COOLING),
    "1303": (refuse("1303"), State.COOLING),
    "1305": (refuse("1305"), State.COOLING),
    "1302 in 200": (refuse("1302", 200), State.COOLING),
    "1308": (refuse("1308"), State.PARKED),
    "1310 in 200": (answer(200, {"success": False, "code": 1310, "msg": "no"}), State.PARKED),
    "1113": (refuse("1113"), State.OUT),
    "1000": (refuse("1000", 401), State.OUT),
    "1220": (refuse("1220", 403), State.OUT),
    "1311": (refuse("1311", 429), State.OUT),
    "401": (raw(401, b""), State.OUT),
    "429": (raw(429, b""), State.COOLING),
    "500": (raw(500, b"<html>", "text/html"), State.COOLING),
    "502": (raw(502, b""), State.COOLING),
    "529": (raw(529, b"{}"), State.COOLING),
    "302": (raw(302, b""), State.COOLING),
    "no JSON": (raw(200, b"<html>", "text/html"), State.COOLING),
    "empty": (raw(200, b""), State.COOLING),
    "refused connection": (fail(httpx.ConnectError("refused")), State.COOLING),
    "connection that closed under the request": (fail(CLOSED), State.COOLING),
    "broken connection": (fail(httpx.ReadError("reset")), State.COOLING),
    "connect timeout": (fail(httpx.ConnectTimeout("")), State.COOLING),
    "read timeout": (fail(SILENCE), State.COOLING),
    "broken error": (stream(Body(b"{", CUT_OFF), 500), State.COOLING),
    "streamed 1302": (stream(Body(ERROR["openai"]("1302"))), State.COOLING),
    "streamed 1308": (stream(Body(ROLE, ERROR["openai"]("1308"))), State.PARKED),
    "streamed 1113": (stream(Body(START, PING, ERROR["anthropic"]("1113"))), State.OUT),
    "in one piece with content": (stream(Body(ROLE + HELLO + ERROR["openai"]("1302"))), State.COOLING),
    "stream that breaks": (stream(Body(ROLE, CUT_OFF)), State.COOLING),
    "stream that is silent": (stream(Body(START, SILENCE)), State.COOLING),
    "stream that ends early": (stream(Body(ROLE)), State.COOLING),
    "stream that is empty": (stream(Body()), State.COOLING),
}


@pytest.mark.parametrize(("step", "state"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("url", [CHAT, MESSAGES])
def test_other_key_takes_over_before_the_first_content(step: Step, state: State, url: str) -> None:
    @in_loop
    async def scenario() -> None:
        rig = Rig(key("a"), key("b"))
        rig.upstream.script = [step]
        response = await rig.post(url)
        assert (response.status_code, response.json()) == (200, ANSWER)
        assert rig.upstream.keys == ["a", "b"]
        assert rig.states() == {"a": state, "b": State.ACTIVE}
        assert (rig.state.key, [name for name, _ in rig.state.faults], rig.state.error) == ("b", ["a"], None)
        await rig.comes_to_rest()

    scenario()


@in_loop
async def test_an_error_of_the_program_itself_is_no_fault_of_a_key() -> None:
    rig = Rig(key("a"), key("b"))
    rig.upstream.script = [fail(RuntimeError("a bug"))]
    with pytest.raises(RuntimeError, match="a bug"):
        await rig.post(CHAT)
    assert rig.states() == {"a": State.ACTIVE, "b": State.ACTIVE}
    await rig.comes_to_rest()


@in_loop
async def test_request_fault_goes_back_at_once_and_the_key_is_fine() -> None:
    for url, api in ((CHAT, "openai"), (MESSAGES, "anthropic"), (COUNT, "anthropic")):
        for step, status, code in (
            (refuse("1210", 400, "bad"), 400, "1210"),
            (refuse("1301", 200, "bad"), 400, "1301"),
            (refuse("1214", 404, "bad"), 404, "1214"),
            (raw(413, b""), 413, "http_413"),
            (stream(Body(ERROR[api]("1210"))), 400, "1210"),
        ):
            rig = Rig()
            rig.upstream.script = [step]
            response = await rig.post(url)
            assert response.status_code == 400  # LiteLLM has answers of its own to some others
            assert rig.state.error is not None
            assert rig.state.error.status == status
            assert error_of(response.content, api)["code"] == code
            assert len(rig.upstream.requests) == 1
            assert set(rig.states().values()) == {State.ACTIVE}
            assert rig.state.error
            assert [rig.state.key] == rig.upstream.keys
            await rig.comes_to_rest()


@in_loop
async def test_each_key_is_tried_once_and_then_the_client_is_told() -> None:
    for steps, status, retry_after in (
        ([refuse("1302")] * 3, 429, "5"),
        ([refuse("1305"), refuse("1302"), refuse("1113")], 429, "5"),
        ([raw(502, b""), raw(503, b""), raw(503, b"")], 503, "1"),
        ([fail(SILENCE)] * 3, 504, "1"),
        ([refuse("1113")] * 3, 503, None),
    ):
        for url, api in ((CHAT, "openai"), (MESSAGES, "anthropic")):
            rig = Rig(queue_timeout=0.5)
            rig.upstream.script = list(steps)
            response = await rig.post(url)
            assert rig.upstream.keys == ["a", "b", "c"]
            assert (response.status_code, response.headers.get("retry-after")) == (status, retry_after)
            error = error_of(response.content, api)
            assert error["code"] == "every_key_failed"
            assert "a: " in error["message"]
            assert "c: " in error["message"]
            await rig.comes_to_rest()


@in_loop
async def test_pool_of_keys_that_rest_says_when_they_return() -> None:
    rig = Rig(key("a"), queue_timeout=1)
    rig.upstream.script = [refuse("1305")]
    assert (await rig.post()).status_code == 429
    response = await rig.post()
    assert (response.status_code, response.headers["retry-after"]) == (429, "30")
    assert error_of(response.content)["code"] == "keys_resting"
    assert len(rig.upstream.requests) == 1


@in_loop
async def test_no_more_keys_are_tried_than_the_operator_allows() -> None:
    for retries, tried in ((0, "a"), (1, "ab"), (2, "abc"), (100, "abc")):
        rig = Rig(num_retries=retries)
        rig.upstream.script = [refuse("1302")] * 3
        response = await rig.post()
        assert (response.status_code, rig.upstream.keys) == (429, list(tried))
        assert error_of(response.content)["code"] == "every_key_failed"
        await rig.comes_to_rest()


@in_loop
async def test_request_that_runs_out_of_tries_is_counted_as_one_that_could_not_be_served() -> None:
    def count() -> float:
        labels = {"pool": "glm-pool", "reason": "every_key_failed"}
        return REGISTRY.get_sample_value("litellm_pool_client_errors_total", labels) or 0.0

    for retries in (0, 2):
        rig, before = Rig(num_retries=retries), count()
        rig.upstream.script = [refuse("1302")] * 3
        await rig.post()
        assert count() == before + 1, f"with {retries} retries"


@in_loop
async def test_second_call_of_one_client_request_passes_over_the_keys_that_failed() -> None:
    rig = Rig()
    rig.upstream.script = [raw(502, b"")]
    rig.state = begin()
    await rig.client.post(CHAT, json={})
    await rig.client.post(CHAT, json={})
    await rig.client.post(CHAT, json={})
    assert "a" not in rig.upstream.keys[1:]


@in_loop
async def test_keys_are_masked_in_what_the_upstream_says() -> None:
    for step in (
        refuse("1210", 400, f"invalid key {VALUES['a']}"),
        stream(Body(b"data: " + json.dumps({"error": {"code": "1210", "message": VALUES["a"]}}).encode() + b"\n\n")),
    ):
        rig = Rig()
        rig.upstream.script = [step]
        response = await rig.post()
        assert MASK in response.text
        assert VALUES["a"].split(".")[1] not in response.text
    rig = Rig(key("a"))
    rig.upstream.script = [stream(Body(HELLO, ERROR["openai"]("1302").replace(b"no", VALUES["a"].encode())))]
    _, content = await rig.read()
    assert MASK.encode() in content
    assert VALUES["a"].encode() not in content


@in_loop
async def test_error_of_endless_length_is_read_to_a_bound() -> None:
    rig = Rig(key("a"), key("b"))
    body = Body(*[b"x" * 100_000] * 100)
    rig.upstream.script = [stream(body, 500)]
    assert (await rig.post()).status_code == 200
    assert body.closed
    assert body.read <= 11


# Waiting -------------------------------------------------------------------------------


@in_loop
async def test_limits_hold_and_requests_wait_their_turn() -> None:
    rig = Rig(key("a"), key("b", 2))
    most, now = 0, 0

    async def slow(request: httpx.Request) -> httpx.Response:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return httpx.Response(200, json=ANSWER)

    rig.upstream.script = [slow] * 12
    responses = await asyncio.gather(*(rig.start() for _ in range(12)))
    assert {response.status_code for response in responses} == {200}
    assert most == 3
    await rig.comes_to_rest()


@in_loop
async def test_full_queue_and_long_waits_are_told_in_the_clients_format() -> None:
    for url, api in ((CHAT, "openai"), (MESSAGES, "anthropic")):
        for options, code in (({"queue_size": 0}, "queue_full"), ({"queue_timeout": 0.01}, "queue_timeout")):
            rig = Rig(key("a"), **options)
            rig.upstream.script = [hang]
            busy = rig.start()
            await until(lambda rig=rig: rig.upstream.requests)  # type: ignore[misc]
            response = await rig.post(url)
            assert (response.status_code, error_of(response.content, api)["code"]) == (429, code)
            assert int(response.headers["retry-after"]) >= 1
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)
            await rig.comes_to_rest()


@in_loop
async def test_token_counts_take_no_slot() -> None:
    rig = Rig(key("a"))
    rig.upstream.script = [hang, answer(200, {"input_tokens": 7}), answer(200, {"input_tokens": 8})]
    busy = rig.start()
    await until(lambda: rig.upstream.requests)
    for url, tokens in ((COUNT, 7), (f"{COUNT}?beta=true", 8)):
        assert (await rig.post(url)).json() == {"input_tokens": tokens}
    assert rig.pool.scheduler.keys["a"].in_flight == 1
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)
    await rig.comes_to_rest()


@in_loop
async def test_token_count_fails_over_too() -> None:
    rig = Rig(key("a"), key("b"))
    rig.upstream.script = [refuse("1113"), answer(200, {"input_tokens": 7})]
    first = await rig.post(COUNT)
    assert first.json() == {"input_tokens": 7}
    assert sorted(rig.upstream.keys) == ["a", "b"]
    assert State.OUT in rig.states().values()
    assert rig.idle


# Streams -------------------------------------------------------------------------------

WHOLE = [(CHAT, [ROLE, HELLO, WORLD, DONE]), (MESSAGES, [START, PING, TEXT, TEXT, STOP])]


@in_loop
async def test_stream_reaches_the_client_byte_by_byte_as_it_was_sent() -> None:
    for url, events in WHOLE:
        content = b"".join(events)
        for size in (1, 7, 64, len(content)):
            rig = Rig(key("a"))
            body = Body(*(content[n : n + size] for n in range(0, len(content), size)))
            rig.upstream.script = [stream(body)]
            async with rig.stream(url) as response:
                assert response.status_code == 200
                assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
                assert "content-encoding" not in response.headers
                assert await response.aread() == content
            assert body.closed
            await rig.comes_to_rest()


@in_loop
async def test_stream_holds_its_slot_until_the_last_byte_and_not_longer() -> None:
    for url, events in WHOLE:
        rig = Rig(key("a"))
        rig.upstream.script = [stream(Body(*events))]
        async with rig.stream(url) as response:
            parts = response.aiter_raw()
            for _ in events[:-1]:
                await anext(parts)
                assert not rig.idle
            assert await anext(parts) == events[-1]
            assert rig.idle  # at once, not after the settling
        assert rig.state.streams == set()


@in_loop
async def test_upstream_that_does_not_close_after_the_last_event_keeps_nobody_waiting() -> None:
    for url, events in WHOLE:
        rig = Rig(key("a"))
        body = Body(*events, ...)
        rig.upstream.script = [stream(body)]
        assert await rig.read(url) == (200, b"".join(events))
        await rig.comes_to_rest()  # after the settling: there it is not over yet
        assert body.closed


@in_loop
async def test_answer_in_one_piece_is_passed_on_whole() -> None:
    for url, events in WHOLE:
        rig = Rig(key("a"))
        rig.upstream.script = [stream(Body(b"".join(events)))]
        assert await rig.read(url) == (200, b"".join(events))
        assert rig.idle


@in_loop
async def test_fault_within_a_stream_becomes_an_error_event_of_the_api() -> None:
    for url, api, begin_events in ((CHAT, "openai", [ROLE, HELLO]), (MESSAGES, "anthropic", [START, TEXT])):
        for fault, code, state in (
            (CUT_OFF, "connection", State.COOLING),
            (SILENCE, "timeout", State.COOLING),
            (None, "connection", State.COOLING),
            (ERROR[api]("1305"), "1305", State.COOLING),
            (ERROR[api]("1308"), "1308", State.PARKED),
            (ERROR[api]("1113"), "1113", State.OUT),
            (ERROR[api]("1301"), "1301", State.ACTIVE),
        ):
            rig = Rig(key("a"), key("b"))
            body = Body(*begin_events, *([] if fault is None else [fault]))
            rig.upstream.script = [stream(body)]
            status, content = await rig.read(url)
            assert status == 200
            assert content.startswith(b"".join(begin_events))
            assert last_error(content, api)["code"] == code
            assert content.count(b"\n\n") == len(begin_events) + 1
            assert rig.states()["a"] == state
            assert rig.upstream.keys == ["a"]
            assert body.closed
            await rig.comes_to_rest()


@in_loop
async def test_content_before_the_error_in_one_piece_is_not_lost() -> None:
    rig = Rig(key("a"))
    rig.upstream.script = [stream(Body(HELLO, WORLD + ERROR["openai"]("1302") + DONE))]
    _, content = await rig.read()
    assert content.startswith(HELLO + WORLD)
    assert last_error(content, "openai")["code"] == "1302"
    await rig.comes_to_rest()


@in_loop
async def test_half_an_event_does_not_spoil_the_error_event_after_it() -> None:
    for url, api, events in ((CHAT, "openai", [HELLO, WORLD[:-9]]), (MESSAGES, "anthropic", [TEXT, TEXT[:-9]])):
        for end in ([], [CUT_OFF]):
            rig = Rig(key("a"))
            rig.upstream.script = [stream(Body(*events, *end))]
            _, content = await rig.read(url)
            assert last_error(content, api)["code"] == "connection"
            await rig.comes_to_rest()


@in_loop
async def test_last_event_without_its_blank_line_is_the_end_all_the_same() -> None:
    for url, events in WHOLE:
        for ending in (b"", b"\n"):
            rig = Rig(key("a"))
            rig.upstream.script = [stream(Body(*events[:-1], events[-1].rstrip(b"\n") + ending))]
            _, content = await rig.read(url)
            assert content.rstrip(b"\n") == b"".join(events).rstrip(b"\n")
            assert rig.states() == {"a": State.ACTIVE}
            await rig.comes_to_rest()


@in_loop
async def test_error_that_stands_in_a_stream_without_its_blank_line_counts_as_its_code() -> None:
    for content in (ERROR["openai"]("1210").rstrip(b"\n"), b'{"error": {"code": "1210", "message": "bad"}}'):
        rig = Rig()
        rig.upstream.script = [stream(Body(content))]
        response = await rig.post()
        assert (response.status_code, len(rig.upstream.requests)) == (400, 1)
        assert set(rig.states().values()) == {State.ACTIVE}


# Slots come back -------------------------------------------------------------------------


@in_loop
async def test_client_that_goes_while_it_waits_takes_nothing_with_it() -> None:
    rig = Rig(key("a"))
    rig.upstream.script = [hang]
    busy, waiting = rig.start(), rig.start()
    await until(lambda: rig.pool.scheduler.queues["glm-pool"].count == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert rig.pool.scheduler.queues["glm-pool"].count == 0
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)
    await rig.comes_to_rest()


@in_loop
async def test_client_that_goes_while_the_upstream_thinks_frees_the_slot_after_a_moment() -> None:
    silent = Body(...)
    for step in (hang, stream(silent), stream(Body(START, ...)), stream(Body(b"{", ...), 500)):
        rig = Rig(key("a"))
        rig.upstream.script = [step]
        asking = rig.start()
        await until(lambda rig=rig: rig.upstream.requests)  # type: ignore[misc]
        await turns()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not rig.idle  # the upstream has to notice
        assert set(rig.states().values()) == {State.ACTIVE}
        await rig.comes_to_rest()
    assert silent.closed


@in_loop
async def test_abandoned_request_ends_wherever_it_is() -> None:
    silent = Body(START, ...)
    for step in (hang, stream(silent)):
        rig = Rig(key("a"))
        rig.upstream.script = [step]
        asking, waiting = rig.start(), rig.start()
        await until(lambda rig=rig: rig.pool.scheduler.queues["glm-pool"].count == 1)  # type: ignore[misc]
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not asking.done()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await rig.comes_to_rest()


@in_loop
async def test_state_of_the_request_ends_its_work() -> None:
    rig = Rig(key("a"))
    rig.upstream.script = [hang]
    states = []

    async def request() -> None:
        states.append(begin())
        await rig.client.post(CHAT, json={})

    asking = [asyncio.ensure_future(request()) for _ in range(2)]
    await until(lambda: rig.pool.scheduler.queues["glm-pool"].count == 1)
    for state in states:
        assert len(state.works) == 1
        state.abandon()
    for task in asking:
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not any(state.works for state in states)
    await rig.comes_to_rest()


@in_loop
async def test_stream_that_is_abandoned_frees_its_slot_at_once() -> None:
    for url, first in ((CHAT, HELLO), (MESSAGES, TEXT)):
        rig = Rig(key("a"))
        body = Body(first, ...)
        rig.upstream.script = [stream(body)]

        async def read(rig: Rig = rig, url: str = url) -> bytes:
            async with rig.stream(url) as response:
                return await response.aread()

        reading = asyncio.ensure_future(read())
        await until(lambda rig=rig: rig.state.streams)  # type: ignore[misc]
        await turns()
        rig.state.abandon()
        rig.state.abandon()
        assert rig.state.streams == set()
        await rig.comes_to_rest()
        assert body.closed
        assert rig.states() == {"a": State.ACTIVE}
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@in_loop
async def test_reader_of_an_abandoned_stream_comes_to_its_end() -> None:
    rig = Rig(key("a"))
    rig.upstream.script = [stream(Body(HELLO, WORLD, DONE))]
    async with rig.stream() as response:
        parts = response.aiter_raw()
        assert await anext(parts) == HELLO
        rig.state.abandon()
        assert [part async for part in parts] == []
    await rig.comes_to_rest()


@in_loop
async def test_stream_that_is_closed_early_frees_its_slot() -> None:
    for read in (0, 1, 2):
        rig = Rig(key("a"))
        body = Body(ROLE, HELLO, WORLD, ...)
        rig.upstream.script = [stream(body)]
        async with rig.stream() as response:
            parts = response.aiter_raw()
            for _ in range(read):
                await anext(parts)
        assert body.closed
        assert not rig.idle
        await rig.comes_to_rest()
        assert rig.states() == {"a": State.ACTIVE}


@in_loop
async def test_unexpected_failure_frees_the_slot_and_is_not_hidden() -> None:
    broken = Body(START, ZeroDivisionError())
    for step in (fail(ZeroDivisionError()), stream(broken), stream(Body(b"{", ZeroDivisionError()), 500)):
        rig = Rig(key("a"))
        rig.upstream.script = [step]
        with pytest.raises(ZeroDivisionError):
            await rig.post()
        await rig.comes_to_rest()
    assert broken.closed


@in_loop
async def test_unexpected_failure_within_a_stream_frees_the_slot() -> None:
    rig = Rig(key("a"))
    body = Body(HELLO, ZeroDivisionError())
    rig.upstream.script = [stream(body)]
    with pytest.raises(ZeroDivisionError):
        await rig.read()
    assert body.closed
    await rig.comes_to_rest()


@in_loop
async def test_slot_of_a_broken_connection_settles_and_that_of_an_answer_does_not() -> None:
    for step, settles in (
        (fail(SILENCE), True),
        (fail(CUT_OFF), True),
        (refuse("1302"), False),
        (raw(502, b""), False),
        (answer(), False),
    ):
        rig = Rig(key("a"))
        rig.upstream.script = [step]
        await rig.post()
        assert rig.idle != settles
        await rig.comes_to_rest()


@in_loop
async def test_answer_that_crosses_with_its_clients_goodbye_frees_the_slot() -> None:
    """Outside of the middleware nobody but the transport can see to it."""
    for turn in range(12):
        rig = Rig(key("a"))
        body = Body(HELLO, WORLD, ...)
        rig.upstream.script = [stream(body)]
        request = httpx.Request("POST", CHAT, json={})
        asking = asyncio.ensure_future(rig.transport.handle_async_request(request))
        await turns(turn)
        asking.cancel()
        outcome = (await asyncio.gather(asking, return_exceptions=True))[0]
        if isinstance(outcome, httpx.Response):
            await outcome.aclose()
        await until(lambda rig=rig: rig.idle, f"the slot is lost after {turn} turns of the loop")  # type: ignore[misc]


def test_answer_that_breaks_off_is_logged_without_the_keys_value(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def scenario() -> None:
        rig = Rig(key("a"))
        rig.upstream.script = [stream(Body(HELLO, CUT_OFF))]
        await rig.read()
        await rig.comes_to_rest()

    with caplog.at_level(logging.INFO, logger="glm_pool"):
        scenario()
    assert "event=broken_off pool=glm-pool key=a code=connection" in caplog.messages
    assert not any(part in caplog.text for part in VALUES["a"].split("."))


# Where LiteLLM chooses the keys -------------------------------------------------------------


def masking(step: Step) -> tuple[httpx.AsyncClient, Upstream]:
    upstream = Upstream()
    upstream.script = [step]
    return httpx.AsyncClient(transport=MaskingTransport(upstream, Masker(VALUES.values()), {})), upstream


@in_loop
async def test_answers_are_masked_where_litellm_chooses_the_keys() -> None:
    for status in (200, 401, 500):
        client, upstream = masking(answer(status, {"error": f"invalid {VALUES['a']} é"}, {"x-log-id": "l"}))
        response = await client.post("https://api.z.ai/x", headers={"authorization": VALUES["a"]})
        assert (response.status_code, response.json()) == (status, {"error": f"invalid {MASK} é"})
        assert response.headers["x-log-id"] == "l"
        assert response.headers["content-length"] == str(len(response.content))
        assert upstream.requests[0].headers["authorization"] == VALUES["a"]
        await client.aclose()
        assert upstream.closed


@in_loop
async def test_streams_are_masked_where_litellm_chooses_the_keys() -> None:
    content = HELLO + chunk(content=VALUES["a"]) + DONE + b"data: rest " + VALUES["b"].encode()
    for size in (1, 50, len(content)):
        body = Body(*(content[n : n + size] for n in range(0, len(content), size)))
        client, _ = masking(stream(body))
        async with client.stream("POST", "https://api.z.ai/x") as response:
            found = await response.aread()
        assert found == HELLO + chunk(content=MASK) + DONE + b"data: rest " + MASK.encode()
        assert body.closed


@in_loop
async def test_stream_is_passed_on_as_it_comes_where_litellm_chooses_the_keys() -> None:
    client, _ = masking(stream(Body(HELLO, WORLD, ...)))
    async with client.stream("POST", "https://api.z.ai/x") as response:
        parts = response.aiter_raw()
        assert [await anext(parts), await anext(parts)] == [HELLO, WORLD]
