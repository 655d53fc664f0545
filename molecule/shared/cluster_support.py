"""A cluster under test: its hosts and what befalls them, its gateway, its Redis, and the load on it."""

import csv
import io
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import testinfra
import yaml
from host_support import (
    KEY_VALUES,
    MASTER_KEY,
    PORT,
    REPOSITORY,
    Proxy,
    address_of,
    play,
    simulator_control,
    wait_until,
)
from testinfra.host import Host

from tests.load import Load, Mix, Report, Sample, Target

SCENARIO = REPOSITORY / "molecule" / "cluster"
PLATFORMS: dict[str, dict[str, Any]] = {
    platform["name"]: platform for platform in yaml.safe_load((SCENARIO / "molecule.yml").read_text())["platforms"]
}
DEPLOYED: dict[str, Any] = yaml.safe_load((SCENARIO / "vars" / "settings.yml").read_text())
"""The settings that the scenario deploys, beyond those that all scenarios share."""
PASSWORD: str = DEPLOYED["litellm_datastore_password"]
SLOTS = int(DEPLOYED["granted_slots"])
FIRST, SECOND, THIRD = "cluster-a", "cluster-b", "cluster-c"
PROXIES = (FIRST, SECOND, THIRD)
STORES = ("cluster-redis-1", "cluster-redis-2", "cluster-redis-3")
GATEWAY = "cluster-gateway"
WORKERS = {FIRST: 1, SECOND: 1, THIRD: 2}
"""Processes of each proxy, as the scenario's settings have them."""

RATE = 25.0
"""Requests a second: what leaves plays and hosts some of two cores."""
LEAST = int(os.environ.get("CLUSTER_REQUESTS", "2000"))
"""Requests of each case; fewer where the suite is short of time."""
BEFORE = 100
"""Requests before something happens."""
AFTER = 150
"""Requests after it."""
NOTICED = 8.0
"""Seconds within which the gateway leaves a dead host alone, on a busy machine too."""

DISK_SIZE = "48m"
VENVS = "litellm-proxy/venvs"

BEYOND = {"1302", "1303"}
"""How the simulator refuses what is beyond an account's slots, or its rate."""

PLAY_SECONDS = 900.0
"""Longer than a play over three hosts takes on a busy machine."""

BACKEND = "litellm_proxy"
RUN = "glm-cluster-run"
"""What the command line of a playbook's run has, and of its workers."""
ADMIN_SOCKET = "/run/litellm-gateway/admin.sock"
CUT = "cluster_test"


def backend(name: str) -> Host:
    """A host of the scenario, spoken to through Docker."""
    return testinfra.get_host(f"docker://{name}")


