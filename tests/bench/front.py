"""What the front costs: LiteLLM asked directly and through the role's HAProxy, in turns: `python -m bench.front`.

The same before a trivial upstream, so that HAProxy's own part shows beyond LiteLLM's noise.
"""

import argparse
import asyncio
import re
import ssl
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from role_settings import MASTER_KEY

from tests.certificates import self_signed
from tests.load.report import percentile
from tests.ports import free_port

from .cases import Case, Key
from .haproxy import HAPROXY, config
from .routings import ROUTINGS, Place
from .services import ROOT, BenchError, Processor, Service, listens, serves

CLIENTS = 8
"""Connections that keep the upstream busy, for the requests a second."""
START_SECONDS = 120.0
POOL = "glm-pool"
CASE = Case("front", "", (Key("k1", 64),), clients=CLIENTS, seconds=0)

BODY = b'{"model": "%s", "messages": [{"role": "user", "content": "What does it cost?"}]}' % POOL.encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (MASTER_KEY.encode(), len(BODY), BODY)
)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def message(buffer: bytes) -> int:
    """Length of the first HTTP message in a buffer; 0 while it is not complete.

    Raises:
        BenchError: it does not say how long it is.
    """
    head, separator, rest = buffer.partition(b"\r\n\r\n")
    if not separator:
        return 0
    length = LENGTH.search(head)
    if length is None and not head.startswith(b"GET "):
        raise BenchError(f"no Content-Length: {head!r}")
    size = int(length[1]) if length else 0
    return len(head) + 4 + size if len(rest) >= size else 0


class Upstream(asyncio.Protocol):
    """An upstream that costs next to nothing: a fixed answer to everything."""

    ANSWER = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "nothing"}}]}'
    HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request."""
        assert self._transport is not None
        self._buffer += data
        while size := message(self._buffer):
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            self._transport.write(self.HEAD + self.ANSWER)
            if b"\r\nconnection: close\r\n" in request.lower():
                self._transport.close()


async def serve_trivially(port: int) -> None:
    """Run the trivial upstream for ever."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


