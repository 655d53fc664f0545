"""Prove key values against the upstream, one cheap call each: `python -m glm_pool.prove`.

Reads one JSON object on stdin, writes one JSON list on stdout, in the order of the keys:

    {"model": "glm-5.3", "timeout": 30, "keys": [
      {"name": "team-a", "value": "…", "openai_api_base": "https://…", "anthropic_api_base": "https://…"}]}

    [{"name": "team-a", "verdict": "works", "code": "", "message": ""}]

`timeout` is seconds for each key; one of the two base URLs may be empty or missing. Verdicts:

- `works`: answered, or busy (1302, 1303, 1305), which only a good key is told;
- `limited`: good, but out of quota until the time in the message, or an unexplained 429;
- `refused`: the upstream says no to the key or to the request; the message tells which;
- `unreachable`: no answer of Z.AI's: network, time-out, 5xx, a page of something in between.

Exits 0 when every key was judged, 78 when the input is not usable. No output has a key's value.
"""

import asyncio
import json
import math
import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone

import httpx

from glm_pool import faults
from glm_pool.clock import Clock
from glm_pool.faults import Fault, Kind
from glm_pool.masking import SHORTEST, Masker

EX_CONFIG = 78
AT_ONCE = 8
ANSWER_BYTES = 1_000_000
MESSAGE_LENGTH = 500
ANTHROPIC_VERSION = "2023-06-01"

WORKS, REFUSED, LIMITED, UNREACHABLE = "works", "refused", "limited", "unreachable"


@dataclass(frozen=True)
class Candidate:
    """A key to prove; one of the base URLs is not empty."""

    name: str
    value: str = field(repr=False)
    openai_api_base: str = ""
    anthropic_api_base: str = ""


@dataclass(frozen=True)
class Task:
    """What is asked: every key for one token of `model`, within `timeout` seconds each."""

    model: str
    timeout: float
    keys: tuple[Candidate, ...]


@dataclass(frozen=True)
class Proof:
    """What came of one key; `code` is Z.AI's or as in `Fault`, empty after an answer."""

    name: str
    verdict: str
    code: str = ""
    message: str = ""


def parse(text: bytes) -> Task:
    """Read the input.

    Raises:
        ValueError: it is not usable; the text says where and never repeats a value.
    """
    try:
        document = json.loads(text)
    except ValueError:
        raise ValueError("the input is no JSON") from None
    if not isinstance(document, dict):
        raise ValueError("the input is no object")
    model, timeout, keys = document.get("model"), document.get("timeout"), document.get("keys")
    if not isinstance(model, str) or not model:
        raise ValueError("model is no name")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise ValueError("timeout is no number of seconds above 0")
    if not isinstance(keys, list):
        raise ValueError("keys is no list")
    return Task(model, float(timeout), tuple(_candidate(number, key) for number, key in enumerate(keys)))


def _candidate(number: int, key: object) -> Candidate:
    if not isinstance(key, dict):
        raise ValueError(f"keys[{number}] is no object")
    texts = {name: key.get(name) or "" for name in ("name", "value", "openai_api_base", "anthropic_api_base")}
    for name, text in texts.items():
        if not isinstance(text, str) or (not text and name in ("name", "value")):
            raise ValueError(f"keys[{number}].{name} is no text")
    if len(texts["value"]) < SHORTEST:
        raise ValueError(f"keys[{number}].value is too short for a key")
    # a header can not carry anything else, and the error about it would repeat the value
    if not all("!" <= character <= "~" for character in texts["value"]):
        raise ValueError(f"keys[{number}].value has characters that no key has, such as a space or a line break")
    bases = {name: texts[name] for name in ("openai_api_base", "anthropic_api_base") if texts[name]}
    if not bases:
        raise ValueError(f"keys[{number}] has no base URL")
    for name, base in bases.items():
        if not _is_web_address(base):
            raise ValueError(f"keys[{number}].{name} is no URL of http or https")
    return Candidate(**texts)


def _is_web_address(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host)


async def prove(task: Task, transport: httpx.AsyncBaseTransport, clock: Clock | None = None) -> list[Proof]:
    """Prove the keys of a task, a few at once; the proofs are in the order of the keys and without their values.

    Args:
        task: the keys and what to ask them for.
        transport: sends to the upstream.
        clock: the time, which reset times are judged by.
    """
    masker = Masker(key.value for key in task.keys)
    now = (clock or Clock()).wall()
    places = asyncio.Semaphore(AT_ONCE)

    async def prove_one(key: Candidate) -> Proof:
        async with places:
            fault, status = await _ask_in_time(transport, task, key, now)
        return _proof(key.name, fault, status, now, masker)

    return await asyncio.gather(*map(prove_one, task.keys))


