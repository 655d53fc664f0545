"""Seconds from a command until all traffic is on the new keys: `python -m bench.rotation`.

A fresh host in Docker is deployed over SSH before a simulated Z.AI; all keys are replaced under load, by site.yml and
by playbooks/rotate_keys.yml in turns. Exits 1 when a request failed.
"""

import argparse
import json
import os
import secrets
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.load import Load, Mix, Report, Target
from zai_simulator.control_client import ControlClient
from zai_simulator.testing import running_simulator

from .services import ROOT, BenchError

IMAGE = "glm-pool-test:trixie"
NAMES = ("a", "b", "c")
PLAYBOOKS = ("site.yml", "playbooks/rotate_keys.yml")
# traffic that leaves the two cores to the command and to the new instance
TRAFFIC = Mix(short=8, long=4, rate=10)
POLL_SECONDS = 0.05
PLAY_SECONDS = 600.0


def run(*command: str, **options: Any) -> str:
    """Run a command and return what it prints.

    Raises:
        BenchError: it failed.
    """
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout.strip()


def new_value() -> str:
    """A key in Z.AI's form."""
    letters = string.ascii_letters + string.digits
    return f"{secrets.token_hex(16)}.{''.join(secrets.choice(letters) for _ in range(16))}"


@dataclass(frozen=True)
class Site:
    """The host, and what is deployed to it.

    Attributes:
        address: of the host on Docker's network.
        upstream: base URL of the simulator.
        values: by round, the value of each key.
    """

    address: str
    inventory: Path
    upstream: str
    master_key: str
    values: Sequence[Sequence[str]]

    def command(self, playbook: str, number: int) -> list[str]:
        """The command that deploys the keys of a round."""
        keys = [
            {
                "name": name,
                "key": value,
                "openai_api_base": f"{self.upstream}/api/paas/v4",
                "anthropic_api_base": f"{self.upstream}/api/anthropic",
            }
            for name, value in zip(NAMES, self.values[number], strict=True)
        ]
        settings = self.inventory.with_name("settings.json")
        content = {
            "litellm_proxy_master_key": self.master_key,
            "litellm_proxy_zai_keys": keys,
            "litellm_proxy_pools": [{"name": Target.model, "model": "glm-5.3-flash"}],
        }
        settings.write_text(json.dumps(content))
        return ["ansible-playbook", "-i", str(self.inventory), "-e", f"@{settings}", playbook]

    def deploy(self, playbook: str, number: int) -> None:
        """Run it."""
        run(*self.command(playbook, number), cwd=ROOT, timeout=PLAY_SECONDS)


