"""Proving keys: what the upstream says to one small question, judged as the pool judges it, without any value."""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pool_parts import ANTHROPIC_BASE, OPENAI_BASE, FakeClock, in_loop, turns
from role_settings import KEY_A, KEY_B, KEY_C, ROLE

from glm_pool import prove
from zai_simulator.testing import Simulator, running_simulator

ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "h"}}]}
HOUR = datetime.timedelta(hours=1)

Step = Callable[[httpx.Request], Awaitable[httpx.Response]]


# A made-up upstream ------------------------------------------------------------------


class Upstream(httpx.AsyncBaseTransport):
    """Does the same with every request; remembers what it was sent."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return await self.step(request)


def answer(status: int, content: object) -> Step:
    async def step(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=content if isinstance(content, bytes) else json.dumps(content).encode())

    return step


def error(status: int, code: str, message: str = "the upstream's words") -> Step:
    return answer(status, {"error": {"code": code, "message": message}})


def fail(failure: Exception) -> Step:
    async def step(request: httpx.Request) -> httpx.Response:
        raise failure

    return step


async def hang(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


def document(*keys: dict[str, Any], **changes: Any) -> bytes:
    """The input; a key called a without more."""
    return json.dumps({"model": "glm-5.3", "timeout": 5, "keys": keys or [key()], **changes}).encode()


def key(name: str = "a", value: object = KEY_A, **bases: object) -> dict[str, Any]:
    return {"name": name, "value": value, **(bases or {"openai_api_base": OPENAI_BASE})}


async def proofs(upstream: httpx.AsyncBaseTransport, *keys: dict[str, Any], **changes: Any) -> list[prove.Proof]:
    """What comes of the keys in 2027-01-15, 08:00 UTC."""
    return await prove.prove(prove.parse(document(*keys, **changes)), upstream, FakeClock())


async def proof(step: Step, **changes: Any) -> prove.Proof:
    (found,) = await proofs(Upstream(step), **changes)
    return found


# Verdicts ----------------------------------------------------------------------------


@in_loop
async def test_key_that_is_answered_works() -> None:
    assert await proof(answer(200, ANSWER)) == prove.Proof("a", "works", "", "")


@in_loop
async def test_busy_key_works() -> None:
    for code in ("1302", "1303", "1305"):
        assert await proof(error(429, code)) == prove.Proof("a", "works", code, "the upstream's words")


@in_loop
async def test_key_out_of_quota_is_limited_until_the_time_that_the_upstream_states() -> None:
    for code in ("1308", "1310", "1316", "1317", "1318", "1319", "1320", "1321"):
        found = await proof(error(429, code, "Your limit will reset at 2027-01-15 20:30:00"))
        said = "Your limit will reset at 2027-01-15 20:30:00 (until 2027-01-15 12:30 UTC)"
        assert found == prove.Proof("a", "limited", code, said)
    assert await proof(error(429, "1308", "no time")) == prove.Proof("a", "limited", "1308", "no time")


@in_loop
async def test_unexplained_429_is_a_limit_that_proves_nothing() -> None:
    assert await proof(answer(429, b"<html>slow down</html>")) == prove.Proof("a", "limited", "http_429", "")


@in_loop
async def test_key_that_the_account_may_not_use_is_refused() -> None:
    codes = ("1000", "1001", "1002", "1003", "1004", "1005", "1113", "1220", "1309", "1311", "1313", "1314", "1315")
    for code in codes:
        for status in (200, 400, 401, 403, 429, 500):
            assert await proof(error(status, code)) == prove.Proof("a", "refused", code, "the upstream's words")


@in_loop
async def test_401_and_403_without_a_code_refuse() -> None:
    for status in (401, 402, 403):
        assert await proof(answer(status, b"no")) == prove.Proof("a", "refused", f"http_{status}", "")
    of_anthropic = {"type": "error", "error": {"type": "permission_error", "message": "no"}}
    for status in (200, 403):
        assert await proof(answer(status, of_anthropic)) == prove.Proof("a", "refused", "http_403", "no")


@in_loop
async def test_refused_request_is_told_from_a_refused_key() -> None:
    for status, code in ((400, "1211"), (200, "1214"), (400, "1210"), (404, "9999")):
        found = await proof(error(status, code, "Unknown Model"))
        said = "it is the request that is refused, not the key: Unknown Model"
        assert found == prove.Proof("a", "refused", code, said)
    said = "it is the request that is refused, not the key"
    assert await proof(answer(404, b"<html>")) == prove.Proof("a", "refused", "http_404", said)


@in_loop
async def test_upstream_that_does_not_answer_is_unreachable() -> None:
    for step, code, message in (
        (fail(httpx.ConnectError("refused")), "connection", "ConnectError refused"),
        (fail(httpx.RemoteProtocolError("closed")), "connection", "RemoteProtocolError closed"),
        (fail(UnicodeError("label too long")), "connection", "UnicodeError label too long"),
        (fail(httpx.ReadTimeout("")), "timeout", "no answer within 5 s"),
        (answer(500, b""), "http_500", ""),
        (answer(502, b"<html>Bad Gateway</html>"), "http_502", ""),
        (error(503, "9998"), "9998", "the upstream's words"),
        (answer(302, b""), "http_302", ""),
        (answer(200, b"<html>log in</html>"), "no_json", "the upstream's answer is no JSON"),
    ):
        assert await proof(step) == prove.Proof("a", "unreachable", code, message)


@in_loop
async def test_silent_upstream_is_unreachable_when_the_time_is_over() -> None:
    assert await proof(hang, timeout=0.05) == prove.Proof("a", "unreachable", "timeout", "no answer within 0.05 s")


@in_loop
async def test_upstream_that_never_stops_talking_is_not_listened_to_for_ever() -> None:
    class Endless(httpx.AsyncByteStream):
        closed = False

        async def __aiter__(self) -> Any:
            while True:
                yield b" " * 100_000

        async def aclose(self) -> None:
            self.closed = True

    stream = Endless()

    async def step(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=stream)

    assert (await proof(step)).code == "no_json"
    assert stream.closed


# What is asked -----------------------------------------------------------------------


@in_loop
async def test_one_token_is_asked_for_over_the_openai_api() -> None:
    upstream = Upstream(answer(200, ANSWER))
    await proofs(upstream, key(openai_api_base=f"{OPENAI_BASE}/", anthropic_api_base=ANTHROPIC_BASE))
    (request,) = upstream.requests
    assert (request.method, str(request.url)) == ("POST", f"{OPENAI_BASE}/chat/completions")
    assert request.headers["authorization"] == f"Bearer {KEY_A}"
    assert json.loads(request.content) == {
        "model": "glm-5.3",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "hi"}],
    }


@in_loop
async def test_key_with_the_anthropic_api_only_is_asked_over_that() -> None:
    for other in ({}, {"openai_api_base": ""}, {"openai_api_base": None}):
        upstream = Upstream(answer(200, {"type": "message", "content": []}))
        (found,) = await proofs(upstream, key(anthropic_api_base=ANTHROPIC_BASE, **other))
        (request,) = upstream.requests
        assert (found.verdict, str(request.url)) == ("works", f"{ANTHROPIC_BASE}/v1/messages")
        assert (request.headers["x-api-key"], "authorization" in request.headers) == (KEY_A, False)
        assert request.headers["anthropic-version"] == "2023-06-01"
        assert json.loads(request.content)["max_tokens"] == 1


@in_loop
async def test_keys_are_asked_a_few_at_once_and_listed_in_their_order() -> None:
    names = [f"key-{number}" for number in range(20)]
    under_way: list[int] = []
    most = 0

    async def step(request: httpx.Request) -> httpx.Response:
        nonlocal most
        number = int(request.headers["authorization"][-2:])
        under_way.append(number)
        most = max(most, len(under_way))
        await turns(10 + number % 7)  # they end in another order
        under_way.remove(number)
        return httpx.Response(401 if number == 3 else 200, json=ANSWER)

    keys = [key(name, f"value-of-the-key-{number:02d}") for number, name in enumerate(names)]
    found = await proofs(Upstream(step), *keys)
    assert [entry.name for entry in found] == names
    assert [entry.name for entry in found if entry.verdict != "works"] == ["key-3"]
    assert most == 8


@in_loop
async def test_one_upstream_learns_nothing_of_another_keys_answer() -> None:
    async def step(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=ANSWER, headers={"set-cookie": f"session={request.headers['authorization']}"})

    upstream = Upstream(step)
    await proofs(upstream, key("a"), key("b", KEY_B), key("c", KEY_C))
    assert not any("cookie" in request.headers for request in upstream.requests)


# Secrets -----------------------------------------------------------------------------


@in_loop
async def test_no_proof_has_a_value() -> None:
    def echo(request: httpx.Request) -> str:
        value = request.headers["authorization"].removeprefix("Bearer ")
        return f"{'x' * 480} key {value} and its half {value.split('.')[-1]}, or {KEY_B}\n\x1b[1m"

    async def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"error": {"code": "1000", "message": echo(request)}})

    async def break_off(request: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError(echo(request))

    async def run_out(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, json={"error": {"code": "1308", "message": echo(request)}})

    async def as_code(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"error": {"code": "12345678901234567890", "message": "no"}})

    for step in (refuse, break_off, run_out, as_code):
        keys = [key(), key("b", KEY_B), key("c", KEY_C), key("12345678901234567890", "12345678901234567890")]
        found = await proofs(Upstream(step), *keys)
        said = json.dumps([vars(entry) for entry in found])
        for value in (KEY_A, KEY_B, KEY_C, "12345678901234567890"):
            assert value not in said
            assert value.split(".")[-1] not in said
        assert all(entry.message.isprintable() for entry in found)
        assert max(len(entry.message) for entry in found) < 600


# Input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "the input is no JSON"),
        (b"{", "the input is no JSON"),
        (b"\xff\xfe{", "the input is no JSON"),
        (b"[]", "the input is no object"),
        (document(model=""), "model is no name"),
        (document(model=None), "model is no name"),
        (document(timeout=0), "timeout is no number"),
        (document(timeout=True), "timeout is no number"),
        (document(timeout="5"), "timeout is no number"),
        (document(timeout=float("inf")), "timeout is no number"),
        (document(timeout=float("nan")), "timeout is no number"),
        (document(keys={}), "keys is no list"),
        (document(keys=["a"]), "keys[0] is no object"),
        (document(key(), key("")), "keys[1].name is no text"),
        (document(key("b", None)), "keys[0].value is no text"),
        (document(key("b", 7)), "keys[0].value is no text"),
        (document(key("b", "s.short")), "keys[0].value is too short"),
        (document(key("b", f"{KEY_B}\n")), "keys[0].value has characters"),
        (document(key("b", f"ü{KEY_B}")), "keys[0].value has characters"),
        (document(key("b", KEY_B, openai_api_base="")), "keys[0] has no base URL"),
        (document(key("b", KEY_B, openai_api_base=7)), "keys[0].openai_api_base is no text"),
        (document(key("b", KEY_B, openai_api_base="api.z.ai")), "keys[0].openai_api_base is no URL"),
        (document(key("b", KEY_B, anthropic_api_base="ftp://x")), "keys[0].anthropic_api_base is no URL"),
        (document(key("b", KEY_B, anthropic_api_base="http://")), "keys[0].anthropic_api_base is no URL"),
        (document(key("b", KEY_B, anthropic_api_base="http://x:y")), "keys[0].anthropic_api_base is no URL"),
    ],
)
def test_input_that_is_not_usable_is_refused_by_place(text: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}") as caught:
        prove.parse(text)
    assert KEY_B not in str(caught.value)
    # nor in what a traceback would show beside it
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


# The command -------------------------------------------------------------------------


def run(text: bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command as the role runs it."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "glm_pool.prove"],
        input=text,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROLE / "files"), **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    values = {"good": KEY_A, "parked": KEY_B, "out": KEY_C}
    keys = [{"name": name, "key": value, "account": name} for name, value in values.items()]
    with running_simulator({"accounts": {name: {} for name in values}, "keys": keys}) as simulator:
        simulator.control.set_key("parked", fault={"code": "1308", "reset_in": 600, "echo_key": True})
        simulator.control.set_key("out", fault={"code": "1113", "echo_key": True})
        yield simulator


def test_command_judges_every_key_and_shows_none(simulator: Simulator) -> None:
    openai, anthropic = f"{simulator.url}/api/paas/v4", f"{simulator.url}/api/anthropic"
    unknown = f"{KEY_A[:-1]}x"
    keys = [
        key("out", KEY_C, openai_api_base=openai),
        key("good", KEY_A, openai_api_base=openai),
        key("good too", KEY_A, anthropic_api_base=anthropic),
        key("parked", KEY_B, anthropic_api_base=anthropic),
        key("unknown", unknown, openai_api_base=openai),
        key("nowhere", KEY_A, openai_api_base="http://127.0.0.1:1"),
    ]
    done = run(document(*keys))
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(done.stdout)
    assert [set(entry) for entry in found] == [{"name", "verdict", "code", "message"}] * len(keys)
    assert [(entry["name"], entry["verdict"]) for entry in found] == [
        ("out", "refused"),
        ("good", "works"),
        ("good too", "works"),
        ("parked", "limited"),
        ("unknown", "refused"),
        ("nowhere", "unreachable"),
    ]
    assert not [value for value in (KEY_A, KEY_B, KEY_C, unknown) if value.encode() in done.stdout]


def test_command_refuses_input_that_is_not_usable() -> None:
    done = run(document(key("b", f"{KEY_B} ")))
    assert (done.returncode, done.stdout) == (78, b"")
    said = "keys[0].value has characters that no key has, such as a space or a line break"
    assert done.stderr.decode() == f"litellm-proxy: cannot prove keys: {said}\n"


def test_command_needs_no_key() -> None:
    done = run(document(keys=[]))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"[]\n", b"")


def test_command_asks_the_upstream_itself_whatever_proxies_the_environment_names(simulator: Simulator) -> None:
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "http://127.0.0.1:1")
    done = run(document(key("good", KEY_A, openai_api_base=f"{simulator.url}/api/paas/v4")), **proxies)
    assert [entry["verdict"] for entry in json.loads(done.stdout)] == ["works"]


@contextmanager
def secured_upstream(directory: Path) -> Iterator[tuple[str, str]]:
    """An upstream over TLS; gives its URL and the file of its certificate, which nobody has signed."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "upstream")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, secret.public_key(), x509.random_serial_number(), now - HOUR, now + HOUR)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    chain, private = directory / "upstream.pem", directory / "upstream.key"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # a client that does not trust it hangs up
                super().handle()

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        # the handshake is for the connection's own thread, where it may fail
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}", str(chain)
        finally:
            server.shutdown()
            thread.join()


def test_command_trusts_the_certificates_of_ssl_cert_file(tmp_path: Path) -> None:
    with secured_upstream(tmp_path) as (url, certificate):
        text = document(key(openai_api_base=url))
        (trusted,) = json.loads(run(text, SSL_CERT_FILE=certificate).stdout)
        (unknown,) = json.loads(run(text).stdout)
    assert trusted["verdict"] == "works"
    assert (unknown["verdict"], unknown["code"]) == ("unreachable", "connection")
    assert "certificate" in unknown["message"].lower()


def test_command_says_that_ssl_cert_file_is_missing(tmp_path: Path) -> None:
    done = run(document(), SSL_CERT_FILE=str(tmp_path / "missing.pem"))
    assert (done.returncode, done.stdout) == (78, b"")
    assert done.stderr == b"litellm-proxy: cannot prove keys: SSL_CERT_FILE: No such file or directory\n"