class Connection(asyncio.Protocol):
    """A kept-alive connection of a client, lean enough to show tenths of a millisecond."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answered: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Tell the client when its answer is whole."""
        self._buffer += data
        if self._answered is None or self._answered.done():
            return
        try:
            if size := message(self._buffer):
                answer, self._buffer = self._buffer[:size], self._buffer[size:]
                if not answer.startswith(b"HTTP/1.1 200 "):
                    raise BenchError(f"not answered: {answer[:500]!r}")
                self._answered.set_result(None)
        except BenchError as error:
            self._answered.set_exception(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the client whose answer is missing."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(BenchError(f"the connection ended: {error}"))

    async def ask(self) -> None:
        """Send the request and return when its answer is here."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(REQUEST)
        await self._answered

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()


@dataclass
class Way:
    """A way to an upstream, and what was measured on it.

    Attributes:
        front: HAProxy, for what it uses of the processor; None for the direct way.
        latencies: seconds of each request while there was one at a time.
        requests: while `CLIENTS` asked at once.
        seconds: of that.
        spent: seconds of processor time that HAProxy used for them.
    """

    upstream: str
    title: str
    port: int
    trust: ssl.SSLContext | None = None
    front: Service | None = None
    latencies: list[float] = field(default_factory=list)
    requests: int = 0
    seconds: float = 0.0
    spent: float = 0.0

    async def run(self, clients: int, seconds: float) -> list[float]:
        """Let so many clients ask again and again; return how long each answer took, in seconds."""
        took: list[float] = []
        end = time.perf_counter() + seconds

        async def client() -> None:
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection, "127.0.0.1", self.port, ssl=self.trust
            )
            try:
                await connection.ask()  # the handshakes are not measured
                while (begin := time.perf_counter()) < end:
                    await connection.ask()
                    took.append(time.perf_counter() - begin)
            finally:
                connection.close()

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
        return took

    async def window(self, seconds: float) -> None:
        """Measure once more: latency with a single client, then throughput with many."""
        self.latencies += await self.run(1, seconds)
        before, begin = self._spent(), time.perf_counter()
        self.requests += len(await self.run(CLIENTS, seconds))
        self.seconds += time.perf_counter() - begin
        self.spent += self._spent() - before

    def _spent(self) -> float:
        return Processor.now().groups.get(self.front.group, 0.0) if self.front else 0.0

    def cells(self, direct: "Way") -> list[str]:
        """Its line of the table; `direct` is the way without a front."""
        p50, p99 = (percentile(self.latencies, percent) * 1000 for percent in (50, 99))
        return [
            self.upstream,
            self.title,
            f"{p50:.2f} ms" + ("" if self is direct else f" ({p50 - percentile(direct.latencies, 50) * 1000:+.2f})"),
            f"{p99:.2f} ms" + ("" if self is direct else f" ({p99 - percentile(direct.latencies, 99) * 1000:+.2f})"),
            f"{self.requests / self.seconds:,.0f}",
            f"{self.spent / self.requests * 1e6:.0f} µs" if self.front else "",
        ]


HEADINGS = (
    "upstream", "way", "p50, one client", "p99, one client", f"requests/s, {CLIENTS} clients",
    "HAProxy's processor time a request",
)  # fmt: skip


def table(groups: Sequence[Sequence[Way]]) -> str:
    """The ways as Markdown; the first of each group is the direct one."""
    lines = [list(HEADINGS), *(way.cells(group[0]) for group in groups for way in group)]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(HEADINGS), *text[1:]])


async def start_front(upstream_port: int, directory: Path, stop: ExitStack, *, tls: bool) -> tuple[int, Service]:
    """Start HAProxy as the role configures it, with the upstream in slot a; return its port."""
    directory.mkdir()
    port = free_port()
    certificate, key = self_signed("localhost", "127.0.0.1")
    pem = directory / "endpoint.pem"
    pem.write_text(certificate + key)
    path = directory / "haproxy.cfg"
    certified = {"certificate": certificate, "certificate_key": key} if tls else {}
    path.write_text(config(directory, port, [upstream_port, free_port()], scope="host", **certified))
    front = stop.enter_context(
        Service((HAPROXY, "-db", "-f", path), directory / "haproxy.log", cwd=directory, environment={})
    )
    await front.ready(lambda: listens(port), START_SECONDS)
    return port, front


async def ways(upstream: str, port: int, directory: Path, stop: ExitStack) -> list[Way]:
    """The direct way to an upstream, and those through a front."""
    plain, plain_front = await start_front(port, directory / f"{upstream}-plain", stop, tls=False)
    secure, secure_front = await start_front(port, directory / f"{upstream}-tls", stop, tls=True)
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    return [
        Way(upstream, "direct", port),
        Way(upstream, "through the front", plain, front=plain_front),
        Way(upstream, "through the front, TLS", secure, trust, secure_front),
    ]


async def start_litellm(venv: Path, directory: Path, stop: ExitStack) -> int:
    """Start LiteLLM as the role configures it, before a simulated Z.AI that answers at once; return its port."""
    directory.mkdir()
    upstream_port, port = free_port(), free_port()
    zai = directory / "zai.yaml"
    keys = [{"name": key.name, "key": key.value, "account": key.name} for key in CASE.keys]
    zai.write_text(yaml.safe_dump({"accounts": {key.name: {} for key in CASE.keys}, "keys": keys}))
    command = (sys.executable, "-m", "zai_simulator", "--config", zai, "--port", str(upstream_port))
    simulator = stop.enter_context(
        Service(
            (*command, "--log-level", "warning"),
            directory / "simulator.log",
            cwd=directory,
            environment={"PYTHONPATH": str(ROOT)},
        )
    )
    await simulator.ready(lambda: listens(upstream_port), START_SECONDS)
    (ours,) = (routing for routing in ROUTINGS if routing.name == "ours")
    start = ours.prepare(CASE, Place(directory, venv, port, f"http://127.0.0.1:{upstream_port}", None))
    proxy = stop.enter_context(
        Service(start.arguments, directory / "litellm.log", cwd=directory, environment=start.environment)
    )
    await proxy.ready(lambda: serves(f"http://127.0.0.1:{port}", MASTER_KEY, (POOL,), proxy, 1), START_SECONDS)
    return port


async def run(venv: Path, directory: Path, rounds: int, seconds: float) -> None:
    """Measure and print the table."""
    with ExitStack() as stop:
        trivial_port = free_port()
        command = (sys.executable, "-m", "tests.bench.front", "--serve", str(trivial_port))
        trivial = stop.enter_context(
            Service(
                command,
                directory / "trivial.log",
                cwd=directory,
                environment={"PYTHONPATH": f"{ROOT}:{ROOT}/tests/unit:{ROOT}/roles/litellm_proxy/filter_plugins"},
            )
        )
        await trivial.ready(lambda: listens(trivial_port), START_SECONDS)
        litellm_port = await start_litellm(venv, directory / "litellm", stop)
        groups = [
            await ways("LiteLLM", litellm_port, directory, stop),
            await ways("trivial", trivial_port, directory, stop),
        ]
        for group in groups:
            for way in group:
                await way.run(CLIENTS, 1)  # LiteLLM's first requests import much
        for number in range(1, rounds + 1):
            print(f"{time.strftime('%H:%M:%S')} round {number} of {rounds}", flush=True)
            for group in groups:
                for way in group:
                    await way.window(seconds)
    print("\n" + table(groups))


def main() -> int:
    """Parse the arguments and measure; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.front", description=__doc__)
    parser.add_argument("--venv", type=Path, help="LiteLLM's, from scripts/litellm-venv.sh")
    parser.add_argument("--rounds", type=int, default=6, help="windows of each way (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="length of a window (default: %(default)s)")
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the trivial upstream")
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve_trivially(arguments.serve))
        return 0
    if not arguments.venv:
        parser.error("give --venv")
    with tempfile.TemporaryDirectory(prefix="front-bench-") as directory:
        asyncio.run(run(arguments.venv, Path(directory), arguments.rounds, arguments.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