def docker(*arguments: str) -> str:
    """Run a command of Docker's."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


class Cluster:
    """The scenario's hosts with the settings that they were last deployed with.

    Attributes:
        settings: on top of the inventory's; a play that succeeds adds what it changed.
    """

    def __init__(self) -> None:
        self.settings: dict[str, Any] = dict(DEPLOYED)
        self.gateway = backend(GATEWAY)
        # a host that is down has none, and gets the same when it is back
        self._stores = {name: address_of(backend(name)) for name in STORES}
        self.simulator = simulator_control()

    # Plays -------------------------------------------------------------------------------------------------------

    def play(self, playbook: str = "site.yml", *options: str, **change: Any) -> "subprocess.CompletedProcess[str]":
        """Run a playbook with changed settings."""
        began = time.monotonic()
        done = play(playbook, {**self.settings, **change, "run": RUN}, *options, within=PLAY_SECONDS)
        print(f"{playbook} {' '.join(options)}: {time.monotonic() - began:.0f} s", flush=True)
        if done.returncode == 0:
            self.settings.update(change)
        return done

    def killed_play(
        self, when: Callable[[], Any], playbook: str, *options: str, **change: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Start a playbook, and kill it and all its workers once `when` returns something true."""
        with ThreadPoolExecutor(1) as thread:
            playing = thread.submit(partial(self.play, playbook, *options, **change))
            wait_until(lambda: when() or playing.done(), PLAY_SECONDS)
            subprocess.run(["pkill", "-KILL", "-f", RUN], check=False, timeout=30)
            return playing.result()

    # Proxies -----------------------------------------------------------------------------------------------------

    def proxy(self, name: str) -> Proxy:
        """The proxy on a host."""
        return Proxy(backend(name))

    def shared(self, name: str) -> dict[str, Any]:
        """What a host says of its store."""
        found: dict[str, Any] = self.proxy(name).call("/pool/status").json()["shared"]
        return found

    def is_connected(self, name: str, wanted: bool = True) -> bool:
        """Whether a host reaches its store, or does not where that is wanted."""
        return bool(self.shared(name)["connected"]) == wanted

    def states(self, name: str) -> dict[str, str]:
        """State of each key as a host has it."""
        return {key["name"]: key["state"] for key in self.proxy(name).call("/pool/status").json()["keys"]}

    def queue_timeout(self, name: str) -> int:
        """The setting of the pools as a host has it, in seconds: what tells its generation."""
        (seconds,) = {pool["queue_timeout"] for pool in self.proxy(name).call("/pool/status").json()["pools"]}
        return int(seconds)

    def outages(self, name: str) -> list[str]:
        """What a host has logged of its store."""
        return re.findall(r"shared store .* is (?:away|back).*", self.proxy(name).journal())

    def is_whole(self) -> bool:
        """Whether all serve at the gateway, take part, and have every key in use."""
        wanted = {"kind": "redis", "connected": True, "members": sum(WORKERS.values())}
        states = self.servers()
        return all(
            states.get(name, ("", 0))[0] == "UP"
            and self.shared(name) == wanted
            and set(self.states(name).values()) == {"active"}
            for name in PROXIES
        )

    def settle(self) -> None:
        """Wait until the cluster is whole, with all counts of the simulator at zero."""
        self.simulator.reset()
        wait_until(self.is_whole, 120)
        wait_until(lambda: self.simulator.stats()["total"]["in_flight"] == 0)
        self.simulator.reset()

    # The gateway -------------------------------------------------------------------------------------------------

    @property
    def target(self) -> Target:
        """Where the load goes."""
        return Target(f"http://{address_of(self.gateway)}:{PORT}", MASTER_KEY)

    def servers(self) -> dict[str, tuple[str, int]]:
        """State and number of sessions of each proxy, as the gateway has it."""
        shown = self.gateway.check_output("echo 'show stat' | socat stdio UNIX-CONNECT:%s", ADMIN_SOCKET)
        rows = csv.DictReader(io.StringIO(shown.removeprefix("# ")))
        # the last resort, which has the same servers, is not asked how they are
        mine = [row for row in rows if row["pxname"] == BACKEND and row["svname"] in PROXIES]
        return {row["svname"]: (row["status"].split()[0], int(row["scur"])) for row in mine}

    def answered(self, since: float) -> list[dict[str, Any]]:
        """What the gateway has logged of model requests that ended since a moment, in seconds since the epoch."""
        shown = self.gateway.check_output("journalctl -t litellm-gateway -o cat --no-pager --since @%s", f"{since:.3f}")
        lines = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("path", "").startswith("/v1/")]

    # What befalls hosts ------------------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """Take a host down without a warning."""
        docker("kill", name)

    def start(self, name: str) -> None:
        """Start a host that was taken down, and wait until it has booted."""
        docker("start", name)
        wait_until(lambda: backend(name).run("systemctl is-system-running").stdout.strip() in ("running", "degraded"))

    def replace(self, name: str) -> None:
        """Put a new machine in the place of a host, with nothing on it but the packages that others have installed."""
        platform = PLATFORMS[name]
        cgroup = os.environ.get("TEST_HOST_CGROUP", "ro")
        volumes = [volume.replace("${TEST_HOST_CGROUP:-ro}", cgroup) for volume in platform["volumes"]]
        options = [
            *("--name", name, "--hostname", name, "--network", platform["networks"][0]["name"]),
            *("--cgroupns", platform["cgroupns_mode"], "--stop-signal", platform["stop_signal"]),
            *(f"--cap-add={capability}" for capability in platform["capabilities"]),
            *(f"--security-opt={option}" for option in platform["security_opts"]),
            *(f"--tmpfs={mount}" for mount in platform["tmpfs"]),
            *(f"--volume={volume}" for volume in volumes),
        ]
        docker("rm", "--force", "--volumes", name)
        docker("run", "--detach", *options, platform["image"])
        wait_until(lambda: backend(name).run("systemctl is-system-running").stdout.strip() in ("running", "degraded"))
        donor = next(other for other in PROXIES if other != name)
        with subprocess.Popen(
            ["docker", "exec", donor, "tar", "-C", "/opt", "-c", VENVS], stdout=subprocess.PIPE
        ) as tar:
            unpack = ["docker", "exec", "--interactive", name, "tar", "-C", "/opt", "-x"]
            subprocess.run(unpack, stdin=tar.stdout, check=True, timeout=300)

    @contextmanager
    def broken_start(self, name: str) -> Iterator[None]:
        """A host on which no further instance of the proxy starts."""
        host = backend(name)
        directory = "/run/systemd/system/litellm-proxy@.service.d"
        host.check_output(
            "mkdir -p %s; printf '[Service]\\nExecStartPre=/bin/false\\n' >%s/broken.conf; systemctl daemon-reload",
            directory,
            directory,
        )
        try:
            yield
        finally:
            host.check_output("rm -r %s; systemctl daemon-reload", directory)

    @contextmanager
    def throttled(self, name: str, cores: float) -> Iterator[None]:
        """A host that gets no more than so much of a processor core."""
        docker("update", "--cpus", str(cores), name)
        try:
            yield
        finally:
            docker("update", "--cpus", str(os.cpu_count()), name)

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """A host that stands still."""
        docker("pause", name)
        try:
            yield
        finally:
            docker("unpause", name)

    @contextmanager
    def cut_off(
        self, name: str, others: Collection[str], *, sends: bool = False, hears: bool = False
    ) -> Iterator[None]:
        """A host that some others do not hear, that does not hear them, or both, as its options say."""
        host = backend(name)
        addresses = ", ".join(address_of(backend(other)) for other in others)
        rules = [f"table ip {CUT} {{"]
        if not sends:
            rules.append(f"chain out {{ type filter hook output priority 0; ip daddr {{ {addresses} }} drop; }}")
        if not hears:
            rules.append(f"chain in {{ type filter hook input priority 0; ip saddr {{ {addresses} }} drop; }}")
        rules.append("}")
        host.check_output("nft %s", "\n".join(rules))
        try:
            yield
        finally:
            host.check_output("nft delete table ip %s", CUT)

    @contextmanager
    def small_disk(self, name: str, directory: str, unit: str) -> Iterator[None]:
        """A directory of a service on a file system of its own, which can be filled."""
        host = backend(name)
        disk = "/srv/disk"
        host.check_output(
            f"set -e; systemctl stop {unit}; mkdir -p {disk}; mount -t tmpfs -o size={DISK_SIZE} none {disk};"
            f"cp -a {directory}/. {disk}; chown --reference={directory} {disk}; chmod --reference={directory} {disk};"
            f"mount --bind {disk} {directory}; systemctl start {unit}"
        )
        try:
            yield
        finally:
            host.check_output(f"systemctl stop {unit}; umount {directory} {disk}; systemctl start {unit}")

    def fill(self, name: str, directory: str) -> None:
        """Leave no byte free on the disk of a directory."""
        host = backend(name)
        host.run("dd if=/dev/zero of=%s/filled bs=64k; dd if=/dev/zero of=%s/filled.more bs=1", directory, directory)
        assert host.check_output("df --output=avail %s | tail -1", directory).strip() == "0"

    @contextmanager
    def clock_off(self, name: str, minutes: int) -> Iterator[None]:
        """A host whose proxy believes that it is so much later."""
        host = backend(name)
        directory = "/etc/systemd/system/litellm-proxy@.service.d"
        library = host.check_output("dpkg -L libfaketime | grep '/libfaketime.so.1$'")
        drop_in = (
            f"[Service]\nEnvironment=LD_PRELOAD={library} FAKETIME={minutes * 60:+d} FAKETIME_DONT_FAKE_MONOTONIC=1\n"
        )
        unit = self.proxy(name).unit()
        host.check_output(
            "mkdir -p %s; printf %s >%s/clock.conf; systemctl daemon-reload", directory, drop_in, directory
        )
        host.check_output("systemctl restart %s", unit)
        try:
            yield
        finally:
            host.check_output("rm -r %s; systemctl daemon-reload; systemctl restart %s", directory, unit)

    # Redis -------------------------------------------------------------------------------------------------------

    def redis(self, name: str, *words: str, sentinel: bool = False) -> str:
        """Ask the Redis or the Sentinel of a host; empty where it does not answer."""
        done = subprocess.run(
            ["docker", "exec", "--env", f"REDISCLI_AUTH={PASSWORD}", name, "timeout", "2", "redis-cli",
             "-h", name, "-p", "26379" if sentinel else "6379", *words],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        return done.stdout.strip() if done.returncode == 0 else ""

    def master(self) -> str:
        """The host whose Redis the Sentinels name; waits until those that answer agree."""

        def named() -> set[str]:
            words = ("sentinel", "get-master-addr-by-name", "litellm-pool")
            found = {self.redis(name, *words, sentinel=True).partition("\n")[0] for name in STORES} - {""}
            return found if len(found) == 1 else set()

        (address,) = wait_until(named)
        return next(name for name, known in self._stores.items() if known == address)

    def stores_are_whole(self) -> bool:
        """Whether one Redis is the master and the other two follow it."""
        shown = self.redis(self.master(), "info", "replication")
        return "role:master" in shown and shown.count("state=online") == len(STORES) - 1


@contextmanager
def under_load(cluster: Cluster, mix: Mix | None = None) -> Iterator[Load]:
    """A load on a whole cluster, which has warmed up before the context begins."""
    cluster.settle()
    with Load(cluster.target, mix or Mix(short=16, long=6, rate=RATE)) as load:
        load.wait_for(BEFORE)
        yield load


def ended(load: Load, title: str) -> Report:
    """Go on for a while, print and return what the load saw."""
    report = load.stop(least=LEAST, more=AFTER)
    print(f"\n== {title}\n{report}", flush=True)
    return report


def assert_limits_held(cluster: Cluster) -> None:
    """No account had more requests at once or in a minute than it grants, since the counts were at zero."""
    seen = cluster.simulator.stats()
    most = {name: max(use["max_in_flight"] for use in models.values()) for name, models in seen["accounts"].items()}
    beyond = [
        (f"{record['time']:.1f}", record["key"], record["code"])
        for record in cluster.simulator.requests()
        if record["code"] in BEYOND
    ]
    print(
        f"at the simulator: {json.dumps(seen['total'])}, most at once {json.dumps(most)}, beyond: {beyond}", flush=True
    )
    refused = {code: count for use in seen["keys"].values() for code, count in use["refusals"].items()}
    assert set(refused) & BEYOND == set(), "the simulator refuses what is beyond a limit"
    assert max(most.values()) <= SLOTS


def assert_each_asked_once(cluster: Cluster, report: Report) -> None:
    """Every request of the load reached the simulator exactly once."""
    assert cluster.simulator.stats()["total"]["requests"] == report.requests


def in_flight(report: Report, moment: float) -> list[Sample]:
    """The requests that were under way at a moment, in seconds since the epoch."""
    return [sample for sample in report.samples if sample.began < moment < sample.ended]


def slowest_between(report: Report, begin: float, end: float) -> float:
    """Seconds that the slowest of the short requests took that were sent in the window."""
    return max((s.took for s in report.between(begin, end) if s.kind.form != "long"), default=0.0)


def seconds_until(look: Callable[[], Any], within: float = 60) -> float:
    """How long it took until `look` returned something true."""
    began = time.monotonic()
    wait_until(look, within)
    return time.monotonic() - began


def changed(done: "subprocess.CompletedProcess[str]") -> set[str]:
    """The hosts that a playbook has changed something on."""
    return set(re.findall(r"^(\S+)\s+: ok=\d+\s+changed=[1-9]", done.stdout, re.MULTILINE))


def told(done: "subprocess.CompletedProcess[str]") -> str:
    """What a playbook said, on one line."""
    return " ".join((done.stdout + done.stderr).split())


def assert_done(done: "subprocess.CompletedProcess[str]") -> None:
    """The play succeeded and showed no secret."""
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    secrets: Sequence[str] = (PASSWORD, MASTER_KEY, *KEY_VALUES.values())
    assert [secret for secret in secrets if secret in told(done)] == []
