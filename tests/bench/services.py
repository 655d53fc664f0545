"""The programs of a measurement: simulator, Redis and LiteLLM, each a process group with a log file."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
import yaml

from .cases import LATENCY, Case

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 5.0
POLL_SECONDS = 0.25


class BenchError(Exception):
    """The measurement can not go on; the text says why."""


class Service:
    """A program that runs until the context is left."""

    def __init__(self, command: Sequence[str | Path], log: Path, *, cwd: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("wb") as output:
            # a group of its own: Ctrl-C reaches this process only, which then stops all members
            self._process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                cwd=cwd, env={"PATH": os.environ["PATH"], "HOME": str(cwd), **environment}, start_new_session=True,
            )  # fmt: skip

    async def ready(self, answers: Callable[[], Awaitable[bool]], timeout: float) -> None:
        """Poll until the program answers.

        Raises:
            BenchError: it ended, or the time is over.
        """
        end = asyncio.get_running_loop().time() + timeout
        while not await answers():
            if self._process.poll() is not None:
                raise BenchError(f"{self.log.stem} ended with status {self._process.returncode}:\n{self.tail()}")
            if asyncio.get_running_loop().time() > end:
                raise BenchError(f"{self.log.stem} does not answer after {timeout:.0f} s:\n{self.tail()}")
            await asyncio.sleep(POLL_SECONDS)

    def tail(self, lines: int = 25) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    @property
    def group(self) -> int:
        """Its process group."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()


@dataclass(frozen=True)
class Processor:
    """Processor time spent so far, in seconds over all cores: by process group, and by everything on the machine."""

    groups: dict[int, float]
    machine: float

    @classmethod
    def now(cls) -> Self:
        """Read it from /proc."""
        tick = 1 / os.sysconf("SC_CLK_TCK")
        groups: dict[int, float] = defaultdict(float)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                fields = stat.read_text().rpartition(")")[2].split()
                groups[int(fields[2])] += (int(fields[11]) + int(fields[12])) * tick
        user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        return cls(groups, (user + nice + system + irq + softirq + steal) * tick)


def simulator_table(case: Case) -> dict[str, object]:
    """The simulator's accounts and keys for a case."""
    faults: dict[str, dict[str, object]] = {
        "": {},
        "dead": {"revoked": True},
        "parked": {"fault": {"code": 1308, "reset_in": 18000}},
    }
    return {
        "accounts": {key.name: {"max_parallel_requests": key.slots, "latency": LATENCY} for key in case.keys},
        "keys": [{"name": key.name, "key": key.value, "account": key.name, **faults[key.fault]} for key in case.keys],
    }


def start_simulator(case: Case, port: int, directory: Path) -> Service:
    """Start the simulated Z.AI on a port."""
    table = directory / "zai.yaml"
    table.write_text(yaml.safe_dump(simulator_table(case)))
    command = (sys.executable, "-m", "zai_simulator", "--config", table, "--port", str(port), "--log-level", "warning")
    return Service(command, directory / "simulator.log", cwd=directory, environment={"PYTHONPATH": str(ROOT)})


def start_redis(port: int, directory: Path) -> Service:
    """Start a Redis that keeps nothing on disk."""
    command = ("redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no")
    return Service(command, directory / "redis.log", cwd=directory, environment={})


def start_redis_on_socket(directory: Path) -> Service:
    """Start a Redis that keeps nothing on disk and listens on `redis.sock` in the directory only."""
    command = (
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        directory / "redis.sock",
        "--save",
        "",
        "--appendonly",
        "no",
    )
    return Service(command, directory / "redis.log", cwd=directory, environment={})


async def listens(port: int) -> bool:
    """Tell whether something accepts connections on the port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def serves(url: str, master_key: str, pools: Sequence[str], service: Service, workers: int) -> bool:
    """Tell whether all workers of a LiteLLM are up and it lists the pools."""
    if len(re.findall("Application startup complete", service.log.read_text(errors="replace"))) < workers:
        return False
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session,
            session.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {master_key}"}) as response,
        ):
            if response.status != 200:
                return False
            listed = {entry["id"] for entry in (await response.json())["data"]}
    except (aiohttp.ClientError, TimeoutError):
        return False
    return listed.issuperset(pools)
