"""A proxy behind its gateway that is changed under load: what runs on the host, and where a secret is left on it."""

import csv
import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import testinfra
import yaml
from host_support import (
    MASTER_KEY,
    PORT,
    REPOSITORY,
    SETTINGS,
    SIMULATOR_PORT,
    ContainerProxy,
    Proxy,
    address_of,
    hosts_of,
    play,
    wait_until,
)
from testinfra.host import Host

from tests.load import Load, Mix, Report, Target

SCENARIO = REPOSITORY / "molecule" / "handover"
DEPLOYED: dict[str, Any] = yaml.safe_load((SCENARIO / "vars" / "settings.yml").read_text())
"""The settings that the scenario deploys, beyond those that all scenarios share."""
LATER_VALUES: dict[str, list[str]] = yaml.safe_load((SCENARIO / "vars" / "values.yml").read_text())["handover_values"]
SLOTS = int(DEPLOYED["granted_slots"])

LEAST = int(os.environ.get("HANDOVER_REQUESTS", "2000"))
"""Requests of a case."""
RATE = LEAST / 40
"""Requests a second, as a case takes some 40 s; 2,000 are about as many as two cores answer."""
BEFORE = LEAST * 3 // 40
"""Requests before the change of a case begins."""
AFTER = LEAST // 10
"""Requests after it."""
TURNS = min(300, round(20 * RATE))
"""Requests in which every key has its turn, though streams of 10 s may hold all slots of one meanwhile."""

UPSTREAM = f"http://zai-simulator:{SIMULATOR_PORT}"
ADMIN_SOCKET = "/run/litellm-gateway/admin.sock"

SCAN = """
import json, os, sys
values = {value: value.encode() for value in json.load(sys.stdin)}
longest = max(map(len, values.values()))
found = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) == os.getpid():
        continue
    try:
        name = open(f"/proc/{pid}/comm").read().strip()
        areas = [line.split() for line in open(f"/proc/{pid}/maps")]
        memory = open(f"/proc/{pid}/mem", "rb", 0)
    except OSError:
        continue
    for area in areas:
        begin, end = (int(bound, 16) for bound in area[0].split("-"))
        if area[1][0] != "r":
            continue
        tail = b""
        try:
            memory.seek(begin)
            while begin < end and (piece := memory.read(min(1 << 24, end - begin))):
                begin += len(piece)
                for value, raw in values.items():
                    if raw in tail + piece:
                        found.setdefault(value, set()).add(f"{name} ({pid})")
                tail = piece[-longest:]
        except (OSError, OverflowError, ValueError):
            pass
print(json.dumps({value: sorted(names) for value, names in found.items()}))
"""
"""Looks for values in the memory of all processes but its own; they come in as a JSON list."""


def keys(**changes: str) -> list[dict[str, Any]]:
    """The shared keys; `changes` give other values by the letter of the key, and add keys that are not among them."""
    entries = {entry["name"]: dict(entry) for entry in SETTINGS["litellm_proxy_zai_keys"]}
    for letter, value in changes.items():
        name = f"key-{letter}"
        entries[name] = {**entries.get(name, entries["key-a"]), "name": name, "account": f"account-{letter}"}
        entries[name]["key"] = value
    return list(entries.values())