async def _ask_in_time(
    transport: httpx.AsyncBaseTransport, task: Task, key: Candidate, now: float
) -> tuple[Fault | None, int]:
    """What failed, judged as the pool judges it, and the answer's HTTP status, 0 without an answer."""
    try:
        status, content = await asyncio.wait_for(_answer(transport, _request(task, key)), task.timeout)
    except (httpx.TimeoutException, asyncio.TimeoutError):
        return faults.connection(f"no answer within {task.timeout:g} s", timeout=True), 0
    except (httpx.HTTPError, UnicodeError) as error:  # the latter of a host name that no resolver takes
        return faults.connection(f"{type(error).__name__} {error}".strip()), 0
    if status != 200:
        return faults.from_answer(status, content, now), status
    try:
        return faults.from_success(json.loads(content), now), status
    except ValueError:
        return Fault(Kind.SERVER, "no_json", 502, "the upstream's answer is no JSON"), status


def _request(task: Task, key: Candidate) -> httpx.Request:
    """Ask for one token: no room for thinking, which some models refuse to be told not to do."""
    headers = {"accept-encoding": "identity", "user-agent": "litellm-proxy"}
    if key.openai_api_base:
        url = key.openai_api_base.rstrip("/") + "/chat/completions"
        headers["authorization"] = f"Bearer {key.value}"
    else:
        url = key.anthropic_api_base.rstrip("/") + "/v1/messages"
        headers |= {"x-api-key": key.value, "anthropic-version": ANTHROPIC_VERSION}
    limits = dict.fromkeys(("connect", "read", "write", "pool"), task.timeout)
    body = {"model": task.model, "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    return httpx.Request("POST", url, headers=headers, json=body, extensions={"timeout": limits})


async def _answer(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> tuple[int, bytes]:
    answer = await transport.handle_async_request(request)
    answer.request = request
    content = b""
    try:
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > ANSWER_BYTES:
                break
    finally:
        await answer.aclose()
    return answer.status_code, content


def _proof(name: str, fault: Fault | None, status: int, now: float, masker: Masker) -> Proof:
    if fault is None:
        return Proof(masker.text(name), WORKS)
    # masked before it is cut, as half a value would not be found
    said = masker.text(fault.message)
    message = " ".join("".join(sign if sign.isprintable() else " " for sign in said).split())[:MESSAGE_LENGTH]
    if fault.kind is Kind.QUOTA and (until := faults.reset_time(fault.message, now)):
        message = f"{message} (until {datetime.fromtimestamp(until, timezone.utc):%Y-%m-%d %H:%M} UTC)"
    elif fault.kind is Kind.REQUEST:
        message = f"it is the request that is refused, not the key: {message}".removesuffix(": ")
    return Proof(masker.text(name), _verdict(fault, status), masker.text(fault.code), masker.text(message))


def _verdict(fault: Fault, status: int) -> str:
    if fault.kind is Kind.TRANSIENT:
        return WORKS if fault.code in faults.TRANSIENT_STEPS else LIMITED
    if fault.kind is Kind.QUOTA:
        return LIMITED
    # the pool takes a bare 403 for a gateway's and tries again; of a new key it is a refusal
    if fault.kind in (Kind.ACCOUNT, Kind.REQUEST) or status == 403 or fault.code == "http_403":
        return REFUSED
    return UNREACHABLE


def make_transport(environment: Mapping[str, str]) -> httpx.AsyncHTTPTransport:
    """What sends to the upstream: no proxy, trusts `SSL_CERT_FILE` or else what the host trusts.

    Raises:
        OSError: the file can not be read, or has no certificate.
    """
    context = ssl.create_default_context(cafile=environment.get("SSL_CERT_FILE") or None)
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False)


def main() -> int:
    """Prove what stdin names; return the exit status."""
    try:
        task = parse(sys.stdin.buffer.read())
    except ValueError as error:
        print(f"litellm-proxy: cannot prove keys: {error}", file=sys.stderr)
        return EX_CONFIG
    try:
        transport = make_transport(os.environ)
    except OSError as error:
        print(f"litellm-proxy: cannot prove keys: SSL_CERT_FILE: {error.strerror or error}", file=sys.stderr)
        return EX_CONFIG
    proofs = asyncio.run(_prove_and_close(task, transport))
    print(json.dumps([asdict(proof) for proof in proofs]))
    return 0


async def _prove_and_close(task: Task, transport: httpx.AsyncHTTPTransport) -> list[Proof]:
    async with transport:
        return await prove(task, transport)


if __name__ == "__main__":
    sys.exit(main())
