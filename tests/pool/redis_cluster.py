"""Three Redis and three Sentinels of the tests' own, on loopback."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tests.ports import free_port

NAME = "pool"
PASSWORD = "open-sesame-1846"
PATIENCE = 30.0


class Node:
    """One process of Redis, a server or a Sentinel; it may be started again."""

    def __init__(self, directory: Path, kind: str, settings: str) -> None:
        self.port = free_port()
        self.config = directory / f"{kind}-{self.port}.conf"
        self.config.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {directory}\n{settings}\n")
        self._command = ["redis-server", str(self.config), *(["--sentinel"] if kind == "sentinel" else [])]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(self.answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def answers(self) -> bool:
        with suppress(RedisError, OSError):
            return bool(self.client().ping())
        return False

    def client(self) -> Redis:
        return Redis(port=self.port, password=PASSWORD, decode_responses=True, socket_timeout=2)


class Cluster:
    """A master, two replicas and those who watch them."""

    def __init__(self, directory: Path) -> None:
        access = f'requirepass {PASSWORD}\nmasterauth {PASSWORD}\nsave ""\nappendonly no\nrepl-diskless-sync-delay 0'
        self.servers = [Node(directory, "server", access)]
        replica = f"{access}\nreplicaof 127.0.0.1 {self.servers[0].port}"
        self.servers += [Node(directory, "server", replica) for _ in range(2)]
        watch = (
            f"requirepass {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {self.servers[0].port} 2\nsentinel auth-pass {NAME} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {NAME} 500\nsentinel failover-timeout {NAME} 2000"
        )
        self.sentinels = [Node(directory, "sentinel", watch) for _ in range(3)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{NAME}/0"

    def master(self) -> Node:
        """The server that the Sentinels name; of which they agree."""
        named: set[int] = set()
        for sentinel in self.sentinels:
            with suppress(RedisError, OSError):
                address: Any = sentinel.client().sentinel_get_master_addr_by_name(NAME)
                named.add(int(address[1]))
        (port,) = named
        return next(server for server in self.servers if server.port == port)

    def is_whole(self) -> bool:
        """Whether all know of each other, and both replicas follow."""
        for sentinel in self.sentinels:
            seen: Any = sentinel.client().sentinel_master(NAME)
            if (seen["num-other-sentinels"], seen["num-slaves"]) != (2, 2) or not seen["is_master"]:
                return False
        return int(self.master().client().info("replication")["connected_slaves"]) == 2


def wait_until(met: Callable[[], object], within: float = PATIENCE) -> None:
    """Return when `met` returns true; a Redis that does not answer is not there yet."""
    end = time.monotonic() + within
    while True:
        with suppress(RedisError, OSError, ValueError):
            if met():
                return
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.05)


@contextmanager
def running_cluster(directory: Path) -> Iterator[Cluster]:
    """Run them while the context is open."""
    cluster = Cluster(directory)
    try:
        for node in (*cluster.servers, *cluster.sentinels):
            node.start()
        wait_until(cluster.is_whole)
        yield cluster
    finally:
        for node in (*cluster.sentinels, *cluster.servers):
            node.kill()