class Site:
    """The host under test with the settings that it was last deployed with.

    Attributes:
        settings: on top of the inventory's; a play that succeeds adds what it changed.
        trust: certificates of its endpoint as PEM text; empty while it has none.
    """

    def __init__(self, settings: Mapping[str, Any] = DEPLOYED) -> None:
        (backend,) = hosts_of("litellm_proxy")
        self.name = backend.removeprefix("docker://")
        self.host: Host = testinfra.get_host(backend)
        self.settings: dict[str, Any] = dict(settings)
        self.trust = ""

    @property
    def proxy(self) -> Proxy:
        """The proxy at the host's present address."""
        return Proxy(self.host)

    @property
    def target(self) -> Target:
        """Where its load goes."""
        scheme = "https" if self.trust else "http"
        return Target(f"{scheme}://{address_of(self.host)}:{PORT}", MASTER_KEY, trust=self.trust)

    def play(self, playbook: str = "site.yml", *options: str, **change: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook with changed settings."""
        done = play(playbook, {**self.settings, **change}, *options)
        if done.returncode == 0:
            self.settings.update(change)
        return done

    @contextmanager
    def playing(
        self, playbook: str = "site.yml", **change: Any
    ) -> Iterator["Future[subprocess.CompletedProcess[str]]"]:
        """Run a playbook beside the context."""
        with ThreadPoolExecutor(1) as thread:
            yield thread.submit(self.play, playbook, **change)

    def slot(self) -> str:
        """The slot that `current` names."""
        return Path(self.host.check_output("readlink /etc/litellm-proxy/current")).name

    def generation(self) -> str:
        """The generation that `current` leads to."""
        return Path(self.host.check_output("readlink -f /etc/litellm-proxy/current")).name

    def generations(self) -> list[str]:
        """All generations on the host."""
        return str(self.host.check_output("ls /etc/litellm-proxy/generations")).split()

    def pid(self, slot: str) -> int:
        """Main process of a slot; 0 when it does not run."""
        return int(self.host.check_output("systemctl show -P MainPID litellm-proxy@%s.service", slot))

    def state(self, slot: str) -> str:
        """State of a slot's unit in systemd's words."""
        return str(self.host.check_output("systemctl show -P ActiveState litellm-proxy@%s.service", slot))

    def serving(self) -> tuple[str, str, int]:
        """Slot, generation and process that serve."""
        return self.slot(), self.generation(), self.pid(self.slot())

    def flipped(self) -> float:
        """When `current` last changed, in seconds since the epoch."""
        return float(self.host.check_output("stat -c %.9Y /etc/litellm-proxy/current"))

    def assert_one_serves(self) -> None:
        """Exactly one instance runs: the one that `current` names."""
        wait_until(lambda: self.state(self.slot()) == "active", 120)
        assert {slot: self.state(slot) for slot in "ab" if slot != self.slot()} in (
            {"a": "inactive"},
            {"b": "inactive"},
        )
        listening = self.host.check_output("ss -ltnH '( sport = :4001 or sport = :4002 )'").splitlines()
        assert len(listening) == 1, listening

    def servers(self) -> dict[str, tuple[str, int]]:
        """State and number of sessions of each slot, as the gateway has it."""
        return self.sessions(self.host.check_output("echo 'show stat' | socat stdio UNIX-CONNECT:%s", ADMIN_SOCKET))

    @staticmethod
    def sessions(shown: str) -> dict[str, tuple[str, int]]:
        """The same, from what the gateway answered to `show stat`."""
        rows = csv.DictReader(io.StringIO(shown.removeprefix("# ")))
        return {row["svname"]: (row["status"], int(row["scur"])) for row in rows if row["svname"] in ("a", "b")}

    def on_host(self, command: Sequence[str], text: str) -> str:
        """Run a command on the host that reads a text, which then is in no command line."""
        done = subprocess.run(
            ["docker", "exec", "--interactive", self.name, *command],
            input=text, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def in_files(self, values: Sequence[str]) -> list[str]:
        """The host's files, of every file system but /proc and /sys, that hold one of the values."""
        # 2: some file went away meanwhile
        search = "grep -rlFs -D skip -f - -- $(ls -d /* | grep -vxE '/(proc|sys)'); [ $? -le 2 ]"
        return self.on_host(["sh", "-c", search], "\n".join(values) + "\n").splitlines()

    def in_memory(self, values: Sequence[str]) -> dict[str, list[str]]:
        """The host's processes that hold one of the values in their memory, by value."""
        found: dict[str, list[str]] = json.loads(self.on_host(["python3", "-c", SCAN], json.dumps(list(values))))
        return found

    def in_journal(self, values: Sequence[str]) -> list[str]:
        """The values that are in the journal of the host, in any field."""
        # not text: fields may hold anything
        journal = self.host.run("journalctl --no-pager --all --output export")
        assert journal.rc == 0, journal.stderr
        return [value for value in values if value.encode() in journal.stdout_bytes]

    def power_loss(self) -> None:
        """Take the host down without a warning, and wait until it has booted and reaches its upstream."""
        subprocess.run(["docker", "kill", self.name], check=True, capture_output=True)
        subprocess.run(["docker", "start", self.name], check=True, capture_output=True)
        booted = ("running", "degraded")
        wait_until(lambda: self.host.run("systemctl is-system-running").stdout.strip() in booted, 60)
        wait_until(lambda: self.host.run("curl -sf -m 2 %s/_control/health", UPSTREAM).rc == 0, 60)


class ContainerSite(Site):
    """The same in compose mode."""

    def __init__(self) -> None:
        super().__init__({})

    @property
    def proxy(self) -> ContainerProxy:
        """The proxy at the host's present address."""
        return ContainerProxy(self.host)

    def pid(self, slot: str) -> int:
        """Main process of a slot; 0 when it does not run."""
        return int(self.host.check_output("docker container inspect --format {{.State.Pid}} litellm-proxy-%s", slot))

    def state(self, slot: str) -> str:
        """State of a slot's container, in systemd's words."""
        command = "docker container inspect --format {{.State.Status}} litellm-proxy-%s"
        shown = self.host.run(command, slot).stdout.strip()
        return "active" if shown == "running" else "inactive" if shown in ("", "exited", "created") else shown


@contextmanager
def under_load(site: Site, mix: Mix | None = None) -> Iterator[Load]:
    """A load that has warmed up before the context begins."""
    with Load(site.target, mix or Mix(rate=RATE)) as load:
        load.wait_for(BEFORE)
        yield load


def ended(load: Load, title: str, least: int = LEAST, more: int = AFTER) -> Report:
    """Go on until a case has its requests, some of them after the change; print and return what they saw."""
    report = load.stop(least=least, more=more)
    print(f"\n== {title}\n{report}", flush=True)
    assert report.requests >= least
    return report


def told(done: "subprocess.CompletedProcess[str]") -> str:
    """What a playbook said, on one line."""
    return " ".join((done.stdout + done.stderr).split())


def wait_while_running(
    future: "Future[subprocess.CompletedProcess[str]]", look: Callable[[], bool], seconds: float = 240
) -> None:
    """Return as soon as `look` is true; fail when the play beside it ends before that."""
    deadline = time.monotonic() + seconds
    while not look():
        assert not future.done(), told(future.result())
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