@contextmanager
def fresh_host(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A host that boots in Docker; gives its address and the variables by which Ansible reaches it over SSH."""
    name = f"glm-bench-rotation-{os.getpid()}"
    cgroup = "rw" if run("stat", "-fc", "%T", "/sys/fs/cgroup") == "cgroup2fs" else "ro"
    run(
        "docker", "run", "--detach", "--name", name, "--hostname", name, "--cgroupns", "host",
        "--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE",
        "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
        "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec",
        "--volume", f"/sys/fs/cgroup:/sys/fs/cgroup:{cgroup}", "--stop-signal", "SIGRTMIN+3",
        "--publish", "127.0.0.1::22", IMAGE,
    )  # fmt: skip
    try:
        wait = """for i in $(seq 240); do
            case $(systemctl is-system-running) in running|degraded) exit;; esac; sleep 0.25
            done; exit 1"""
        run("docker", "exec", name, "sh", "-c", wait)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "key"))
        prepare = """useradd --create-home --shell /bin/bash deploy
            echo "deploy ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/deploy
            rm -f /run/nologin
            install -d -m 700 -o deploy -g deploy /home/deploy/.ssh
            cat >/home/deploy/.ssh/authorized_keys"""
        public = (directory / "key.pub").read_text()
        run("docker", "exec", "--interactive", name, "sh", "-ec", prepare, input=public)
        port = run("docker", "port", name, "22").splitlines()[0].rpartition(":")[2]
        (directory / "known_hosts").write_text(run("ssh-keyscan", "-p", port, "127.0.0.1"))
        address = run("docker", "exec", name, "hostname", "-I").split()[0]
        yield (
            address,
            {
                "ansible_host": "127.0.0.1",
                "ansible_port": int(port),
                "ansible_user": "deploy",
                "ansible_ssh_private_key_file": str(directory / "key"),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={directory / 'known_hosts'}",
            },
        )
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)


class Watch:
    """Looks at the simulator, until it is left, for what the old keys get.

    Attributes:
        last_request: when the old keys were last seen to get a request, in seconds since the epoch.
        last_answer: when they last had one in flight.
    """

    def __init__(self, control: ControlClient, old: Sequence[str]) -> None:
        self.last_request = self.last_answer = 0.0
        self._control = control
        self._old = old
        self._requests = -1
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            counts = [self._control.stats()["keys"][name] for name in self._old]
            requests = sum(count["requests"] for count in counts)
            if requests != self._requests:
                self._requests = requests
                self.last_request = self.last_answer = time.time()
            if any(count["in_flight"] for count in counts):
                self.last_answer = time.time()

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@dataclass(frozen=True)
class Row:
    """One rotation; times in seconds from the command's start."""

    playbook: str
    requests_on_new: float
    all_on_new: float
    ended: float
    report: Report

    def cells(self) -> list[str]:
        """Its line of the table."""
        times = (self.requests_on_new, self.all_on_new, self.ended)
        return [self.playbook, *(f"{seconds:.1f} s" for seconds in times), self._failed()]

    def _failed(self) -> str:
        return f"{len(self.report.failures)} of {self.report.requests}"


HEADINGS = (
    "all keys replaced by",
    "new requests on new keys only",
    "last answer from an old key",
    "command ended",
    "failed requests",
)


def rotate(site: Site, control: ControlClient, playbook: str, number: int) -> Row:
    """Replace the keys of the round before by those of this one, under load."""
    old = [f"{name}-{number - 1}" for name in NAMES]
    target = Target(f"http://{site.address}:4000", site.master_key)
    with Load(target, TRAFFIC) as load, Watch(control, old) as watch:
        load.wait_for(60)
        begin = time.time()
        site.deploy(playbook, number)
        end = time.time()
        report = load.stop(more=60)
    return Row(playbook, watch.last_request - begin, watch.last_answer - begin, end - begin, report)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [list(HEADINGS), *(row.cells() for row in rows)]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(HEADINGS), *text[1:]])


def measure(rounds: int, directory: Path) -> list[Row]:
    """Deploy a fresh host and rotate its keys, each way so many times."""
    values = [[new_value() for _ in NAMES] for _ in range(1 + rounds * len(PLAYBOOKS))]
    entries = [
        {"name": f"{name}-{number}", "key": value, "account": name}
        for number, of_round in enumerate(values)
        for name, value in zip(NAMES, of_round, strict=True)
    ]
    accounts = {name: {"latency": 0.2, "token_interval": 0.1} for name in NAMES}
    gateway = run("docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    with ExitStack() as stack:
        simulator = stack.enter_context(running_simulator({"accounts": accounts, "keys": entries}, gateway))
        address, connection = stack.enter_context(fresh_host(directory))
        inventory = directory / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"litellm_proxy": {"hosts": {"bench": connection}}}))
        site = Site(address, inventory, simulator.url, f"sk-{secrets.token_hex(24)}", values)
        say("the first deploy")
        site.deploy("site.yml", 0)
        rows = []
        for number, playbook in enumerate(PLAYBOOKS * rounds, 1):
            say(f"all keys replaced by {playbook}")
            rows.append(rotate(site, simulator.control, playbook, number))
            print(rows[-1].report, flush=True)
    return rows


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> int:
    """Parse the arguments, measure; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.rotation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="rotations by each playbook (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rotation-bench-") as directory:
        rows = measure(arguments.rounds, Path(directory))
    print("\n" + table(rows))
    return 1 if any(row.report.failures for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
